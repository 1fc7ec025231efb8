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
export function connect({ base, id, ticket, mode, kept }: {
    base: string | URL;
    id: string;
    ticket: string;
    mode?: "open" | "observe" | "peer";
    kept?: number;
}): Session;
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
export function endOf(status: Status | null, code: number, reason: string, left?: boolean, begun?: boolean): End;
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
export const SUBPROTOCOL: "v5.channel.k8s.io";
/**
 * That of a log, whose messages are lines without a channel. It goes first: where there is a terminal the proxy doesn't
 * know it and takes the other, and of a log it takes the first.
 */
export const LOG_SUBPROTOCOL: "binary.k8s.io";
/** Channels of a terminal. On CLOSE the next byte names the channel that ends. NOTICE and MARK are the proxy's own. */
export const Channel: Readonly<{
    STDIN: 0;
    STDOUT: 1;
    STDERR: 2;
    STATUS: 3;
    RESIZE: 4;
    NOTICE: 253;
    MARK: 254;
    CLOSE: 255;
}>;
/** Bytes of output that wait to be read at most, where nothing holds the server back: see `connect()`. */
export const KEPT: number;
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
export const KINDS: readonly ["command_ended", "command_failed", "not_opened", "pod_gone", "limit_reached", "drained", "terminated", "owner_left", "too_slow", "lost_upstream", "silent", "protocol", "output_ended", "lost", "left"];
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
    constructor(reason: string, message: string, status: number);
    reason: string;
    status: number;
}
/** One session, or one that is watched. Made by `connect()`. */
export class Session {
    /**
     * @param {Socket} socket
     * @param {() => Promise<Refused>} whyRefused
     */
    constructor(socket: Socket, whyRefused: () => Promise<Refused>);
    _socket: Socket;
    _left: boolean;
    _begun: boolean;
    _reading: boolean;
    /** @type {Status | null} */
    _status: Status | null;
    /** @type {{ bytes: Uint8Array, taken: () => void }[]} */
    _typed: {
        bytes: Uint8Array;
        taken: () => void;
    }[];
    _typing: boolean;
    _ends: boolean;
    /** @type {string} */
    _size: string;
    /** Resolves when it is open; rejects with a `Refused`. @type {Promise<void>} */
    opened: Promise<void>;
    /** Resolves when it has ended and all messages are read; never before it was open. @type {Promise<End>} */
    ended: Promise<End>;
    _end: (value: End | PromiseLike<End>) => void;
    /** Whether it is a log, known once it is open: lines end with a newline alone, and what is typed goes nowhere. */
    get log(): boolean;
    /** What comes, until the end: nothing more is read while what was given is being worked on. To be read by one. */
    messages(): AsyncGenerator<Message, void, unknown>;
    /**
     * Send what was typed or pasted, whole and in order. Resolves when the browser has taken it; after the end it is dropped.
     *
     * @param {string | Uint8Array} text
     * @returns {Promise<void>}
     */
    type(text: string | Uint8Array): Promise<void>;
    /**
     * Say how large the terminal is, in characters: 1 to 65535. Of several that wait the last one is sent.
     *
     * @param {number} columns
     * @param {number} rows
     */
    resize(columns: number, rows: number): void;
    /**
     * Leave out what waits to be read, and for two seconds what comes, but for the newest: somebody has asked a flood to stop,
     * and wants to see that it has. A terminal's own queue is let go then, too (termios(3), NOFLSH). Where much waits,
     * `messages()` gives nothing until all is there that was under way, for half a second at most.
     */
    hurry(): void;
    /** The end of stdin, after all that was typed (KEP-4006: v5 only). A terminal has none: type Ctrl-D there. */
    closeStdin(): void;
    /** Leave. What ran is hung up, if the session is one's own. */
    close(): void;
    _send(): Promise<void>;
    /**
     * @param {Uint8Array} bytes
     * @returns {Message | null}
     */
    _parsed(bytes: Uint8Array): Message | null;
}
/**
 * What came.
 *
 * `output` is on channel 1 or 2. `size` comes to who watches: the terminal's size, from the proxy. `lost` stands where
 * output was left out, since more came than was read: see `connect()`. `notice` is what the proxy says to the person, such as
 * that time is nearly up; it stands on the terminal, too, but here no program can say it. `watchers` is how many look on
 * from now on. `streams` comes before all else: without `tty` nobody echoes or edits what is typed, and lines end with a newline
 * alone; without `stdin` it goes nowhere. These come to who has opened the session (and not of a log), not to who watches.
 */
