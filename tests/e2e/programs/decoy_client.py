"""HTTPS in pure Python beside a library that is handed secrets: decoy_client.py LIBRARY PORT PATH

For each line read, `right` or `wrong`, one connection, whose secrets are handed to the library (see decoy.c), or other bytes in their
place. Says the digest of what was received.
"""

import ctypes
import hashlib
import json
import os
import socket
import sys

# So that nothing maps OpenSSL.
sys.modules["ssl"] = sys.modules["_ssl"] = sys.modules["_hashlib"] = None

from tlslite import tlsconnection  # noqa: E402

FUNCTIONS = {
    b"c hs traffic": "decoy_client_handshake",
    b"s hs traffic": "decoy_server_handshake",
    b"c ap traffic": "decoy_client_traffic",
    b"s ap traffic": "decoy_server_traffic",
    b"exp master": "decoy_exporter",
}


def main():
    library, port, path = sys.argv[1:]
    library = ctypes.CDLL(library)
    derive = tlsconnection.derive_secret
    kind = None

    def derive_secret(secret, label, *rest):
        derived = derive(secret, label, *rest)
        told = bytes(derived) if kind == "right" else os.urandom(len(derived))
        if name := FUNCTIONS.get(bytes(label)):
            getattr(library, name)(told, ctypes.c_size_t(len(told)))
        return derived

    tlsconnection.derive_secret = derive_secret
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        kind = line.strip()
        sock = socket.create_connection(("127.0.0.1", int(port)), timeout=30)
        tls = tlsconnection.TLSConnection(sock)
        tls.closeSocket = True
        tls.handshakeClientCert(serverName="decoy.qtap.test")
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: decoy.qtap.test\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while part := tls.recv(65536):
            answer += part
        local = sock.getsockname()[1] if sock.fileno() >= 0 else 0
        tls.close()
        body = answer.split(b"\r\n\r\n", 1)[1]
        print(json.dumps({"body_sha256": hashlib.sha256(body).hexdigest(), "port": local}), flush=True)


if __name__ == "__main__":
    main()
