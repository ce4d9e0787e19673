// HTTPS on loopback with the certificate and the key of its arguments: answers with what came, in capitals. Prints its port, and ends
// with its standard input.
const [certificate, key] = Deno.args;
Deno.serve(
  {
    hostname: "127.0.0.1",
    port: 0,
    cert: Deno.readTextFileSync(certificate),
    key: Deno.readTextFileSync(key),
    onListen: ({ port }) => console.log(port),
  },
  async (request) => new Response((await request.text()).toUpperCase()),
);
await Deno.stdin.read(new Uint8Array(1));
Deno.exit(0);
