/** What the page's own keys and buttons do: Ctrl-Shift and a letter, and the bar of keys that telephones lack. */

import { byId } from './state.js';

/** @typedef {import('./screen.js').Screen} Screen */

/**
 * @param {Screen} screen
 * @param {{ search(): void, leave(): void, type(text: string | Uint8Array): void }} page
 */
export function bindKeys({ terminal }, { search, leave, type }) {
  terminal.attachCustomKeyEventHandler((event) => {
    if (!event.ctrlKey || !event.shiftKey || event.altKey || event.metaKey) return true;
    switch (letterOf(event)) {
      case 'C':
        if (event.type === 'keydown') void copy(terminal.getSelection());
        break;
      case 'F':
        if (event.type === 'keydown') search();
        break;
      case 'L':
        if (event.type === 'keydown') leave();
        break;
      case 'V':
        return false; // the browser pastes, and asks nobody
      default:
        return true;
    }
    event.preventDefault();
    return false;
  });
  bindBar(terminal, type);
}

/**
 * The Latin letter that is on the key, or in its place where there is none, as in Greek.
 *
 * @param {{ key: string, code: string }} event
 */
export function letterOf({ key, code }) {
  return /^[a-z]$/i.test(key) ? key.toUpperCase() : code.replace(/^Key/, '');
}

/** @param {string} text */
export async function copy(text) {
  if (!text) return;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    document.execCommand('copy'); // plain HTTP: the browser asks xterm.js, which gives the selection
  }
}

/**
 * @param {Screen['terminal']} terminal
 * @param {(text: string | Uint8Array) => void} type
 */
function bindBar(terminal, type) {
  let control = false;
  const hold = (/** @type {boolean} */ held) => {
    control = held;
    byId('control').setAttribute('aria-pressed', String(held));
  };
  byId('bar').addEventListener('pointerdown', (event) => event.preventDefault()); // the keyboard stays where it is
  byId('bar').addEventListener('click', (event) => {
    const key = /** @type {HTMLElement} */ (event.target).closest('button')?.dataset.key;
    if (!key) return;
    if (key === 'control') hold(!control);
    else type(keyOf(key, terminal.modes.applicationCursorKeysMode));
    terminal.focus();
  });
  terminal.onData((text) => {
    const letter = /^[@-_a-z]$/.test(text) ? text.toUpperCase().charCodeAt(0) & 0x1f : -1;
    const held = control;
    if (held) hold(false);
    type(held && letter >= 0 ? String.fromCharCode(letter) : text);
  });
  terminal.onBinary((text) => type(Uint8Array.from(text, (byte) => byte.charCodeAt(0)))); // a mouse, as X10 has it
}

/**
 * @param {string} key
 * @param {boolean} application whether a program has asked for the arrows' other form (DECCKM)
 */
function keyOf(key, application) {
  const arrow = application ? '\x1bO' : '\x1b[';
  const arrows = { up: 'A', down: 'B', right: 'C', left: 'D' };
  if (key === 'escape') return '\x1b';
  if (key === 'tab') return '\t';
  return arrow + arrows[/** @type {keyof arrows} */ (key)];
}
