/** The pages /terminal/ and /watch/: a session in a terminal. */

import { connect, Refused } from '../client/client.js';
import { toldOfEnd, toldOfRefusal } from './endings.js';
import { takeFragment } from './fragment.js';
import { bindKeys } from './keys.js';
import { Lines } from './lines.js';
import { OpenState } from './open_state.js';
import { Pump } from './pump.js';
import { makeScreen } from './screen.js';
import { bindSearch } from './search.js';
import { pageSettings } from './settings.js';
import { byId, StateLine } from './state.js';
import { bindTouch } from './touch.js';
import { followKeyboard } from './viewport.js';

const INTERRUPT = '\x03';
const EXPECTED = new Set(['command_ended', 'output_ended', 'left']); // ends that are nobody's trouble
const STUCK = 2000; // milliseconds that something typed waits for the network, before that is told

const { clipboard, origins, page, base } = pageSettings();
const asked = takeFragment(page, origins);
const state = new StateLine();
const readOnly = asked.mode === 'observe';
const screen = makeScreen(byId('terminal'), { readOnly, clipboard, reader: asked.reader, joined: page === 'watch' });
const { terminal, fit } = screen;

followKeyboard();
void run();

async function run() {
  if (asked.name) document.title = `${asked.name} – ${document.title}`;
  const facts = [asked.name, asked.recorded ? '● recorded' : '', readOnly ? 'you look on' : ''].filter(Boolean);
  state.facts(facts);
  if (!asked.ticket) {
    state.show('bad', 'No ticket', 'A page opens one session, once: go back to where you opened it.');
    return;
  }
  state.show('wait', 'Connecting', 'Waiting for the server …');
  const session = begin();
  if (!session) return;
  let typing = 0;
  const open = new OpenState(state, page === 'terminal' ? 'Connected.' : 'Joined: the size is the owner’s.', facts);
  const pump = new Pump(terminal);
  let catching = 0;
  const lost = (/** @type {number} */ bytes) => {
    pump.lost(bytes);
    open.slow('More output comes than this browser can show: some is left out.');
    clearTimeout(catching);
    catching = setTimeout(() => open.slow(''), STUCK);
  };
  /** @type {Lines | null} */
  let lines = null; // where there is no terminal on the other side
  /** @type {(string | Uint8Array)[] | null} */
  let early = page === 'terminal' ? [] : null; // what was typed before it is known whether there is one
  const type = (/** @type {string | Uint8Array} */ text) => {
    if (readOnly || session.log) return;
    if (early) return void early.push(text);
    if (text === INTERRUPT) session.hurry();
    open.typed();
    if (!lines) send(text);
    else if (typeof text === 'string') lines.type(text); // else it is a mouse
  };
  const send = (/** @type {string | Uint8Array} */ text) => {
    const told = setTimeout(() => open.slow('What you typed waits for the network.'), STUCK);
    typing += 1;
    void session.type(text).then(() => {
      clearTimeout(told);
      typing -= 1;
      if (!typing) open.slow('');
    });
  };
  const search = bindSearch(screen);
  bindKeys(screen, { search, leave: () => byId('find').focus(), type });
  bindButtons(session, search);
  bindTouch(terminal, byId('terminal'), page === 'watch');
  if (page === 'terminal') followWindow(session);
  try {
    await session.opened;
    if (session.log) expectLines({ typed: false });
    open.begin(session.log ? 'What the container logs is shown as it comes.' : undefined);
    if (page === 'terminal' && !session.log) window.addEventListener('beforeunload', askBeforeLeaving);
    terminal.focus();
    for await (const message of session.messages()) {
      if (message.type === 'output') await pump.write(message.data);
      else if (message.type === 'lost') lost(message.bytes);
      else if (message.type === 'notice') open.notice(message.text);
      else if (message.type === 'watchers') open.watchers(message.count);
      else if (message.type === 'streams') {
        if (!message.tty || !message.stdin) lines = without(message, session, open, send);
        const typed = early ?? [];
        early = null;
        if (message.stdin) typed.forEach(type);
      } else terminal.resize(message.columns, message.rows);
    }
    const end = await session.ended;
    open.end();
    const told = toldOfEnd(end);
    state.show(EXPECTED.has(end.kind) ? 'over' : 'bad', told.word, told.sentence, saidOf(end));
    over(told.again, end.kind, end.exitCode);
  } catch (error) {
    if (!(error instanceof Refused)) {
      session.close();
      open.end();
      state.show('bad', 'Failed', 'Something went wrong in this page.', String(error));
      over(true, 'page_failed', null);
      throw error;
    }
    const told = toldOfRefusal(error.reason);
    const left = error.reason === 'left';
    state.show(left ? 'over' : 'bad', told.word, told.sentence, left || error.reason === 'bad_ticket' ? '' : error.message);
    over(told.again, error.reason || 'no_answer', null);
  }
}

