#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's gdb with Debian's kernel as the guest: early boot, the handler of #VE, user space, attached late and detached.
The kernel says itself where its functions are. Environment and exit status as linux_test.py's; 77 also without gdb."""
import functools
import pathlib
import re
import subprocess
import sys
import unittest

from linux_test import HERE, KERNEL, LINUX, SKIPPED, path

sys.path.insert(0, str(HERE.parent / "guest"))
from gdb_session import GDB, LIMIT, SEAMLESS, Guest  # pylint: disable=wrong-import-position

APPEND = "console=ttyS0 nokaslr quiet"
BUSYBOX = LINUX / "busybox"


@functools.cache
def initrd():
    subprocess.run([sys.executable, HERE.parents[1] / "tools" / "initramfs.py", "--output", path("gdb_initrd"), "--busybox", BUSYBOX,
                    "--script", HERE / "guest_gdb.sh"], check=True)
    return path("gdb_initrd")


def linux(kind, cpus=1, also=""):
    return ("--vm", kind, "--cpus", cpus, "--kernel", KERNEL, "--initrd", initrd(), "--append", APPEND + also)


@functools.cache
def symbols():
    """Without KASLR they are where they are in every boot."""
    said = subprocess.run([SEAMLESS, "run", *map(str, linux("plain", also=" do=symbols")), "--timeout", str(LIMIT)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          check=True).stdout
    return {name: int(at, 16) for name, at in re.findall(r"^SYMBOL (\w+) ([0-9a-f]+)\r?$", said, re.MULTILINE)}


def entry():
    """Where busybox begins: it is linked to a fixed address."""
    header = pathlib.Path(BUSYBOX).read_bytes()[:32]
    return int.from_bytes(header[24:32], "little")


def show(word):
    return f'printf "VALUE %#lx\\n", (unsigned long)({word})'


def values(said):
    return [int(x, 16) for x in re.findall(r"^VALUE (\S+)$", said, re.MULTILINE)]


class GdbLinux(unittest.TestCase):
    def ends_well(self, guest, said):
        self.assertEqual(guest.wait(), 0, said + guest.errors())
        self.assertIn("\nBOOTED 6.", guest.console(), said)

    def test_from_the_start_to_user_space(self):
        for kind, cpus in (("td", 1), ("plain", 4)):
            with self.subTest(kind=kind, cpus=cpus), Guest(*linux(kind, cpus)) as guest:
                said = guest.gdb(f"hbreak *{symbols()['start_kernel']:#x}", "continue", show("$rip"), show("$cr0 >> 31"), "monitor walk rip", "delete",
                                 f"break *{entry():#x}", "continue", show("$rip"), show("$cs & 3"), "stepi", show("$rip"), "info threads", "delete",
                                 "continue")
                found = values(said)
                self.assertEqual(found[:4], [symbols()["start_kernel"], 1, entry(), 3], said)
                self.assertNotEqual(found[4], entry(), said)
                self.assertIn("exited normally", said)
                self.ends_well(guest, said)

    def test_in_the_handler_of_ve_and_over_the_instruction(self):
        over = ('python ip = int(gdb.parse_and_eval("*(unsigned long*)($rdi + 128)")); '
                'rest = gdb.selected_frame().architecture().disassemble(ip, count=2); gdb.execute("tbreak *%#x" % rest[1]["addr"]); '
                'print("NEXT %#x" % rest[1]["addr"])')
        for cpus in (1, 4):
            with self.subTest(cpus=cpus), Guest(*linux("td", cpus)) as guest:
                said = guest.gdb(f"break *{symbols()['exc_virtualization_exception']:#x}", "continue", show("$rip"), "monitor ve-info", "monitor ves 1",
                                 "monitor vmcalls 2", over, "delete 1", "continue", show("$rip"), "continue")
                found = values(said)
                self.assertEqual(found[0], symbols()["exc_virtualization_exception"], said)
                self.assertEqual(found[1], int(re.search(r"^NEXT (\S+)$", said, re.MULTILINE).group(1), 16), said)
                self.assertIn("VALID: the guest has not read it", said)
                self.assertRegex(said, r"ve_inject +exit_reason=\w+")
                self.ends_well(guest, said)

    def test_attached_late_and_detached(self):
        for kind, cpus in (("td", 4), ("plain", 1)):
            with self.subTest(kind=kind, cpus=cpus), \
                    Guest(*linux(kind, cpus, " do=late"), wait=False, stdin=subprocess.PIPE) as guest:
                guest.wait_for("RUNNING")
                said = guest.gdb(show("$rip"), "info threads", "monitor vcpus", "monitor exits 2", f"tbreak *{symbols()['vfs_read']:#x}", "continue",
                                 show("$rip"), "detach")
                guest.type("go on\n")
                self.assertEqual(values(said)[1], symbols()["vfs_read"], said)
                self.assertIn("vCPU 0", said)
                self.ends_well(guest, said)


if __name__ == "__main__":
    if not GDB or not all((LINUX / name).exists() for name in ("vmlinuz", "busybox")):
        print("there is no gdb or no kernel here: these tests are skipped", file=sys.stderr)
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
