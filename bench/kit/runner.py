"""Runs a benchmark: its cases in alternation, round by round, each again while others disturb it."""

import time

from kit import journal
from kit.plan import Unavailable
from kit.process import Failed
from kit.results import Results, Sample, number
from kit.weather import Weather


class Runner:
    """`others` is the share of all CPUs that other programs may take, `tries` how often a case is run at most for one sample."""

    def __init__(self, rounds, others, tries):
        self.rounds, self.others, self.tries = rounds, others, tries

    def run(self, name, title, plan):
        """Results of all rounds."""
        results = Results(name, title, plan, {case.name: [] for case in plan.cases})
        rounds = min(self.rounds, plan.rounds or self.rounds)
        for round_ in range(1, rounds + 1):
            # Every other round runs backwards.
            for case in plan.cases if round_ % 2 else reversed(plan.cases):
                if case.name in results.unavailable:
                    continue
                journal.taken()
                try:
                    sample = self.sample(case)
                except Unavailable as reason:
                    results.unavailable[case.name] = str(reason)
                    del results.samples[case.name]
                    print(f"{name} {case.name}: cannot be run here: {reason}", flush=True)
                    continue
                except Failed as failure:
                    raise Failed(f"{name} {case.name}: {failure}") from failure
                results.commands.setdefault(case.name, journal.taken())
                results.samples[case.name].append(sample)
                print(f"{name} {round_}/{rounds} {case.name}: "
                      + ", ".join(f"{figure} {number(value)}" for figure, value in sample.figures.items())
                      + f"; others {100 * sample.others:.0f} %"
                      + (f", {sample.strangers} programs of other tracers" if sample.strangers else ""), flush=True)
        return results

    def sample(self, case):
        """One sample, the least disturbed of several if need be."""
        samples = []
        while len(samples) < self.tries:
            with Weather() as weather:
                figures = case.measure()
            samples.append(Sample(figures, weather.others, len(weather.strangers)))
            if weather.others <= self.others and not weather.strangers:
                break
            time.sleep(0.5)
        return min(samples, key=lambda one: (one.strangers, one.others))
