#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's gdb with small guests, TDs and plain VMs, through `seamless run --gdb`. SEAMLESS names the program, GUESTS the
folder with the guests' images. Exits with 77, after a word why, where there is no gdb."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

from gdb_session import GDB, SEAMLESS, Guest, gdb_script

GUESTS = pathlib.Path(os.environ["GUESTS"])
ELF = GUESTS / "objects" / "seamless.elf"
SMP = GUESTS / "objects" / "smp.elf"
HANG = GUESTS / "objects" / "hang.elf"
TESTDEV = ("--device", "testdev,gpa=0xfe000000,size=0x2000")
MAIN = "*_ZN8seamless5guest10guest_mainERKNS0_7MachineE"
END = "*_ZN8seamless5guest9end_guestEb"
HANDLE_VE = "*_ZN8seamless5guest9handle_veERNS0_5FrameE"
KINDS = ("td", "plain")


def image(name):
    return ("--firmware", GUESTS / f"{name}.fd", *TESTDEV)


def value(said, name):
    """What `p/x $name` printed last."""
    found = re.findall(rf"^VALUE {name} (\S+)$", said, re.MULTILINE)
    return int(found[-1], 16) if found else None


def until(condition, limit=60):
    end = time.monotonic() + limit
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def show(*names):
    return [f'printf "VALUE {name} %#lx\\n", (unsigned long)${name}' for name in names]


