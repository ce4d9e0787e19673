// Talks to a PostgreSQL server with pg and prints what it got, as JSON.
//
// postgres_client.js PORT PASSWORD [CA]: with CA inside of TLS.
const fs = require('fs')
const { Client } = require('pg')

const [port, password, authority] = process.argv.slice(2)

async function main() {
  // The TLS is in the binary of Node, which was mapped just now; attaching to it takes a while, in which a handshake would pass unseen.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const client = new Client({
    host: '127.0.0.1',
    port: Number(port),
    user: 'postgres',
    database: 'postgres',
    password,
    application_name: 'e2e',
    ssl: authority ? { ca: fs.readFileSync(authority) } : false,
  })
  await client.connect()
  await client.query('drop table if exists js; create table js (id int, name text)')
  for (const [id, name] of [[1, 'grüße'], [2, null], [3, 'three']]) {
    await client.query({ name: 'insert-js', text: 'insert into js values ($1, $2)', values: [id, name] })
  }
  const { rows } = await client.query('select id, name from js where id < $1 order by id', [3])
  let error
  try {
    await client.query('select 1/$1::int', [0])
  } catch (failure) {
    error = failure.code
  }
  await client.query(`alter user postgres password ${client.escapeLiteral(password)}`)
  await client.end()
  console.log(JSON.stringify({ rows, error }))
}

main().catch((failure) => {
  console.error(failure)
  process.exit(1)
})
