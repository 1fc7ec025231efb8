// Runs in each page before its own scripts; rows.py calls `bench`. All is pressed and timed in here, in milliseconds:
// whoever drives a browser from outside stands in the same queue as a flood.
'use strict';
window.bench = (() => {
  const KEYS = { Enter: 13, c: 67, x: 88 };
  const FRAME = 1000 / 60;
  const GOLDEN = 0.618; // multiples of it are never near each other within a frame

  const word = () => document.querySelector('#word')?.textContent;
  const rows = () => [...document.querySelectorAll('.xterm-rows > div')].map((row) => row.textContent.trimEnd());
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  /** When this was true for the first time, as the page stood after each of its changes. */
  const when = (seen) =>
    new Promise((resolve) => {
      const look = () => {
        if (!seen()) return;
        watch.disconnect();
        resolve(performance.now());
      };
      const watch = new MutationObserver(look);
      watch.observe(document, { subtree: true, childList: true, characterData: true });
      look();
    });

  const opened = when(() => !['Loading', 'Connecting', '', undefined].includes(word())).then((at) => {
    if (word() !== 'Open') throw new Error(`not open, but: ${document.querySelector('#state').textContent}`);
    return at;
  });
  opened.catch(() => {}); // whoever wants to know asks

  const painted = () =>
    new Promise((resolve) => {
      const found = (list) => list.getEntriesByName('first-paint').forEach(({ startTime }) => resolve(startTime));
      new PerformanceObserver(found).observe({ type: 'paint', buffered: true });
    });

  /** Since the address was asked for. */
  const begun = async () => ({
    first_paint_ms: await painted(),
    open_ms: await opened,
  });

  const press = (key, held = {}) => {
    const options = { key, keyCode: KEYS[key], bubbles: true, cancelable: true, ...held };
    document.querySelector('.xterm-helper-textarea').dispatchEvent(new KeyboardEvent('keydown', options));
  };

  /** A message that is sent while a frame is made comes when that is laid out and painted. */
  const frameIsMade = () =>
    new Promise((resolve) => {
      const { port1, port2 } = new MessageChannel();
      port2.onmessage = () => resolve(performance.now());
      port1.postMessage(null);
    });

  const glyphs = () => document.querySelector('.xterm-rows').textContent.split('x').length - 1;

  /** Keystrokes in a shell, and as many bytes there and back by a bare WebSocket, in turn. */
  const keystrokes = async (count, url) => {
    await opened;
    await when(() => rows().includes('$'));
    const bare = new WebSocket(url);
    await new Promise((resolve, reject) => {
      bare.onopen = resolve;
      bare.onerror = () => reject(new Error('no bare WebSocket'));
    });
    const took = { page: [], bare: [] };
    for (let number = 1; number <= count; number += 1) {
      const pause = 30 + FRAME * ((number * GOLDEN) % 1); // at any time of a frame
      await sleep(pause);
      const glyph = when(() => glyphs() >= number);
      const pressed = performance.now();
      press('x');
      await glyph;
      took.page.push((await frameIsMade()) - pressed);
      await sleep(pause);
      const back = new Promise((resolve) => {
        bare.onmessage = () => resolve(performance.now());
      });
      const sent = performance.now();
      bare.send('x');
      took.bare.push((await back) - sent);
    }
    bare.close();
    return took;
  };

  /** What runs says that it has begun, and goes on at Enter. */
  const begin = async () => {
    await opened;
    await when(() => rows().includes('begun'));
    press('Enter');
  };

  const end = () => when(() => word() === 'Ended');

  /** How long a flood took that ends by itself. */
  const flood = async () => {
    await begin();
    const from = performance.now();
    return (await end()) - from;
  };

  /** A flood of `y` is interrupted after so long. */
  const interrupted = async (ms) => {
    await begin();
    const begins = await when(() => rows().includes('y'));
    performance.mark('flood begins');
    let last = begins;
    let longest = { ms: 0, at: 0 };
    let over = false;
    const frame = () => {
      const now = performance.now();
      if (now - last > longest.ms) longest = { ms: now - last, at: last - begins };
      last = now;
      if (!over) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    await sleep(ms);
    const ended = end();
    const pressed = performance.now();
    press('c', { ctrlKey: true });
    const took = (await ended) - pressed;
    performance.mark('flood ends');
    over = true;
    const said = document.querySelector('#sentence').textContent;
    return { ctrl_c_ms: took, frame_ms: longest.ms, frame_at_ms: longest.at, said };
  };

  return { opened, begun, keystrokes, flood, interrupted };
})();
