#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whole guests through `seamless run`: how each ends, what it says, and that its trace is exact. SEAMLESS names the
program, GUESTS the folder with the guests' images."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SEAMLESS = os.environ["SEAMLESS"]
GUESTS = pathlib.Path(os.environ["GUESTS"])
FLOW = pathlib.Path(__file__).resolve().parents[2] / "tools" / "flow.py"
TESTDEV = ("--device", "testdev,gpa=0xfe000000,size=0x2000")
LIMIT = 250


def run(*arguments):
    limit = () if "--timeout" in arguments else ("--timeout", str(LIMIT - 20))
    return subprocess.run([SEAMLESS, "run", *limit, *arguments], capture_output=True, text=True, timeout=LIMIT,
                          stdin=subprocess.DEVNULL, check=False)


def image(name):
    return ("--firmware", GUESTS / f"{name}.fd", *TESTDEV)


class Demo(unittest.TestCase):
    def passes(self, *arguments):
        result = run(*arguments)
        self.assertEqual(result.returncode, 0, result.stdout[-2000:] + result.stderr)
        self.assertIn("ALL PASS", result.stdout)
        self.assertNotIn("FAIL", result.stdout)
        return result

    def test_td_reports_the_mrtd_that_measure_computes(self):
        console = self.passes("--vm", "td").stdout.replace("\r", "")
        computed = subprocess.run([SEAMLESS, "measure"], capture_output=True, text=True, check=True).stdout.strip()
        self.assertIn(computed, console.splitlines())

    def test_plain_vm(self):
        self.passes("--vm", "plain")

    def test_one_instruction_at_a_time(self):
        self.passes("--vm", "td", "--engine", "step")

    def test_traces_are_exact(self):
        for kind in ("td", "plain"):
            with self.subTest(kind=kind), tempfile.TemporaryDirectory() as folder:
                trace = pathlib.Path(folder) / "t.jsonl"
                self.passes("--vm", kind, "--trace", trace)
                check = subprocess.run([sys.executable, FLOW, "--check", trace], capture_output=True, text=True, check=False)
                self.assertEqual(check.returncode, 0, check.stderr)

    def test_trace_filter_keeps_only_the_events_named(self):
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "t.jsonl"
            self.passes("--vm", "td", "--trace", f"{trace}:ve_inject,kvm_mmio")
            names = {json.loads(line)["ev"] for line in trace.read_text().splitlines()}
            self.assertEqual(names, {"ve_inject", "kvm_mmio"})

    def test_outcome_as_json(self):
        result = self.passes("--vm", "td", "--json")
        self.assertEqual(json.loads(result.stdout.splitlines()[-1])["outcome"], "powered_off")


class Guests(unittest.TestCase):
    def test_guests_that_test_themselves(self):
        for name in ("tdvmcall_args", "leaves", "mmio_decode", "user", "virtualized", "virtualized_values"):
            with self.subTest(guest=name):
                result = run("--vm", "td", *image(name))
                self.assertEqual(result.returncode, 0, result.stdout[-2000:] + result.stderr)
                self.assertNotIn("FAIL", result.stdout)


    def test_without_each_optimization(self):
        for off in ("inline-tlb", "inline-flags-live", "dead-flags", "links", "far-links", "calls", "inline-system", "jump-cache", "returns", "stretches",
                    "translation-cache"):
            for guest, kind in (("user", "plain"), ("mmio_decode", "td"), ("leaves", "td"), ("interrupts", "td")):
                with self.subTest(off=off, guest=guest):
                    result = run("--vm", kind, "--engine", f"full,no-{off}", *image(guest))
                    self.assertEqual(result.returncode, 0, result.stdout[-2000:] + result.stderr)

    def test_several_processors_on_the_same_memory(self):
        for kind in ("td", "plain"):
            for cpus, engine in (("2", "full"), ("4", "full"), ("3", "step")):
                with self.subTest(kind=kind, cpus=cpus, engine=engine):
                    result = run("--vm", kind, "--cpus", cpus, "--engine", engine, *image("smp"))
                    self.assertEqual(result.returncode, 0, result.stdout[-2000:] + result.stderr)
                    self.assertIn(f"processors {cpus}", result.stdout)

    def test_interrupts(self):
        for kind in ("td", "plain"):
            for cpus in ("1", "4"):
                for engine in ("full", "step"):
                    with self.subTest(kind=kind, cpus=cpus, engine=engine):
                        result = run("--vm", kind, "--cpus", cpus, "--engine", engine, *image("interrupts"))
                        self.assertEqual(result.returncode, 0, result.stdout[-2000:] + result.stderr)
                        self.assertNotIn("FAIL", result.stdout)


    def test_devices_of_the_board(self):
        # The TD leaves by the reset port, the plain VM by ACPI's sleep control register.
        for kind, status, words in (("td", 8, "a TD cannot be reset"), ("plain", 0, "")):
            for engine in ("full", "step"):
                with self.subTest(kind=kind, engine=engine):
                    result = run("--vm", kind, "--engine", engine, *image("devices"))
                    self.assertEqual(result.returncode, status, result.stdout[-2000:] + result.stderr)
                    self.assertIn(words, result.stderr)
                    self.assertNotIn("FAIL", result.stdout)


class Ends(unittest.TestCase):
    def test_triple_fault(self):
        for kind in ("td", "plain"):
            result = run("--vm", kind, *image("triple_fault"))
            self.assertEqual(result.returncode, 6, result.stderr)
            self.assertIn("triple fault", result.stderr)

    def test_guest_that_can_make_no_progress(self):
        result = run("--vm", "td", *image("livelock"))
        self.assertEqual(result.returncode, 6, result.stdout + result.stderr)
        self.assertIn("no progress", result.stderr)

    def test_timeout(self):
        for kind in ("td", "plain"):
            start = time.monotonic()
            result = run("--vm", kind, *image("hang"), "--timeout", "1.5")
            self.assertEqual(result.returncode, 4, result.stderr)
            self.assertLess(time.monotonic() - start, 60)

    def test_signals_end_the_run(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            with subprocess.Popen([SEAMLESS, "run", "--timeout", "100", *image("hang")], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as program:
                program.stdout.read(4) # the guest runs
                program.send_signal(number)
                self.assertEqual(program.wait(timeout=60), 128 + number)

    def test_serial_port_to_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "console"
            result = run("--vm", "td", *image("triple_fault"), "--serial", f"file:{file}")
            self.assertEqual((result.returncode, result.stdout), (6, ""))
            self.assertIn("triple fault", file.read_text())


if __name__ == "__main__":
    unittest.main()
