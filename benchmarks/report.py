# SPDX-License-Identifier: Apache-2.0
"""What runs measured: collected, written as JSON, and as a table of medians, or of the best, with what they are to native
time and TCG's."""
import json
import math
import statistics

ENVIRONMENTS = ("native", "tcg", "td", "plain")


def is_throughput(unit):
    return unit.endswith("/s")


class Results:
    """All values measured, by benchmark and environment, in the order in which they came."""

    def __init__(self):
        self.units = {}
        self.measured = {}
        self.facts = {}
        self.best = False

    def add(self, benchmark, environment, value, unit):
        self.units[benchmark] = unit
        self.measured.setdefault(benchmark, {}).setdefault(environment, []).append(value)

    def value(self, benchmark, environment):
        """The median; on a machine that others keep busy, the best may say more: nothing makes a run faster than it is."""
        found = self.measured.get(benchmark, {}).get(environment)
        if not found:
            return None
        if self.best:
            return max(found) if is_throughput(self.units[benchmark]) else min(found)
        return statistics.median(found)

    def noise(self, benchmark):
        """(max - min) / median of the environment where it is largest."""
        every = [(max(found) - min(found)) / statistics.median(found) for found in self.measured[benchmark].values() if statistics.median(found)]
        return max(every, default=0)

    def ratio(self, benchmark, environment, to):
        above, below = self.value(benchmark, environment), self.value(benchmark, to)
        return above / below if above is not None and below else None

    def mean_ratio(self, benchmarks, environment, to):
        """The geometric mean, over the benchmarks that both have."""
        ratios = [ratio for ratio in (self.ratio(name, environment, to) for name in benchmarks) if ratio]
        return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None

    def write(self, path):
        path.write_text(json.dumps({"facts": self.facts, "units": self.units, "measured": self.measured}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path):
        content = json.loads(path.read_text(encoding="utf-8"))
        results = cls()
        results.facts, results.units, results.measured = content["facts"], content["units"], content["measured"]
        return results


def number(value, digits=3):
    """With so many digits, and no exponent."""
    if value is None:
        return "-"
    if value >= 10 ** digits:
        return f"{value:.0f}"
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def row(results, name):
    """The ratios say how many times the time it takes: below 1 is faster."""
    values = [number(results.value(name, environment)) for environment in ENVIRONMENTS]
    swap = is_throughput(results.units[name])

    def ratio(environment, to):
        return number(results.ratio(name, *((to, environment) if swap else (environment, to))))

    return [name, results.units[name], *values, ratio("tcg", "native"), ratio("td", "native"), ratio("plain", "native"), ratio("td", "tcg"),
            ratio("plain", "tcg"), f"{results.noise(name) * 100:.0f}%"]


HEAD = ["benchmark", "unit", "native", "tcg", "td", "plain", "tcg:nat", "td:nat", "pl:nat", "td:tcg", "pl:tcg", "noise"]


def table(title, rows, head):
    """Columns as wide as what is in them; all but the first two to the right."""
    widths = [max(len(str(line[i])) for line in [head, *rows]) for i in range(len(head))]
    lines = [title]
    for line in [head, *rows]:
        lines.append("  ".join(str(cell).ljust(width) if i < 2 else str(cell).rjust(width) for i, (cell, width) in enumerate(zip(line, widths))).rstrip())
    return "\n".join(lines) + "\n"


def section(results, title, names, mean=False):
    """Empty where nothing of it was measured."""
    present = [name for name in names if name in results.measured]
    if not present:
        return ""
    rows = [row(results, name) for name in present]
    if mean:
        means = [results.mean_ratio(present, *pair) for pair in (("tcg", "native"), ("td", "native"), ("plain", "native"), ("td", "tcg"), ("plain", "tcg"))]
        rows.append(["geometric mean", "", "", "", "", "", *map(number, means), ""])
    return table(title, rows, HEAD)
