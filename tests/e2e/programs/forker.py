"""A prefork server: accepts in the parent, answers in a child that has nothing but the inherited descriptor.

Prints its port, then the pid of each child. Also hands one connection over to a process that it never forked from, by
SCM_RIGHTS over a socket pair, and answers one after dup2 and close of the original descriptor.
"""

import os
import socket
import sys


def answer(sock, text):
    request = b""
    while b"\r\n\r\n" not in request:
        request += sock.recv(65536)
    body = text.encode()
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
    sock.close()


def in_child(listener):
    sock, _ = listener.accept()
    child = os.fork()
    if child == 0:
        listener.close()
        answer(sock, "child")
        os._exit(0)
    sock.close()
    os.waitpid(child, 0)
    return child


def handed_over(listener):
    near, far = socket.socketpair()
    child = os.fork()
    if child == 0:
        near.close()
        listener.close()
        _, descriptors, _, _ = socket.recv_fds(far, 1, 1)
        answer(socket.socket(fileno=descriptors[0]), "handed over")
        os._exit(0)
    sock, _ = listener.accept()
    socket.send_fds(near, [b"x"], [sock.fileno()])
    sock.close()
    os.waitpid(child, 0)
    return child


def duplicated(listener):
    sock, _ = listener.accept()
    os.dup2(sock.fileno(), 200)
    sock.close()
    answer(socket.socket(fileno=200), "duplicated")
    return os.getpid()


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    for way in (in_child, handed_over, duplicated):
        print(way(listener), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
