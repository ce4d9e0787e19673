// Talks to a MariaDB server with MariaDB's own connector, which does not wait: statements are sent before those ahead of them are
// answered, prepared ones are run before their id is known, and many rows go in one command. Prints what it got, as JSON.
//
// mariadb_client.js PORT PASSWORD [CA]: with CA inside of TLS.
const fs = require('fs')
const mariadb = require('mariadb')

const [port, password, authority] = process.argv.slice(2)

async function main() {
  // The TLS is in the binary of Node, which was mapped just now; attaching to it takes a while, in which a handshake would pass unseen.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const connection = await mariadb.createConnection({
    host: '127.0.0.1',
    port: Number(port),
    user: 'alice',
    password,
    database: 'shop',
    ssl: authority ? { ca: fs.readFileSync(authority) } : false,
    connectAttributes: { program_name: 'e2e' },
    pipelining: true,
    bulk: true,
  })
  await connection.query('create or replace table bulk (id int auto_increment primary key, name varchar(100), at json)')
  const all = Array.from({ length: 2000 }, (_, number) => [`name ${number}`, '{}'])
  const batch = await connection.batch('insert into bulk (name, at) values (?, ?)', all)
  const [rows, again, missing, piped] = await Promise.all([
    connection.execute('select id, name, at from bulk where id <= ? order by id', [2]),
    connection.execute('select id, name, at from bulk where id <= ? order by id', [3]),
    connection.query('select * from nowhere').catch((failure) => failure.errno),
    Promise.all(Array.from({ length: 100 }, (_, number) => connection.query('select ? + 1000 as n', [number]))),
  ])
  await connection.end()
  console.log(
    JSON.stringify({
      inserted: batch.affectedRows,
      rows: rows.length,
      again: again.length,
      missing,
      piped: piped.every((result, number) => Number(result[0].n) === number + 1000),
    })
  )
}

main().catch((failure) => {
  console.error(failure)
  process.exit(1)
})
