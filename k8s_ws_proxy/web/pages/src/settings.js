/**
 * What the server says of itself to its pages, in their markup.
 *
 * @typedef {{ clipboard: boolean, origins: string[], page: 'terminal' | 'watch' | 'replay', base: URL }} PageSettings
 */

/** @returns {PageSettings} */
export function pageSettings() {
  const { clipboard, origins = '', page } = document.documentElement.dataset;
  return {
    clipboard: clipboard === 'true',
    origins: origins.split(' ').filter(Boolean),
    page: /** @type {PageSettings['page']} */ (page),
    base: new URL('../', location.href), // the pages may be behind a prefix
  };
}
