// Clients of databases for Node.js inside of TLS: `zoo_db.js MODE PORT CA`, the password in ZOO_PASSWORD. What they print and read is
// described in tests/e2e/src/guest.rs; round N asks the server for 41 + N.
"use strict";

const fs = require("fs");
const path = require("path");
const readline = require("readline");

const [mode, port, authority] = process.argv.slice(2);
const password = process.env.ZOO_PASSWORD;
const target = { host: "127.0.0.1", port: Number(port), password };
const select = (number) => `select 41 + ${number} as answer`;
// The certificate is for a name, and the address is none.
const ssl = () => ({ ca: fs.readFileSync(authority), checkServerIdentity: () => undefined });

const clients = {
  async pg() {
    const { Client } = require("pg");
    const client = new Client({ ...target, user: "postgres", database: "postgres", ssl: ssl() });
    await client.connect();
    return { ask: async (number) => (await client.query(select(number))).rows[0].answer, close: () => client.end() };
  },

  async mysql2() {
    const options = { ...target, user: "alice", database: "shop", ssl: ssl() };
    const client = await require("mysql2/promise").createConnection(options);
    return { ask: async (number) => (await client.query(select(number)))[0][0].answer, close: () => client.end() };
  },

  async redis() {
    const socket = { host: target.host, port: target.port, tls: true, ...ssl() };
    const client = require("redis").createClient({ socket, password });
    await client.connect();
    const ask = async (number) => {
      await client.set("zoo:answer", 41);
      return client.incrBy("zoo:answer", number);
    };
    return { ask, close: () => client.close() };
  },
};

// Not every package lets its description be required.
function version(name) {
  const folder = process.env.NODE_PATH;
  return JSON.parse(fs.readFileSync(path.join(folder, name, "package.json"), "utf8")).version;
}

function say(word, facts) {
  console.log(`${word} ${JSON.stringify(facts)}`);
}

async function main() {
  let client;
  let number = 0;
  say("ready", { version: version(mode), library: `OpenSSL ${process.versions.openssl}` });
  for await (const _ of readline.createInterface({ input: process.stdin })) {
    number += 1;
    client = client || (await clients[mode]());
    const answer = Number(await client.ask(number));
    if (answer !== 41 + number) throw new Error(`${answer} is not 41 + ${number}`);
    say("done", {});
  }
  if (client) await client.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