function begin() {
  try {
    return connect({ base, id: asked.id, ticket: asked.ticket, mode: asked.mode });
  } catch {
    const told = toldOfRefusal('bad_ticket');
    state.show('bad', told.word, 'The link is incomplete: open the session once more.');
    over(true, 'bad_ticket', null);
    return null;
  }
}

/**
 * Lines that end with a newline alone, and may be all that can be typed, too.
 *
 * @param {{ typed: boolean }} where
 */
function expectLines({ typed }) {
  terminal.options.convertEol = true;
  terminal.options.altClickMovesCursor = false;
  terminal.options.ignoreBracketedPasteMode = true;
  terminal.options.disableStdin = !typed;
  byId('bar').hidden = !typed;
}

/**
 * The session isn't a terminal to type to.
 *
 * @param {{ tty: boolean, stdin: boolean }} streams
 * @param {import('../client/client.js').Session} session
 * @param {OpenState} open
 * @param {(text: string) => void} send
 */
function without({ tty, stdin }, session, open, send) {
  if (!tty) expectLines({ typed: stdin });
  else terminal.options.disableStdin = !stdin;
  open.begin(stdin ? 'There is no terminal: what you type goes line by line.' : 'What you type goes nowhere: no stdin was asked for.');
  const show = (/** @type {string} */ text) => terminal.write(text);
  return tty ? null : new Lines({ show, send, end: () => session.closeStdin(), leave: () => session.close() });
}

/**
 * A shell whose page is gone is hung up, and Ctrl-W closes the tab. Another link in the place of this one was meant; and
 * for who has done nothing here, browsers don't ask.
 *
 * @param {Event} event
 */
function askBeforeLeaving(event) {
  if (!location.hash && navigator.userActivation?.hasBeenActive !== false) event.preventDefault();
}

/** @param {import('../client/client.js').End} end */
function saidOf({ kind, message }) {
  return kind === 'command_ended' || kind === 'left' ? '' : message;
}

/**
 * Nothing is typed any more; what was shown stays. Whoever has this page in a frame is told, if it is one of ours.
 *
 * @param {boolean} again
 * @param {string} kind
 * @param {number | null} exitCode
 */
function over(again, kind, exitCode) {
  asked.ticket = '';
  window.removeEventListener('beforeunload', askBeforeLeaving);
  terminal.options.disableStdin = true;
  terminal.blur();
  if (again) state.offer('again', asked.back);
  state.offer('recording', asked.replay);
  byId('leave').hidden = true;
  if (window.parent === window) return;
  for (const origin of [location.origin, ...origins]) {
    try {
      window.parent.postMessage({ type: 'k8s-ws-proxy', event: 'ended', kind, exitCode }, origin);
    } catch {
      // not an origin that this browser knows as one
    }
  }
}

/**
 * @param {import('../client/client.js').Session} session
 * @param {() => void} search
 */
function bindButtons(session, search) {
  const reader = byId('reader');
  const press = () => reader.setAttribute('aria-pressed', String(terminal.options.screenReaderMode));
  press();
  reader.addEventListener('click', () => {
    terminal.options.screenReaderMode = !terminal.options.screenReaderMode;
    press();
    terminal.focus();
  });
  byId('find').addEventListener('click', search);
  byId('leave').addEventListener('click', () => session.close());
  window.addEventListener('pagehide', () => session.close());
  terminal.onBell(() => {
    document.body.classList.add('bell');
    setTimeout(() => document.body.classList.remove('bell'), 200);
  });
}

/**
 * The terminal is as large as its place in the window.
 *
 * @param {import('../client/client.js').Session} session
 */
function followWindow(session) {
  let due = false;
  terminal.onResize(({ cols, rows }) => session.resize(cols, rows));
  new ResizeObserver(() => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      fit.fit();
    });
  }).observe(byId('terminal'));
  fit.fit();
  session.resize(terminal.cols, terminal.rows);
}
