"""The commands that a case runs, so that each figure can be printed with them."""

import re
import shlex

_commands = []


def note(command, environment=None):
    """Remembers a command, with variables of its environment, without what differs from run to run."""
    program, *words = (str(word) for word in command)
    text = shlex.join([program.rpartition("/")[2] if program.startswith("/") else program, *words])
    text = "".join(f"{name}={value} " for name, value in (environment or {}).items()) + text
    text = re.sub(r"/tmp/tmp[^/ ]+", "TMP", text)
    text = re.sub(r"(127\.0\.0\.\d+):\d+", r"\1:PORT", text)
    if text not in _commands:
        _commands.append(text)


def taken():
    """The commands since the last time, which are forgotten."""
    commands = list(_commands)
    _commands.clear()
    return commands
