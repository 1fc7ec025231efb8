/** Search in what the terminal shows and has shown. */

import { byId } from './state.js';

const COLOURS = {
  matchBackground: '#6b5a00',
  matchOverviewRuler: '#c8a800',
  activeMatchBackground: '#a05000',
  activeMatchColorOverviewRuler: '#ff8c1a',
};

/** @param {import('./screen.js').Screen} screen */
export function bindSearch({ terminal, search }) {
  const form = /** @type {HTMLFormElement} */ (byId('search'));
  const field = /** @type {HTMLInputElement} */ (byId('searched'));
  const options = { decorations: COLOURS };
  const find = (/** @type {boolean} */ back, /** @type {boolean} */ incremental) => {
    if (!field.value) search.clearDecorations();
    else if (back) search.findPrevious(field.value, options);
    else search.findNext(field.value, { ...options, incremental });
  };
  const close = () => {
    form.hidden = true;
    search.clearDecorations();
    terminal.focus();
  };
  search.onDidChangeResults(({ resultIndex, resultCount }) => {
    byId('found').textContent = !field.value ? '' : resultCount ? `${resultIndex + 1} of ${resultCount}` : 'nothing found';
  });
  field.addEventListener('input', () => find(false, true));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    find(event.submitter?.id === 'backwards', false);
  });
  form.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') close();
    else if (event.key === 'Enter' && event.shiftKey && event.target === field) {
      event.preventDefault();
      find(true, false);
    }
  });
  byId('close-search').addEventListener('click', close);
  return () => {
    form.hidden = false;
    field.select();
    field.focus();
  };
}