class Breakpoints(unittest.TestCase):
    def test_before_the_first_instruction_at_a_function_and_to_the_end(self):
        for kind in KINDS:
            with self.subTest(kind=kind), Guest("--vm", kind) as guest:
                said = guest.gdb(*show("cr0", "efer"), f"break {MAIN}", "continue", *show("rip", "cr0", "efer", "cs"), "info symbol $rip",
                                 "x/2i $rip", "delete", "continue", elf=ELF)
                numbers = re.findall(r"^VALUE cr0 (\S+)$", said, re.MULTILINE)
                self.assertEqual(len(numbers), 2, said)
                self.assertEqual(int(numbers[0], 16) >> 31, 0, "paging is off at the start\n" + said)
                self.assertEqual(int(numbers[1], 16) >> 31, 1, said)
                self.assertEqual(value(said, "efer") & 0x500, 0x500, said)
                self.assertIn("guest_main", said)
                self.assertRegex(said, r"Breakpoint 1, .*guest_main")
                self.assertIn("exited normally", said)
                self.assertEqual(guest.wait(), 0, guest.errors())
                self.assertIn("ALL PASS", guest.console())

    def test_hardware_breakpoint_and_registers_that_are_written(self):
        for kind in KINDS:
            with self.subTest(kind=kind), Guest("--vm", kind) as guest:
                said = guest.gdb(f"hbreak {MAIN}", "continue", "set $r15 = 0x1234567890abcdef", "set $xmm3.uint128 = 7", "set $st0 = 2.5",
                                 "set $mxcsr = 0x1fa0", "flushregs", *show("r15"), "p $xmm3.uint128", "p $st0", "p/x (int)$mxcsr", "info registers rip eflags cr3",
                                 "set $cr0 = 0", "kill", elf=ELF)
                self.assertEqual(value(said, "r15"), 0x1234567890abcdef, said)
                self.assertRegex(said, r"\$\d+ = 7\n", said)
                self.assertIn("= 2.5", said)
                self.assertIn("= 0x1fa0", said)
                self.assertIn("Could not write register", said)
                self.assertEqual(guest.wait(), 0, guest.errors())

    def test_in_the_handler_of_ve_and_step_over_a_ve(self):
        with Guest("--vm", "td") as guest:
            said = guest.gdb(f"break {HANDLE_VE}", "ignore 1 20", "continue", "monitor ve-info", "monitor ves 1", "monitor exits 3", "delete", "continue", elf=ELF)
            self.assertIn("VALID: the guest has not read it", said)
            self.assertRegex(said, r"exit reason \d+ \(\w+\)")
            self.assertIn("ve_inject", said)
            self.assertIn("kvm_exit", said)
            self.assertEqual(guest.wait(), 0, guest.errors())
            rip = int(re.search(r"cpu_rip=(0x[0-9a-f]+)", said).group(1), 16)
            length = int(re.search(r"cpu_insn_len=(\d+)", said).group(1))
        with Guest("--vm", "td") as guest:  # that instruction, from both sides
            said = guest.gdb(f"break *{rip:#x}", "continue", *show("rip"), "delete", "stepi", *show("rip"), "info symbol $rip", f"tbreak *{rip + length:#x}",
                             "continue", *show("rip"), "delete", "continue", elf=ELF)
            rips = [int(x, 16) for x in re.findall(r"^VALUE rip (\S+)$", said, re.MULTILINE)]
            self.assertEqual(len(rips), 3, said)
            self.assertEqual(rips[0], rip, said)
            self.assertEqual(rips[2], rip + length, said)
            self.assertIn("exception_entries", said)
            self.assertEqual(guest.wait(), 0, guest.errors())

    def test_single_steps_are_instructions(self):
        for kind in KINDS:
            with self.subTest(kind=kind), Guest("--vm", kind) as guest:
                said = guest.gdb(f"break {MAIN}", "continue", "x/6i $rip", "delete", *(x for _ in range(5) for x in ("stepi", *show("rip"))), "stepi 200",
                                 "continue", elf=ELF)
                listed = [int(x, 16) for x in re.findall(r"^(?:=>)?\s+0x([0-9a-f]+) <.*>:\t", said, re.MULTILINE)][:6]
                rips = [int(x, 16) for x in re.findall(r"^VALUE rip (\S+)$", said, re.MULTILINE)]
                self.assertEqual(len(rips), 5, said)
                straight = 0
                while straight < 5 and rips[straight] == listed[straight + 1]:
                    straight += 1
                self.assertGreaterEqual(straight, 2, said)
                self.assertEqual(guest.wait(), 0, guest.errors())

    def test_watchpoint_stops_behind_the_write(self):
        for kind in KINDS:
            with self.subTest(kind=kind), Guest("--vm", kind) as guest:
                said = guest.gdb(f"break {MAIN}", "continue", "delete", "watch -l *(unsigned long*)($rsp - 8)", "continue", *show("rip"), "delete",
                                 "continue", elf=ELF)
                self.assertIn("Hardware watchpoint 2", said)
                self.assertRegex(said, r"Old value = .*\nNew value = ", said)
                self.assertNotEqual(value(said, "rip"), None, said)
                self.assertEqual(guest.wait(), 0, guest.errors())


    def test_watchpoints_for_reads_and_for_any_access(self):
        # At the entry of a function, RSP points to what its RET will read; END is called next, so that CALL writes the same place.
        for kind in KINDS:
            with self.subTest(kind=kind), Guest("--vm", kind) as guest:
                said = guest.gdb(f"break {MAIN}", "continue", "delete", "set $slot = $rsp", "rwatch -l *(unsigned long*)$slot", "continue", *show("rip"),
                                 'printf "VALUE target %#lx\\n", *(unsigned long*)$slot', "delete", "awatch -l *(unsigned long*)$slot", "continue", *show("rip"),
                                 "info symbol $rip", "delete", "continue", elf=ELF)
                self.assertRegex(said, r"Hardware read watchpoint 2: .*\n\nValue = \d+\n")
                rips = [int(x, 16) for x in re.findall(r"^VALUE rip (\S+)$", said, re.MULTILINE)]
                self.assertEqual(len(rips), 2, said)
                self.assertEqual(rips[0], value(said, "target"), "RET was the first to read it\n" + said)
                self.assertRegex(said, r"Hardware access \(read/write\) watchpoint 3: .*\n\nOld value = \d+\nNew value = \d+\n")
                self.assertIn("end_guest(bool) in section", said)
                self.assertIn("exited normally", said)
                self.assertEqual(guest.wait(), 0, guest.errors())

    def test_access_watchpoint_tells_of_reads(self):
        for kind in KINDS:
            with self.subTest(kind=kind), Guest("--vm", kind) as guest:
                said = guest.gdb(f"break {MAIN}", "continue", "delete", "awatch -l *(unsigned long*)$rsp", "continue", "delete", "continue", elf=ELF)
                self.assertRegex(said, r"Hardware access \(read/write\) watchpoint 2: .*\n\nValue = \d+\n")
                self.assertEqual(guest.wait(), 0, guest.errors())


