/**
 * What the address says behind its `#`: read once, and taken out of the address bar, the history and what can be copied
 * from there, before anything else happens. It never reaches a server.
 *
 * @typedef {{ id: string, ticket: string, mode: 'open' | 'observe' | 'peer', name: string, recorded: boolean,
 *   back: string, replay: string, reader: boolean }} Asked
 */

const NAME = /^[\w./:@ -]{1,100}$/;

/**
 * `name`, `back` and `replay` are whoever's who made the link: the first is shown, within what names of pods are made of; the
 * others are dropped unless they are on this origin or one of `origins`, which the server names.
 *
 * @param {'terminal' | 'watch' | 'replay'} page
 * @param {string[]} origins
 * @returns {Asked}
 */
export function takeFragment(page, origins) {
  const said = new URLSearchParams(location.hash.slice(1));
  history.replaceState(null, '', location.pathname);
  window.addEventListener('hashchange', () => location.reload()); // another link, in the place of this one
  const name = said.get('name') ?? '';
  return {
    id: said.get('id') ?? '',
    ticket: said.get('ticket') ?? '',
    mode: page !== 'watch' ? 'open' : said.get('mode') === 'peer' ? 'peer' : 'observe',
    name: NAME.test(name) ? name : '',
    recorded: said.get('recorded') === '1',
    reader: said.get('reader') === '1',
    back: allowed(said.get('back') ?? '', origins),
    replay: allowed(said.get('replay') ?? '', origins),
  };
}

/**
 * @param {string} address
 * @param {string[]} origins
 */
function allowed(address, origins) {
  try {
    const url = new URL(address, location.origin);
    const known = url.origin === location.origin || origins.includes(url.origin);
    return address && known && /^https?:$/.test(url.protocol) && !url.username && !url.password ? url.href : '';
  } catch {
    return '';
  }
}
