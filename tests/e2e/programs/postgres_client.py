"""Talks to a PostgreSQL server with psycopg and prints what it got, as JSON.

postgres_client.py PORT PASSWORD SSLMODE [--hold]: with --hold it waits for a line on standard input after its first statement.
"""

import argparse
import json
import sys
import time

import psycopg

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("password")
parser.add_argument("sslmode")
parser.add_argument("--hold", action="store_true")
options = parser.parse_args()

# The wheel brings a libssl of its own, mapped just now; attaching takes some milliseconds, in which a handshake would pass unseen.
time.sleep(1)
connection = psycopg.connect(
    host="127.0.0.1",
    port=options.port,
    user="postgres",
    dbname="postgres",
    password=options.password,
    sslmode=options.sslmode,
    application_name="e2e",
    autocommit=True,
)
connection.execute("select 1")
if options.hold:
    print("held", flush=True)
    sys.stdin.readline()
connection.execute("drop table if exists py")
connection.execute("create table py (id int, name text)")
for number in range(3):
    connection.execute("insert into py values (%s, %s)", [number, "grüße"], prepare=True)
rows = connection.execute("select id, name from py order by id", binary=True).fetchall()
try:
    connection.execute("select 1/0")
    error = None
except psycopg.Error as failure:
    error = failure.sqlstate
with connection.pipeline():
    cursors = [connection.execute("select %s::int + 1000", [number]) for number in range(100)]
    piped = [cursor.fetchone()[0] for cursor in cursors]
with connection.cursor().copy("copy py from stdin") as copy:
    for number in range(1000):
        copy.write_row((number, "copied"))
connection.execute(f"alter user postgres password '{options.password}'")
connection.execute("select length(%s)", [options.password])
connection.close()
print(json.dumps({"rows": rows, "error": error, "piped": piped == [number + 1000 for number in range(100)]}))
