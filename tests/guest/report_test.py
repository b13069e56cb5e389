#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Guests with planted bugs, each diagnosed by the report of `seamless run` alone: the sentence that names the cause, the
instruction, and the same as JSON. SEAMLESS names the program, GUESTS the folder with the guests' images."""
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

SEAMLESS = os.environ["SEAMLESS"]
GUESTS = pathlib.Path(os.environ["GUESTS"])
LIMIT = 250
DIED, TIMEOUT = 6, 4


def run(guest, *arguments, timeout="60"):
    command = [SEAMLESS, "run", "--firmware", GUESTS / f"{guest}.fd", "--device", "testdev,gpa=0xfe000000,size=0x2000", "--timeout", timeout, "--json",
               *arguments]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL, check=False)


class Planted(unittest.TestCase):
    """name: the diagnosis; words: what its sentence must say, as regular expressions."""

    def diagnosed(self, guest, status, name, *words, arguments=(), timeout="60"):
        result = run(guest, *arguments, timeout=timeout)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        death = json.loads(result.stdout.splitlines()[-1])["death"]
        self.assertEqual(death["causes"][0]["name"], name, result.stderr)
        first = re.search(r"^cause: (.*)\.$", result.stderr, re.MULTILINE).group(1)
        self.assertEqual(death["causes"][0]["sentence"], first)
        for word in words:
            self.assertRegex(first, word)
        self.assertNotRegex(result.stderr, r"[^\n -~]")
        return death, result.stderr

    def test_mmio_that_the_handler_cannot_decode(self):
        for kind in ("full", "step"):
            death, text = self.diagnosed("bug_mmio_decode", DIED, "undecoded-mmio", "did not handle an access to MMIO at shared .*0xfe000000 \\(testdev\\)",
                                         "by `add \\[r\\w+\\], \\w+`", "no plain MOV", arguments=("--engine", kind))
            self.assertEqual(death["death"], "fatal_error")
            self.assertIn('message "the #VE handler failed"', text)
            self.assertIn("see: GHCI: \"TDG.VP.VMCALL<#VE.RequestMMIO>\"", text)
            self.assertTrue(any("add [" in i["text"] for i in death["vcpus"][0]["interrupted"]))
            self.assertTrue(any(e["kind"] == "ve" and "shared 0xfe000000" in e["text"] for e in death["vcpus"][0]["events"]))

    def test_mmio_to_a_private_address(self):
        death, text = self.diagnosed("bug_private_mmio", DIED, "mmio-as-private", "0xfe000000 as private memory", "device testdev is there",
                                     "set the shared bit \\(0x800000000000\\)")
        self.assertEqual(death["vcpus"][0]["registers"]["rip"], death["vcpus"][0]["instruction"]["rip"])
        self.assertRegex(text, r"at rip 0x[0-9a-f]+: ([0-9a-f]{2} )+ mov ")

    def test_memory_that_is_not_accepted(self):
        self.diagnosed("bug_unaccepted", DIED, "unaccepted-memory", "`mov \\[r\\w+\\], r\\w+` at 0x", "not accepted: private .*0x4000000 \\(memory\\)",
                       "TDG.MEM.PAGE.ACCEPT")

    def test_a_second_ve_before_the_first_is_read(self):
        self.diagnosed("bug_second_ve", DIED, "unread-ve", "instruction \\(CPUID\\) at 0x", "double fault", "TDG.VP.VEINFO.GET comes first")
        self.diagnosed("livelock", DIED, "unread-ve", "second #VE before it read VE_INFO: `mov ", "shared .*0xfe000000 \\(testdev\\)", "leaves the guest for ever")

    def test_a_private_buffer_for_dma(self):
        death, _ = self.diagnosed("bug_private_dma", TIMEOUT, "dma-to-private", "0x40 bytes at guest-physical address 0x8", "sees the shared page", "MapGPA",
                                  timeout="6")
        self.assertEqual([m["memory"] for m in death["dma_mistakes"]], [True])

    def test_a_masked_interrupt(self):
        death, text = self.diagnosed("bug_masked_interrupt", TIMEOUT, "masked-interrupt", "serial port asserts pin 4", "vector 0x24, edge-triggered\\) is masked",
                                     timeout="4")
        self.assertEqual(death["vcpus"][0]["state"], "halted")
        self.assertRegex(text, r"pin  4, serial port: vector 0x24, edge, masked, asserted")

    def test_an_interrupt_that_waits_while_the_guest_sleeps(self):
        death, text = self.diagnosed("bug_blocked_interrupt", TIMEOUT, "interrupt-not-taken", "vCPU 0 waits in HLT while interrupt vector 0x31 is requested",
                                     "halts with interrupts blocked", timeout="4")
        self.assertEqual(death["vcpus"][0]["apic"]["requested"], "0x31")
        self.assertIn("requested (IRR): 0x31", text)

    def test_a_refused_msr(self):
        self.diagnosed("bug_msr", DIED, "refused-msr", "refused RDMSR of MSR 0x12345 at 0x", "TDG.VP.VMCALL<Instruction.RDMSR>", "INVALID_OPERAND")

    def test_the_stack_of_the_ve_handler(self):
        death, _ = self.diagnosed("bug_ve_stack", DIED, "stack-overflow", "RSP is 0x403fe0|RSP is 0x403fdf", "in the #VE handler")
        self.assertEqual(death["death"], "triple_fault")

    def test_no_interrupt_descriptor_table(self):
        self.diagnosed("triple_fault", DIED, "no-gate", "IDT at 0x0 has a limit of 0x0")
        death, _ = self.diagnosed("triple_fault", DIED, "no-gate", "IDT at 0x0 has a limit of 0x0", arguments=("--vm", "plain"))
        self.assertIn("int3", [death["vcpus"][0]["instruction"]["text"]])

    def test_a_loop_without_end(self):
        for kind in ("td", "plain"):
            death, text = self.diagnosed("hang", TIMEOUT, "spins", "vCPU 0 was still executing", "`jmp ", timeout="3", arguments=("--vm", kind, "--cpus", "2"))
            self.assertEqual([v["state"] for v in death["vcpus"]], ["running", "halted_blocked"])
            self.assertIn("vCPU 1 ", text)


