/**
 * What the page says of a session while it is open: that it is, or why it doesn't go on as it should; what the server has
 * to say to the person; who looks on.
 */

/** @typedef {import('./state.js').StateLine} StateLine */

const READ = 5000; // milliseconds that a notice stays at least: what is typed then may have been meant before it

export class OpenState {
  /**
   * @param {StateLine} line
   * @param {string} sentence where nothing else is to be said
   * @param {string[]} facts what is true of the session from the beginning
   */
  constructor(line, sentence, facts) {
    this._line = line;
    this._sentence = sentence;
    this._facts = facts;
    this._shown = false; // it is open
    this._slow = '';
    this._noticed = 0; // when the notice came that is shown, 0 without one
  }

  /**
   * It is open, from now on.
   *
   * @param {string} [sentence] in the place of the other
   */
  begin(sentence = this._sentence) {
    this._sentence = sentence;
    this._shown = true;
    this._show();
  }

  /** It is over: whoever knows how says so. */
  end() {
    this._shown = false;
    this._line.notice('');
  }

  /**
   * Why it doesn't go on as it should, '' when it does.
   *
   * @param {string} sentence
   */
  slow(sentence) {
    this._slow = sentence;
    this._show();
  }

  /**
   * What the server says to the person: it stays until something is typed.
   *
   * @param {string} text
   */
  notice(text) {
    this._noticed = performance.now();
    this._line.notice(text);
  }

  /** Something was typed. */
  typed() {
    if (!this._noticed || performance.now() - this._noticed < READ) return;
    this._noticed = 0;
    this._line.notice('');
  }

  /** @param {number} count who look on */
  watchers(count) {
    this._line.facts(count ? [...this._facts, `watched by ${count}`] : this._facts);
  }

  _show() {
    if (!this._shown) return;
    if (this._slow) this._line.show('warn', 'Slow', this._slow);
    else this._line.show('open', 'Open', this._sentence);
  }
}
