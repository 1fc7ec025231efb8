/**
 * A client of the session API's streams, for a browser: what was issued is opened, or joined, with a ticket.
 *
 * It shows nothing and knows no terminal: bytes go in, messages come out, and in the end it says how it ended. The pages
 * beside it are its first user. It needs nothing but a browser (or whatever has WebSocket, URL and fetch).
 *
 * ```js
 * const session = connect({ base: 'https://node-1.example/', id, ticket });
 * await session.opened;                          // rejects with a Refused
 * session.resize(120, 40);
 * session.type('ls\r');
 * for await (const message of session.messages()) {
 *   if (message.type === 'output') await show(message.data); // no more comes than this takes
 * }
 * const end = await session.ended;               // { kind: 'command_ended', exitCode: 0, ... }
 * ```
 *
 * The protocol is Kubernetes's `v5.channel.k8s.io` (KEP-4006, remotecommand): a message is one byte that names a channel,
 * and what is said on it. A log's are bytes and nothing else; they come as output. The ticket is a further subprotocol, as
 * Kubernetes has it for bearer tokens. The session API is described in docs/reference/sessions.md, and how sessions end in
 * docs/reference/answers.md.
 */

/** The subprotocol that is spoken. */
export const SUBPROTOCOL = 'v5.channel.k8s.io';

/**
 * That of a log, whose messages are lines without a channel. It goes first: where there is a terminal the proxy doesn't
 * know it and takes the other, and of a log it takes the first.
 */
export const LOG_SUBPROTOCOL = 'binary.k8s.io';

const BEARER = 'base64url.bearer.authorization.k8s.io.';
const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const TICKET = /^[A-Za-z0-9_-]{43}$/;

/** Channels of a terminal. On CLOSE the next byte names the channel that ends. NOTICE and MARK are the proxy's own. */
export const Channel = Object.freeze({
  STDIN: 0,
  STDOUT: 1,
  STDERR: 2,
  STATUS: 3,
  RESIZE: 4,
  NOTICE: 253,
  MARK: 254,
  CLOSE: 255,
});

/** Bytes of output that wait to be read at most, where nothing holds the server back: see `connect()`. */
export const KEPT = 4 * 1024 * 1024;

const SHOWN = 64 * 1024; // bytes of output that hurry() leaves: a screen and more
const HURRY = 2000; // milliseconds
const HOLD = 500; // milliseconds of that in which nothing is read, at most
const QUIET = 25; // milliseconds without a message, after which all is there that was under way
const PART = 4 * 1024; // bytes of a message on stdin: the proxy takes no more in fragments, as browsers send what is large
const AHEAD = 256 * 1024; // bytes that the browser may hold of what was typed, before more is given to it
const LOOK = 5; // milliseconds between looks at what has no event
const NEWLINE = 10;

