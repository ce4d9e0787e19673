// Talks to a MariaDB server with mysql2 and prints what it got, as JSON.
//
// mysql_client.js PORT PASSWORD plain|tls|compressed [CA]: everything that it can is prepared.
const fs = require('fs')
const mysql = require('mysql2/promise')

const [port, password, transport, authority] = process.argv.slice(2)

async function main() {
  // The TLS is in the binary of Node, which was mapped just now; attaching to it takes a while, in which a handshake would pass unseen.
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const connection = await mysql.createConnection({
    host: '127.0.0.1',
    port: Number(port),
    user: 'alice',
    password,
    database: 'shop',
    compress: transport === 'compressed',
    ssl: transport === 'tls' ? { ca: fs.readFileSync(authority) } : undefined,
    connectAttributes: { program_name: 'e2e' },
    dateStrings: true,
  })
  await connection.query('drop table if exists js')
  await connection.execute(
    'create table js (id bigint auto_increment primary key, name varchar(2000), price decimal(10,2), born datetime(6), weight double)'
  )
  const inserted = []
  for (const name of ['grüße', null, 'three'.repeat(100)]) {
    const [result] = await connection.execute('insert into js (name, price, born, weight) values (?, ?, ?, ?)', [
      name,
      '1.50',
      '2026-11-28 10:20:30.000007',
      2.5,
    ])
    inserted.push(result.insertId)
  }
  const [rows] = await connection.execute('select id, name, price, born, weight from js where id < ? order by id', [3])
  let error
  try {
    await connection.execute('select * from nowhere')
  } catch (failure) {
    error = [failure.errno, failure.sqlState]
  }
  const [updated] = await connection.execute('update js set price = price + ?', [1])
  // Many rows in one result.
  const [many] = await connection.execute('select seq, repeat(?, 100) as text from seq_1_to_5000', ['z'])
  connection.unprepare('select id, name, price, born, weight from js where id < ? order by id')
  const [again] = await connection.execute('select id, name, price, born, weight from js where id < ? order by id', [2])
  const piped = await Promise.all(
    Array.from({ length: 50 }, (_, number) => connection.execute('select ? + 1000 as n', [number]))
  )
  await connection.execute('alter user alice identified by ' + connection.escape(password))
  await connection.changeUser({ user: 'alice', password, database: 'mysql' })
  const [last] = await connection.query('select database() as name')
  await connection.ping()
  await connection.end()
  console.log(
    JSON.stringify({
      inserted,
      rows,
      error,
      updated: updated.affectedRows,
      many: many.length,
      again: again.length,
      piped: piped.every(([result], number) => Number(result[0].n) === number + 1000),
      last: last[0].name,
    })
  )
}

main().catch((failure) => {
  console.error(failure)
  process.exit(1)
})
