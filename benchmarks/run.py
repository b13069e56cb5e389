#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmarks of docs/benchmarks.md natively, under QEMU's TCG, in a TD and in a plain VM, in turns, and prints
the medians. Everything measured goes to results.json beside the guests. ./bench builds what this needs and starts it."""
import argparse
import os
import pathlib
import platform
import re
import subprocess
import sys
import time

import machines
import peers
import report
import targets
from targets import COMPUTE, KERNEL

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

LEAVING = "cpuid rdtsc".split()
ODD = ["copy8_meeting"]
LEAVING_MODULE = ("mmio_read mmio_write ioapic_read port_read kernel_cpuid host_cpuid kernel_rdtsc tdcall tdvmcall map_shared map_private "
                  "accept").split()
DEVICES = "disk_read disk_write disk_4k net_receive net_send net_ping".split()
DEVICE_MODULES = "virtio_mmio virtio_pci virtio_blk virtio_net".split()
BOOT = "boot_quiet boot_quiet_cpu boot_log boot_trace memory".split()
PARALLEL = "parallel_1 parallel_2 parallel_4".split()
IN_LINUX = COMPUTE + KERNEL + ODD + LEAVING
TITLES = (("Compute, time", COMPUTE, True), ("Linux, time", KERNEL, True), ("Memory, what hurts: a copy whose pages are 16 MiB apart", ODD, False),
          ("Instructions that a hypervisor sees, time", LEAVING, False),
          ("The same and others in the kernel, time", LEAVING_MODULE, False),
          ("Virtio disk and network", DEVICES, False),
          ("Boot to a program's first line; memory of the host beyond the guest's then", BOOT, False),
          ("SHA-256 on all of 1, 2 and 4 processors at once, time for each byte of all", PARALLEL, False))


def note(text):
    print(text, file=sys.stderr, flush=True)


def printed(title, command):
    """What another program of benchmarks prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=machines.raise_priority, check=False)  # pylint: disable=subprocess-popen-preexec-fn
    return f"{title}\n{done.stdout}{f'status {done.returncode}' if done.returncode else ''}"


def bare(args):
    return printed("Compute without an operating system, at best of three", [args.tools / "bench_compute", args.tools / "compute.bin", args.out / "compute.json"])


def micro(args):
    """Google Benchmark says itself what it runs on, on stderr; its JSON is beside the other."""
    program = args.tools / "bench_micro"
    if not program.exists():
        return "Single costs: not measured, as Google Benchmark (libbenchmark-dev) was not there when this was built\n"
    return printed("Single costs: time of one turn, of which \"each\" is a part", [program, "--benchmark_min_time=0.2", f"--benchmark_out={args.out / 'micro.json'}"])


def testdev(args):
    """The built-in guest measures its own accesses, in cycles of its time-stamp counter."""
    parts = []
    for kind in ("td", "plain"):
        text = printed(f"MMIO accesses of the built-in guest ({kind})", [args.seamless, "run", "--vm", kind, "--timeout", str(machines.LIMIT)])
        title, *lines = text.replace("\r", "").splitlines()
        parts.append("\n".join([title, *(line for line in lines if "cycles" in line or line.startswith("status"))]))
    return "\n\n".join(parts) + "\n"


# Benchmarks that stand alone, and print tables of their own.
OTHERS = {"bare": bare, "testdev": testdev, "micro": micro}


