"""Peers that talk something else on the port of a protocol: twenty connections, one after the other.

other_bytes.py PORT PROTOCOL: the client's bytes begin as those of redis or kafka do; all else is random.
"""

import os
import socket
import struct
import sys
import threading

TURNS = 20


def kafka(turn):
    body = struct.pack(">hhih", turn, 1, turn, 5) + os.urandom(200)
    return struct.pack(">i", len(body)) + body


OPENINGS = {"redis": lambda _: b"*" + os.urandom(300), "kafka": kafka}


def main():
    address = ("127.0.0.1", int(sys.argv[1]))
    opening = OPENINGS[sys.argv[2]]
    listener = socket.create_server(address)

    def serve():
        for _ in range(TURNS):
            peer, _ = listener.accept()
            peer.sendall(os.urandom(400))
            while peer.recv(4096):
                pass
            peer.close()

    thread = threading.Thread(target=serve)
    thread.start()
    for turn in range(TURNS):
        with socket.create_connection(address) as client:
            client.sendall(opening(turn))
            client.recv(4096)
    thread.join()


main()
