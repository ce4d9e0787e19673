"""Servers whose connections turn into TLS in the middle, and a SOCKS proxy.

starttls_server.py smtp|imap|pop3|socks CERTIFICATE KEY: prints its port, then serves until its standard input ends. What it says is
just enough for curl.
"""

import os
import socket
import ssl
import sys
import threading

from server import relay_both


class Lines:
    """A conversation of lines."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    def read(self):
        while b"\r\n" not in self.buffer:
            data = self.sock.recv(4096)
            if not data:
                return None
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("latin-1")

    def say(self, *lines):
        self.sock.sendall("".join(line + "\r\n" for line in lines).encode("latin-1"))


def smtp(lines, context):
    lines.say("220 mail.example ESMTP")
    while (line := lines.read()) is not None:
        verb = line.split(" ", 1)[0].upper()
        if verb == "STARTTLS":
            lines.say("220 ready")
            lines = Lines(context.wrap_socket(lines.sock, server_side=True))
        elif verb == "EHLO":
            lines.say("250-mail.example", "250 STARTTLS")
        elif verb == "DATA":
            lines.say("354 go on")
            while lines.read() not in (".", None):
                pass
            lines.say("250 accepted")
        elif verb == "QUIT":
            lines.say("221 bye")
            return lines.sock
        else:
            lines.say("250 OK")
    return lines.sock


def imap(lines, context):
    lines.say("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready")
    while (line := lines.read()) is not None:
        tag, verb = (line.split(" ") + [""])[:2]
        verb = verb.upper()
        if verb == "CAPABILITY":
            lines.say("* CAPABILITY IMAP4rev1 STARTTLS", f"{tag} OK done")
        elif verb == "STARTTLS":
            lines.say(f"{tag} OK begin")
            lines = Lines(context.wrap_socket(lines.sock, server_side=True))
        elif verb == "LOGOUT":
            lines.say("* BYE", f"{tag} OK done")
            return lines.sock
        elif verb == "LIST":
            lines.say('* LIST () "/" INBOX', f"{tag} OK done")
        else:
            lines.say(f"{tag} OK done")
    return lines.sock


def pop3(lines, context):
    lines.say("+OK ready")
    while (line := lines.read()) is not None:
        verb = line.split(" ", 1)[0].upper()
        if verb == "CAPA":
            lines.say("+OK", "STLS", "USER", ".")
        elif verb == "STLS":
            lines.say("+OK begin")
            lines = Lines(context.wrap_socket(lines.sock, server_side=True))
        elif verb == "LIST":
            lines.say("+OK", "1 5", ".")
        elif verb == "QUIT":
            lines.say("+OK bye")
            return lines.sock
        else:
            lines.say("+OK")
    return lines.sock


def exactly(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise ConnectionError("the client left")
        data += part
    return data


def socks(lines, _context):
    """RFC 1928 without authentication, to names."""
    near = lines.sock
    exactly(near, exactly(near, 2)[1])
    near.sendall(b"\x05\x00")
    kind = exactly(near, 4)[3]
    host = socket.inet_ntoa(exactly(near, 4)) if kind == 1 else exactly(near, exactly(near, 1)[0]).decode()
    port = int.from_bytes(exactly(near, 2), "big")
    with socket.create_connection((host, port), timeout=10) as far:
        near.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        relay_both(near, far)
    return near


def serve(talk, sock, context):
    try:
        sock = talk(Lines(sock), context)
    except (OSError, ConnectionError) as error:
        print(error, file=sys.stderr)
    sock.close()


def main():
    name, certificate, key = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def accept():
        while True:
            sock, _ = listener.accept()
            talk = {"smtp": smtp, "imap": imap, "pop3": pop3, "socks": socks}[name]
            threading.Thread(target=serve, args=(talk, sock, context), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
