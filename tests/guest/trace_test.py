#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Traces of the demo: the three formats, filters, `seamless trace`, and a run that is killed. SEAMLESS names the program."""
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

SEAMLESS = os.environ["SEAMLESS"]


def seamless(*arguments):
    return subprocess.run([SEAMLESS, *arguments], capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False)


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8")


class Traces(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.lines = cls.path("demo.jsonl")
        result = seamless("run", "--trace", cls.lines)
        assert result.returncode == 0, result.stderr
        cls.events = [json.loads(line) for line in read(cls.lines).splitlines()]

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, name):
        return str(pathlib.Path(cls.folder.name) / name)

    def write(self, name, text):
        pathlib.Path(self.path(name)).write_text(text, encoding="utf-8")
        return self.path(name)

    def test_chrome_format(self):
        path = self.path("demo.json")
        seamless("run", "--trace", path)
        events = json.loads(read(path))
        self.assertGreater(len(events), 1000)
        depth = 0
        for event in events:
            depth += {"B": 1, "E": -1}.get(event["ph"], 0)
            self.assertIn(depth, (0, 1, 2))  # the time in the VMM lies in that after an exit
        self.assertEqual(depth, 0)
        self.assertTrue(any(e["ph"] == "B" and e["name"] == "EPT_MISCONFIG" for e in events))

    def test_a_killed_run_leaves_valid_json(self):
        path = self.path("killed.json")
        with subprocess.Popen([SEAMLESS, "run", "--trace", path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
            for _ in range(1000):
                if pathlib.Path(path).exists() and pathlib.Path(path).stat().st_size > 0:
                    break
                time.sleep(0.01)
            run.send_signal(signal.SIGKILL)
        events = json.loads(read(path))
        self.assertGreater(len(events), 100)

    def test_text_format_and_filter(self):
        path = self.path("demo.txt")
        seamless("run", "--trace", f"{path}:kvm_mmio,ve_inject")
        lines = read(path).splitlines()
        self.assertEqual({line.split()[3] for line in lines}, {"kvm_mmio", "ve_inject"})
        self.assertEqual(len({line.index(line.split()[3]) for line in lines}), 1, "the columns are aligned")

    def test_each_ve_is_traced_once(self):
        calls = [e for e in self.events if e["ev"] == "kvm_tdx_vmcall" and e["leaf"] == "IO"]
        by_io = [e for e in self.events if e["ev"] == "ve_inject" and e["exit_reason"] == "IO_INSTRUCTION"]
        self.assertEqual(len(calls), len(by_io))
        by_ept = [e for e in self.events if e["ev"] == "ve_inject" and e["exit_reason"] == "EPT_VIOLATION"]
        violations = [e for e in self.events if e["ev"] == "ept_violation" and e["outcome"] == "ve"]
        self.assertEqual(len(by_ept), len(violations))

    def test_summary_counts_what_the_trace_has(self):
        result = seamless("trace", self.lines, "--summary")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn(f"{len(self.events)} events", result.stdout)
        accesses = [e for e in self.events if e["ev"] == "kvm_mmio" and e["type"] != "unsatisfied-read"]
        counted = sum(int(n) for n in re.findall(r"page 0x[0-9a-f]+: (\d+) accesses", result.stdout))
        self.assertEqual(counted, len(accesses))
        self.assertRegex(result.stdout, r"read +4  user space +0x[0-9a-f]+  8b4d00  mov ecx, \[rbp\]")

    def test_perfetto_file_of_a_recorded_trace(self):
        path = self.path("converted.json")
        self.assertEqual(seamless("trace", self.lines, "--perfetto", path).returncode, 0)
        events = json.loads(read(path))
        names = {e["name"]: e["args"] for e in events if e["ph"] == "M"}
        self.assertEqual((names["process_name"]["name"], names["thread_name"]["name"]), ("Seamless", "vCPU 0"))
        stack, last, spans, arrows = [], 0, {}, {}
        for event in events:
            if event["ph"] == "M":
                continue
            self.assertGreaterEqual(event["ts"], last)
            last = event["ts"]
            if event["ph"] == "B":
                stack.append(event["name"])
                self.assertLessEqual(len(stack), 2)
            elif event["ph"] == "E":
                stack.pop()
            elif event["ph"] in "be":
                spans.setdefault(event["id"], []).append(event)
            elif event["ph"] in "stf":
                arrows.setdefault(event["id"], []).append(event["ph"])
        self.assertEqual(stack, [])
        ves = sum(e["ev"] == "ve_inject" for e in self.events)
        self.assertEqual(len(spans), ves)
        for begin, end in spans.values():
            self.assertEqual((begin["ph"], end["ph"], begin["name"]), ("b", "e", end["name"]))
        self.assertEqual(sum(a == ["s", "t", "f"] for a in arrows.values()),
                         sum(e["ev"] == "kvm_tdx_vmcall_done" for e in self.events))
        instants = sum(e["ph"] == "i" for e in events)
        slices = sum(e["ev"] in ("kvm_entry", "kvm_exit", "kvm_userspace_exit") for e in self.events)
        self.assertEqual(instants, len(self.events) - slices)

    def test_a_filter_leaves_no_nonsense_times(self):
        path = self.path("filtered.jsonl")
        seamless("run", "--trace", f"{path}:kvm_mmio,kvm_userspace_exit")
        output = seamless("trace", path).stdout
        self.assertIn("no times", output)
        self.assertRegex(output, r" +\d+ +-  (read|write) ")

    def test_files_appear_only_when_complete(self):
        damaged, old = self.write("damaged.jsonl", read(self.lines)[:5000]), self.write("old.html", "what was there")
        for option in ("--html", "--perfetto"):
            with self.subTest(option=option):
                result = seamless("trace", damaged, option, old)
                self.assertEqual((result.returncode, result.stderr.count("\n")), (2, 1))
                self.assertRegex(result.stderr, r"damaged\.jsonl: line \d+: the line is cut off")
                self.assertEqual(read(old), "what was there")
                self.assertFalse(pathlib.Path(old + ".part").exists())
                self.assertEqual(seamless("trace", self.lines, option, self.path("absent/x")).returncode, 2)
                full = seamless("trace", self.lines, option, "/dev/full")
                self.assertEqual((full.returncode, full.stderr.count("\n")), (2, 1), full.stderr)

    def test_symbols(self):
        rip = next(int(e["cpu_rip"], 16) for e in self.events if e["ev"] == "ve_inject" and e["exit_reason"] == "EPT_VIOLATION")
        symbols = self.write("System.map", f"{rip - 4:016x} T the_function\n                 U undefined\n{rip + 0x100:x} t later\n")
        self.assertIn("the_function+0x4", seamless("trace", self.lines, "--symbols", symbols).stdout)

    def test_what_is_wrong_gives_one_line_and_status_2(self):
        text = read(self.lines)
        cases = [[self.write("cut.jsonl", text[:5000])], [self.write("empty.jsonl", "")], [self.write("x.jsonl", "hello\n")],
                 [self.write("fields.jsonl", '{"a":1}\n')], [self.path("absent.jsonl")], [self.folder.name],
                 [self.lines, "--symbols", self.path("absent")], [self.lines, "--symbols", self.write("bad.map", "what is this\n")]]
        for arguments in cases:
            with self.subTest(arguments=arguments):
                result = seamless("trace", *arguments)
                self.assertEqual((result.returncode, result.stdout, result.stderr.count("\n")), (2, "", 1), result.stderr)
        self.assertIn("line", seamless("trace", cases[0][0]).stderr)

    def test_a_million_events_take_seconds(self):
        text = read(self.lines)
        path = self.path("big.jsonl")
        with open(path, "w", encoding="utf-8") as file:
            for _ in range(1_000_000 // len(self.events) + 1):
                file.write(text)
        started = time.monotonic()
        self.assertEqual(seamless("trace", path).returncode, 0)
        self.assertLess(time.monotonic() - started, 120, "even with sanitizers on a busy machine")


if __name__ == "__main__":
    unittest.main()
