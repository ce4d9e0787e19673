// gRPC for Node.js (@grpc/grpc-js): a server and a client of the same calls as calls.py, which describes what is printed.
// `NODE_PATH` names the folder of its packages.
"use strict";

const crypto = require("crypto");
const fs = require("fs");
const grpc = require("@grpc/grpc-js");

const SERVICE = "e2e.Calls";
const FAILURE = "no such thing: 100% of grüße";
const TIMEOUT_MS = 300;
const GZIP = 2;
const seen = [];

const told = (messages) =>
  messages.map((message) => ({
    size: message.length,
    sha256: crypto.createHash("sha256").update(message).digest("hex"),
  }));
const note = (method, sent, received, status, message = "") =>
  seen.push({ method, sent: told(sent), received: told(received), status, message });
const payload = (size) =>
  size === 0 ? Buffer.alloc(0) : crypto.createHash("shake256", { outputLength: size }).update(String(size)).digest();
const same = (bytes) => bytes;

const handlers = {
  Unary(call, callback) {
    note("Unary", [call.request], [call.request], 0);
    callback(null, call.request);
  },
  Packed(call, callback) {
    note("Packed", [call.request], [call.request], 0);
    callback(null, call.request);
  },
  Up(call, callback) {
    const received = [];
    call.on("data", (message) => received.push(message));
    call.on("end", () => {
      const answer = Buffer.from(String(received.reduce((sum, message) => sum + message.length, 0)));
      note("Up", [answer], received, 0);
      callback(null, answer);
    });
  },
  Down(call) {
    const sent = [];
    for (let index = 0; index < Number(call.request); index += 1) {
      sent.push(payload(index * 1000));
      call.write(sent[index]);
    }
    note("Down", sent, [call.request], 0);
    call.end();
  },
  Both(call) {
    const received = [];
    call.on("data", (message) => {
      received.push(message);
      call.write(message);
    });
    call.on("end", () => {
      note("Both", received, received, 0);
      call.end();
    });
  },
  Fail(call, callback) {
    note("Fail", [], [call.request], grpc.status.NOT_FOUND, FAILURE);
    const metadata = new grpc.Metadata();
    metadata.set("grpc-status-details-bin", Buffer.from([8, 5]));
    callback({ code: grpc.status.NOT_FOUND, details: FAILURE, metadata });
  },
  Slow(call) {
    note("Slow", [], [call.request], null);
  },
  Cancelled(call) {
    const sent = [];
    const timer = setInterval(() => {
      sent.push(Buffer.from("tick"));
      call.write(sent[sent.length - 1]);
    }, 20);
    call.on("cancelled", () => {
      clearInterval(timer);
      note("Cancelled", sent, [call.request], null);
    });
  },
};
const requestStreams = new Set(["Up", "Both"]);
const responseStreams = new Set(["Down", "Both", "Cancelled"]);

function serve(certificate, key) {
  const server = new grpc.Server();
  const definition = {};
  for (const method of Object.keys(handlers)) {
    definition[method] = {
      path: `/${SERVICE}/${method}`,
      requestStream: requestStreams.has(method),
      responseStream: responseStreams.has(method),
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    };
  }
  server.addService(definition, handlers);
  const pair = { private_key: fs.readFileSync(key), cert_chain: fs.readFileSync(certificate) };
  const bind = (credentials) =>
    new Promise((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", credentials, (error, port) => (error ? reject(error) : resolve(port)));
    });
  const { version } = require("@grpc/grpc-js/package.json");
  Promise.all([bind(grpc.ServerCredentials.createInsecure()), bind(grpc.ServerCredentials.createSsl(null, [pair]))]).then(
    ([plain, tls]) => console.log("ready", JSON.stringify({ version, plain, tls })),
  );
  process.stdin.on("end", () => {
    console.log(JSON.stringify(seen));
    server.forceShutdown();
  });
  process.stdin.resume();
}

function call(client, method, requests, options = {}) {
  return new Promise((resolve) => {
    const path = `/${SERVICE}/${method}`;
    const received = [];
    const metadata = new grpc.Metadata();
    const done = (status, message) => {
      note(method, requests, received, status, message);
      resolve();
    };
    const answered = (error, answer) => {
      if (!error) received.push(answer);
      done(error ? error.code : 0, error ? error.details : "");
    };
    const read = (stream) => {
      stream.on("data", (message) => {
        received.push(message);
        if (method === "Cancelled" && received.length === 2) stream.cancel();
      });
      stream.on("error", () => {});
      stream.on("status", (status) => done(status.code, status.code === 0 ? "" : status.details));
    };
    let stream;
    if (requestStreams.has(method)) {
      if (responseStreams.has(method)) {
        stream = client.makeBidiStreamRequest(path, same, same, metadata, options);
        read(stream);
      } else {
        stream = client.makeClientStreamRequest(path, same, same, metadata, options, answered);
      }
      for (const request of requests) stream.write(request);
      stream.end();
    } else if (responseStreams.has(method)) {
      read(client.makeServerStreamRequest(path, same, same, requests[0], metadata, options));
    } else {
      client.makeUnaryRequest(path, same, same, requests[0], metadata, options, answered);
    }
  });
}

async function line() {
  console.log("ready");
  await new Promise((resolve) => process.stdin.once("data", resolve));
  process.stdin.destroy();
}

async function makeCalls(address, authority) {
  const credentials = authority
    ? grpc.credentials.createSsl(fs.readFileSync(authority))
    : grpc.credentials.createInsecure();
  const client = new grpc.Client(address, credentials, { "grpc.use_local_subchannel_pool": 1 });
  const packing = new grpc.Client(address, credentials, {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.default_compression_algorithm": GZIP,
  });
  if (!("HOLD" in process.env)) await line();
  await call(client, "Unary", [payload(30721)]);
  if ("HOLD" in process.env) await line();
  await call(packing, "Packed", [Buffer.from("qtap".repeat(2500))]);
  await call(client, "Up", [10, 0, 70000, 1].map(payload));
  await call(client, "Down", [Buffer.from("5")]);
  await call(client, "Both", [3, 2000, 40000].map(payload));
  await call(client, "Fail", [Buffer.from("what")]);
  await call(client, "Missing", [Buffer.alloc(0)]);
  await call(client, "Slow", [Buffer.from("wait")], { deadline: Date.now() + TIMEOUT_MS });
  await call(client, "Cancelled", [Buffer.from("go")]);
  client.close();
  packing.close();
  console.log(JSON.stringify(seen));
}

const [mode, ...rest] = process.argv.slice(2);
if (mode === "server") serve(...rest);
else makeCalls(...rest);
