// Says "ready", waits for a line, fetches each URL of its arguments once.
console.log("ready");
await Deno.stdin.read(new Uint8Array(16));
for (const url of Deno.args) {
  const answer = await fetch(url);
  const body = await answer.arrayBuffer();
  console.log(answer.status, body.byteLength);
}
Deno.exit(0);
