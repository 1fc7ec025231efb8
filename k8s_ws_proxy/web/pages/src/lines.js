/**
 * What is typed where there is no terminal on the other side: nothing echoes it there, and nothing edits it. So a line is
 * echoed and edited here, and goes when it is whole, as a terminal has it for a program that asks for nothing else
 * (termios(3), ICANON and ECHO).
 */

const TAB = '^I'; // as it is shown: how far one goes is known to the terminal only
const NARROW = /\p{Regional_Indicator}/u; // two of them are a flag
const WIDE = /[\u{20000}-\u{3fffd}]|[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;
const NO_WIDTH = /\p{M}|\p{Cf}/u;
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/; // all but tab and newline
// What a key sends that has no character, and what xterm.js answers a program.
const SEQUENCE = /^\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P][^\x07\x1b]*(?:\x07|\x1b\\)|O.|.)?$/su;

export class Lines {
  /**
   * @param {{ show(text: string): void, send(text: string): void, end(): void, leave(): void }} page `end` is stdin's, by
   *   Ctrl-D in an empty line; `leave` is Ctrl-C's, as it ends `kubectl exec -i`
   */
  constructor(page) {
    this._page = page;
    /** @type {string[]} */
    this._line = []; // what was typed of it, a character each
    this._ended = false; // stdin
  }

  /**
   * A key, or what was pasted. Of that, what moves a cursor is left out.
   *
   * @param {string} text
   */
  type(text) {
    if (SEQUENCE.test(text)) return;
    let shown = '';
    let sent = '';
    for (const character of text.replaceAll('\r\n', '\n').replaceAll('\r', '\n')) {
      if (this._ended && character !== '\x03') continue;
      if (character === '\n') {
        shown += '\r\n';
        sent += this._taken('\n');
      } else if (character === '\x7f' || character === '\b') {
        shown += erased(this._line.splice(-1));
      } else if (character === '\x15') {
        shown += erased(this._line.splice(0));
      } else if (character === '\x04') {
        if (this._line.length) sent += this._taken('');
        else {
          this._ended = true;
          return this._over(shown, sent, () => this._page.end());
        }
      } else if (character === '\x03') {
        return this._over(`${shown}^C\r\n`, sent, () => this._page.leave());
      } else if (!CONTROL.test(character)) {
        this._line.push(character);
        shown += character === '\t' ? TAB : character;
      }
    }
    this._over(shown, sent, () => {});
  }

  /** @param {string} end */
  _taken(end) {
    return this._line.splice(0).join('') + end;
  }

  /**
   * @param {string} shown
   * @param {string} sent
   * @param {() => void} then
   */
  _over(shown, sent, then) {
    if (shown) this._page.show(shown);
    if (sent) this._page.send(sent);
    then();
  }
}

/** @param {string[]} characters */
function erased(characters) {
  let cells = 0;
  for (const each of characters) cells += cellsOf(each);
  return '\b \b'.repeat(cells);
}

/**
 * As xterm.js has it, with the widths of Unicode 11.
 *
 * @param {string} character
 */
function cellsOf(character) {
  if (character === '\t') return TAB.length;
  if (NO_WIDTH.test(character)) return 0;
  return WIDE.test(character) && !NARROW.test(character) ? 2 : 1;
}
