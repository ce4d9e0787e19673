"""Records kernel events with the replay tool."""

import subprocess

from kit.load import run
from kit.nginx import mapped_libssl
from kit.process import Failed, Process


def record(tool, nginx, file, tls, http1, path, requests, seconds=4):
    """What the kernel side tells of nginx and h2load, both ends, two connections."""
    command = [tool, "record", "--port", nginx.tls if tls else nginx.plain, "--seconds", seconds, file]
    if tls:
        command += ["--library", mapped_libssl(nginx.worker)]
    with Process(command, stdout=subprocess.PIPE, text=True) as recorder:
        if recorder.child.stdout.readline().strip() != "ready":
            raise Failed("the recorder did not start")
        said = run(["h2load", "-c", 2, "-n", requests, nginx.url(path, tls), *(["--h1"] if http1 else [])])
        if f"{requests} succeeded" not in said:
            raise Failed(f"h2load failed:\n{said}")
        if recorder.child.wait(60) != 0:
            raise Failed(f"nothing was recorded of {path}")
