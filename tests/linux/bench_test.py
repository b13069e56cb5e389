#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""benchmarks/run.py with real guests: a TD and a plain VM do its work, and one that cannot boot is told as a failure.
Environment and exit status as linux_test.py's."""
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

from linux_test import HERE, KERNEL, LINUX, SEAMLESS, SKIPPED

RUN = HERE.parents[1] / "benchmarks" / "run.py"
WANTED = {"crc32", "syscall", "memory", "boot_quiet", "boot_quiet_cpu", "parallel_2", "disk_read", "disk_write", "net_receive", "net_send"}


class Bench(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(self.folder.cleanup)
        self.out = pathlib.Path(self.folder.name)

    def run_bench(self, program, *arguments):
        return subprocess.run([sys.executable, RUN, "--linux", LINUX, "--out", self.out, "--seamless", program, "--runs", "1", *arguments],
                              capture_output=True, text=True, check=False)

    def test_guests_do_the_work(self):
        done = self.run_bench(SEAMLESS, "--environments", "td,plain", "--only", f"^({'|'.join(WANTED)})$")
        self.assertEqual(done.returncode, 0, done)
        measured = json.loads((self.out / "results.json").read_text(encoding="utf-8"))["measured"]
        self.assertEqual(set(measured), WANTED)
        for name, environments in measured.items():
            for environment in ("td", "plain"):
                self.assertEqual(len(environments[environment]), 1, name)
                self.assertGreater(environments[environment][0], 0, name)
        self.assertRegex(done.stdout, r"\nboot, quiet, times faster than TCG +td .*not measured")

    def test_a_guest_that_does_not_start_is_a_failure(self):
        done = self.run_bench("false", "--environments", "td", "--only", "^crc32$")
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("td FAILED", done.stderr)
        self.assertIn("the guest ended before BENCH-UP", done.stderr)
        self.assertNotIn("crc32", done.stdout)


if __name__ == "__main__":
    if not KERNEL.exists():
        print(f"SKIPPED: there is no kernel in {LINUX}; tools/linux_packages.sh says how it gets there")
        sys.exit(SKIPPED)
    unittest.main()
