// Talks to a Redis server with node-redis and prints what it got, as JSON.
//
// redis_client.js PORT PASSWORD [CA]: with CA inside of TLS.
const fs = require('fs')
const { createClient } = require('redis')

const [port, password, authority] = process.argv.slice(2)

async function main() {
  // The TLS is in the binary of Node, which was mapped just now; attaching to it takes a while, in which a handshake would pass unseen.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const socket = { host: '127.0.0.1', port: Number(port) }
  if (authority) Object.assign(socket, { tls: true, ca: fs.readFileSync(authority) })
  const client = createClient({ socket, password, database: 3, name: 'e2e', disableClientInfo: true })
  client.on('error', (failure) => console.error(failure))
  await client.connect()
  await client.set('js:key', 'grüße')
  const got = await client.get('js:key')
  await client.del('js:list')
  await client.rPush('js:list', ['a', 'b', 'c'])
  let error
  try {
    await client.incr('js:list')
  } catch (failure) {
    error = failure.message
  }
  // Sent at once.
  const echoed = await Promise.all(Array.from({ length: 100 }, (_, number) => client.echo(`n${number}`)))
  const both = await client.multi().set('js:one', '1').incr('js:one').exec()
  await client.configSet('requirepass', password)
  await client.close()
  console.log(JSON.stringify({ got, error, echoed: echoed.every((text, number) => text === `n${number}`), both }))
}

main().catch((failure) => {
  console.error(failure)
  process.exit(1)
})
