"""What the verifier of each kernel walked through for each program, against the figures that were accepted.

The verifier refuses a program above a million instructions, and what it counts for the same program differs between kernels by a
factor of three: growth shows here long before some kernel refuses to load. The figures depend on the compiler too.
"""

import json
import re
import subprocess
from pathlib import Path

FILE = Path(__file__).parent / "verified.json"
# A figure may grow by a tenth and a hundred instructions, since kernels are updated, before it has to be accepted.
MARGIN = 1.1
SLACK = 100
# Whatever the compiler: half of what the verifier allows.
LIMIT = 500_000
ACCEPT = "scripts/test-kernels --accept {version} takes them over"


def compiler():
    """Major version of the clang that the object is built with."""
    text = subprocess.run(["clang", "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"version (\d+)", text)[1]


def parse(log):
    """Program and instructions, of the agent's log at level trace."""
    lines = (json.loads(line) for line in log.splitlines() if line.startswith("{"))
    return {line["program"]: line["instructions"] for line in lines if line["message"] == "program verified"}


def compare(version, found, accepted, clang):
    """The differences that matter, as sentences; none when all is well."""
    problems = [
        f"{program}: {count:,} instructions verified, of {2 * LIMIT:,} that the kernel allows; more than half is too near"
        for program, count in found.items()
        if count > LIMIT
    ]
    known = accepted.get(version)
    if known is None:
        return problems
    how = ACCEPT.format(version=version)
    problems += [f"{program}: not among the programs that loaded; if it is gone for good, {how}" for program in known if program not in found]
    problems += [f"{program}: no figure was accepted for it so far; {how}" for program in found if program not in known]
    if clang != accepted["clang"]:
        return problems
    for program in sorted(known.keys() & found.keys()):
        most = int(known[program] * MARGIN) + SLACK
        if found[program] > most:
            problems.append(
                f"{program}: {found[program]:,} instructions verified, {known[program]:,} accepted, {most:,} within the margin; "
                f"make it cheaper, or if it has to be, {how}"
            )
    return problems


def load():
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


def accept(found):
    """Takes over the figures of the versions in `found`. Those of another compiler go: they say nothing about this one."""
    clang = compiler()
    accepted = load()
    if accepted.get("clang") != clang:
        accepted = {"clang": clang}
    accepted.update({version: dict(sorted(figures.items())) for version, figures in found.items()})
    versions = sorted((key for key in accepted if key != "clang"), key=lambda text: [int(part) for part in text.split(".")])
    ordered = {"clang": clang, **{version: accepted[version] for version in versions}}
    FILE.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
