"""Debian's nginx, on any loopback address: plaintext and TLS, HTTP/1.1 and HTTP/2, bodies of several sizes."""

import json
import random
import resource
import socket
import subprocess
from pathlib import Path

from kit.process import Failed, Process, cpu_seconds, free_port, on_cpu, until

CONFIGURATION = """user root; worker_processes {workers}; worker_rlimit_nofile {files}; daemon off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections {files}; multi_accept on; }}
http {{
  access_log off; sendfile off; keepalive_requests 1000000000; keepalive_timeout 600; client_header_timeout 600;
  default_type application/octet-stream; types {{ application/json json; }} output_buffers 1 128k; open_file_cache max=16;
  http2_max_concurrent_streams 1024;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 0.0.0.0:{tls} ssl http2 backlog=65535 reuseport; listen 0.0.0.0:{plain} backlog=65535 reuseport;
    ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.2 TLSv1.3;
    root files;
    location = /hello {{ return 200 "hello, world, this is the body of a small answer\\n"; }}
    location = /status {{ stub_status; }}
  }}
}}
"""

# What there is to fetch: file name and size in bytes.
FILES = {"1k.json": 1 << 10, "16k.json": 16 << 10, "1m.json": 1 << 20}


def document(size):
    """JSON of just this size: records such as an interface for programs returns."""
    choice = random.Random(size)
    records = []
    while True:
        number = len(records)
        record = {"id": number, "name": f"item {number}", "price": choice.randrange(10**6) / 100, "ok": number % 3 > 0}
        if len(json.dumps({"records": [*records, record], "padding": ""})) > size:
            break
        records.append(record)
        # Appending to a list of thousands and printing it anew each time is slow: go in larger steps while far away.
        while len(json.dumps(records)) * 2 < size:
            records += [dict(one, id=len(records) + at) for at, one in enumerate(records)]
    text = json.dumps({"records": records, "padding": ""})
    return json.dumps({"records": records, "padding": "x" * (size - len(text))})


class Nginx(Process):
    """Serves /hello and the FILES. `worker` is the pid of the one worker that is measured, if there is only one."""

    def __init__(self, folder, workers=1, cpu=None):
        folder = Path(folder) / ("nginx" if cpu is None else f"nginx-{cpu}")
        (folder / "files").mkdir(parents=True)
        for name, size in FILES.items():
            (folder / "files" / name).write_text(document(size))
        self.plain, self.tls = free_port(), free_port()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        (folder / "nginx.conf").write_text(CONFIGURATION.format(workers=workers, plain=self.plain, tls=self.tls, files=files))
        request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
        subprocess.run(["openssl", *request.split()], cwd=folder, check=True, capture_output=True)
        super().__init__([*on_cpu(cpu), "nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", "stderr"])
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        self.worker = int(until("nginx", 10, lambda: children.read_text().split())[0])
        until("nginx to listen", 10, lambda: socket.create_connection(("127.0.0.1", self.tls)).close() is None)

    def url(self, path, tls=True):
        return f"https://127.0.0.1:{self.tls}/{path}" if tls else f"http://127.0.0.1:{self.plain}/{path}"

    def cpu(self):
        return cpu_seconds(self.worker)


def mapped_libssl(pid):
    """The file of libssl that a process has mapped."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        path = line.split(maxsplit=5)[-1]
        if "/libssl.so" in path:
            return path
    raise Failed("nginx does not use a shared libssl: install Debian's nginx-light")