class Memory(unittest.TestCase):
    def test_linear_and_physical_and_written(self):
        for kind in KINDS:
            with self.subTest(kind=kind), Guest("--vm", kind) as guest:
                said = guest.gdb(f"break {MAIN}", "continue", "x/1xw $rip", "monitor phys on", "x/1xw $rip", "monitor phys off", "x/1xw 0x7ffffffff000",
                                 "set {long}($rsp-256) = 0x1122334455667788", "x/1xg $rsp-256", "monitor walk rsp", "monitor walk-gpa 0xfe000000",
                                 "monitor xp 0x810000 16", "delete", "continue", elf=ELF)
                words = re.findall(r":\s+0x([0-9a-f]{8})$", said, re.MULTILINE)
                self.assertGreaterEqual(len(words), 2, said)
                self.assertEqual(words[0], words[1], "the firmware maps memory one to one\n" + said)
                self.assertIn("Cannot access memory", said)
                self.assertIn("0x1122334455667788", said)
                self.assertRegex(said, r"guest +level \d")
                self.assertRegex(said, r"secure EPT level 0 .*MAPPED|EPT +level 0 .*rwx" if kind == "td" else r"EPT +level \d .*rwx")
                self.assertRegex(said, r"at 0x[0-9a-f]+ of the host")
                self.assertEqual(guest.wait(), 0, guest.errors())

    def test_entry_of_a_device_after_its_first_access(self):
        with Guest("--vm", "td", *TESTDEV) as guest:
            said = guest.gdb(f"break {MAIN}", "continue", "monitor walk-gpa 0x8000fe000000", "echo AFTER\\n", f"break {END}", "continue",
                             "monitor walk-gpa 0x8000fe000000", "monitor history 0xfe000000", "delete", "continue", elf=ELF)
            before, after = said.split("AFTER")
            self.assertNotIn("KVM's entry for MMIO", before, said)
            self.assertRegex(before, r"shared EPT level \d .*suppress-#VE set: an access exits as EPT violation")
            self.assertRegex(after, r"shared EPT level 0 .* = 0x00000000fe0000\d\d  KVM's entry for MMIO, suppress-#VE clear: an access becomes #VE")
            marks = re.findall(r"mark_mmio_spte +gfn=(\S+) spte=(0x\S+)", after)
            self.assertEqual(len(marks), 1, said)
            self.assertEqual(int(marks[0][0], 16), 0xfe000, said)
            walked = re.search(r"shared EPT level 0 +\[0x[0-9a-f]+\] = (0x[0-9a-f]+)", after).group(1)
            self.assertEqual(int(marks[0][1], 16), int(walked, 16), "the entry that the history tells of is the one that is there\n" + said)
            outcomes = re.findall(r"ept_violation +gpa=0x8000fe000\S+ .* suppress_ve=(\d) outcome=(\w+)", after)
            self.assertEqual(outcomes[0], ("1", "exit"), said)
            self.assertGreater(len(outcomes), 1, said)
            self.assertEqual(set(outcomes[1:]), {("0", "ve")}, said)
            self.assertLess(after.index("outcome=exit"), after.index("mark_mmio_spte"), said)
            self.assertLess(after.index("mark_mmio_spte"), after.index("outcome=ve"), said)
            self.assertEqual(guest.wait(), 0, guest.errors())

    def test_facts_of_the_td(self):
        with Guest("--vm", "td") as guest:
            said = guest.gdb(f"break {MAIN}", "continue", "monitor td", "monitor history 0x810000", "monitor vmcalls", "monitor help", "delete", "continue", elf=ELF)
            mrtd = subprocess.run([SEAMLESS, "measure"], capture_output=True, text=True, check=True).stdout.split()[1]
            self.assertIn(mrtd, said)
            self.assertIn("RUNNABLE", said)
            self.assertRegex(said, r"TDH\.MEM\.PAGE\.(ADD|AUG)", said)
            self.assertIn("walk-gpa GPA", said)
            self.assertEqual(guest.wait(), 0, guest.errors())
        with Guest("--vm", "plain") as guest:
            self.assertIn("belongs to no TD", guest.gdb("monitor td", "monitor nonsense", "kill"))


class Processors(unittest.TestCase):
    def test_vcpus_are_threads(self):
        for kind in KINDS:
            with self.subTest(kind=kind), Guest("--vm", kind, "--cpus", "4", *image("smp")) as guest:
                said = guest.gdb(f"break {MAIN}", "continue", "info threads", "thread apply all p/x $rip", "delete", "continue", elf=SMP)
                self.assertRegex(said, r"Breakpoint 1, .*guest_main")
                if kind == "td":  # all of its vCPUs start together
                    self.assertRegex(said, r"Thread 1\.4|Thread 4 ")
                self.assertIn("exited normally", said)
                self.assertEqual(guest.wait(), 0, guest.errors())

    def test_breakpoint_that_every_processor_meets(self):
        for kind in KINDS:
            with self.subTest(kind=kind), Guest("--vm", kind, "--cpus", "4", *image("smp")) as guest:
                said = guest.gdb("break *secondary_main", "continue", "info threads", "continue", "continue", "info threads", "delete", "continue", elf=SMP)
                threads = set(re.findall(r"^Thread (\d+) .*hit Breakpoint 1", said, re.MULTILINE))
                self.assertGreaterEqual(len(threads), 2, said)
                self.assertEqual(guest.wait(), 0, guest.errors())


