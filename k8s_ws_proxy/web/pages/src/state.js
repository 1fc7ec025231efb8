/**
 * The line of state, which stands outside of the terminal: nothing that a program prints gets there.
 *
 * A state is a word and a sentence, and a sign that isn't only a colour. Screen readers are told of each change.
 */

/** @type {Record<string, string>} */
const SIGNS = { wait: '…', open: '●', warn: '▲', over: '■', bad: '✕' };

/** @param {string} id */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

export class StateLine {
  constructor() {
    this._bar = byId('state');
    this._shown = '';
  }

  /**
   * @param {'wait' | 'open' | 'warn' | 'over' | 'bad'} tone
   * @param {string} word
   * @param {string} sentence
   * @param {string} [said] what the other side said, which may be anything: shown as a quotation
   */
  show(tone, word, sentence, said = '') {
    const shown = [tone, word, sentence, said].join('\n');
    if (shown === this._shown) return;
    this._shown = shown;
    this._bar.dataset.tone = tone;
    byId('sign').textContent = SIGNS[tone];
    byId('word').textContent = word;
    byId('sentence').textContent = sentence;
    byId('said').textContent = said && `“${printable(said)}”`;
  }

  /**
   * What the server says to the person, below the line until it is ''.
   *
   * @param {string} text
   */
  notice(text) {
    byId('notice').textContent = text && `${SIGNS.warn} The server says: “${printable(text)}”`;
  }

  /**
   * What is true beside the state.
   *
   * @param {string[]} facts
   */
  facts(facts) {
    byId('facts').replaceChildren(
      ...facts.map((fact) => {
        const item = document.createElement('li');
        item.textContent = fact;
        return item;
      }),
    );
  }

  /**
   * A way on: to a new session, or to the recording of this one, if whoever made this one said where that is.
   *
   * @param {'again' | 'recording'} id
   * @param {string} address
   */
  offer(id, address) {
    const link = /** @type {HTMLAnchorElement} */ (byId(id));
    if (!address) return;
    link.href = address;
    link.hidden = false;
  }
}

/**
 * In one line, and without what turns the writing around (Unicode's bidirectional controls).
 *
 * @param {string} text
 */
export function printable(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ').trim().slice(0, 300);
}
