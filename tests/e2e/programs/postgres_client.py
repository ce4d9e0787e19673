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
# Of every type that the agent reads, in text and in binary.
connection.execute("set time zone 'UTC'")
TYPES = """select true, false, 1::int2, -2, 3::int8, 1.5::float4, -2.5e-3::float8, 12345.6780, -0.00012, 0::numeric(9, 4), 1e20::numeric,
 'grüße', 'x'::"char", 'n'::name, '\\xdeadbeef'::bytea, '{"a": [1, 2]}'::jsonb, '{"a":1}'::json, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid,
 '2026-11-28'::date, '0044-03-15 BC'::date, 'infinity'::date, '10:20:30.25'::time, '10:20:30+05:30'::timetz, '1999-12-31 23:59:59.999999'::timestamp,
 '2026-11-28 10:20:30+01'::timestamptz, '-infinity'::timestamptz, '1 year 2 mons -3 days 04:05:06.7'::interval, '-1 day'::interval,
 '127.0.0.1'::inet, '10.0.0.0/8'::cidr, '2001:db8::1/64'::inet, '08:00:2b:01:02:03'::macaddr, b'10110', null::int,
 array[1, null, 3], array[['a b', ''], ['NULL', 'x"y']], '{}'::int[], array['2026-11-28'::timestamp], 7::oid"""
for binary in (False, True):
    # Not fetched: Python has no dates before the year 1.
    connection.execute(TYPES, binary=binary)
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
