"""The benchmarks, in the order in which they run. Each is a module with a `TITLE` and one function `plan(settings)`, a context manager
that sets the scene and yields the cases."""

ALL = ["throughput", "server_cpu", "plain", "agent_cpu", "files", "memory", "replay", "parsers", "scale", "peers"]
