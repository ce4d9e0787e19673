"""Talks to a MariaDB server with PyMySQL and prints what it got, as JSON.

mysql_client.py PORT PASSWORD [--ca FILE] [--hold]: with --ca inside of TLS; with --hold it waits for a line on standard input after
its first statement.
"""

import argparse
import json
import sys
import tempfile

import pymysql
from pymysql.constants import CLIENT

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("password")
parser.add_argument("--ca")
parser.add_argument("--hold", action="store_true")
options = parser.parse_args()

target = {"host": "127.0.0.1", "port": options.port, "user": "alice"}
target |= {"ssl": {"ca": options.ca}} if options.ca else {"ssl_disabled": True}
connection = pymysql.connect(
    **target,
    password=options.password,
    database="shop",
    program_name="e2e",
    local_infile=True,
    client_flag=CLIENT.MULTI_STATEMENTS,
    autocommit=True,
)
cursor = connection.cursor()
cursor.execute("select 1")
if options.hold:
    print("held", flush=True)
    sys.stdin.readline()
cursor.execute("drop table if exists py")
cursor.execute("create table py (id int auto_increment primary key, name varchar(100))")
for name in ("grüße", None, "three"):
    cursor.execute("insert into py (name) values (%s)", [name])
inserted = cursor.lastrowid
cursor.execute("select id, name from py order by id")
rows = cursor.fetchall()
try:
    cursor.execute("select * from nowhere")
    error = None
except pymysql.Error as failure:
    error = failure.args
cursor.execute("update py set name = 'x'; select count(*) from py; select 7")
several = [cursor.rowcount]
while cursor.nextset():
    several.append(cursor.fetchone()[0])
with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    file.writelines(f"{number},loaded\n" for number in range(1000, 2000))
    file.flush()
    cursor.execute(f"load data local infile '{file.name}' into table py fields terminated by ','")
    loaded = cursor.rowcount
# Longer than a packet.
cursor.execute(f"select length('{'x' * (17 << 20)}')")
long = cursor.fetchone()[0]
connection.select_db("mysql")
connection.begin()
cursor.execute("select 2")
connection.commit()
cursor.execute(f"set password = password('{options.password}')")
cursor.execute("select length(%s) as password", [options.password])
connection.ping(reconnect=False)
connection.close()
try:
    pymysql.connect(**target, password="wrong")
    refused = None
except pymysql.Error as failure:
    refused = failure.args[0]
print(
    json.dumps(
        {
            "rows": rows,
            "inserted": inserted,
            "error": error,
            "several": several,
            "loaded": loaded,
            "long": long,
            "refused": refused,
        }
    )
)
