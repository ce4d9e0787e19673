"""Asks numbered questions of a server and checks that each got its own answer.

numbered.py PROTOCOL PORT [--ca FILE] [--password PASSWORD]: PROTOCOL is http1, http2, grpc, websocket, events, redis, mysql, postgres or
kafka; with --ca inside of TLS. Prints `ready`, then reads lines from standard input. `ask FIRST COUNT` asks the questions FIRST to
FIRST + COUNT - 1, on the one connection that the first of them opens (kafka: on those that the library keeps), and prints `asked`.
`close` closes it, as does the end of the input, and prints `closed`. Everything else that it prints or raises is a failure.

An answer says the number of its question, and its length depends on it, so that neither can be taken for another's.
"""

import argparse
import sys


# Of gRPC: a channel does not take over the connection of the one before.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


def padding(number):
    return "x" * (number * 37 % 301)


def answer(number):
    return f"answer-{number}-{padding(number)}"


class Http1:
    """Every third question is a POST with a body of its own."""

    def __init__(self, port, options):
        import http.client
        import ssl

        if options.ca:
            context = ssl.create_default_context(cafile=options.ca)
            self.connection = http.client.HTTPSConnection("localhost", port, context=context)
        else:
            self.connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(self, numbers):
        for number in numbers:
            path = f"/ask?n={number}&p={padding(number)}"
            if number % 3 == 0:
                self.connection.request("POST", path, f"question-{number}-{padding(number)}")
            else:
                self.connection.request("GET", path)
            response = self.connection.getresponse()
            assert response.read().decode() == answer(number), number

    def close(self):
        self.connection.close()


class Http2:
    """Up to eight questions at a time."""

    def __init__(self, port, options):
        import asyncio
        import ssl

        import httpx

        self.loop = asyncio.new_event_loop()
        context = ssl.create_default_context(cafile=options.ca) if options.ca else False
        self.base = f"https://localhost:{port}" if options.ca else f"http://127.0.0.1:{port}"
        self.client = httpx.AsyncClient(http1=False, http2=True, verify=context, trust_env=False, timeout=20)

    async def one(self, number):
        response = await self.client.get(f"{self.base}/ask?n={number}&p={padding(number)}")
        assert response.http_version == "HTTP/2" and response.text == answer(number), number

    async def all(self, numbers):
        import asyncio

        for start in range(0, len(numbers), 8):
            await asyncio.gather(*(self.one(number) for number in numbers[start : start + 8]))

    def ask(self, numbers):
        self.loop.run_until_complete(self.all(numbers))

    def close(self):
        self.loop.run_until_complete(self.client.aclose())


class Grpc:
    """The server sends back what it gets."""

    def __init__(self, port, options):
        import grpc

        if options.ca:
            with open(options.ca, "rb") as file:
                credentials = grpc.ssl_channel_credentials(file.read())
            self.channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials, OWN_CONNECTION)
        else:
            self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", OWN_CONNECTION)
        self.call = self.channel.unary_unary("/e2e.Calls/Unary")

    def ask(self, numbers):
        for number in numbers:
            assert self.call(answer(number).encode(), timeout=20).decode() == answer(number), number

    def close(self):
        self.channel.close()


class WebSocket:
    """The server sends back what it gets."""

    def __init__(self, port, options):
        import ssl

        from websockets.sync.client import connect

        context = ssl.create_default_context(cafile=options.ca) if options.ca else None
        url = f"wss://localhost:{port}/echo" if options.ca else f"ws://127.0.0.1:{port}/echo"
        self.socket = connect(url, ssl=context, subprotocols=["chat.v1"], compression=None, proxy=None, ping_interval=None)

    def ask(self, numbers):
        for number in numbers:
            self.socket.send(answer(number))
            assert self.socket.recv(timeout=20) == answer(number), number

    def close(self):
        self.socket.close()


class Events(Http1):
    """Each ask is a stream of as many events."""

    def ask(self, numbers):
        self.connection.request("GET", f"/numbers?first={numbers[0]}&count={len(numbers)}")
        lines = self.connection.getresponse().read().decode().split("\n\n")
        assert lines == [f"id: {number}\ndata: {answer(number)}" for number in numbers] + [""]


