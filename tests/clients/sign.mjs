// Signs one request with the package http-message-signatures, and prints its headers as JSON.
// The one argument is JSON: secret, tag, method, url, headers, fields, created and nonce.
import { createHmac } from 'node:crypto';
import { httpbis } from 'http-message-signatures';

const { secret, tag, method, url, headers, fields, created, nonce } = JSON.parse(process.argv[2]);
const signed = await httpbis.signMessage({
  key: {
    id: 'theirs',
    alg: 'hmac-sha256',
    sign: async (base) => createHmac('sha256', secret).update(base).digest(),
  },
  fields,
  params: ['created', 'keyid', 'alg', 'nonce', 'tag'],
  paramValues: { created: new Date(created * 1000), nonce, tag },
}, { method, url, headers });
console.log(JSON.stringify(signed.headers));
