"""Many processes that do nothing, some of them with a TLS library mapped."""

import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

from kit.journal import note
from kit.process import Failed, clean_environment, until

# One in so many has a TLS library.
TLS_EVERY = 10


@contextmanager
def processes(count, library):
    """`count` processes that sleep; a tenth of them has `library` mapped."""
    command = ["sleep", "600"]
    note([*command, f"# {count} times, one in {TLS_EVERY} with LD_PRELOAD={library}"])
    with_tls = clean_environment() | {"LD_PRELOAD": library}
    children = []
    try:
        for number in range(count):
            environment = clean_environment() if number % TLS_EVERY else with_tls
            children.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL))
        if children:
            until("a process to map the TLS library", 10, lambda: library in Path(f"/proc/{children[0].pid}/maps").read_text())
        yield
        if any(child.poll() is not None for child in children):
            raise Failed("a process that was to sleep has ended")
    finally:
        for child in children:
            child.send_signal(signal.SIGKILL)
        for child in children:
            child.wait()
