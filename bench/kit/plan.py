"""What a benchmark is: cases that alternate, and what their figures have to reach."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable


class Unavailable(Exception):
    """A case cannot be run on this host; says why. The others go on."""


@dataclass
class Settings:
    """What all benchmarks are told."""

    # The agent, the replay tool, and the one that runs parsers.
    qtap: Path
    replay: Path
    parsers: Path
    # Of load, each time.
    seconds: int
    # For files of the benchmark; gone afterwards.
    folder: Path


@dataclass
class Case:
    """One thing that is measured once a round: `measure()` returns its figures, `{name with unit: value}`."""

    name: str
    measure: Callable[[], dict]


@dataclass
class Figure:
    """A figure that the report shows beyond its median: that of `case`, or its ratio over that of another case, taken within each
    round. With `least` or `most` it is a target. Where even the case `ceiling` misses the target, nothing can reach it: the
    report then says so, and it does not count as missed."""

    name: str
    case: str
    over: str | None = None
    least: float | None = None
    most: float | None = None
    ceiling: str | None = None

    def __str__(self):
        return f"{self.name}: {self.case}" + (f" / {self.over}" if self.over else "")

    @property
    def target(self):
        if self.least is not None:
            return f"≥ {self.least:g}"
        return f"≤ {self.most:g}" if self.most is not None else ""


@dataclass
class Plan:
    """The cases of a benchmark in their order, and what to say of them."""

    cases: list[Case]
    figures: list[Figure] = field(default_factory=list)
    # Lines for the report: what this host is, what was found before.
    remarks: list[str] = field(default_factory=list)
    # More than these rounds are not made, where a round takes long.
    rounds: int | None = None
