// Runs one command in the pod "shell" with the official client's Exec, and prints as JSON what came of it.
// The one argument is JSON: url, headers, command, and on or off: stdin, tty, resize. With stdin, ours is the command's.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { Exec, KubeConfig } from '@kubernetes/client-node';

const wanted = JSON.parse(process.argv[2]);

class Signed extends KubeConfig {
  // What this client's WebSocket is opened with; it has no other place for headers of the caller's.
  async applyToHTTPSOptions(options) {
    await super.applyToHTTPSOptions(options);
    options.headers = { ...options.headers, ...wanted.headers };
  }
}

// A stream that keeps the hash of what is written to it, its length, and its beginning.
class Sink extends PassThrough {
  hash = createHash('sha256');
  length = 0;
  text = '';

  constructor() {
    super();
    this.on('data', (data) => {
      this.hash.update(data);
      this.length += data.length;
      if (this.text.length < 4096) this.text += data;
    });
  }

  report() {
    return { sha256: this.hash.digest('hex'), length: this.length, text: this.text.slice(0, 4096) };
  }
}

const config = new Signed();
// Without skipTLSVerify it refuses to speak plain HTTP.
config.loadFromClusterAndUser({ name: 'proxy', server: wanted.url, skipTLSVerify: true }, { name: 'caller' });

const stdout = new Sink();
const stderr = wanted.tty ? null : new Sink();
if (wanted.resize) {
  Object.assign(stdout, { columns: 80, rows: 24 });
  stdout.once('data', () => {
    Object.assign(stdout, { columns: 120, rows: 50 });
    stdout.emit('resize');
  });
}

let status = null;
try {
  const socket = await new Exec(config).exec(
    'default',
    'shell',
    'shell',
    wanted.command,
    stdout,
    stderr,
    wanted.stdin ? process.stdin : null,
    Boolean(wanted.tty),
    (said) => { status = said; },
  );
  const [closed] = await once(socket, 'close');
  console.log(JSON.stringify({
    protocol: socket.protocol,
    status,
    code: closed,
    stdout: stdout.report(),
    stderr: stderr?.report(),
  }));
} catch (error) {
  console.log(JSON.stringify({ error: error.message }));
}
