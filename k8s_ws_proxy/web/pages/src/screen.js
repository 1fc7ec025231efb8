/** The terminal itself: xterm.js and its addons, with what a container may not do switched off. */

import { FitAddon } from '@xterm/addon-fit';
import { SearchAddon } from '@xterm/addon-search';
import { Unicode11Addon } from '@xterm/addon-unicode11';
import { WebLinksAddon } from '@xterm/addon-web-links';
import { Terminal } from '@xterm/xterm';
import { askToOpen, openLink } from './links.js';
import { answerNothing } from './questions.js';

const MOST_COPIED = 1024 * 1024; // bytes that a program may put into the clipboard, where it may at all

/** @type {Record<'light' | 'dark', import('@xterm/xterm').ITheme>} */
const THEMES = {
  dark: { background: '#14171c', foreground: '#e6e8eb', cursor: '#e6e8eb', selectionBackground: '#3b5b8c' },
  light: {
    background: '#ffffff',
    foreground: '#1b1f24',
    cursor: '#1b1f24',
    cursorAccent: '#ffffff',
    selectionBackground: '#b6d0f5',
    black: '#1b1f24', red: '#b3202a', green: '#1a6b2d', yellow: '#7a5200',
    blue: '#0b56b3', magenta: '#8a2a9b', cyan: '#0b6572', white: '#5b636d',
    brightBlack: '#57606a', brightRed: '#cf222e', brightGreen: '#207a36', brightYellow: '#8a5d00',
    brightBlue: '#1567d3', brightMagenta: '#9a39ab', brightCyan: '#0f7482', brightWhite: '#3b424a',
  },
};

/**
 * @typedef {{ terminal: Terminal, fit: FitAddon, search: SearchAddon }} Screen
 */

/**
 * @param {HTMLElement} place
 * @param {{ readOnly: boolean, clipboard: boolean, reader: boolean, joined: boolean }} options `clipboard`: OSC 52 may set
 *   it; `joined`: the session is somebody else's
 * @returns {Screen}
 */
export function makeScreen(place, { readOnly, clipboard, reader, joined }) {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const theme = () => THEMES[dark.matches ? 'dark' : 'light'];
  const terminal = new Terminal({
    allowProposedApi: true, // the Unicode addon's
    scrollback: 10_000,
    disableStdin: readOnly,
    cursorBlink: false,
    fontFamily: 'ui-monospace, "Cascadia Mono", "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace',
    fontSize: 14,
    minimumContrastRatio: 4.5, // WCAG 1.4.3
    screenReaderMode: reader,
    theme: theme(),
    linkHandler: { activate: (_event, address) => askToOpen(address), allowNonHttpProtocols: false },
    // What a program may ask of the window (CSI t): nothing.
    windowOptions: {},
  });
  dark.addEventListener('change', () => (terminal.options.theme = theme()));
  const fit = new FitAddon();
  const search = new SearchAddon();
  terminal.loadAddon(fit);
  terminal.loadAddon(search);
  terminal.loadAddon(new Unicode11Addon());
  terminal.loadAddon(new WebLinksAddon((_event, address) => openLink(address)));
  terminal.unicode.activeVersion = '11';
  terminal.parser.registerOscHandler(52, (said) => {
    if (clipboard) void setClipboard(said);
    return true;
  });
  if (joined) answerNothing(terminal);
  terminal.open(place);
  return { terminal, fit, search };
}

/**
 * OSC 52 of a program: what is copied is set, and never told (`?` asks for that).
 *
 * @param {string} said the selection's letters, a semicolon, base64
 */
async function setClipboard(said) {
  const data = said.slice(said.indexOf(';') + 1);
  if (data === '?' || data.length > (MOST_COPIED / 3) * 4) return;
  try {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    await navigator.clipboard.writeText(new TextDecoder().decode(bytes));
  } catch {
    // no base64, or the browser doesn't let it: a program isn't told either
  }
}
