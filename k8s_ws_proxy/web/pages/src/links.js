/** Links in what a program printed: nothing opens but by a click, and what opens knows nothing of this page. */

import { byId, printable } from './state.js';

/** @param {string} address what stands on the screen, word for word */
export function openLink(address) {
  if (/^https?:\/\//i.test(address)) window.open(address, '_blank', 'noopener,noreferrer');
}

/**
 * An OSC 8 link says one thing and leads to another: where to is shown first.
 *
 * @param {string} address
 */
export function askToOpen(address) {
  const dialog = /** @type {HTMLDialogElement} */ (byId('link'));
  byId('address').textContent = printable(address);
  dialog.onclose = () => {
    if (dialog.returnValue === 'open') openLink(address);
    dialog.returnValue = '';
  };
  dialog.showModal();
}