class Redis:
    """Every tenth to twelfth question go together."""

    def __init__(self, port, options):
        import redis

        tls = {"ssl": True, "ssl_ca_certs": options.ca} if options.ca else {}
        self.client = redis.Redis("localhost" if options.ca else "127.0.0.1", port, password=options.password, **tls)

    def ask(self, numbers):
        numbers = list(numbers)
        while numbers:
            together = 3 if numbers[0] % 10 == 0 else 1
            now, numbers = numbers[:together], numbers[together:]
            pipe = self.client.pipeline(transaction=False)
            for number in now:
                pipe.echo(answer(number))
            assert [item.decode() for item in pipe.execute()] == [answer(number) for number in now], now

    def close(self):
        self.client.close()


class MySql:
    def __init__(self, port, options):
        import pymysql

        tls = {"ssl": {"ca": options.ca}} if options.ca else {"ssl_disabled": True}
        self.connection = pymysql.connect(
            host="localhost" if options.ca else "127.0.0.1",
            port=port,
            user="alice",
            password=options.password,
            database="shop",
            autocommit=True,
            **tls,
        )

    def ask(self, numbers):
        cursor = self.connection.cursor()
        for number in numbers:
            cursor.execute(f"select {number}, '{answer(number)}'")
            assert cursor.fetchall() == ((number, answer(number)),), number

    def close(self):
        self.connection.close()


class Postgres:
    """Every second question has a parameter, and so uses the extended protocol."""

    def __init__(self, port, options):
        import psycopg

        self.connection = psycopg.connect(
            host="127.0.0.1",
            port=port,
            user="postgres",
            dbname="postgres",
            password=options.password,
            sslmode="require" if options.ca else "disable",
            autocommit=True,
            prepare_threshold=None,
        )

    def ask(self, numbers):
        for number in numbers:
            if number % 2:
                cursor = self.connection.execute(f"select {number}, 'answer-{number}-' || %s", [padding(number)])
            else:
                cursor = self.connection.execute(f"select {number}, '{answer(number)}'")
            assert cursor.fetchall() == [(number, answer(number))], number

    def close(self):
        self.connection.close()


class Kafka:
    """A message is a question, its offset the answer: they are numbered from 0."""

    def __init__(self, port, options):
        from kafka import KafkaProducer
        from kafka.admin import KafkaAdminClient, NewTopic
        from kafka.errors import TopicAlreadyExistsError

        common = {"bootstrap_servers": f"127.0.0.1:{port}", "client_id": "e2e"}
        if options.ca:
            common |= {"security_protocol": "SSL", "ssl_cafile": options.ca}
        admin = KafkaAdminClient(**common)
        try:
            admin.create_topics([NewTopic("numbers", 1, 1)])
        except TopicAlreadyExistsError:
            # By the connection before.
            pass
        admin.close()
        self.producer = KafkaProducer(acks=1, **common)

    def ask(self, numbers):
        for number in numbers:
            sent = self.producer.send("numbers", answer(number).encode(), key=b"k%d" % number)
            assert sent.get(20).offset == number, number

    def close(self):
        self.producer.close()


KINDS = {
    "http1": Http1,
    "http2": Http2,
    "grpc": Grpc,
    "websocket": WebSocket,
    "events": Events,
    "redis": Redis,
    "mysql": MySql,
    "postgres": Postgres,
    "kafka": Kafka,
}
MODULES = {
    "http1": ["http.client", "ssl"],
    "http2": ["httpx", "h2.connection", "ssl"],
    "grpc": ["grpc"],
    "websocket": ["websockets.sync.client", "ssl"],
    "events": ["http.client", "ssl"],
    "redis": ["redis", "ssl"],
    "mysql": ["pymysql", "ssl"],
    "postgres": ["psycopg"],
    "kafka": ["kafka", "kafka.admin", "ssl"],
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("protocol", choices=KINDS)
    parser.add_argument("port", type=int)
    parser.add_argument("--ca")
    parser.add_argument("--password")
    options = parser.parse_args()
    # The libraries are there, with what TLS they bring, before anybody looks.
    for module in MODULES[options.protocol]:
        __import__(module)
    print("ready", flush=True)
    client = None
    for line in sys.stdin:
        if line == "close\n":
            client.close()
            client = None
            print("closed", flush=True)
            continue
        _, first, count = line.split()
        client = client or KINDS[options.protocol](options.port, options)
        client.ask(range(int(first), int(first) + int(count)))
        print("asked", flush=True)
    if client:
        client.close()


main()