const NO_CONTAINER = /container not found \("/; // a kubelet's words; the apiserver's code is 500

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * What came.
 *
 * `output` is on channel 1 or 2. `size` comes to who watches: the terminal's size, from the proxy. `lost` stands where
 * output was left out, since more came than was read: see `connect()`. `notice` is what the proxy says to the person, such as
 * that time is nearly up; it stands on the terminal, too, but here no program can say it. `watchers` is how many look on
 * from now on. `streams` comes before all else: without `tty` nobody echoes or edits what is typed, and lines end with a newline
 * alone; without `stdin` it goes nowhere. These come to who has opened the session (and not of a log), not to who watches.
 *
 * @typedef {{ type: 'output', channel: number, data: Uint8Array }
 *   | { type: 'notice', text: string }
 *   | { type: 'watchers', count: number }
 *   | { type: 'streams', tty: boolean, stdin: boolean }
 *   | { type: 'size', columns: number, rows: number }
 *   | { type: 'lost', bytes: number }} Message
 */

/**
 * How it ended.
 *
 * `kind` is a stable name, one of `KINDS`. `exitCode` is the command's, or null where none was told. `message` is what the
 * other side said of it, for a person; it may hold what a program printed, so it is text and never markup. `code` and
 * `reason` are the WebSocket's close (RFC 6455 §7.4), `status` the `metav1.Status` from channel 3.
 *
 * @typedef {{ kind: string, exitCode: number | null, message: string, code: number, reason: string, status: Status | null }}
 *   End
 */

/**
 * A `metav1.Status`, as far as it matters here.
 *
 * @typedef {{ status?: string, message?: string, reason?: string, code?: number,
 *   details?: { causes?: { reason?: string, message?: string }[], retryAfterSeconds?: number } }} Status
 */

/** All kinds of an end. docs/reference/answers.md has the proxy's endings, and `ENDINGS` beside the pages as which kind each shows. */
export const KINDS = Object.freeze(
  /** @type {const} */ ([
    'command_ended', // the command ended; exitCode says how
    'command_failed', // the apiserver says that it failed, and has no exit code: mostly it could not be run
    'not_opened', // the apiserver could not be reached, or refused
    'pod_gone', // there is no such pod or container
    'limit_reached', // idle for too long, or open for too long
    'drained', // the proxy shut down
    'terminated', // somebody ended it
    'owner_left', // the session that was watched has lost its own client
    'too_slow', // this watcher read too slowly
    'lost_upstream', // the proxy lost the apiserver, or must not go on (a recording that failed)
    'silent', // the proxy had no answer to its pings
    'protocol', // one side broke the protocol
    'output_ended', // a log's end
    'lost', // the connection broke
    'left', // close() was called
  ]),
);

/**
 * Thrown by `opened`: there is no session. `reason` is a name from docs/reference/answers.md, '' where none was told, and
 * 'left' where close() was called before there was one.
 */
export class Refused extends Error {
  /**
   * @param {string} reason
   * @param {string} message
   * @param {number} status HTTP's, 0 without an answer
   */
  constructor(reason, message, status) {
    super(message);
    this.name = 'Refused';
    this.reason = reason;
    this.status = status;
  }
}

/**
 * Open a session, or join one. Throws a TypeError for an id or a ticket that can't be one.
 *
 * `base` is where the proxy is: the URL to which `proxy/sessions/...` is relative. `mode` is `open` for what was issued;
 * `observe` and `peer` join. `kept` bounds what waits to be read, in bytes.
 *
 * **Flow control.** A browser takes whatever a WebSocket brings, and can't hold the server back. So the proxy is asked for
 * marks in what it sends (docs/reference/sessions.md), and gets each back once `messages()` has come to it; while more than 512 KiB
 * is ahead of the last one, it reads nothing from the apiserver. No byte is lost to who reads slowly, unless more was typed than
 * the other side takes: marks come behind it, and 2 MB a second come without them.
 *
 * A log has no marks, and who watches can't hold up the session. There, when more than `kept` bytes wait, the oldest output
 * of them is left out, down to half of that, and a message `lost` says how much. Keep more than a terminal's scrollback
 * holds, and nobody gets to see that.
 *
 * @param {{ base: string | URL, id: string, ticket: string, mode?: 'open' | 'observe' | 'peer', kept?: number }} options
 * @returns {Session}
 */
export function connect({ base, id, ticket, mode = 'open', kept = KEPT }) {
  if (!ID.test(id)) throw new TypeError('this is no id of a session');
  if (!TICKET.test(ticket)) throw new TypeError('this is no ticket');
  const target = mode === 'open' ? 'stream?aside=true' : mode === 'peer' ? 'watch?mode=peer' : 'watch?mode=observe';
  const url = new URL(`proxy/sessions/${id}/${target}`, base);
  const plain = new URL(url);
  plain.protocol = url.protocol.replace(/^ws/, 'http');
  url.protocol = url.protocol.replace(/^http/, 'ws');
  const spoken = mode === 'open' ? [LOG_SUBPROTOCOL, SUBPROTOCOL] : [SUBPROTOCOL];
  const socket = new Socket(url, [...spoken, BEARER + ticket], kept);
  return new Session(socket, () => whyRefused(plain, ticket));
}

/** One session, or one that is watched. Made by `connect()`. */
export class Session {
  /**
   * @param {Socket} socket
   * @param {() => Promise<Refused>} whyRefused
   */
  constructor(socket, whyRefused) {
    this._socket = socket;
    this._left = false;
    this._begun = false; // something came besides the status
    this._reading = false;
    /** @type {Status | null} */
    this._status = null;
    /** @type {{ bytes: Uint8Array, taken: () => void }[]} */
    this._typed = [];
    this._typing = false;
    this._ends = false; // stdin does, once all of it is sent
    /** @type {string} */
    this._size = '';
    /** Resolves when it is open; rejects with a `Refused`. @type {Promise<void>} */
    this.opened = socket.opened.catch(async () => {
      const refused = this._left ? null : await whyRefused();
      throw refused && !this._left ? refused : new Refused('left', 'It was left before it was open.', 0);
    });
    /** Resolves when it has ended and all messages are read; never before it was open. @type {Promise<End>} */
    this.ended = new Promise((resolve) => {
      this._end = resolve;
    });
    this.opened.catch(() => {}); // whoever wants to know asks
  }

  /** Whether it is a log, known once it is open: lines end with a newline alone, and what is typed goes nowhere. */
  get log() {
    return this._socket.log;
  }

  /** What comes, until the end: nothing more is read while what was given is being worked on. To be read by one. */
  async *messages() {
    if (this._reading) throw new TypeError('the messages are read already');
    this._reading = true;
    await this.opened;
    for (;;) {
      const read = await this._socket.read();
      if (read === null) break;
      if (typeof read !== 'number' && read[0] === Channel.MARK) {
        this._socket.answer(read);
        continue;
      }
      const message = typeof read === 'number' ? /** @type {Message} */ ({ type: 'lost', bytes: read }) : this._parsed(read);
      if (typeof read === 'number' || begins(read[0], message)) this._begun = true;
      if (message) yield message;
    }
    const { code, reason } = await this._socket.closed;
    this._end(endOf(this._status, code, reason, this._left, this._begun));
  }

  /**
   * Send what was typed or pasted, whole and in order. Resolves when the browser has taken it; after the end it is dropped.
   *
   * @param {string | Uint8Array} text
   * @returns {Promise<void>}
   */
  type(text) {
    const bytes = typeof text === 'string' ? encoder.encode(text) : text;
    return new Promise((taken) => {
      this._typed.push({ bytes, taken });
      if (!this._typing) void this._send();
    });
  }

  /**
   * Say how large the terminal is, in characters: 1 to 65535. Of several that wait the last one is sent.
   *
   * @param {number} columns
   * @param {number} rows
   */
  resize(columns, rows) {
    this._size = JSON.stringify({ Width: columns, Height: rows });
    if (!this._typing) void this._send();
  }

  /**
   * Leave out what waits to be read, and for two seconds what comes, but for the newest: somebody has asked a flood to stop,
   * and wants to see that it has. A terminal's own queue is let go then, too (termios(3), NOFLSH). Where much waits,
   * `messages()` gives nothing until all is there that was under way, for half a second at most.
   */
  hurry() {
    this._socket.hurry();
  }

  /** The end of stdin, after all that was typed (KEP-4006: v5 only). A terminal has none: type Ctrl-D there. */
  closeStdin() {
    this._ends = true;
    if (!this._typing) void this._send();
  }

  /** Leave. What ran is hung up, if the session is one's own. */
  close() {
    this._left = true;
    this._socket.close();
  }

  async _send() {
    this._typing = true;
    try {
      await this.opened;
      while (this._size || this._typed.length || this._ends) {
        if (this._size) {
          const size = this._size;
          this._size = '';
          await this._socket.write(onChannel(Channel.RESIZE, encoder.encode(size)));
        }
        const [next] = this._typed;
        if (!next) {
          if (this._ends) await this._socket.write(onChannel(Channel.CLOSE, new Uint8Array([Channel.STDIN])));
          this._ends = false;
          continue;
        }
        for (let at = 0; at < next.bytes.length; at += PART) {
          await this._socket.write(onChannel(Channel.STDIN, next.bytes.subarray(at, at + PART)));
        }
        this._typed.shift();
        next.taken();
      }
    } catch {
      for (const { taken } of this._typed) taken(); // it is over: messages() says how
      this._typed = [];
    } finally {
      this._typing = false;
    }
  }

  /**
   * @param {Uint8Array} bytes
   * @returns {Message | null}
   */
  _parsed(bytes) {
    const data = bytes.subarray(1);
    switch (bytes[0]) {
      case Channel.STDOUT:
      case Channel.STDERR:
        return data.length ? { type: 'output', channel: bytes[0], data } : null;
      case Channel.STATUS:
        this._status = statusIn(data) ?? this._status;
        return null;
      case Channel.RESIZE:
        return sizeIn(data);
      case Channel.NOTICE:
        return noticeIn(data);
      default:
        return null;
    }
  }
}

/**
 * Whether this shows that the container was entered, as the apiserver's first message does, which is empty. Which streams
 * there are is said by the proxy, before that.
 *
 * @param {number | undefined} channel
 * @param {Message | null} message
 */
function begins(channel, message) {
  return channel !== Channel.STATUS && message?.type !== 'streams';
}

/**
 * How a session ended whose last status and close are these.
 *
 * @param {Status | null} status
 * @param {number} code
 * @param {string} reason
 * @param {boolean} [left]
 * @param {boolean} [begun] something came before the status
 * @returns {End}
 */
export function endOf(status, code, reason, left = false, begun = true) {
  const exitCode = exitCodeOf(status);
  const message = String(status?.message ?? reason ?? '');
  return { kind: kindOf(status, exitCode, code, reason, left, begun), exitCode, message, code, reason, status };
}

/**
 * @param {Status | null} status
 * @param {number | null} exitCode
 * @param {number} code
 * @param {string} reason
 * @param {boolean} left
 * @param {boolean} begun
 */
function kindOf(status, exitCode, code, reason, left, begun) {
  if (exitCode !== null) return 'command_ended';
  if (status) {
    if (code === 1008) return status.reason === 'Terminated' ? 'terminated' : 'limit_reached';
    if (code === 1001) return status.reason === 'ClientLeft' ? 'owner_left' : 'drained';
    const failed = code === 1011;
    if (failed && status.code === 404) return 'pod_gone';
    if (failed && status.code === 500 && begun) return 'lost_upstream';
    if (NO_CONTAINER.test(String(status.message))) return 'pod_gone';
    return failed ? 'not_opened' : 'command_failed';
  }
  if (left) return 'left';
  switch (code) {
    case 1000:
    case 1005:
      return 'output_ended';
    case 1001:
      return reason.includes('ping') ? 'silent' : 'drained';
    case 1002:
    case 1003:
    case 1007:
    case 1009:
      return 'protocol';
    case 1008:
      return reason === 'too_slow' ? 'too_slow' : reason.includes('ended by') ? 'terminated' : 'limit_reached';
    case 1011:
      return 'lost_upstream';
    default:
      return 'lost';
  }
}

/**
 * The command's exit code: 0 for Success, the `ExitCode` cause of a Failure, else null.
 *
 * @param {Status | null} status
 */
function exitCodeOf(status) {
  if (status?.status === 'Success') return 0;
  const causes = status?.details?.causes;
  for (const cause of Array.isArray(causes) ? causes : []) {
    if (cause?.reason === 'ExitCode' && /^-?\d{1,9}$/.test(String(cause.message))) return Number(cause.message);
  }
  return null;
}

/**
 * @param {Uint8Array} data
 * @returns {Status | null}
 */
function statusIn(data) {
  const found = /** @type {any} */ (json(data));
  return typeof found?.status === 'string' ? /** @type {Status} */ (found) : null;
}

/**
 * @param {Uint8Array} data
 * @returns {Message | null}
 */
function sizeIn(data) {
  const { Width: columns, Height: rows } = /** @type {any} */ (json(data)) ?? {};
  const isSize = (/** @type {unknown} */ n) => Number.isInteger(n) && Number(n) > 0 && Number(n) < 65536;
  return isSize(columns) && isSize(rows) ? { type: 'size', columns, rows } : null;
}

/**
 * @param {Uint8Array} data
 * @returns {Message | null}
 */
function noticeIn(data) {
  const { notice, watchers, tty, stdin } = /** @type {any} */ (json(data)) ?? {};
  if (typeof notice === 'string') return { type: 'notice', text: notice };
  if (typeof tty === 'boolean' && typeof stdin === 'boolean') return { type: 'streams', tty, stdin };
  return Number.isSafeInteger(watchers) && watchers >= 0 ? { type: 'watchers', count: watchers } : null;
}

/**
 * @param {Uint8Array} data
 * @returns {unknown}
 */
function json(data) {
  try {
    return JSON.parse(decoder.decode(data));
  } catch {
    return null;
  }
}

/**
 * @param {number} channel
 * @param {Uint8Array} data
 */
function onChannel(channel, data) {
  const message = new Uint8Array(data.length + 1);
  message[0] = channel;
  message.set(data, 1);
  return message;
}

/**
 * Why there is no session: a browser tells nothing of a refused upgrade, so the same is asked once more, without one. That
 * uses no ticket up. From another origin the answer can't be read, and there is no reason.
 *
 * @param {URL} url
 * @param {string} ticket
 */
async function whyRefused(url, ticket) {
  try {
    const answer = await fetch(url, {
      headers: { Authorization: `Bearer ${ticket}` },
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
    });
    const told = /** @type {any} */ (await answer.json().catch(() => ({})));
    return new Refused(String(told?.reason ?? ''), String(told?.error ?? ''), answer.status);
  } catch {
    return new Refused('', 'There is no answer.', 0);
  }
}

/**
 * A WebSocket for messages of bytes. What comes is there whether it is read or not, so what waits is bounded here.
 */
class Socket {
  /**
   * @param {URL} url
   * @param {string[]} protocols
   * @param {number} kept
   */
  constructor(url, protocols, kept) {
    this._kept = kept;
    /** @type {Uint8Array[]} */
    this._queue = [];
    this._size = 0;
    this._lost = 0;
    this._over = false;
    this._hurried = 0; // until when
    this._held = 0; // until when nothing is read
    this._last = 0; // when the last message came
    this.log = false; // messages have no channel
    /** @type {Uint8Array | null} */
    this._first = null; // of a log's, where it may be a status
    this._some = false; // of a log, something has come
    this._wake = () => {};
    this._socket = new WebSocket(url, protocols);
    this._socket.binaryType = 'arraybuffer';
    this._socket.onmessage = ({ data }) => {
      if (typeof data === 'string' || !data.byteLength) return;
      if (this.log) this._line(new Uint8Array(data));
      else this._came(new Uint8Array(data));
    };
    let open = false;
    /** @type {Promise<{ code: number, reason: string }>} */
    this.closed = new Promise((resolve) => {
      this._socket.addEventListener('close', ({ code, reason }) => {
        if (this._first) this._came(code === 1011 ? this._first : onChannel(Channel.STDOUT, this._first));
        this._over = true;
        this._wake();
        resolve({ code, reason });
      });
    });
    /** @type {Promise<void>} */
    this.opened = new Promise((resolve, reject) => {
      this._socket.addEventListener('open', () => {
        open = true;
        this.log = this._socket.protocol === LOG_SUBPROTOCOL;
        resolve();
      });
      this._socket.addEventListener('close', () => open || reject(new Error('refused')));
    });
  }

  /**
   * A part of a log, as if it were said on stdout. That there is none is told in the only message there is, as it is for a
   * terminal: on channel 3, right before close 1011; no line is like that, since this has no newline.
   *
   * @param {Uint8Array} line
   */
  _line(line) {
    const status = !this._some && line[0] === Channel.STATUS && line.at(-1) !== NEWLINE;
    this._some = true;
    if (status) {
      this._first = line;
      return;
    }
    if (this._first) this._came(onChannel(Channel.STDOUT, this._first));
    this._first = null;
    this._came(onChannel(Channel.STDOUT, line));
  }

  /** @param {Uint8Array} message */
  _came(message) {
    this._queue.push(message);
    this._size += message.length;
    this._last = performance.now();
    const most = this._last < this._hurried ? SHOWN : this._kept;
    if (this._size > most) this._shorten(most / 2);
    this._wake();
  }

  /**
   * For a while little is kept. In a flood nothing is read either until all has come that was under way: nobody wants to
   * see it, and a browser that draws takes a quarter of what it takes otherwise (of megabytes, in kernels' queues).
   */
  hurry() {
    const now = performance.now();
    this._hurried = now + HURRY;
    if (this._size <= SHOWN) return;
    this._held = now + HOLD;
    this._last = now;
    this._shorten(SHOWN / 2);
  }

  get _holding() {
    const now = performance.now();
    return !this._over && now < this._held && now - this._last < QUIET;
  }

  /**
   * Leave out the oldest output, until no more than this waits: what isn't output stays. Of the marks in between the last is
   * answered now, so that what has to come until the end of a flood comes as fast as the network is.
   *
   * @param {number} most
   */
  _shorten(most) {
    const kept = [];
    let mark = null;
    for (const message of this._queue) {
      if (this._size <= most) {
        kept.push(message);
      } else if (message[0] === Channel.STDOUT || message[0] === Channel.STDERR) {
        this._size -= message.length;
        this._lost += message.length - 1;
      } else if (message[0] === Channel.MARK) {
        this._size -= message.length;
        mark = message;
      } else {
        kept.push(message);
      }
    }
    this._queue = kept;
    if (mark) this.answer(mark);
  }

  /** The next message, how many bytes were left out before it, or null at the end. */
  async read() {
    while (this._holding) await new Promise((resolve) => setTimeout(resolve, LOOK));
    while (!this._queue.length && !this._lost && !this._over) {
      await new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
        this._wake = () => resolve();
      });
    }
    if (this._lost) {
      const lost = this._lost;
      this._lost = 0;
      return lost;
    }
    const message = this._queue.shift();
    if (!message) return null;
    this._size -= message.length;
    return message;
  }

  /**
   * Resolves when the browser has taken it, and hasn't too much of it to send.
   *
   * @param {Uint8Array} message
   */
  async write(message) {
    while (this._socket.bufferedAmount > AHEAD && !this._over) await new Promise((resolve) => setTimeout(resolve, LOOK));
    if (this._over) throw new Error('closed');
    this._socket.send(message);
  }

  /**
   * Nobody waits for it any more once the server has begun to close, though there may be much to read still.
   *
   * @param {Uint8Array} mark what was read up to, sent back as it came
   */
  answer(mark) {
    if (this._socket.readyState === WebSocket.OPEN) this._socket.send(mark);
  }

  close() {
    this._socket.close(1000);
    this._over = true;
    this._wake();
  }
}
