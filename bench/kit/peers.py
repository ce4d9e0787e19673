"""Other programs that show TLS traffic: bcc's sslsniff, the same in bpftrace, and mitmproxy."""

import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

from kit.journal import note
from kit.plan import Unavailable
from kit.process import HERE, Failed, Process, clean_environment, cpu_seconds, free_port, until
from kit.weather import programs_of

MITMDUMP = HERE.parent / "target/bench-venv/bin/mitmdump"
HEADERS = Path("/usr/src")
# What sslsniff prints of each call, put in the words of bpftrace.
BPFTRACE = """uprobe:{library}:SSL_read,uprobe:{library}:SSL_write {{ @buffer[tid] = arg1; }}
uretprobe:{library}:SSL_read /@buffer[tid]/ {{
  if ((int32)retval > 0) {{ printf("READ/RECV %s %d %d\\n%s\\n", comm, pid, (int32)retval, str(@buffer[tid])); }} delete(@buffer[tid]); }}
uretprobe:{library}:SSL_write /@buffer[tid]/ {{
  if ((int32)retval > 0) {{ printf("WRITE/SEND %s %d %d\\n%s\\n", comm, pid, (int32)retval, str(@buffer[tid])); }} delete(@buffer[tid]); }}
"""


class Peer(Process):
    """A peer whose standard output goes to a file, where each request it saw leaves one line that matches `mark`."""

    def __init__(self, folder, command, mark, **environment):
        self.out, self.err, self.mark = folder / "peer.out", folder / "peer.err", mark
        note(command, environment)
        with self.out.open("w") as out, self.err.open("w") as err:
            super().__init__(command, stdout=out, stderr=err, env=clean_environment() | environment)

    def await_ready(self, ready, patience=40):
        def is_ready():
            if self.child.poll() is not None:
                raise Unavailable(f"{self.command[0]} ended with code {self.child.returncode}: {self.complaint()}")
            return ready()

        try:
            until("it to be ready", patience, is_ready)
        except Failed as failure:
            raise Unavailable(f"{failure}: {self.complaint()}") from failure

    def complaint(self):
        """What it said on standard error, in one line."""
        return " ".join(self.err.read_text(errors="replace").split())[-600:] or "it said nothing"

    def seen(self):
        """Ends it once it prints nothing more; requests that it saw."""
        size, until_ = -1, time.monotonic() + 20
        while self.out.stat().st_size != size and time.monotonic() < until_:
            size = self.out.stat().st_size
            time.sleep(1)
        self.child.send_signal(signal.SIGINT)
        try:
            self.child.wait(30)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        found = subprocess.run(["grep", "-caE", self.mark, self.out], capture_output=True, text=True)
        return int(found.stdout)

    def cpu(self):
        return cpu_seconds(self.pid)


# What keeps Debian's bcc 0.26 from running its own sslsniff on kernels of today, and what does instead: `min` of newer headers calls
# a function, which BPF may not; and the library's attach function takes one argument more than its Python side gives, so that it reads
# an offset of a reference counter where there is none.
REPAIRS = {
    "min((size_t)MAX_BUF_SIZE, (size_t)len)": "(size_t)len < (size_t)MAX_BUF_SIZE ? (size_t)len : (size_t)MAX_BUF_SIZE",
    "b = BPF(text=prog)\n": """import ctypes
from bcc import libbcc
attach = libbcc.lib.bpf_attach_uprobe
if len(attach.argtypes) == 6:
    attach.argtypes = [*attach.argtypes, ctypes.c_uint32]
    libbcc.lib.bpf_attach_uprobe = lambda *arguments: attach(*arguments, 0)
b = BPF(text=prog)
""",
}


@contextmanager
def sslsniff(folder, nginx, library):
    """Debian's sslsniff-bpfcc on nginx alone, with the REPAIRS that it needs. It compiles against the headers of the kernel; where the
    running one has none, those of Debian's own kernel serve, of which it uses little."""
    installed = shutil.which("sslsniff-bpfcc")
    if not installed:
        raise Unavailable("there is no sslsniff-bpfcc: install bpfcc-tools")
    text = Path(installed).read_text()
    for broken, repaired in REPAIRS.items():
        text = text.replace(broken, repaired)
    script = folder / "sslsniff"
    script.write_text(text)
    command = ["/usr/bin/python3", script, "-p", nginx.worker, "--no-gnutls", "--no-nss"]
    release = platform.release()
    if not Path(f"/lib/modules/{release}/build").exists() and not Path("/sys/kernel/kheaders.tar.xz").exists():
        lay_over = f"mount --bind {borrowed_headers(folder, release)} /lib/modules && exec \"$@\""
        command = ["unshare", "-m", "sh", "-c", lay_over, "sh", *command]
    with Peer(folder, command, "READ/RECV") as peer:
        peer.await_ready(lambda: len(programs_of(peer.pid)) >= 3)
        time.sleep(1)
        yield peer


def borrowed_headers(folder, release):
    """A folder to lie over /lib/modules, with the headers of another kernel under the name of this one."""
    trees = sorted(path for path in HEADERS.glob("linux-headers-*") if not path.name.endswith("-common") and (path / "include").is_dir())
    if not trees:
        raise Unavailable(f"sslsniff needs kernel headers: there is no /lib/modules/{release}/build and nothing in {HEADERS}")
    build = trees[-1]
    common = build.with_name(re.sub(r"-[a-z0-9]+$", "-common", build.name))
    modules = folder / "modules"
    (modules / release).mkdir(parents=True, exist_ok=True)
    for name, target in (("build", build), ("source", common if common.is_dir() else build)):
        link = modules / release / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
    return modules


@contextmanager
def bpftrace(folder, nginx, library):
    """A bpftrace program that prints what sslsniff prints, of nginx alone."""
    if not shutil.which("bpftrace"):
        raise Unavailable("there is no bpftrace")
    script = folder / "sniff.bt"
    script.write_text(BPFTRACE.format(library=library))
    command = ["bpftrace", "-q", "-p", nginx.worker, script]
    with Peer(folder, command, "^READ/RECV", BPFTRACE_STRLEN="200") as peer:
        peer.await_ready(lambda: len(programs_of(peer.pid)) >= 4)
        time.sleep(1)
        yield peer


@contextmanager
def mitmproxy(folder, nginx):
    """mitmdump as a reverse proxy in front of nginx; its port is `peer.port`."""
    if not os.access(MITMDUMP, os.X_OK):
        raise Unavailable(f"there is no {MITMDUMP}: run scripts/setup bench")
    port = free_port()
    command = [MITMDUMP, "--mode", f"reverse:https://127.0.0.1:{nginx.tls}", "--ssl-insecure", "--listen-host", "127.0.0.1",
               "--listen-port", port, "--set", f"confdir={folder / 'mitm'}", "--flow-detail", 1, "--set", "connection_strategy=lazy"]
    with Peer(folder, command, "<< .*200", PYTHONUNBUFFERED="1") as peer:
        peer.port = port
        peer.await_ready(lambda: is_listening(port))
        yield peer


def is_listening(port):
    return socket.create_connection(("127.0.0.1", port)).close() is None
