#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's kernel panics, and the report says so: in a TD that asks for a reset, and in one that hangs. What it prints
before it has a console. Environment and exit status as linux_test.py's."""
import functools
import json
import re
import subprocess
import sys
import time
import unittest

from linux_test import HERE, KERNEL, LIMIT, LINUX, SEAMLESS, SKIPPED, path

NO_INIT = "console=ttyS0 quiet rdinit=/nonexistent root=/dev/none"
RESET, TIMEOUT = 8, 4


@functools.cache
def initrd():
    subprocess.run([sys.executable, HERE.parents[1] / "tools" / "initramfs.py", "--output", path("report_initrd"), "--busybox", LINUX / "busybox",
                    "--script", HERE / "guest_report.sh"], check=True)
    return path("report_initrd")


def run(append, *arguments, limit=LIMIT):
    command = [SEAMLESS, "run", "--kernel", KERNEL, "--initrd", initrd(), "--append", append, "--timeout", limit, "--json", *arguments]
    return subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)


@functools.cache
def booted():
    """A kernel that finds all it needs."""
    return run("console=ttyS0 nokaslr quiet")


@functools.cache
def system_map():
    """Where the kernel's file has its functions: that is where they are without KASLR."""
    found = re.findall(r"^SYMBOL (\w+) ([0-9a-f]{16})\r?$", booted().stdout, re.MULTILINE)
    path("System.map").write_text("".join(f"{at} T {name}\n" for name, at in sorted(found, key=lambda pair: pair[1])))
    return path("System.map")


@functools.cache
def panicked():
    """A TD whose kernel has KASLR and wants a reset when it panics; and how long that took."""
    start = time.monotonic()
    return run(NO_INIT + " panic=-1", "--symbols", system_map()), time.monotonic() - start


class Report(unittest.TestCase):
    def causes(self, result, status):
        self.assertEqual(result.returncode, status, result.stderr)
        death = json.loads(result.stdout.splitlines()[-1])["death"]
        self.assertIn("panic", [c["name"] for c in death["causes"]], result.stderr)
        self.assertRegex(result.stderr, r"cause: The guest's kernel panicked and says why on its console: \"VFS: Unable to mount root fs")
        self.assertIn("VFS: Unable to mount root fs", death["panic"])
        return death

    def test_a_panic_that_wants_a_reset(self):
        death = self.causes(panicked()[0], RESET)
        calls = [frame["symbol"] for frame in death["vcpus"][0]["backtrace"] if frame["symbol"]]
        offsets = [int(match.group(1), 16) for name in calls if (match := re.fullmatch(r"panic\+(0x[0-9a-f]+)", name))]
        self.assertTrue(any(offset < 0x1000 for offset in offsets), calls)
        self.assertIn("TDG.VP.VMCALL<Instruction.IO> write", panicked()[0].stderr)

    def test_a_panic_that_hangs(self):
        # Two processors take longer to boot than one, and others may use this machine.
        result = run(NO_INIT, "--cpus", "2", limit=min(round(3 * panicked()[1]) + 3, LIMIT))
        death = self.causes(result, TIMEOUT)
        # One waits in panic() for ever, the other is back in the firmware's loop for processors without work.
        self.assertEqual([v["state"] for v in death["vcpus"]], ["running", "running"], result.stderr)
        addresses = sorted(int(v["registers"]["rip"], 16) for v in death["vcpus"])
        self.assertLess(addresses[0], 1 << 32)
        self.assertGreater(addresses[1], 0xffffffff80000000)

    def test_words_before_there_is_a_console(self):
        result = run("earlyprintk=serial,ttyS0 panic=-1 rdinit=/nonexistent root=/dev/none")
        self.assertEqual(result.returncode, RESET, result.stderr)
        self.assertIn("legacy bootconsole [earlyser0] enabled", result.stdout)
        self.assertLess(result.stdout.index("tdx: Guest detected"), result.stdout.index("Linux version"))

    def test_a_kernel_that_ends_well_has_no_report(self):
        self.assertEqual((booted().returncode, booted().stderr), (0, ""))
        self.assertNotIn("death", json.loads(booted().stdout.splitlines()[-1]))


if __name__ == "__main__":
    if not all((LINUX / name).exists() for name in ("vmlinuz", "busybox")):
        print("there is no kernel here: these tests are skipped", file=sys.stderr)
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