class Attaching(unittest.TestCase):
    def test_late_interrupted_detached_and_again(self):
        for kind in KINDS:
            with self.subTest(kind=kind), Guest("--vm", kind, *image("hang"), wait=False) as guest:
                time.sleep(1)
                for _ in range(2):
                    said = guest.gdb(*show("rip"), "detach")
                    self.assertNotEqual(value(said, "rip"), None, said)
                    self.assertIsNone(guest.process.poll(), guest.errors())
                guest.gdb("kill")
                self.assertEqual(guest.wait(), 0, guest.errors())

    def test_control_c_stops_a_running_guest(self):
        for kind in KINDS:
            with self.subTest(kind=kind), Guest("--vm", kind, *image("hang")) as guest:
                gdb = gdb_script(guest.address, ("continue", *show("rip"), "x/2i $rip", "info symbol $rip", "continue", "kill"), elf=HANG, background=True)
                try:
                    for _ in range(2):  # the second `continue` is interrupted as the first
                        self.assertTrue(until(lambda: "hanging" in guest.console()), guest.errors())
                        time.sleep(1)
                        self.assertIsNone(gdb.poll(), "the guest runs, and gdb waits")
                        gdb.send_signal(signal.SIGINT)
                    said = gdb.communicate(timeout=60)[0]
                finally:
                    gdb.kill()
                self.assertEqual(said.count("received signal SIGINT"), 2, said)
                self.assertIn("guest_main", said)
                self.assertNotEqual(value(said, "rip"), None, said)
                self.assertEqual(guest.wait(), 0, guest.errors())

    def test_the_port_that_s_stands_for(self):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", 1234))
            except OSError:
                self.skipTest("somebody has port 1234")
        for kind in KINDS:
            with self.subTest(kind=kind), Guest("--vm", kind, port=("-s",)) as guest:  # and -S
                self.assertEqual(guest.address.rsplit(":", 1)[1], "1234")
                time.sleep(0.5)
                self.assertEqual(guest.console(), "", "it waits")
                said = guest.gdb(*show("rip"), f"break {MAIN}", "continue", "delete", "continue", elf=ELF)
                self.assertEqual(value(said, "rip"), 0xfffffff0, said)
                self.assertIn("exited normally", said)
                self.assertEqual(guest.wait(), 0, guest.errors())

    def test_connection_that_breaks_lets_the_guest_go(self):
        with Guest("--vm", "td") as guest:
            host, port = guest.address.rsplit(":", 1)
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(b"$?#3f")
                self.assertTrue(connection.recv(100))
            self.assertEqual(guest.wait(), 0, guest.errors())

    def test_the_clock_of_timeout_runs_on(self):
        with Guest("--vm", "td", "--timeout", "2") as guest:
            self.assertEqual(guest.wait(), 4, guest.errors())

    def test_only_one_debugger_and_only_on_loopback(self):
        with Guest("--vm", "td") as guest:
            host, port = guest.address.rsplit(":", 1)
            self.assertEqual(host, "127.0.0.1")
            with socket.create_connection((host, int(port))) as first:
                first.sendall(b"$qC#b4")
                self.assertTrue(first.recv(100))
                with socket.create_connection((host, int(port))) as second:
                    self.assertEqual(second.recv(100), b"")
            self.assertEqual(guest.wait(), 0, guest.errors())

    def test_wrong_options(self):
        for arguments in (("--gdb", "somewhere"), ("--gdb", "65536"), ("--gdb", "256.1.1.1:1"), ("-S",)):
            with self.subTest(arguments=arguments):
                result = subprocess.run([SEAMLESS, "run", *arguments], capture_output=True, text=True, timeout=60, check=False)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn(arguments[0], result.stderr)
        with Guest("--vm", "td") as guest:  # its port is taken
            result = subprocess.run([SEAMLESS, "run", "--gdb", guest.address], capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn("in use", result.stderr)


if __name__ == "__main__":
    if not GDB:
        print("there is no gdb here: its tests are skipped", file=sys.stderr)
        sys.exit(77)
    unittest.main(verbosity=2)
