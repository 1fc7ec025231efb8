/**
 * What a program asks its terminal: its kind, where its cursor is, a mode, a colour, whether it has the focus. The terminal of whoever opened the
 * session answers. One that joined it doesn't: nobody waits for a second answer, which would be taken for something typed.
 *
 * The proxy takes the same out of what it plays again to who joins late (wire/rules/questions.py).
 */

/** CSI, by what stands before and behind its numbers. */
const CSI = [
  { final: 'c' },
  { prefix: '>', final: 'c' },
  { prefix: '=', final: 'c' },
  { final: 'n' },
  { prefix: '?', final: 'n' },
  { intermediates: '$', final: 'p' },
  { prefix: '?', intermediates: '$', final: 'p' },
  { prefix: '>', final: 'q' },
  { prefix: '?', final: 'u' },
  { final: 'x' },
  { intermediates: '$', final: 'u' },
  { intermediates: '$', final: 'w' },
];
const FOCUS = 1004; // a mode in which the terminal says each time that it gets or loses it
const OSC = [4, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];

/** @param {import('@xterm/xterm').Terminal} terminal */
export function answerNothing({ parser }) {
  for (const id of CSI) parser.registerCsiHandler(id, () => true);
  parser.registerCsiHandler({ final: 't' }, ([number]) => Number(number) >= 11 && Number(number) <= 21);
  parser.registerCsiHandler({ prefix: '?', final: 'h' }, (modes) => modes.length === 1 && modes[0] === FOCUS);
  for (const id of OSC) parser.registerOscHandler(id, (said) => said.split(';').includes('?'));
  for (const intermediates of ['$', '+']) parser.registerDcsHandler({ intermediates, final: 'q' }, () => true);
}
