// WebSockets over the library `ws`, and over streams of HTTP/2 (RFC 8441).
//
//   ws_node.js serve [CERT KEY]        as ws_server.py; says its port, serves until its standard input ends
//   ws_node.js talk|first URL [CA]     as ws_client.py
//   ws_node.js serve-h2 CERT KEY       echoes WebSocket messages on streams of HTTP/2
//   ws_node.js talk-h2 URL CA          "hello" and 70,000 bytes on one such stream, which must come back
// Without permessage-deflate when PLAIN_MESSAGES is set.
'use strict';
const fs = require('node:fs');
const http = require('node:http');
const http2 = require('node:http2');
const https = require('node:https');
const WebSocket = require('ws');

const perMessageDeflate = process.env.PLAIN_MESSAGES ? false : { threshold: 0 };

function binary() {
  const bytes = Buffer.alloc(70000);
  for (let at = 0; at < bytes.length; at++) bytes[at] = (at * 7 + Math.floor(at / 256)) & 0xff;
  return bytes;
}

function untilInputEnds(done) {
  process.stdin.resume();
  process.stdin.on('end', done);
}

function serve(cert, key) {
  const server = cert
    ? https.createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) })
    : http.createServer();
  const sockets = new WebSocket.WebSocketServer({ server, perMessageDeflate, handleProtocols: () => 'chat.v1' });
  sockets.on('connection', (socket, request) => {
    socket.on('message', (data, isBinary) => {
      if (request.url === '/error') socket.close(1011, 'internal trouble');
      else if (request.url === '/abrupt') socket.terminate();
      else socket.send(data, { binary: isBinary });
    });
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
  untilInputEnds(() => process.exit(0));
}

function client(mode, url, ca) {
  const options = { perMessageDeflate };
  if (ca) options.ca = fs.readFileSync(ca);
  const socket = new WebSocket(url, ['chat.v1'], options);
  const expected = ['hello', binary(), 'fragmented'];
  socket.on('open', () => {
    socket.send('hello');
    if (mode !== 'talk') return;
    socket.send(binary());
    socket.send('frag', { fin: false });
    socket.send('men', { fin: false });
    socket.send('ted', { fin: true });
  });
  socket.on('message', (data) => {
    const next = expected.shift();
    if (Buffer.compare(data, Buffer.from(next)) !== 0) throw new Error('another message came back');
    if (expected.length === 0) socket.ping('are you there');
  });
  socket.on('pong', () => socket.close(1000, 'done'));
  socket.on('error', (error) => { throw error; });
  socket.on('close', (code, reason) => console.log(JSON.stringify({ code, reason: reason.toString() })));
}

// Frames are those of `ws`: only what carries them differs.
function serveH2(cert, key) {
  const server = http2.createSecureServer({
    cert: fs.readFileSync(cert), key: fs.readFileSync(key), settings: { enableConnectProtocol: true },
  });
  server.on('stream', (stream, headers) => {
    if (headers[':protocol'] !== 'websocket') {
      stream.respond({ ':status': 404 });
      stream.end();
      return;
    }
    stream.respond({ ':status': 200, 'sec-websocket-protocol': 'chat.v1' });
    const receiver = new WebSocket.Receiver({ isServer: true });
    stream.pipe(receiver);
    receiver.on('message', (data, isBinary) => {
      for (const part of WebSocket.Sender.frame(data, {
        fin: true, rsv1: false, opcode: isBinary ? 2 : 1, mask: false, readOnly: true,
      })) stream.write(part);
    });
    receiver.on('conclude', (code) => {
      const payload = Buffer.alloc(2);
      payload.writeUInt16BE(code);
      for (const part of WebSocket.Sender.frame(payload, {
        fin: true, rsv1: false, opcode: 8, mask: false, readOnly: true,
      })) stream.write(part);
      stream.end();
    });
  });
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));
  untilInputEnds(() => process.exit(0));
}

function talkH2(url, ca) {
  const target = new URL(url);
  const session = http2.connect(target.origin, { ca: fs.readFileSync(ca) });
  session.on('error', (error) => { throw error; });
  session.on('remoteSettings', () => {
    const stream = session.request({
      ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': 'https', ':path': target.pathname,
      ':authority': target.host, 'sec-websocket-version': '13', 'sec-websocket-protocol': 'chat.v1',
    });
    const send = (opcode, payload) => {
      for (const part of WebSocket.Sender.frame(payload, {
        fin: true, rsv1: false, opcode, mask: true, readOnly: true,
      })) stream.write(part);
    };
    const receiver = new WebSocket.Receiver({ isServer: false });
    const expected = [Buffer.from('hello'), binary()];
    stream.pipe(receiver);
    receiver.on('message', (data) => {
      if (Buffer.compare(data, expected.shift()) !== 0) throw new Error('another message came back');
      if (expected.length > 0) return;
      const payload = Buffer.from('\0\0done');
      payload.writeUInt16BE(1000);
      send(8, payload);
      stream.end();
    });
    stream.on('response', (headers) => {
      if (headers[':status'] !== 200) throw new Error(`status ${headers[':status']}`);
      send(1, Buffer.from('hello'));
      send(2, binary());
    });
    stream.on('close', () => session.close());
  });
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === 'serve') serve(...rest);
else if (mode === 'serve-h2') serveH2(...rest);
else if (mode === 'talk-h2') talkH2(...rest);
else client(mode, ...rest);
