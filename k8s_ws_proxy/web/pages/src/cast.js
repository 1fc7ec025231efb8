/**
 * A recording (asciicast v3: a header, then a line for each event, with the seconds since the one before), as far as the page
 * looks into it: where the terminal's size changed, and what was written when. The player reads it by itself.
 *
 * @typedef {{ markers: [number, string][], text: string, starts: number[], times: number[] }} Cast `starts[i]` is where in
 *   `text` begins what was written at `times[i]`
 */

const EVENT = /^\[\s*([\d.eE+-]+)\s*,\s*"([a-z])"/;
// ECMA-48's control sequences and strings, and what else isn't text.
// eslint-disable-next-line no-control-regex
const SEQUENCES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])|[\x00-\x09\x0b-\x1f\x7f]/g;

/**
 * Whether it begins as one.
 *
 * @param {string} recording
 */
export function isCast(recording) {
  try {
    return Number.isInteger(JSON.parse(/^.*/.exec(recording)?.[0] ?? '').version);
  } catch {
    return false;
  }
}

/**
 * Times are those that the player shows: pauses last no longer than `pause` seconds.
 *
 * @param {string} recording
 * @param {number} pause
 * @returns {Cast}
 */
export function readCast(recording, pause) {
  /** @type {Cast} */
  const cast = { markers: [], text: '', starts: [], times: [] };
  const written = [];
  let time = 0;
  let size = 0;
  for (const line of recording.split('\n')) {
    const head = EVENT.exec(line);
    if (!head) continue;
    time += Math.min(Number(head[1]) || 0, pause);
    if (head[2] !== 'o' && head[2] !== 'r') continue;
    const said = dataOf(line);
    if (head[2] === 'r') {
      cast.markers.push([time, said]);
      continue;
    }
    const text = said.replace(SEQUENCES, '');
    if (!text) continue;
    cast.starts.push(size);
    cast.times.push(time);
    written.push(text);
    size += text.length;
  }
  cast.text = written.join('').toLowerCase();
  return cast;
}

/** @param {string} line */
function dataOf(line) {
  try {
    return String(JSON.parse(line)[2]);
  } catch {
    return ''; // cut short by a crash
  }
}

/**
 * When each place was written that holds `wanted`, in order; the same moment once.
 *
 * @param {Cast} cast
 * @param {string} wanted
 */
export function timesOf({ text, starts, times }, wanted) {
  /** @type {number[]} */
  const found = [];
  const needle = wanted.toLowerCase();
  let event = 0;
  for (let at = text.indexOf(needle); needle && at >= 0; at = text.indexOf(needle, at + needle.length)) {
    while (event + 1 < starts.length && starts[event + 1] <= at) event += 1;
    if (found.at(-1) !== times[event]) found.push(times[event]);
  }
  return found;
}
