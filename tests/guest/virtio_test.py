#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""virtio devices through `seamless run`: a guest that drives them, the way its register accesses take, and the options
that name their backends. SEAMLESS names the program, GUESTS the folder with the guests' images."""
import collections
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

SEAMLESS = os.environ["SEAMLESS"]
GUESTS = pathlib.Path(os.environ["GUESTS"])
LIMIT = 250
SECTOR = 512


def run(*arguments):
    limit = () if "--timeout" in arguments else ("--timeout", str(LIMIT - 20))
    return subprocess.run([SEAMLESS, "run", *limit, *arguments], capture_output=True, text=True, timeout=LIMIT,
                          stdin=subprocess.DEVNULL, check=False)


class Disks(unittest.TestCase):
    def setUp(self):
        # pylint: disable=consider-using-with
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.disk = self.image("a.img", b"SEAMLESS".ljust(SECTOR, b"\1") + bytes(7 * SECTOR))
        self.other = self.image("b.img", bytes(8 * SECTOR))

    def image(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path


class Guest(Disks):
    def drives(self, kind, *arguments):
        result = run("--vm", kind, "--firmware", GUESTS / "virtio.fd", "--disk", str(self.disk), "--disk", f"{self.other},ro", *arguments)
        self.assertEqual(result.returncode, 0, result.stdout[-2000:] + result.stderr)
        self.assertNotIn("FAIL", result.stdout)
        self.assertEqual(self.other.read_bytes(), bytes(8 * SECTOR))
        secret = bytes(SECTOR) if kind == "td" else b"\x5a" * SECTOR
        self.assertEqual(self.disk.read_bytes(), b"SEAMLESS".ljust(SECTOR, b"\1") + b"\x88\x77\x66\x55\x44\x33\x22\x11" * (SECTOR // 8) + secret + bytes(5 * SECTOR))

    def test_td_and_plain_vm(self):
        for kind in ("td", "plain"):
            for engine in ("full", "step"):
                with self.subTest(kind=kind, engine=engine):
                    self.drives(kind, "--engine", engine)

    def test_every_access_of_a_td_is_a_virtualization_exception(self):
        trace = self.folder / "t.jsonl"
        self.drives("td", "--trace", f"{trace}:ve_inject,kvm_tdx_vmcall,kvm_emulate_insn,kvm_mmio")
        count, devices = collections.Counter(), 0
        for line in trace.read_text().splitlines():
            event = json.loads(line)
            count[event["ev"], event.get("exit_reason", event.get("leaf"))] += 1
            devices += event["ev"] == "kvm_mmio" and event["gpa"].startswith("0xfeb00") and event["type"] != "unsatisfied-read"
        self.assertEqual(count["ve_inject", "EPT_VIOLATION"], count["kvm_tdx_vmcall", "MMIO"])
        self.assertEqual(count["kvm_emulate_insn", None], 0)
        self.assertGreater(devices, 100)


class Streams(unittest.TestCase):
    """A guest that gets an address by DHCP and answers its console in upper case until a full stop."""

    def test_network_and_console(self):
        for kind in ("td", "plain"):
            for engine in ("full", "step"):
                with self.subTest(kind=kind, engine=engine):
                    result = self.streams(b"hello, \x01x virtio.", "--vm", kind, "--engine", engine, "--console", "stdio", "--serial", "null")
                    self.assertEqual((result.returncode, result.stdout), (0, b"HELLO, \x01X VIRTIO."), result.stderr)

    def test_without_its_devices(self):
        result = self.streams(b".", "--net", "none", "--console", "stdio")
        self.assertEqual(result.returncode & 1, 1, result.stderr)
        self.assertIn(b"FAIL there is a network device", result.stdout)

    def test_console_to_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "console"
            result = self.streams(b"", "--console", f"file:{file}", "--serial", "null", "--timeout", "3")
            self.assertEqual((result.returncode, result.stdout), (4, b""), result.stderr)
            self.assertEqual(file.read_bytes(), b"")  # nobody types

    @staticmethod
    def streams(keys, *arguments):
        limit = () if "--timeout" in arguments else ("--timeout", str(LIMIT - 20))
        return subprocess.run([SEAMLESS, "run", "--firmware", GUESTS / "virtio_streams.fd", *limit, *arguments], input=keys, capture_output=True, timeout=LIMIT, check=False)


class Options(Disks):
    def refused(self, *arguments):
        result = run("--firmware", GUESTS / "hang.fd", *arguments)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
        self.assertTrue(result.stderr.startswith("seamless: "))

    def test_disks_that_cannot_be(self):
        os.mkfifo(self.folder / "fifo")
        for name in (self.folder / "none", self.folder, self.folder / "fifo", "/dev/null", self.image("empty", b""), self.image("odd", bytes(SECTOR + 1)), ""):
            with self.subTest(name=name):
                self.refused("--disk", str(name))
        self.refused(*["--disk", f"{self.disk},ro"] * 6)

    def test_a_disk_in_use(self):
        self.refused("--disk", str(self.disk), "--disk", str(self.disk))
        self.refused("--disk", str(self.disk), "--disk", f"{self.disk},ro")
        for first, second in (("", ""), ("", ",ro"), (",ro", "")):
            with subprocess.Popen([SEAMLESS, "run", "--firmware", GUESTS / "hang.fd", "--disk", f"{self.disk}{first}"], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as program:
                self.assertIn(b"hanging", program.stdout.readline())
                self.refused("--disk", f"{self.disk}{second}")
                program.kill()
        result = run("--firmware", GUESTS / "hang.fd", "--timeout", "1", "--disk", f"{self.disk},ro", "--disk", f"{self.disk},ro")
        self.assertEqual(result.returncode, 4, result.stderr)  # readers share, and the killed left no lock

    def test_networks_that_cannot_be(self):
        for text in ("bridge", "none,hostfwd=tcp::1-:1", "user,mac=1", "user,hostfwd=tcp::80", "user,hostfwd=icmp::80-:80", "user,hostfwd=tcp::0-:80",
                     "user,hostfwd=tcp::70000-:80", "user,hostfwd=tcp:host:5000-:80", "user,hostfwd=tcp::5000-guest:80", "user,hostfwd=tcp:192.0.2.1:5000-:80"):
            with self.subTest(text=text):
                self.refused("--net", text)

    def test_consoles_that_cannot_be(self):
        self.refused("--console", "pty")
        self.refused("--serial", "")
        self.refused("--console", "file:/nonexistent/x")

    def test_the_transports_place_is_taken(self):
        self.refused("--device", "testdev,gpa=0xfeb00000,size=16")


if __name__ == "__main__":
    unittest.main()
