"""Talks to a Redis server with redis-py and prints what it got, as JSON.

redis_client.py PORT PASSWORD --resp 2|3 [--ca FILE] [--hold]: with --hold it waits for a line on standard input after its first
command.
"""

import argparse
import json
import sys

import redis

parser = argparse.ArgumentParser()
parser.add_argument("port", type=int)
parser.add_argument("password")
parser.add_argument("--resp", type=int, default=2)
parser.add_argument("--ca")
parser.add_argument("--hold", action="store_true")
options = parser.parse_args()

tls = {"ssl": True, "ssl_ca_certs": options.ca} if options.ca else {}
client = redis.Redis(
    "127.0.0.1", options.port, password=options.password, protocol=options.resp, client_name="e2e", db=2, **tls
)
client.ping()
if options.hold:
    print("held", flush=True)
    sys.stdin.readline()
client.set("py:key", "grüße")
got = client.get("py:key").decode()
client.delete("py:list")
client.rpush("py:list", "a", "b", "c")
listed = [item.decode() for item in client.lrange("py:list", 0, -1)]
try:
    client.incr("py:list")
    error = None
except redis.ResponseError as failure:
    error = str(failure)
pipe = client.pipeline(transaction=False)
for number in range(200):
    pipe.echo(f"n{number}")
echoed = [item.decode() for item in pipe.execute()]
with client.pipeline(transaction=True) as pipe:
    pipe.incr("py:count")
    pipe.incr("py:count")
    counted = pipe.execute()
big = "x" * 300_000
client.set("py:big", big)
assert client.get("py:big").decode() == big
client.config_set("requirepass", options.password)
pubsub = client.pubsub()
pubsub.subscribe("py:one", "py:two")
confirmed = [pubsub.get_message(timeout=5)["type"] for _ in range(2)]
client.publish("py:one", "hello")
message = pubsub.get_message(timeout=5)["data"].decode()
pubsub.close()
client.close()
print(
    json.dumps(
        {
            "got": got,
            "listed": listed,
            "error": error,
            "echoed": echoed == [f"n{number}" for number in range(200)],
            "counted": counted,
            "confirmed": confirmed,
            "message": message,
        }
    )
)
