// Reads a recording with asciinema-player's own parser, and prints what it made of it as JSON: size, and events.
// The parser isn't among what the package exports, so its module is taken with one line more. The argument is the file.
import { mkdtempSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const dist = new URL('./node_modules/asciinema-player/dist/', import.meta.url);
const files = readdirSync(dist).filter((name) => name.endsWith('.js'));
const core = files.find((name) => name.startsWith('core-'));
const source = readFileSync(new URL(core, dist), 'utf8');
const parser = /\["asciicast", ([\w$]+)\]/.exec(source)[1];
const directory = mkdtempSync(join(tmpdir(), 'asciicast-'));
writeFileSync(join(directory, 'package.json'), '{"type": "module"}');
for (const name of files) {
  if (name !== core) symlinkSync(new URL(name, dist), join(directory, name));
}
writeFileSync(join(directory, core), `${source}\nexport { ${parser} as parse };\n`);
const { parse } = await import(pathToFileURL(join(directory, core)));
const { cols, rows, events } = await parse(new Response(readFileSync(process.argv[2])));
console.log(JSON.stringify({ cols, rows, events: Array.from(events) }));