class Bench:
    """The runs that were asked for, and what they have measured so far."""

    def __init__(self, args, wanted):
        self.args = args
        self.wanted = wanted
        self.results = report.Results()
        self.initrd = args.out / "initrd"
        self.device_initrd = args.out / "device_initrd"
        self.disk = args.out / "disk"
        self.work = args.out / "work"
        self.guests = [machine for machine in self._guests() if machine.name in args.environments]
        self.traced = [machine for machine in self.guests if isinstance(machine, machines.Seamless)]
        self.failures = 0

    def _guests(self):
        kernel = self.args.linux / "vmlinuz"
        if machines.Tcg.present():
            yield machines.Tcg(kernel)
        else:
            note("There is no qemu-system-x86_64: nothing will be measured of TCG")
        for kind in ("td", "plain"):
            yield machines.Seamless(kernel, self.args.seamless, kind)

    def build(self):
        self.args.out.mkdir(parents=True, exist_ok=True)
        sources = sorted((HERE / "guest" / "linux").glob("*.c"))
        subprocess.run(["gcc", "-O2", "-std=gnu11", "-static", "-pthread", "-Wall", "-Wextra", "-o", self.work, *sources], check=True)
        if self.guests:
            self.make_initrds()

    def make_initrds(self):
        self.make_initrd(self.initrd)
        if self.of(LEAVING_MODULE) or self.of(DEVICES):
            module = [f"--file={self.args.module}:/leaving.ko"] if self.args.module else []
            self.make_initrd(self.device_initrd, "--modules", self.args.linux / "modules", *(f"--module={name}" for name in DEVICE_MODULES), *module)
            peers.make_disk(self.disk)

    def make_initrd(self, output, *extra):
        subprocess.run([sys.executable, ROOT / "tools" / "initramfs.py", "--output", output, "--busybox", self.args.linux / "busybox",
                        "--file", f"{self.work}:/bin/work", "--script", HERE / "guest" / "linux" / "script.sh", *extra], check=True)

    def of(self, names):
        return [name for name in names if name in self.wanted]

    def attempt(self, what, run):
        """One run in one environment. One that fails leaves a gap in the table, and the exit status 1."""
        start = time.monotonic()
        try:
            run()
        except machines.Failed as error:
            self.failures += 1
            note(f"  {what} FAILED: {error}")
            return
        note(f"  {what}: {time.monotonic() - start:.1f} s")

    def add_all(self, environment, found, rename=""):
        for name, (value, unit) in found.items():
            self.results.add(name + rename, environment, value, unit)

    def native(self):
        machine = machines.Native(self.work)
        if names := self.of(IN_LINUX):
            self.attempt("native", lambda: self.add_all("native", machine.run(names)))
        for count in (1, 2, 4):
            if self.of([f"parallel_{count}"]):
                self.attempt(f"native, {count} threads", lambda count=count: self.add_all("native", machine.parallel(count), f"_{count}"))

    def quiet_guest(self, machine):
        """One boot serves for its time, for the memory it took, and for all that runs on one processor."""
        names = self.of(IN_LINUX) + ["parallel"] * bool(self.of(["parallel_1"]))
        guest = machine.guest(self.initrd, f"quiet bench={','.join(names)}", measure_memory=bool(self.of(["memory"])))
        found = guest.values()
        if "parallel" in found:
            self.results.add("parallel_1", machine.name, *found.pop("parallel"))
        self.add_all(machine.name, found)
        if self.of(["boot_quiet"]):
            self.results.add("boot_quiet", machine.name, guest.boot_seconds, "s")
        if self.of(["boot_quiet_cpu"]):
            self.results.add("boot_quiet_cpu", machine.name, guest.boot_cpu_seconds, "s")
        if self.of(["memory"]):
            self.results.add("memory", machine.name, guest.memory_mib, "MiB")

    def logging_guest(self, machine):
        self.results.add("boot_log", machine.name, machine.guest(self.initrd, "").boot_seconds, "s")

    def tracing_guest(self, machine):
        """A quiet boot again; its trace is of no use here."""
        trace = self.args.out / "boot.trace"
        self.results.add("boot_trace", machine.name, machine.guest(self.initrd, "quiet", extra=machine.tracing(trace)).boot_seconds, "s")
        trace.unlink()

    def parallel_guest(self, machine, count):
        self.add_all(machine.name, machine.guest(self.initrd, "quiet bench=parallel", count).values(), f"_{count}")

    def device_guest(self, machine):
        """Devices' throughput, and what the module measures of single accesses."""
        append = f"quiet bench={','.join(self.of(DEVICES))}"
        with peers.ServerProcess() as port:
            append += f" port={port}"
            if self.of(LEAVING_MODULE) and self.args.module:
                append += " leaving"
            guest = machine.guest(self.device_initrd, append, extra=machine.devices(self.disk))
        # Devices are thought of in MB/s.
        self.add_all(machine.name, {name: (1000 / value, "MB/s") if unit == "ns/byte" else (value, unit) for name, (value, unit) in guest.values().items()})

    def round(self):
        if "native" in self.args.environments:
            self.native()
        for machine in self.guests * bool(self.of([*IN_LINUX, "parallel_1", "boot_quiet", "boot_quiet_cpu", "memory"])):
            self.attempt(machine.name, lambda machine=machine: self.quiet_guest(machine))
        for machine in self.guests * bool(self.of(["boot_log"])):
            self.attempt(f"{machine.name}, with its log", lambda machine=machine: self.logging_guest(machine))
        for machine in self.traced * bool(self.of(["boot_trace"])):
            self.attempt(f"{machine.name}, with --trace", lambda machine=machine: self.tracing_guest(machine))
        for machine in self.guests * bool(self.of(LEAVING_MODULE + DEVICES)):
            self.attempt(f"{machine.name}, with devices", lambda machine=machine: self.device_guest(machine))
        for count in (2, 4):
            for machine in self.guests * bool(self.of([f"parallel_{count}"])):
                self.attempt(f"{machine.name}, {count} processors", lambda machine=machine, count=count: self.parallel_guest(machine, count))

    def table(self):
        return "\n".join(part for part in (report.section(self.results, *title) for title in TITLES) if part)


