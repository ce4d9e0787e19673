// Requests through a proxy of HTTP/2, each in a tunnel of its own on one connection (RFC 9113 §8.5).
//
// h2_tunnel.js PROXY CERTIFICATES URL…: prints a JSON list of what came back. Begins when a line comes on standard input.
"use strict";

const fs = require("node:fs");
const http2 = require("node:http2");
const tls = require("node:tls");

const [proxy, certificates, ...urls] = process.argv.slice(2);
const ca = fs.readFileSync(certificates);

function tunnel(session, url) {
  return new Promise((resolve, reject) => {
    const port = url.port || (url.protocol === "https:" ? 443 : 80);
    const stream = session.request({ ":method": "CONNECT", ":authority": `${url.hostname}:${port}` });
    stream.on("error", reject);
    stream.on("response", (headers) => {
      if (headers[":status"] !== 200) reject(new Error(`the proxy says ${headers[":status"]}`));
      else resolve(stream);
    });
  });
}

async function get(session, text) {
  const url = new URL(text);
  let stream = await tunnel(session, url);
  if (url.protocol === "https:") {
    stream = tls.connect({ socket: stream, servername: url.hostname, ca, ALPNProtocols: ["http/1.1"] });
    await new Promise((resolve, reject) => stream.once("secureConnect", resolve).once("error", reject));
  }
  stream.write(`GET ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\nConnection: close\r\n\r\n`);
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString("latin1").split("\r\n", 1)[0];
}

async function main() {
  await new Promise((resolve) => process.stdin.once("data", resolve));
  process.stdin.destroy();
  const session = http2.connect(proxy, { ca });
  const lines = await Promise.all(urls.map((url) => get(session, url)));
  await new Promise((resolve) => session.close(resolve));
  console.log(JSON.stringify(lines));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