class Healthy(unittest.TestCase):
    def test_nothing_is_said_of_a_guest_that_ends_well(self):
        result = run("seamless")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        self.assertNotIn("death", json.loads(result.stdout.splitlines()[-1]))

    def test_nor_of_one_that_says_itself_that_it_failed(self):
        result = run("leaves", "--vm", "plain")
        self.assertNotEqual(result.returncode, DIED)
        self.assertNotIn("cause:", result.stderr)


class Symbols(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = pathlib.Path(folder.name) / "System.map"

    def test_names_in_the_report(self):
        self.file.write_text("0000000000810000 T everything_of_the_guest\n")
        result = run("bug_private_mmio", "--symbols", self.file)
        self.assertRegex(result.stderr, r"`mov \w+, \[r\w+\]` at 0x[0-9a-f]+ <everything_of_the_guest\+0x[0-9a-f]+>")
        self.assertRegex(result.stderr, r"#1  \?0x[0-9a-f]+ <everything_of_the_guest\+0x")

    def test_an_elf_file(self):
        elf = next(iter(sorted((GUESTS / "objects").glob("bug_private_mmio.elf"))))
        result = run("bug_private_mmio", "--symbols", elf)
        self.assertRegex(result.stderr, r"accessed guest-physical|guest_main")
        self.assertRegex(result.stderr, r"at rip 0x[0-9a-f]+ <[^>]*guest_main[^>]*>")

    def test_files_that_are_none(self):
        for content in (b"", b"nonsense\n", b"\x7fELF", b"\x7fELF" + bytes(200), b"\x7fELF\x02\x01\x01" + b"\xff" * 200):
            self.file.write_bytes(content)
            result = run("bug_private_mmio", "--symbols", self.file)
            self.assertEqual((result.returncode, result.stderr.count("\n")), (2, 1), result.stderr)
        self.assertEqual(run("bug_private_mmio", "--symbols", "/nonexistent").returncode, 2)


class EarlyOutput(unittest.TestCase):
    def test_the_debug_console(self):
        for kind in ("td", "plain"):
            with self.subTest(kind=kind), tempfile.TemporaryDirectory() as folder:
                file = pathlib.Path(folder) / "debug"
                for arguments in (("--debugcon", f"file:{file}"), ("-debugcon", f"file:{file}", "-global", "isa-debugcon.iobase=0x402")):
                    result = run("debug_console", "--vm", kind, *arguments)
                    self.assertEqual((result.returncode, file.read_text()), (0, "by 0x402\nby 0xe9\n"), result.stderr)
                result = run("debug_console", "--vm", kind, "--debugcon", "stderr")
                self.assertEqual(result.stderr, "by 0x402\nby 0xe9\n")
                result = run("debug_console", "--vm", kind, "--debugcon", "stdio")
                self.assertIn("by 0x402\nby 0xe9\n", result.stdout)

    def test_there_is_none_unless_asked_for(self):
        result = run("debug_console")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("port 0x402 reads 0xff", result.stdout)
        for wrong in ("pty", "/dev/null", "file:/nonexistent/x"):
            self.assertEqual(run("debug_console", "--debugcon", wrong).returncode, 2)

    def test_the_log(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "log"
            result = run("bug_unaccepted", "--log", file)
            self.assertNotIn("firmware:", result.stderr)
            text = file.read_text()
            self.assertRegex(text, r"\[ +\d+\.\d{3}\] a TD with 1 vCPUs and 512 MiB of memory")
            for word in ("firmware: ", "its vCPUs start", "KVM has declared the VM dead", "cause: `mov ", "exit status 6"):
                self.assertIn(word, text)
            self.assertIn("firmware: ", run("bug_unaccepted", "-v").stderr)
        self.assertEqual(run("bug_unaccepted", "--log", "/nonexistent/x").returncode, 2)


if __name__ == "__main__":
    unittest.main()
