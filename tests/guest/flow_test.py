#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/flow.py on made-up traces: good ones pass, and each one with an event taken away, or spoiled, is refused."""
import copy
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

FLOW = pathlib.Path(__file__).resolve().parents[2] / "tools" / "flow.py"
S = 1 << 47
GPA = 0xFE000008


def td_ve(gpa, write, value="0x11"):
    done = [{"ev": "kvm_mmio", "type": "write", "len": 4, "gpa": hex(gpa), "val": value},
            {"ev": "kvm_userspace_exit", "reason": "KVM_EXIT_MMIO"}] if write else [
            {"ev": "kvm_mmio", "type": "unsatisfied-read", "len": 4, "gpa": hex(gpa)},
            {"ev": "kvm_userspace_exit", "reason": "KVM_EXIT_MMIO"},
            {"ev": "kvm_mmio", "type": "read", "len": 4, "gpa": hex(gpa), "val": value}]
    return [
        {"ev": "ept_violation", "gpa": hex(gpa | S), "gla": "0x1", "access": "w" if write else "r", "root": "shared", "suppress_ve": 0,
         "outcome": "ve"},
        {"ev": "ve_inject", "exit_reason": "EPT_VIOLATION", "qualification": "0x2", "gla": "0x1", "gpa": hex(gpa | S), "cpu_rip": "0x5",
         "cpu_insn": "8b06", "cpu_insn_len": 2},
        {"ev": "tdx_tdcall", "leaf": "TDG.VP.VEINFO.GET", "status": "0x0"},
        {"ev": "tdx_tdcall", "leaf": "TDG.VP.VMCALL"},
        {"ev": "kvm_exit", "reason": "EPT_MISCONFIG", "hw_reason": "TDCALL", "vm": "td"},
        {"ev": "kvm_tdx_vmcall", "leaf": "MMIO", "r12": "0x4", "r13": hex(int(write)), "r14": hex(gpa | S), "r15": value},
        *done,
        {"ev": "kvm_tdx_vmcall_done", "r10": "0x0", "r11": "0x0" if write else value},
        {"ev": "kvm_entry"},
    ]


def td_first(gpa, write):
    return [
        {"ev": "ept_violation", "gpa": hex(gpa | S), "gla": "0x1", "access": "r", "root": "shared", "suppress_ve": 1, "outcome": "exit"},
        {"ev": "kvm_exit", "reason": "EPT_VIOLATION", "hw_reason": "EPT_VIOLATION", "qualification": "0x2", "gpa": hex((gpa | S) & ~0xFFF),
         "vm": "td"},
        {"ev": "kvm_page_fault", "gpa": hex((gpa | S) & ~0xFFF), "qualification": "0x2", "error_code": "0x2", "private": 0},
        {"ev": "mark_mmio_spte", "gfn": hex(gpa >> 12), "spte": hex(gpa & ~0xFFF | 0x18), "access": "0x0", "gen": "0x3"},
        {"ev": "kvm_check_emulate", "vm": "td", "result": "X86EMUL_RETRY_INSTR"},
        {"ev": "kvm_entry"},
    ] + td_ve(gpa, write)


def plain(gpa, first):
    head = [
        {"ev": "ept_violation", "gpa": hex(gpa), "gla": "0x1", "access": "w", "root": "plain", "suppress_ve": 1, "outcome": "exit"},
        {"ev": "kvm_exit", "reason": "EPT_VIOLATION", "hw_reason": "EPT_VIOLATION", "qualification": "0x2", "gpa": hex(gpa), "vm": "plain"},
        {"ev": "kvm_page_fault", "gpa": hex(gpa), "qualification": "0x2", "error_code": "0x2", "private": 0},
        {"ev": "mark_mmio_spte", "gfn": hex(gpa >> 12), "spte": hex(gpa & ~0xFFF | 0x1E), "access": "0x0", "gen": "0x3"},
    ] if first else [
        {"ev": "ept_misconfig", "gpa": hex(gpa), "gla": "0x1", "access": "w"},
        {"ev": "kvm_exit", "reason": "EPT_MISCONFIG", "hw_reason": "EPT_MISCONFIG", "vm": "plain"},
    ]
    return head + [
        {"ev": "kvm_check_emulate", "vm": "plain", "result": "X86EMUL_CONTINUE"},
        {"ev": "kvm_emulate_insn", "rip": "0x1000", "insn": "8907", "failed": 0},
        {"ev": "kvm_mmio", "type": "write", "len": 4, "gpa": hex(gpa), "val": "0x1"},
        {"ev": "kvm_userspace_exit", "reason": "KVM_EXIT_MMIO"},
        {"ev": "kvm_entry", "rip": "0x1002"},
    ]


