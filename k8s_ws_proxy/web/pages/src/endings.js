/**
 * What the pages say of each way in which a session can end, and of each refusal: one table, which a test holds against the
 * proxy's own (docs/reference/answers.md).
 *
 * @typedef {{ word: string, sentence: string, again: boolean }} Told `word` is the state in one or two words; `again`:
 *   opening a new session may help
 */

/**
 * By the client's kind of an end (KINDS in client.js). `{code}` is the exit code. What the other side said of it is shown
 * beside it.
 *
 * @type {Record<string, Told>}
 */
export const ENDS = {
  command_ended: { word: 'Ended', sentence: 'The command ended with exit code {code}.', again: true },
  command_failed: { word: 'Failed', sentence: 'The command could not be run, or was cut off.', again: true },
  not_opened: { word: 'Not opened', sentence: 'The cluster did not open the session.', again: true },
  pod_gone: { word: 'Pod gone', sentence: 'There is no such pod or container (any more).', again: false },
  limit_reached: { word: 'Time is up', sentence: 'The session was idle, or open, for as long as it may be.', again: true },
  drained: { word: 'Server restarts', sentence: 'The server is being shut down or replaced. A new session can be opened in a moment.', again: true },
  terminated: { word: 'Terminated', sentence: 'Somebody has ended this session.', again: false },
  owner_left: { word: 'Ended', sentence: 'Whoever opened the session has left it.', again: false },
  too_slow: { word: 'Too slow', sentence: 'This browser took in less than the session showed. Join again.', again: true },
  lost_upstream: { word: 'Lost', sentence: 'The server has lost its connection to the pod, or had to stop.', again: true },
  silent: { word: 'Lost', sentence: 'The server had no sign of life from this browser.', again: true },
  protocol: { word: 'Failed', sentence: 'Server and browser did not understand each other.', again: true },
  output_ended: { word: 'Ended', sentence: 'There is no more output.', again: true },
  lost: { word: 'Connection lost', sentence: 'The connection broke. What ran in the session is hung up.', again: true },
  left: { word: 'Closed', sentence: 'You have closed this session.', again: true },
};

/**
 * Which of the proxy's endings (`ending` in its log) shows as which kind here. One ending may show in several ways: a log
 * has no status, who watches sees the end of the session that is watched, and what is lost before it has begun was not
 * opened.
 *
 * @type {Record<string, string[]>}
 */
export const ENDINGS = {
  command_ended: ['command_ended', 'command_failed', 'pod_gone'],
  forward_ended: ['output_ended'],
  log_ended: ['output_ended'],
  client_left: ['left', 'lost'],
  client_silent: ['silent', 'lost'],
  client_broke_protocol: ['protocol'],
  upstream_failed: ['not_opened', 'pod_gone'],
  upstream_lost: ['lost_upstream', 'not_opened'],
  upstream_silent: ['lost_upstream', 'not_opened'],
  upstream_broke_protocol: ['lost_upstream', 'not_opened'],
  idle_timeout: ['limit_reached'],
  max_duration: ['limit_reached'],
  drained: ['drained'],
  terminated: ['terminated'],
  watched_ended: ['command_ended', 'command_failed', 'terminated', 'drained', 'limit_reached', 'lost_upstream', 'owner_left'],
  recording_failed: ['lost_upstream'],
  too_slow: ['too_slow'],
};

/** @type {Told} */
const CROWDED = { word: 'No room', sentence: 'The server has no room for another session now. Try again in a moment.', again: true };
/** @type {Told} */
const CLUSTER = { word: 'Cluster away', sentence: 'The server cannot reach the cluster now.', again: true };
/** @type {Told} */
const BROKEN = { word: 'Refused', sentence: 'The server did not understand this browser, or something between changes requests.', again: false };
/** @type {Told} */
const FORBIDDEN = { word: 'Not allowed', sentence: 'You may not do this.', again: false };

/**
 * By the reason of a refusal (docs/reference/answers.md). '' is no answer, `upgrade_required` what is told when all was
 * well with the ticket.
 *
 * @type {Record<string, Told>}
 */
export const REFUSALS = {
  '': { word: 'Server away', sentence: 'There is no answer from the server. Is the network there?', again: true },
  bad_ticket: {
    word: 'Ticket refused',
    sentence: 'This ticket is not good: each is good once, for a short time, on one server. Or there was no room when it was used.',
    again: true,
  },
  origin_denied: { word: 'Page refused', sentence: 'The server does not take tickets from a page of this address.', again: false },
  upgrade_required: { word: 'No WebSocket', sentence: 'Something between this browser and the server does not let WebSockets pass.', again: true },
  no_such_session: { word: 'No session', sentence: 'There is no such session on this server (any more).', again: false },
  not_a_terminal: { word: 'No terminal', sentence: 'Only a session with a terminal can be watched.', again: false },
  access_denied: FORBIDDEN,
  namespace_denied: FORBIDDEN,
  subresource_denied: FORBIDDEN,
  identity_denied: FORBIDDEN,
  user_required: FORBIDDEN,
  too_many_sessions: CROWDED,
  too_many_sessions_in_namespace: CROWDED,
  too_many_sessions_of_user: CROWDED,
  too_many_handshakes: CROWDED,
  too_many_connections: CROWDED,
  too_many_tickets: CROWDED,
  no_descriptors: CROWDED,
  request_timeout: { word: 'Too slow', sentence: 'The request took too long to reach the server.', again: true },
  shutting_down: { word: 'Server restarts', sentence: 'The server is being shut down or replaced. Try again in a moment.', again: true },
  recording_unavailable: { word: 'Not recorded', sentence: 'The session has to be recorded, and cannot be now.', again: true },
  audit_unavailable: { word: 'Not audited', sentence: 'What happens has to be written down, and cannot be now.', again: true },
  no_such_recording: { word: 'No recording', sentence: 'There is no such recording on this server.', again: false },
  recordings_unreadable: { word: 'Not readable', sentence: 'The server cannot read its recordings now.', again: true },
  too_many_readers: { word: 'No room', sentence: 'Too many read recordings at once. Try again in a moment.', again: true },
  bad_range: BROKEN,
  no_running_pod: { word: 'Pod gone', sentence: 'There is no such pod (any more).', again: false },
  upstream_refused: { word: 'Not opened', sentence: 'The cluster refused.', again: true },
  upstream_unreachable: CLUSTER,
  upstream_timeout: CLUSTER,
  upstream_protocol: CLUSTER,
  internal_error: { word: 'Failed', sentence: 'Something went wrong in the server.', again: true },
  bad_path: { word: 'No session', sentence: 'There is nothing at this address.', again: false },
  bad_query: BROKEN,
  bad_handshake: BROKEN,
  malformed_request: BROKEN,
  method_not_allowed: BROKEN,
  unknown_subprotocol: BROKEN,
  two_credentials: BROKEN,
  identity_unsigned: BROKEN,
};

/** @type {Told} */
const REFUSED = { word: 'Refused', sentence: 'The server refused.', again: true };

/**
 * @param {{ kind: string, exitCode: number | null }} end
 * @returns {Told}
 */
export function toldOfEnd({ kind, exitCode }) {
  const told = ENDS[kind] ?? ENDS.lost;
  return { ...told, sentence: told.sentence.replace('{code}', String(exitCode)) };
}

/**
 * @param {string} reason as Refused has it
 * @returns {Told}
 */
export function toldOfRefusal(reason) {
  if (reason === 'left') return ENDS.left;
  return Object.hasOwn(REFUSALS, reason) ? REFUSALS[reason] : REFUSED;
}
