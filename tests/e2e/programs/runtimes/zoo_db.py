"""Clients of databases inside of TLS: `zoo_db.py MODE PORT CA`, the password in ZOO_PASSWORD.

What they print and read is described in tests/e2e/src/guest.rs; round N asks the server for 41 + N. The programs of the
databases themselves run below this one and have the connection: `pid`.
"""

import ctypes
import glob
import json
import os
import signal
import ssl
import subprocess
import sys
from importlib.metadata import version

MODE, PORT, AUTHORITY = sys.argv[1:4]
PASSWORD = os.environ["ZOO_PASSWORD"]
HOST = "127.0.0.1"


def say(word, **facts):
    print(word, json.dumps(facts), flush=True)


def rounds(ask):
    for number, _ in enumerate(sys.stdin, 1):
        answer = int(ask(number))
        if answer != 41 + number:
            sys.exit(f"{answer} is not 41 + {number}")
        say("done")


def select(number):
    return f"select 41 + {number} as answer"


def psycopg():
    import psycopg

    # The wheel brings its own.
    (library,) = glob.glob(os.path.dirname(psycopg.__file__) + "_binary.libs/libcrypto-*.so*")
    text = ctypes.CDLL(library).OpenSSL_version
    text.restype = ctypes.c_char_p
    say("ready", version=version("psycopg"), library=text(0).decode())
    state = []

    def ask(number):
        if not state:
            target = {"host": HOST, "port": PORT, "user": "postgres", "dbname": "postgres", "sslmode": "require"}
            state.append(psycopg.connect(**target, password=PASSWORD, autocommit=True))
        return state[0].execute(select(number)).fetchone()[0]

    rounds(ask)
    state[0].close()


def pymysql():
    import pymysql

    say("ready", version=version("PyMySQL"), library=ssl.OPENSSL_VERSION)
    state = []

    def ask(number):
        if not state:
            target = {"host": HOST, "port": int(PORT), "user": "alice", "database": "shop"}
            # The certificate is for a name, and the address is none.
            context = ssl.create_default_context(cafile=AUTHORITY)
            context.check_hostname = False
            state.append(pymysql.connect(**target, password=PASSWORD, ssl=context))
        with state[0].cursor() as cursor:
            cursor.execute(select(number))
            return cursor.fetchone()[0]

    rounds(ask)
    state[0].close()


def redis_py():
    import redis

    say("ready", version=version("redis"), library=ssl.OPENSSL_VERSION)
    options = {"ssl": True, "ssl_ca_certs": AUTHORITY, "ssl_check_hostname": False, "password": PASSWORD}
    client = redis.Redis(HOST, int(PORT), **options)

    def ask(number):
        client.set("zoo:answer", 41)
        return client.incrby("zoo:answer", number)

    rounds(ask)
    client.close()


def die_with_parent():
    """What this program started does not outlive it, however it ends."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def program(command, environment, lines):
    """`lines(number)`: what is written for a round; the last line that comes back is the answer."""
    said = subprocess.run([command[0], "--version"], check=True, capture_output=True, text=True).stdout
    number = next(word for word in said.replace(",", " ").split() if word[0].isdigit() and "." in word)
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}
    client = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**kept, **environment},
        preexec_fn=die_with_parent,
    )
    say("ready", version=number.split("-")[0], library=ssl.OPENSSL_VERSION, pid=client.pid)

    def ask(number):
        wanted = lines(number)
        client.stdin.write("".join(line + "\n" for line in wanted))
        client.stdin.flush()
        return [client.stdout.readline() for _ in wanted][-1]

    rounds(ask)
    client.stdin.close()
    client.wait(20)


MODES = {
    "psycopg": psycopg,
    "pymysql": pymysql,
    "redis-py": redis_py,
    "psql": lambda: program(
        ["psql", "-AtqX", f"host={HOST} port={PORT} user=postgres dbname=postgres sslmode=require"],
        {"PGPASSWORD": PASSWORD},
        lambda number: [select(number) + ";"],
    ),
    "mariadb": lambda: program(
        ["mariadb", "--no-defaults", f"--host={HOST}", f"--port={PORT}", "--user=alice", f"--ssl-ca={AUTHORITY}"]
        + ["--batch", "--skip-column-names", "--unbuffered", "shop"],
        {"MYSQL_PWD": PASSWORD},
        lambda number: [select(number) + ";"],
    ),
    "redis-cli": lambda: program(
        ["redis-cli", "-h", HOST, "-p", PORT, "--tls", "--cacert", AUTHORITY],
        {"REDISCLI_AUTH": PASSWORD},
        lambda number: ["SET zoo:answer 41", f"INCRBY zoo:answer {number}"],
    ),
}

MODES[MODE]()
