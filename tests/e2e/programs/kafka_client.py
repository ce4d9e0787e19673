"""Talks to a Kafka broker with kafka-python or librdkafka and prints what it got, as JSON.

kafka_client.py python|librdkafka|group PORT [--ca FILE] [--hold] [--sasl MECHANISM USER PASSWORD]: with --hold it waits for a line on
standard input, with kafka-python after its first message, with librdkafka once the library is there. With --sasl it only tries to log in. `group` is librdkafka too: a producer, and a consumer that is member of a group.
"""

import argparse
import json
import logging
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("library", choices=["python", "librdkafka", "group"])
parser.add_argument("port", type=int)
parser.add_argument("--ca")
parser.add_argument("--hold", action="store_true")
parser.add_argument("--sasl", nargs=3)
options = parser.parse_args()
logging.disable(logging.CRITICAL)
address = f"127.0.0.1:{options.port}"
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def hold():
    if options.hold:
        print("held", flush=True)
        sys.stdin.readline()


def with_kafka_python():
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import KafkaAdminClient, NewTopic
    from kafka.errors import KafkaError

    common = {"bootstrap_servers": address, "client_id": "e2e"}
    if options.ca:
        common |= {"security_protocol": "SSL", "ssl_cafile": options.ca}
    admin = KafkaAdminClient(**common)
    admin.create_topics([NewTopic("orders", 1, 1)])
    try:
        admin.create_topics([NewTopic("orders", 1, 1)])
        error = None
    except KafkaError as failure:
        error = type(failure).__name__
    admin.close()
    producer = KafkaProducer(acks=1, linger_ms=100, **common)
    producer.send("orders", b"first", key=b"k0").get(10)
    hold()
    sent = [producer.send("orders", b"value %d" % number, key=b"k%d" % number) for number in (1, 2, 3)]
    offsets = [future.get(10).offset for future in sent]
    producer.close()
    consumer = KafkaConsumer(
        group_id="readers", auto_offset_reset="earliest", session_timeout_ms=6000, fetch_max_wait_ms=400, **common
    )
    consumer.subscribe(["orders"])
    values = []
    deadline = time.monotonic() + 30
    while len(values) < 4 and time.monotonic() < deadline:
        values += [m.value.decode() for batch in consumer.poll(1000).values() for m in batch]
    # Nothing comes: the broker lets these wait.
    consumer.poll(1500)
    consumer.commit()
    consumer.end_offsets([TopicPartition("orders", 0)])
    consumer.close()
    return {"error": error, "offsets": offsets, "values": values}


def librdkafka_settings():
    settings = {"bootstrap.servers": address, "client.id": "e2e", "enable.metrics.push": False}
    if options.ca:
        settings |= {"security.protocol": "ssl", "ssl.ca.location": options.ca}
    return settings


def with_librdkafka():
    from confluent_kafka import Consumer, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic

    hold()
    common = librdkafka_settings()
    admin = AdminClient(common)
    for created in admin.create_topics([NewTopic("zipped", 1, 1), NewTopic("late", 1, 1)]).values():
        created.result()
    for codec in CODECS:
        producer = Producer(common | {"compression.type": codec, "linger.ms": 100})
        for number in range(4):
            producer.produce("zipped", key=f"k{number}", value=f"{codec} value {number} " * 4, headers={"trace": "t"})
        assert producer.flush(10) == 0
    producer = Producer(common | {"acks": 0})
    producer.produce("late", b"fire and forget")
    assert producer.flush(10) == 0
    consumer = Consumer(common | {"group.id": "readers", "fetch.wait.max.ms": 300, "enable.auto.commit": False})
    consumer.assign([TopicPartition("zipped", 0, 0), TopicPartition("late", 0, 0)])
    values, deadline = [], time.monotonic() + 30
    while len(values) < 21 and time.monotonic() < deadline:
        message = consumer.poll(1)
        if message and not message.error():
            values.append(message.value().decode())
    consumer.close()
    return {"values": sorted(values)}


def in_a_group():
    from confluent_kafka import Consumer, Producer

    common = librdkafka_settings()
    producer = Producer(common | {"acks": "all", "retry.backoff.ms": 50})
    producer.produce("events", b"one", key=b"k")
    assert producer.flush(20) == 0
    settings = {"group.id": "members", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    settings |= {"session.timeout.ms": 30_000, "heartbeat.interval.ms": 300}
    consumer = Consumer(common | settings)
    consumer.subscribe(["events"])
    value, deadline = None, time.monotonic() + 30
    while value is None and time.monotonic() < deadline:
        message = consumer.poll(1)
        if message and not message.error():
            value = message.value().decode()
    # Time for heartbeats.
    consumer.poll(1)
    consumer.commit(asynchronous=False)
    consumer.close()
    return {"value": value}


def log_in():
    """Tries once; what the broker said of it."""
    from confluent_kafka import Producer

    mechanism, user, password = options.sasl
    errors = []
    producer = Producer(
        librdkafka_settings()
        | {
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": mechanism,
            "sasl.username": user,
            "sasl.password": password,
            "error_cb": lambda error: errors.append(str(error)),
            "reconnect.backoff.ms": 10_000,
            "reconnect.backoff.max.ms": 10_000,
        }
    )
    deadline = time.monotonic() + 10
    while not errors and time.monotonic() < deadline:
        producer.poll(0.2)
    return {"errors": errors}


if options.sasl:
    said = log_in()
elif options.library == "python":
    said = with_kafka_python()
elif options.library == "group":
    said = in_a_group()
else:
    said = with_librdkafka()
print(json.dumps(said))
