// Clients and servers of Node.js, which Bun runs too, and Deno under a name that ends in `.cjs`. `zoo.js MODE ADDRESS CA BODY` is a client, `zoo.js MODE CERTIFICATE KEY BODY`
// a server; what they print and read is described in tests/e2e/src/zoo.rs.
"use strict";

const crypto = require("crypto");
const fs = require("fs");
const readline = require("readline");

const [mode, first, second, bodyFile] = process.argv.slice(2);
const body = fs.readFileSync(bodyFile);
const sha256 = (bytes) => crypto.createHash("sha256").update(bytes).digest("hex");
const openssl = process.versions.openssl;
const { bun, deno, node } = process.versions;
const version = { version: bun || deno || node, library: `OpenSSL ${openssl}` };
if (bun) version.library = "BoringSSL";
if (deno) version.library = "rustls, aws-lc-rs";
// Who serves in the workers of a cluster.
const workers = { cluster: "https-server", "cluster-http2": "http2-server" };

async function whole(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

const clients = {
  https() {
    const https = require("https");
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca: fs.readFileSync(second) });
    const exchange = (method, path, data) =>
      new Promise((resolve, reject) => {
        const request = https.request(first + path, { method, agent }, (response) => {
          whole(response).then(resolve, reject);
        });
        request.on("error", reject);
        request.end(data);
      });
    return { exchange, close: () => agent.destroy() };
  },

  fetch() {
    // Both runtimes are told of the authority by NODE_EXTRA_CA_CERTS.
    const exchange = async (method, path, data) => {
      const response = await fetch(first + path, { method, body: data });
      return Buffer.from(await response.arrayBuffer());
    };
    return { exchange, close() {} };
  },

  http2() {
    const session = require("http2").connect(first, { ca: fs.readFileSync(second) });
    const exchange = (method, path, data) =>
      new Promise((resolve, reject) => {
        const stream = session.request({ ":method": method, ":path": path });
        stream.on("error", reject);
        whole(stream).then(resolve, reject);
        stream.end(data);
      });
    session.on("error", (error) => {
      console.error(error);
      process.exit(1);
    });
    return { exchange, close: () => session.close() };
  },
};

async function answer(request, response) {
  const received = await whole(request);
  response.end(request.method === "POST" ? received : body);
}

const servers = {
  "https-server": (options) => require("https").createServer(options, answer),
  "http2-server": (options) => require("http2").createSecureServer(options, answer),
};

function say(word, facts) {
  console.log(`${word} ${JSON.stringify(facts)}`);
}

function serveDeno() {
  const answerOne = async (request) => {
    const received = await request.arrayBuffer();
    return new Response(request.method === "POST" ? received : body);
  };
  Deno.serve(
    {
      hostname: "127.0.0.1",
      port: 0,
      cert: fs.readFileSync(first, "utf8"),
      key: fs.readFileSync(second, "utf8"),
      onListen: ({ port }) => say("ready", { ...version, port, pid: process.pid }),
    },
    answerOne,
  );
  process.stdin.on("end", () => process.exit(0));
  process.stdin.resume();
}

function serve() {
  const cluster = require("cluster");
  const options = { cert: fs.readFileSync(first), key: fs.readFileSync(second) };
  if (workers[mode] && cluster.isPrimary) {
    const worker = cluster.fork();
    worker.on("message", (port) => say("ready", { ...version, port, pid: worker.process.pid }));
    worker.on("exit", () => process.exit(1));
    process.stdin.on("end", () => {
      worker.removeAllListeners("exit");
      worker.on("exit", () => process.exit(0));
      worker.process.kill();
    });
    process.stdin.resume();
    return;
  }
  const server = servers[workers[mode] || mode](options);
  // Rounds may be further apart than its 5 seconds.
  server.keepAliveTimeout = 60000;
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address();
    if (workers[mode]) {
      process.send(port);
      return;
    }
    say("ready", { ...version, port, pid: process.pid });
    process.stdin.on("end", () => process.exit(0));
    process.stdin.resume();
  });
}

async function request() {
  let client;
  say("ready", version);
  for await (const _ of readline.createInterface({ input: process.stdin })) {
    client = client || clients[mode]();
    const got = await client.exchange("GET", "/bytes/30721");
    const echoed = await client.exchange("POST", "/echo", body);
    say("done", { get: sha256(got), post: sha256(echoed) });
  }
  if (client) client.close();
  // `fetch` has no way to close what it keeps.
  setTimeout(() => process.exit(0), 100);
}

if (mode === "deno-serve") {
  serveDeno();
} else if (clients[mode]) {
  request().catch((error) => {
    console.error(error);
    process.exit(1);
  });
} else {
  serve();
}
