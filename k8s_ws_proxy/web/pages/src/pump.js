/**
 * Output on its way to the terminal: it is given no more than it has drawn, so that what waits does so where it can be left
 * out (`connect()` in client.js), and Ctrl-C is answered within the time that little takes.
 *
 * xterm.js parses what it is given in slices and says when it is done; while more than HIGH bytes wait there, it gets
 * nothing ("Flow control" in xterm.js's guide).
 */

export const HIGH = 128 * 1024; // bytes: about 10 ms of parsing
const LOW = 32 * 1024;

export class Pump {
  /** @param {{ write(data: Uint8Array | string, done?: () => void): void }} terminal */
  constructor(terminal) {
    this._terminal = terminal;
    this._waiting = 0;
    this._drained = () => {};
  }

  /**
   * Resolves when more may come.
   *
   * @param {Uint8Array} data
   */
  async write(data) {
    this._waiting += data.length;
    this._terminal.write(data, () => {
      this._waiting -= data.length;
      if (this._waiting <= LOW) this._drained();
    });
    if (this._waiting <= HIGH) return;
    await new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
      this._drained = () => resolve();
    });
    await idle();
  }

  /**
   * Output was left out, and it may have been cut in the middle of a sequence, which CAN (ECMA-48 §8.3.6) ends.
   *
   * @param {number} bytes
   */
  lost(bytes) {
    const size = bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
    this._terminal.write(`\x18\x1b[0m\r\n[${size} of output left out: more came than this browser can show]\r\n`);
  }
}

/** Resolves when this page has nothing else to do: a key that is pressed goes before more output. */
async function idle() {
  const { scheduler } = /** @type {any} */ (globalThis);
  if (scheduler) await scheduler.postTask(() => {}, { priority: 'background' });
  else await new Promise((resolve) => setTimeout(resolve, 0));
}
