"""HTTPS in pure Python: a TLS stack that no probe can find."""

import hashlib
import json
import socket
import sys

# So that nothing maps OpenSSL.
sys.modules["ssl"] = sys.modules["_ssl"] = sys.modules["_hashlib"] = None

from tlslite.tlsconnection import TLSConnection  # noqa: E402


def main():
    port, path = sys.argv[1:]
    sock = socket.create_connection(("127.0.0.1", int(port)), timeout=30)
    tls = TLSConnection(sock)
    tls.closeSocket = True
    tls.handshakeClientCert(serverName="pure.qtap.test")
    tls.sendall(f"GET {path} HTTP/1.1\r\nHost: pure.qtap.test\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    while part := tls.recv(65536):
        answer += part
    tls.close()
    with open("/proc/self/maps", encoding="utf-8") as maps:
        libraries = sorted({line.split()[-1] for line in maps if "libssl" in line or "libgnutls" in line})
    body = answer.split(b"\r\n\r\n", 1)[1]
    print(json.dumps({"body_sha256": hashlib.sha256(body).hexdigest(), "libraries": libraries}), flush=True)


if __name__ == "__main__":
    main()
