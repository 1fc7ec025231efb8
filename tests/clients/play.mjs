// What asciinema-player makes of a recording, and what a terminal made of the live session, as JSON.
//
// node play.mjs RECORDING LIVE: LIVE has a JSON array a line, ["r", columns, rows] or ["o", base64 of bytes].
// The player's own driver and parser run, without a browser; both are shown by the same terminal (xterm.js).

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

import xterm from "@xterm/headless";

const folder = path.dirname(fileURLToPath(import.meta.resolve("asciinema-player")));
const inside = fs.readFileSync(path.join(folder, "index.js"), "utf8").match(/from '\.\/(core-[^']+)'/)[1];
const { C: Core } = await import(pathToFileURL(path.join(folder, inside)));
const quiet = { debug() {}, info() {}, warn: console.error, error: console.error, log() {} };

class Screen {
  constructor() {
    this.terminal = new xterm.Terminal({ cols: 80, rows: 24, scrollback: 2000, allowProposedApi: true });
    this.length = 0;
  }

  async write(data) {
    this.length += data.length;
    await new Promise((resolve) => this.terminal.write(data, resolve));
  }

  shown() {
    const buffer = this.terminal.buffer.active;
    const lines = [];
    for (let row = 0; row < buffer.length; row += 1) {
      const line = buffer.getLine(row);
      const cells = [];
      for (let column = 0; column < this.terminal.cols; column += 1) {
        const cell = line.getCell(column);
        cells.push([cell.getChars(), cell.getFgColor(), cell.getBgColor(), cell.isBold(), cell.isInverse()].join(","));
      }
      lines.push([line.translateToString(true), cells.join("|")]);
    }
    return {
      size: [this.terminal.cols, this.terminal.rows],
      cursor: [buffer.cursorX, buffer.cursorY],
      kind: buffer.type,
      text: lines.map(([text]) => text),
      cells: lines.map(([, cells]) => cells),
    };
  }
}

async function played(file) {
  // A Response, as the player gets from a server.
  const source = { data: () => new Response(fs.readFileSync(file)) };
  const core = new Core(source, { logger: quiet, preload: false, autoPlay: false });
  const events = [];
  core.addEventListener("output", (data) => events.push(...[data].flat().map((each) => ["o", each])));
  core.addEventListener("resize", ({ cols, rows }) => events.push(["r", cols, rows]));
  core.addEventListener("reset", ({ size, init }) => {
    events.length = 0; // it begins anew, as it does where somebody seeks
    events.push(["r", size.cols, size.rows]);
    if (init) events.push(["o", init]);
  });
  core.terminalReady();
  await core.init();
  await core.seek("100%");
  const screen = new Screen();
  for (const [code, ...rest] of events) {
    if (code === "r") screen.terminal.resize(...rest);
    else await screen.write(rest[0]);
  }
  return { ...screen.shown(), events: events.length, length: screen.length, duration: core.getDuration() };
}

async function lived(file) {
  const screen = new Screen();
  const utf8 = new TextDecoder(); // xterm.js shows nothing for bytes that are no UTF-8, other terminals U+FFFD
  for (const line of fs.readFileSync(file, "utf8").split("\n").filter(Boolean)) {
    const [code, ...rest] = JSON.parse(line);
    if (code === "r") screen.terminal.resize(...rest);
    else await screen.write(utf8.decode(Buffer.from(rest[0], "base64"), { stream: true }));
  }
  return screen.shown();
}

const [recording, live] = process.argv.slice(2);
process.stdout.write(JSON.stringify({ played: await played(recording), lived: await lived(live) }));
