/** The page /replay/: a recording, and what its receipt says of it. */

import { create } from 'asciinema-player';
import { isCast, readCast, timesOf } from './cast.js';
import { toldOfRefusal } from './endings.js';
import { takeFragment } from './fragment.js';
import { pageSettings } from './settings.js';
import { byId, printable, StateLine } from './state.js';

const MOST = 64 * 1024 * 1024; // bytes of a recording that a page is made to hold
const JUST_AFTER = 0.001; // seconds: what was written then is to be seen
const ID = /^[0-9a-f-]{36}$/;

const { origins, page, base } = pageSettings();
const asked = takeFragment(page, origins);
const state = new StateLine();

run().catch((error) => {
  asked.ticket = '';
  state.show('bad', 'Failed', 'Something went wrong in this page.', String(error));
  state.offer('again', asked.back);
  throw error;
});

async function run() {
  if (!asked.ticket || !ID.test(asked.id)) {
    state.show('bad', 'No ticket', 'A page shows one recording, once: go back to where you opened it.');
    return;
  }
  state.show('wait', 'Loading', 'Waiting for the recording …');
  const answer = await got('');
  if (!answer?.ok) {
    await tellWhy(answer);
    return;
  }
  if (Number(answer.headers.get('Content-Length')) > MOST) {
    state.show('bad', 'Too large', 'This recording is too large for a browser: use “k8s-ws-proxy recordings play”.');
    return;
  }
  const bytes = await answer.arrayBuffer().catch(() => null);
  if (!bytes) {
    state.show('bad', 'Broken off', 'The connection broke before the recording was here. Is the network there?');
    state.offer('again', asked.back);
    return;
  }
  const recording = new TextDecoder().decode(bytes);
  if (!isCast(recording)) {
    state.show('bad', 'Not readable', 'This is no recording, or its beginning is not there.');
    state.offer('again', asked.back);
    return;
  }
  play(recording);
  const receipt = await receiptOf();
  asked.ticket = '';
  if (!receipt) {
    state.show('open', 'Loaded', 'Its session goes on, or has no receipt: this is what there was until now.');
    return;
  }
  showReceipt(receipt);
  const same = await isThatOf(bytes, receipt);
  if (same === false) state.show('bad', 'Changed', 'This is not the recording that the receipt was written for.');
  else if (receipt.problem) state.show('warn', 'Not whole', 'The recording is not whole.', String(receipt.problem));
  else state.show('open', 'Loaded', same ? 'It is the recording that the receipt was written for.' : 'The recording is loaded.');
}

/**
 * @param {'' | '/receipt'} part of the recording
 * @returns {Promise<Response | null>} null where nobody answers
 */
async function got(part) {
  try {
    return await fetch(new URL(`proxy/recordings/${asked.id}${part}`, base), {
      headers: { Authorization: `Bearer ${asked.ticket}` },
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
    });
  } catch {
    return null;
  }
}

/** @param {Response | null} answer which isn't the recording */
async function tellWhy(answer) {
  const refusal = (await answer?.json().catch(() => null)) ?? {};
  const told = toldOfRefusal(String(refusal.reason ?? ''));
  state.show('bad', told.word, told.sentence, String(refusal.error ?? ''));
  if (told.again) state.offer('again', asked.back);
}

/** @returns {Promise<Record<string, any> | null>} null while its session goes on */
async function receiptOf() {
  const answer = await got('/receipt');
  return answer?.ok ? answer.json().catch(() => null) : null;
}

/** @type {import('asciinema-player').Player | null} */
let player = null;

/** @param {string} recording */
function play(recording) {
  const speed = /** @type {HTMLSelectElement} */ (byId('speed'));
  const idle = /** @type {HTMLSelectElement} */ (byId('idle'));
  const search = bindTextSearch();
  /** @param {number} at where to begin, in seconds */
  const show = (at) => {
    const pause = Number(idle.value) || Infinity;
    const cast = readCast(recording, pause);
    search(cast);
    player?.dispose();
    player = create({ data: recording }, byId('player'), {
      speed: Number(speed.value),
      idleTimeLimit: pause,
      startAt: at,
      preload: true,
      fit: 'both',
      controls: true,
      markers: cast.markers,
      theme: 'asciinema',
    });
  };
  speed.addEventListener('change', async () => show((await player?.getCurrentTime()) ?? 0));
  idle.addEventListener('change', () => show(0));
  show(0);
}

/** Search in what was shown; whoever gets the result calls it with what there is to search in. */
function bindTextSearch() {
  const field = /** @type {HTMLInputElement} */ (byId('searched'));
  /** @type {import('./cast.js').Cast} */
  let cast = { markers: [], text: '', starts: [], times: [] };
  /** @type {number[]} */
  let times = [];
  let shown = -1;
  const find = () => {
    times = timesOf(cast, field.value);
    shown = -1;
    byId('found').textContent = field.value ? `${times.length} found` : '';
  };
  field.addEventListener('input', find);
  byId('search').addEventListener('submit', async (event) => {
    event.preventDefault();
    if (!times.length) return;
    const back = event.submitter?.id === 'backwards';
    shown = (shown + (back ? -1 : 1) + times.length) % times.length;
    byId('found').textContent = `${shown + 1} of ${times.length}`;
    await player?.pause();
    await player?.seek(times[shown] + JUST_AFTER);
  });
  return (/** @type {import('./cast.js').Cast} */ read) => {
    cast = read;
    find();
  };
}

/** @type {[string, string][]} */
const FACTS = [
  ['user', 'User'],
  ['groups', 'Groups'],
  ['reason', 'Reason'],
  ['caller', 'Let in as'],
  ['namespace', 'Namespace'],
  ['pod', 'Pod'],
  ['container', 'Container'],
  ['command', 'Command'],
  ['node', 'Node'],
  ['began', 'Began'],
  ['ended', 'Ended'],
  ['ending', 'How it ended'],
  ['exitCode', 'Exit code'],
  ['watchers', 'Watched by'],
  ['bytesOut', 'Bytes shown'],
  ['replaced', 'Bytes that were no text'],
  ['key', 'Sealed with'],
  ['sessionId', 'Session'],
];

/** @param {Record<string, any>} receipt */
function showReceipt(receipt) {
  const rows = FACTS.flatMap(([name, title]) => {
    const value = inWords(receipt[name]);
    if (!value) return [];
    const term = document.createElement('dt');
    const said = document.createElement('dd');
    term.textContent = title;
    said.textContent = value;
    return [term, said];
  });
  byId('receipt').replaceChildren(...rows);
}

/**
 * @param {unknown} value
 * @returns {string}
 */
function inWords(value) {
  if (value === null || value === undefined) return '';
  if (Array.isArray(value)) return value.map(inWords).join(typeof value[0] === 'object' ? ', ' : ' ');
  if (typeof value === 'object') return Object.values(value).map(inWords).join(' ');
  return printable(String(value));
}

/**
 * Whether the bytes have the receipt's hash; null where this browser can't say (plain HTTP from elsewhere).
 *
 * @param {ArrayBuffer} bytes
 * @param {Record<string, any>} receipt
 */
async function isThatOf(bytes, receipt) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, '0')).join('') === receipt.sha256;
}
