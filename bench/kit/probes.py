"""BPF programs that do nothing: the floor of whatever hooks the same places."""

import json
import subprocess

from kit.journal import note
from kit.process import HERE, Failed, Process


class EmptyProbes(Process):
    """bench/empty-probes with these arguments."""

    def __init__(self, *arguments):
        command = [HERE / "empty-probes", *arguments]
        note(["bench/empty-probes", *arguments])
        super().__init__(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.child.stdout.readline().split()
        if said[:1] != ["ready"]:
            raise Failed(f"{' '.join(self.command)} could not attach")
        self.kind = said[1]

    def counts(self):
        """Ends it; runs of each function as `{name: (entries, returns)}`."""
        said, _ = self.child.communicate(timeout=15)
        return {name: tuple(map(int, runs)) for name, *runs in map(str.split, said.splitlines())}


def on_calls(library, *flags):
    """On the calls through which nginx and the load generators read and write TLS."""
    return EmptyProbes(*flags, library, "SSL_read", "SSL_write")


def on_syscall_exit(*flags):
    """At the exit of every system call of the host."""
    return EmptyProbes(*flags, "--syscall-exit")


def tracing_programs():
    """Ids of the BPF programs on this host that may cost a traced program time."""
    kinds = {"kprobe", "tracepoint", "raw_tracepoint", "raw_tracepoint_writable", "perf_event", "tracing"}
    said = subprocess.run(["bpftool", "--json", "prog", "show"], check=True, capture_output=True, text=True).stdout
    return {program["id"] for program in json.loads(said) if program["type"] in kinds}
