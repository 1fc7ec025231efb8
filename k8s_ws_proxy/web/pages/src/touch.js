/**
 * A finger on the terminal, of which xterm.js knows nothing: it draws what is shown along, line by line. Where there is
 * nothing above the screen, or a program wants to know of the mouse, it is as a wheel is to xterm.js.
 */

/** @typedef {import('@xterm/xterm').Terminal} Terminal */

/**
 * @param {Terminal} terminal
 * @param {HTMLElement} place where it is
 * @param {boolean} larger it may be larger than its place, which can be moved over it
 */
export function bindTouch(terminal, place, larger) {
  /** @type {number | null} */
  let at = null; // of the finger, in pixels from above; null where there is none, or several: the page is being zoomed
  let moved = 0; // pixels that make no line yet
  place.addEventListener('touchstart', ({ touches, target }) => {
    const bar = target instanceof Element && target.closest('.scrollbar'); // which can be drawn by itself
    at = touches.length === 1 && !bar ? touches[0].clientY : null;
    moved = 0;
  }, { passive: true });
  place.addEventListener('touchmove', ({ touches: [finger, another] }) => {
    if (another) at = null;
    if (at === null) return;
    moved += at - finger.clientY;
    at = finger.clientY;
    if (larger) moved -= scrolled(place, moved);
    const cell = (terminal.element?.querySelector('.xterm-screen')?.clientHeight ?? 0) / terminal.rows;
    const lines = cell ? Math.trunc(moved / cell) : 0;
    moved -= lines * cell;
    if (lines) scroll(terminal, lines, finger);
  }, { passive: true });
}

/**
 * @param {HTMLElement} place
 * @param {number} by pixels
 */
function scrolled(place, by) {
  const before = place.scrollTop;
  place.scrollTop += by;
  return place.scrollTop - before;
}

/**
 * @param {Terminal} terminal
 * @param {number} lines down, if positive
 * @param {Touch} finger
 */
function scroll(terminal, lines, { clientX, clientY }) {
  const { mouseTrackingMode } = terminal.modes;
  const told = mouseTrackingMode !== 'none' && mouseTrackingMode !== 'x10'; // which knows no wheel
  if (!told && terminal.buffer.active.type === 'normal') {
    terminal.scrollLines(lines);
    return;
  }
  const turn = { deltaY: Math.sign(lines), deltaMode: WheelEvent.DOM_DELTA_LINE, clientX, clientY, cancelable: true };
  for (let line = 0; line < Math.abs(lines); line += 1) terminal.element?.dispatchEvent(new WheelEvent('wheel', turn));
}