NOISE = [{"ev": "kvm_exit", "reason": "EXTERNAL_INTERRUPT", "hw_reason": "EXTERNAL_INTERRUPT", "vm": "td"}, {"ev": "kvm_entry"},
         {"ev": "tdx_seamcall", "leaf": "TDH.VP.ENTER", "status": "0x0"}]
TD = td_first(GPA, True) + td_ve(GPA, False) + td_first(GPA + 0x1000, False)
PLAIN = plain(GPA, True) + plain(GPA, False)
OPTIONAL = {"kvm_userspace_exit"}


def run(events, *options):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for ts, event in enumerate(events):
            file.write(json.dumps({"ts": ts * 1000, "vcpu": 0, **event}) + "\n")
        file.flush()
        return subprocess.run([sys.executable, FLOW, file.name, *options], capture_output=True, text=True, check=False)


class Flow(unittest.TestCase):
    def refused(self, events, name):
        result = run(events)
        self.assertEqual(result.returncode, 1, result.stdout)
        self.assertIn(name, result.stderr)

    def test_good_traces_are_explained_with_their_values(self):
        result = run(TD)
        self.assertEqual(result.returncode, 0, result.stderr)
        for text in ("X86EMUL_RETRY_INSTR", hex(GPA | S), "R14", "no exit", "0x11", "First accesses: 2", "Later accesses: 1"):
            self.assertIn(text, result.stdout)
        self.assertEqual(run(PLAIN).returncode, 0)
        self.assertIn("3 MMIO accesses, 2 of them first", run(TD, "--check").stdout)

    def test_other_events_may_lie_between(self):
        noisy = []
        for event in TD:
            noisy += copy.deepcopy(NOISE) + [event]
        result = run(noisy)
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_every_event_is_needed(self):
        for trace in (TD, PLAIN):
            for i, event in enumerate(trace[:-1]):
                if event["ev"] in OPTIONAL or event.get("type") == "unsatisfied-read" or (event["ev"] == "kvm_entry" and i not in (5,)):
                    continue
                if trace is PLAIN and event["ev"] == "kvm_entry":
                    continue
                with self.subTest(index=i, event=event["ev"]):
                    self.refused(trace[:i] + trace[i + 1:], "event")

    def test_spoiled_values_are_refused(self):
        spoils = [("mark_mmio_spte", "spte", hex(1 << 63)), ("mark_mmio_spte", "spte", "0x7"), ("kvm_check_emulate", "result", "X86EMUL_CONTINUE"),
                  ("kvm_tdx_vmcall", "r14", hex(GPA)), ("kvm_tdx_vmcall_done", "r10", "0x8000000000000000"),
                  ("kvm_exit", "hw_reason", "EPT_MISCONFIG"), ("ept_violation", "suppress_ve", 0), ("kvm_mmio", "gpa", "0x0"),
                  ("kvm_entry", "rip", "0x1000")]
        for ev, field, value in spoils:
            trace = copy.deepcopy(TD)
            next(e for e in trace if e["ev"] == ev)[field] = value
            with self.subTest(event=ev, field=field):
                self.refused(trace, ev)

    def test_emulation_in_a_td_is_refused(self):
        self.refused(TD + [{"ev": "kvm_emulate_insn", "rip": "0x1", "insn": "90", "failed": 0}], "kvm_emulate_insn")

    def test_a_second_exit_for_the_same_page_is_refused(self):
        self.refused(td_first(GPA, True) + td_first(GPA, True), "accessed the page before")

    def test_empty_and_broken_traces_are_refused(self):
        self.refused([], "kvm_exit")
        self.refused(td_first(GPA, True), "second access")
        self.refused(NOISE, "mark_mmio_spte")


if __name__ == "__main__":
    unittest.main()
