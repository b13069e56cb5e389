# SPDX-License-Identifier: Apache-2.0
"""What Seamless promises of its speed, beside what was measured. `targets.py RESULTS.json [--best]` prints it for an
earlier run."""
import operator
import pathlib
import sys

import report

COMPUTE = ("sieve crc32 quicksort sha256 compress interpreter recursion chase_16k chase_64m memcpy_8m copy8_256k matmul_double matmul_sse "
           "matmul_avx").split()
KERNEL = "syscall page_fault fork_exec switch".split()
GUESTS = ("td", "plain")


def times_faster(name):
    """Than TCG."""
    return lambda results, guest: results.ratio(name, "tcg", guest)


def slowest(names):
    """The benchmark that gains least over TCG, and how much it is faster there."""
    def worst(results, guest):
        ratios = [(ratio, name) for name in names if (ratio := results.ratio(name, "tcg", guest))]
        return min(ratios, default=None)
    return worst


def mean(one, other):
    """None of a few: a mean says something of all."""
    def of_all(results, guest):
        pair = [guest if word == "guest" else word for word in (one, other)]
        missing = {name for name in COMPUTE if results.ratio(name, *pair) is None}
        return None if missing - {"matmul_avx"} else results.mean_ratio(COMPUTE, *pair)
    return of_all


def scaling(results, guest):
    """Work done in a time by two processors over one's."""
    one, two = results.value("parallel_1", guest), results.value("parallel_2", guest)
    return one / two if one and two else None


def mmio_over_ioapic(results, guest):
    """The baseline is TCG's own device that is nearest to the processor."""
    ours, theirs = results.value("mmio_read", guest), results.value("ioapic_read", "tcg")
    return ours / theirs if ours and theirs else None


def tracing(results, guest):
    """The time of a boot that is traced over that of one that is not."""
    traced, quiet = results.value("boot_trace", guest), results.value("boot_quiet", guest)
    return traced / quiet if traced and quiet else None


def megabytes(results, guest):
    return results.value("memory", guest)


# What, the comparison, the bound, how it is computed, for which guests.
AT_LEAST, AT_MOST = operator.ge, operator.le
TARGETS = (
    ("compute, geometric mean, times faster than TCG", AT_LEAST, 3.0, mean("tcg", "guest"), GUESTS),
    ("compute, geometric mean, times native time", AT_MOST, 2.2, mean("guest", "native"), GUESTS),
    ("compute, the worst, times faster than TCG", AT_LEAST, 1.0, slowest(COMPUTE), GUESTS),
    ("boot, quiet, times faster than TCG", AT_LEAST, 1.5, times_faster("boot_quiet"), ("td",)),
    *((f"{name}, times faster than TCG", AT_LEAST, 2.0, times_faster(name), GUESTS) for name in KERNEL),
    ("MMIO read through the guest's #VE, times TCG's IOAPIC", AT_MOST, 20.0, mmio_over_ioapic, ("td",)),
    ("MMIO read, times TCG's of a virtio register", AT_MOST, 3.0, lambda results, guest: results.ratio("mmio_read", guest, "tcg"), ("plain",)),
    ("2 processors' parallel work, times that of 1", AT_LEAST, 1.8, scaling, GUESTS),
    ("boot, quiet, with --trace, times without", AT_MOST, 2.0, tracing, GUESTS),
    ("memory beyond the guest's after boot, MiB", AT_MOST, 96.0, megabytes, GUESTS),
)


def judge(results, guest, compare, bound, compute):
    """(as text, met): "worst" comes with the name of the benchmark."""
    value = compute(results, guest)
    if value is None:
        return "-", "not measured"
    name = ""
    if isinstance(value, tuple):
        value, name = value[0], f" ({value[1]})"
    return report.number(value) + name, "met" if compare(value, bound) else "NOT MET"


def table(results):
    rows = []
    for what, compare, bound, compute, guests in TARGETS:
        for guest in guests:
            rows.append([what, guest, f"{'>=' if compare is AT_LEAST else '<='} {bound:g}", *judge(results, guest, compare, bound, compute)])
    return report.table("Targets", rows, ["what", "in", "target", "measured", "met"])


if __name__ == "__main__":
    earlier = report.Results.read(pathlib.Path(sys.argv[1]))
    earlier.best = "--best" in sys.argv[2:]
    print(table(earlier), end="")