export type Message = {
    type: "output";
    channel: number;
    data: Uint8Array;
} | {
    type: "notice";
    text: string;
} | {
    type: "watchers";
    count: number;
} | {
    type: "streams";
    tty: boolean;
    stdin: boolean;
} | {
    type: "size";
    columns: number;
    rows: number;
} | {
    type: "lost";
    bytes: number;
};
/**
 * How it ended.
 *
 * `kind` is a stable name, one of `KINDS`. `exitCode` is the command's, or null where none was told. `message` is what the
 * other side said of it, for a person; it may hold what a program printed, so it is text and never markup. `code` and
 * `reason` are the WebSocket's close (RFC 6455 §7.4), `status` the `metav1.Status` from channel 3.
 */
export type End = {
    kind: string;
    exitCode: number | null;
    message: string;
    code: number;
    reason: string;
    status: Status | null;
};
/**
 * A `metav1.Status`, as far as it matters here.
 */
export type Status = {
    status?: string;
    message?: string;
    reason?: string;
    code?: number;
    details?: {
        causes?: {
            reason?: string;
            message?: string;
        }[];
        retryAfterSeconds?: number;
    };
};
/**
 * A WebSocket for messages of bytes. What comes is there whether it is read or not, so what waits is bounded here.
 */
declare class Socket {
    /**
     * @param {URL} url
     * @param {string[]} protocols
     * @param {number} kept
     */
    constructor(url: URL, protocols: string[], kept: number);
    _kept: number;
    /** @type {Uint8Array[]} */
    _queue: Uint8Array[];
    _size: number;
    _lost: number;
    _over: boolean;
    _hurried: number;
    _held: number;
    _last: number;
    log: boolean;
    /** @type {Uint8Array | null} */
    _first: Uint8Array | null;
    _some: boolean;
    _wake: () => void;
    _socket: WebSocket;
    /** @type {Promise<{ code: number, reason: string }>} */
    closed: Promise<{
        code: number;
        reason: string;
    }>;
    /** @type {Promise<void>} */
    opened: Promise<void>;
    /**
     * A part of a log, as if it were said on stdout. That there is none is told in the only message there is, as it is for a
     * terminal: on channel 3, right before close 1011; no line is like that, since this has no newline.
     *
     * @param {Uint8Array} line
     */
    _line(line: Uint8Array): void;
    /** @param {Uint8Array} message */
    _came(message: Uint8Array): void;
    /**
     * For a while little is kept. In a flood nothing is read either until all has come that was under way: nobody wants to
     * see it, and a browser that draws takes a quarter of what it takes otherwise (of megabytes, in kernels' queues).
     */
    hurry(): void;
    get _holding(): boolean;
    /**
     * Leave out the oldest output, until no more than this waits: what isn't output stays. Of the marks in between the last is
     * answered now, so that what has to come until the end of a flood comes as fast as the network is.
     *
     * @param {number} most
     */
    _shorten(most: number): void;
    /** The next message, how many bytes were left out before it, or null at the end. */
    read(): Promise<number | Uint8Array<ArrayBufferLike> | null>;
    /**
     * Resolves when the browser has taken it, and hasn't too much of it to send.
     *
     * @param {Uint8Array} message
     */
    write(message: Uint8Array): Promise<void>;
    /**
     * Nobody waits for it any more once the server has begun to close, though there may be much to read still.
     *
     * @param {Uint8Array} mark what was read up to, sent back as it came
     */
    answer(mark: Uint8Array): void;
    close(): void;
}
export {};
