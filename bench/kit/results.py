"""What the rounds gave: medians, spreads, ratios, and whether targets hold."""

import statistics
from dataclasses import dataclass, field

from kit.plan import Figure, Plan


@dataclass
class Sample:
    """One case in one round."""

    figures: dict
    # Share of the CPUs that other programs took, and programs of other tracers.
    others: float = 0.0
    strangers: int = 0


@dataclass
class Verdict:
    """What became of one figure of a plan."""

    figure: Figure
    # One for each round.
    values: list
    # "holds", "MISSED", "out of reach here", "not measured", or nothing where there is no target.
    state: str

    @property
    def is_missed(self):
        return self.state == "MISSED"


@dataclass
class Results:
    """Everything of one benchmark."""

    name: str
    title: str
    plan: Plan
    samples: dict = field(default_factory=dict)
    commands: dict = field(default_factory=dict)
    # Cases that cannot be run here, with the reason.
    unavailable: dict = field(default_factory=dict)

    def values(self, name, case):
        return [sample.figures[name] for sample in self.samples.get(case, []) if name in sample.figures]

    def names(self):
        """All figures, in the order in which they first came."""
        found = {}
        for samples in self.samples.values():
            for sample in samples:
                found.update(dict.fromkeys(sample.figures))
        return list(found)

    def ratios(self, name, case, over):
        """Within each round: what disturbs the host disturbs both."""
        pairs = zip(self.values(name, case), self.values(name, over))
        return [one / other for one, other in pairs if other]

    def verdict(self, figure):
        values = self.values(figure.name, figure.case)
        if figure.over:
            values = self.ratios(figure.name, figure.case, figure.over)
        if not values:
            return Verdict(figure, [], "not measured")
        if not figure.target:
            return Verdict(figure, values, "")
        if meets(figure, statistics.median(values)):
            return Verdict(figure, values, "holds")
        if figure.ceiling and figure.over:
            ceiling = self.ratios(figure.name, figure.ceiling, figure.over)
            if ceiling and not meets(figure, statistics.median(ceiling)):
                reached = statistics.median(ceiling)
                return Verdict(figure, values, f"out of reach here: {figure.ceiling} itself is {number(reached)}")
        return Verdict(figure, values, "MISSED")

    def verdicts(self):
        return [self.verdict(figure) for figure in self.plan.figures]

    def as_json(self):
        return {
            "title": self.title,
            "remarks": self.plan.remarks,
            "cases": {
                case: {"commands": self.commands.get(case, []), "rounds": [vars(sample) for sample in samples]}
                for case, samples in self.samples.items()
            },
            "unavailable": self.unavailable,
            "figures": [
                {"figure": str(one.figure), "target": one.figure.target, "values": one.values, "state": one.state}
                for one in self.verdicts()
            ],
        }


def meets(figure, value):
    if figure.least is not None:
        return value >= figure.least
    return value <= figure.most


def number(value):
    """Three digits that count, thousands separated."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def spread(values):
    """Median, and what lies around it."""
    text = number(statistics.median(values))
    return text if len(values) < 2 else f"{text} [{number(min(values))} .. {number(max(values))}]"
