// Bundles the pages into dist/: `make pages`. The same lock gives the same bytes.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const HERE = dirname(fileURLToPath(import.meta.url));
const DIST = process.argv[2] ?? join(HERE, 'dist');
const PAGES = {
  terminal: { html: 'session.html', entry: 'terminal', css: 'page', title: 'Terminal', leave: 'End session' },
  watch: { html: 'session.html', entry: 'terminal', css: 'page', title: 'Watching a terminal', leave: 'Leave' },
  replay: { html: 'replay.html', entry: 'replay', css: 'replay', title: 'Recording', leave: '' },
};

// xterm.js writes style sheets and style attributes into the document, which the pages' Content-Security-Policy forbids.
// The same by other means is allowed: constructed style sheets, and an element's style by script. A version that does it
// in another way ends the build here.
const XTERM = [
  { what: /(?:\w+(?:\.\w+)*\.)createElement\("style"\)/g, by: 'adoptedStyle()', times: 3 },
  { what: /(\w)\.setAttribute\("style",(`[^`]*`)\)/g, by: '$1.style.cssText=$2', times: 1 },
];
const xterm = {
  name: 'xterm.js under a strict Content-Security-Policy',
  setup({ onLoad }) {
    onLoad({ filter: /@xterm\/xterm\/lib\/xterm\.mjs$/ }, ({ path }) => {
      let text = readFileSync(path, 'utf8');
      for (const { what, by, times } of XTERM) {
        const found = text.match(what)?.length ?? 0;
        if (found !== times) throw new Error(`${path}: ${what} is there ${found} times, not ${times}`);
        text = text.replace(what, by);
      }
      return { contents: `import { adoptedStyle } from ${JSON.stringify(join(HERE, 'src/adopted_style.js'))};\n${text}` };
    });
  },
};

rmSync(DIST, { recursive: true, force: true });
const entries = [...new Set(Object.values(PAGES).map(({ entry }) => entry))];
const { metafile } = await build({
  absWorkingDir: HERE,
  entryPoints: [...entries.map((entry) => `src/${entry}.js`), 'src/page.css', 'src/replay.css'],
  outdir: join(DIST, 'assets'),
  entryNames: '[name]-[hash]',
  chunkNames: 'shared-[hash]',
  bundle: true,
  splitting: true,
  minify: true,
  format: 'esm',
  target: ['es2022', 'chrome120', 'firefox115', 'safari16.4'],
  legalComments: 'none', // LICENSES has them whole
  metafile: true,
  plugins: [xterm],
  logLevel: 'warning',
});

const made = Object.fromEntries(
  Object.entries(metafile.outputs).map(([path, { entryPoint }]) => [entryPoint, relative('dist/assets', path).split('/').pop()]),
);
for (const [page, { html, entry, css, title, leave }] of Object.entries(PAGES)) {
  const words = { PAGE: page, TITLE: title, LEAVE: leave, JS: made[`src/${entry}.js`], CSS: made[`src/${css}.css`] };
  const text = readFileSync(join(HERE, 'src', html), 'utf8');
  writeFileSync(join(DIST, `${page}.html`), text.replace(/__(\w+?)__/g, (whole, word) => words[word] ?? whole));
}

// Of whatever is in the bundles.
const packages = new Set(
  Object.keys(metafile.inputs).flatMap((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path)?.[1] ?? []),
);
const licences = [...packages].sort().map((name) => {
  const directory = join(HERE, 'node_modules', name);
  const { version, license } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  const file = readdirSync(directory).find((each) => /^licen[cs]e/i.test(each));
  const text = file ? readFileSync(join(directory, file), 'utf8').trim() : '';
  return `${name} ${version} (${license})\n\n${text}\n`;
});
writeFileSync(join(DIST, 'LICENSES'), licences.join('\n--------\n\n'));
