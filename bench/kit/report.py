"""Results as markdown and as JSON."""

import json
import os
import platform
import time
from pathlib import Path

from kit.results import spread


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def markdown(results):
    """One benchmark: its figures, its ratios and targets, and the commands."""
    names = results.names()
    parts = [f"## {results.name}: {results.title}", *results.plan.remarks]
    rows = []
    for case in results.samples:
        values = [results.values(name, case) for name in names]
        rows.append([f"`{case}`", *(spread(one) if one else "" for one in values)])
    if rows:
        parts.append(table(["case", *names], rows))
    verdicts = results.verdicts()
    if verdicts:
        rows = [[str(one.figure), spread(one.values) if one.values else "", one.figure.target, one.state] for one in verdicts]
        parts.append(table(["figure", "median", "target", ""], rows))
    parts += [f"`{case}` cannot be run here: {reason}" for case, reason in results.unavailable.items()]
    commands = [f"# {case}\n" + "\n".join(lines) for case, lines in results.commands.items() if lines]
    if commands:
        parts.append("```sh\n" + "\n".join(commands) + "\n```")
    return "\n\n".join(parts) + "\n"


def host():
    """Where and when."""
    processor = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                      if line.startswith("model name")), platform.machine())
    return (f"{time.strftime('%Y-%m-%d %H:%M')}, Linux {platform.release().split('-')[0]}, {os.cpu_count()} CPUs ({processor}), "
            f"load average {os.getloadavg()[0]:.1f}")


def write(folder, heading, all_results):
    """`bench.md` and `bench.json` in a folder; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    text, data = folder / "bench.md", folder / "bench.json"
    text.write_text(f"# Benchmarks\n\n{heading}\n\n" + "\n".join(markdown(results) for results in all_results))
    content = {"run": heading, "benchmarks": {results.name: results.as_json() for results in all_results}}
    data.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return text, data
