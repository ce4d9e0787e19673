"""HTTPS with a given libcrypto and libssl through their C functions, without Python's own ssl module.

Says `ready` once the libraries are mapped, and waits for a line. Numbers at the end: key updates before the request.
"""

import ctypes
import hashlib
import json
import socket
import sys


def main():
    libcrypto, libssl, port, name, path, *update = sys.argv[1:]
    ctypes.CDLL(libcrypto, mode=ctypes.RTLD_GLOBAL)
    ssl = ctypes.CDLL(libssl)
    pointer = ctypes.c_void_p
    for function, result, arguments in [
        ("TLS_client_method", pointer, []),
        ("SSL_CTX_new", pointer, [pointer]),
        ("SSL_new", pointer, [pointer]),
        ("SSL_set_fd", ctypes.c_int, [pointer, ctypes.c_int]),
        ("SSL_ctrl", ctypes.c_long, [pointer, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]),
        ("SSL_connect", ctypes.c_int, [pointer]),
        ("SSL_write", ctypes.c_int, [pointer, ctypes.c_char_p, ctypes.c_int]),
        ("SSL_read", ctypes.c_int, [pointer, ctypes.c_char_p, ctypes.c_int]),
        ("SSL_key_update", ctypes.c_int, [pointer, ctypes.c_int]),
        ("SSL_do_handshake", ctypes.c_int, [pointer]),
        ("SSL_shutdown", ctypes.c_int, [pointer]),
        ("SSL_get_version", ctypes.c_char_p, [pointer]),
    ]:
        getattr(ssl, function).restype = result
        getattr(ssl, function).argtypes = arguments
    print("ready", flush=True)
    sys.stdin.readline()
    sock = socket.create_connection(("127.0.0.1", int(port)), timeout=30)
    sock.setblocking(True)
    session = ssl.SSL_new(ssl.SSL_CTX_new(ssl.TLS_client_method()))
    ssl.SSL_set_fd(session, sock.fileno())
    # SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name
    ssl.SSL_ctrl(session, 55, 0, name.encode())
    if ssl.SSL_connect(session) != 1:
        sys.exit("no handshake")
    for kind in update:
        # 0: its own key only, 1: asks for the other end's too (SSL_KEY_UPDATE_REQUESTED).
        if ssl.SSL_key_update(session, int(kind)) != 1 or ssl.SSL_do_handshake(session) != 1:
            sys.exit("no key update")
    request = f"GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode()
    if ssl.SSL_write(session, request, len(request)) != len(request):
        sys.exit("not written")
    answer, buffer = b"", ctypes.create_string_buffer(7000)
    while (count := ssl.SSL_read(session, buffer, len(buffer))) > 0:
        answer += buffer.raw[:count]
    version = ssl.SSL_get_version(session).decode()
    ssl.SSL_shutdown(session)
    sock.close()
    body = answer.split(b"\r\n\r\n", 1)[1]
    print(json.dumps({"version": version, "body_sha256": hashlib.sha256(body).hexdigest()}), flush=True)


if __name__ == "__main__":
    main()
