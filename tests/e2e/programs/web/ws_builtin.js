// The WebSocket client that Node.js has of its own: ws_builtin.js URL. Needs --experimental-websocket before Node.js 22.
//
// Sends a text and 70,000 bytes of binary, which must come back; closes with 1000 "done".
'use strict';

const binary = Buffer.alloc(70000);
for (let at = 0; at < binary.length; at++) binary[at] = (at * 7 + Math.floor(at / 256)) & 0xff;

const socket = new WebSocket(process.argv[2], ['chat.v1']);
socket.binaryType = 'arraybuffer';
socket.onopen = () => socket.send('hello');
socket.onmessage = ({ data }) => {
  if (data === 'hello') {
    socket.send(binary);
    return;
  }
  if (Buffer.compare(Buffer.from(data), binary) !== 0) throw new Error('another message came back');
  socket.close(1000, 'done');
};
socket.onerror = ({ error, message }) => {
  console.error(message, error);
  process.exit(1);
};