def first_line(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition("\n")[0]
    except FileNotFoundError:
        return "none"


def facts(args):
    """What the figures depend on."""
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return {"processor": model[1] if model else platform.machine(), "processors": len(os.sched_getaffinity(0)), "host": platform.release(),
            "guest": (args.linux / "vmlinuz").resolve().name, "qemu": first_line([machines.Tcg.program, "--version"]),
            "seamless": first_line(["git", "-C", ROOT, "describe", "--always", "--dirty"]), "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "runs": args.runs, "shown": "best" if args.best else "median"}


def environments(text):
    names = text.split(",")
    if unknown := set(names) - set(report.ENVIRONMENTS):
        raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}, but {', '.join(report.ENVIRONMENTS)}")
    return names


def positive(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError("give a number above 0")
    return int(text)


def regex(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=positive, default=5, help="of each, in turns (default 5)")
    parser.add_argument("--best", action="store_true", help="show the best of all runs, not their median")
    parser.add_argument("--quick", action="store_true", help="one run of each, and no boots but those that the rest needs")
    parser.add_argument("--only", type=regex, metavar="REGEX", help="the benchmarks whose names match")
    parser.add_argument("--environments", type=environments, default=report.ENVIRONMENTS, metavar="E,...", help="of native, tcg, td and plain")
    parser.add_argument("--seamless", type=pathlib.Path, default=ROOT / "build/release/seamless", help="the program that is measured")
    parser.add_argument("--tools", type=pathlib.Path, default=ROOT / "build/release/benchmarks", help="the folder with the other benchmarks")
    parser.add_argument("--linux", type=pathlib.Path, required=True, help="the folder that tools/linux_packages.sh fills")
    parser.add_argument("--module", type=pathlib.Path, help="leaving.ko; without it what it measures is left out")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench", help="where guests and results.json go")
    return parser.parse_args()


def main():
    args = arguments()
    names = [name for _, names, _ in TITLES for name in names] + list(OTHERS)
    if args.quick:
        args.runs = 1
        names = [name for name in names if name not in ("boot_log", "boot_trace", "parallel_4")]
    if args.only:
        names = [name for name in names if args.only.search(name)]
    if not names:
        sys.exit("run.py: no benchmark has such a name")
    if not args.module:
        note("Without the kernel module: single MMIO accesses, ports, TDCALLs are not measured")
    bench = Bench(args, names)
    try:
        bench.build()
    except subprocess.CalledProcessError as error:
        sys.exit(f"run.py: {error}")
    bench.results.facts, bench.results.best = facts(args), args.best
    for turn in range(args.runs):
        note(f"Run {turn + 1} of {args.runs}")
        bench.round()
        bench.results.write(args.out / "results.json")
    print("".join(f"{what + ':':11} {fact}\n" for what, fact in bench.results.facts.items()))
    print(bench.table())
    for name, run in OTHERS.items():
        if name in names:
            print(run(args), flush=True)
    print(targets.table(bench.results), end="")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
