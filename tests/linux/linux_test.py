#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's kernel in `seamless run`: what it says, measures and does as a TD and as a plain VM. SEAMLESS names the program
(an optimised one boots in seconds), GUESTS the folder with the guests' images, LINUX the one that tools/linux_packages.sh
fills, TDREPORT the program that asks for a report. Exits with 77, after a word why, where there is no kernel."""
import collections
import functools
import hashlib
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest

SEAMLESS = os.environ["SEAMLESS"]
GUESTS = pathlib.Path(os.environ["GUESTS"])
LINUX = pathlib.Path(os.environ["LINUX"])
HERE = pathlib.Path(__file__).resolve().parent
KERNEL = LINUX / "vmlinuz"
MODULES = ("tdx_guest", "virtio_mmio", "virtio_blk", "virtio_net", "virtio_rng")
LIMIT = 200  # seconds for one boot, on a machine that others keep busy
SKIPPED = 77

COMPLAINTS = re.compile(r"WARNING:|BUG:|Oops|Call Trace|soft lockup|hard LOCKUP|blocked for more than|self-detected stall|detected stalls|"
                        r"TSC unstable|clocksource.*unstable|unchecked MSR|[Kk]ernel panic|#VE|(?<!tdx_guest.ko) could not be loaded|segfault")

# TDX ABI: "TDREPORT_STRUCT".
REPORTDATA, MRTD, RTMR, REPORT_SIZE, DIGEST = 128, 528, 720, 1024, 48

FOLDER = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with


def path(name):
    return pathlib.Path(FOLDER.name) / name


@functools.cache
def initrd():
    subprocess.run([sys.executable, HERE.parents[1] / "tools" / "initramfs.py", "--output", path("initrd"), "--busybox", LINUX / "busybox",
                    "--modules", LINUX / "modules", *(word for module in MODULES for word in ("--module", module)),
                    "--file", f"{os.environ['TDREPORT']}:/bin/tdreport", "--script", HERE / "guest.sh"], check=True)
    return path("initrd")


@functools.cache
def platform_key():
    path("key").write_bytes(bytes(range(100, 132)))
    return path("key")


class Boot:
    """One run of Linux: its status, what it said, and the most memory that it took of the host, in MiB."""

    def __init__(self, append, *arguments, limit=LIMIT):
        self.append = f"console=ttyS0 {append}".strip()
        command = [SEAMLESS, "run", "--kernel", KERNEL, "--initrd", initrd(), "--append", self.append, "--platform-key", platform_key(),
                   "--timeout", str(limit), *arguments]
        log, errors = path("log"), path("errors")
        with open(log, "wb") as out, open(errors, "wb") as err:
            # pylint: disable=consider-using-with
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            _, status, usage = os.wait4(process.pid, 0)
        self.status = process.returncode = os.waitstatus_to_exitcode(status)
        self.peak = usage.ru_maxrss // 1024
        self.log = log.read_text(errors="replace").replace("\r", "")
        self.errors = errors.read_text()

    def __str__(self):
        return f"status {self.status}\n{self.errors}{self.log[-3000:]}"

    def says(self, name):
        found = re.search(rf"^SAYS {name}: (.*)$", self.log, re.MULTILINE)
        return found.group(1) if found else None

    def report(self):
        found = re.search(r"^TDREPORT ([0-9a-f]+)$", self.log, re.MULTILINE)
        return bytes.fromhex(found.group(1)) if found else b""


class LinuxTest(unittest.TestCase):
    def boots(self, cpus, append, *arguments, status=0):
        boot = Boot(append, "--cpus", str(cpus), *arguments)
        self.assertEqual(boot.status, status, boot)
        self.assertIn("\nBOOTED 6.", boot.log, boot)
        self.assertEqual(boot.says("cpus"), str(cpus), boot)
        found = COMPLAINTS.search(boot.log)
        self.assertIsNone(found, found and boot.log[max(0, found.start() - 200):found.end() + 1500])
        return boot

    def is_a_td(self, boot, cpus):
        self.assertEqual(boot.says("tdx_guest"), str(cpus), boot)
        for line in ("tdx: Guest detected", "Memory Encryption Features active: Intel TDX"):
            self.assertIn(line, boot.log)
        self.assertRegex(boot.log, r"TDX aware idle routine|tdx: .*")
        self.reports_what_was_predicted(boot, cpus)

    def reports_what_was_predicted(self, boot, cpus):
        report = boot.report()
        self.assertEqual(len(report), REPORT_SIZE, boot)
        self.assertEqual(report[REPORTDATA:REPORTDATA + 64], bytes(range(64)))
        predicted = json.loads(subprocess.run([SEAMLESS, "measure", "--kernel", KERNEL, "--initrd", initrd(), "--append", boot.append, "--cpus", str(cpus),
                                               "--json"], stdout=subprocess.PIPE, check=True).stdout)
        self.assertEqual(report[MRTD:MRTD + DIGEST].hex(), predicted["mrtd"])
        for i in range(3):
            self.assertEqual(report[RTMR + i * DIGEST:RTMR + (i + 1) * DIGEST].hex(), predicted[f"rtmr{i}"], f"RTMR{i}")
            self.assertNotEqual(predicted[f"rtmr{i}"], "0" * 96)
        self.assertEqual(report[RTMR + 3 * DIGEST:RTMR + 4 * DIGEST], bytes(DIGEST))

    def does_its_work(self, boot):
        """The script's pipeline gave the digest that the host computes, four times."""
        self.assertEqual(boot.says("work"), f"1 of 4: {hashlib.sha256(bytes(64 * 65536)).hexdigest()}  -", boot)


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"a word from the host\n")

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


class Td(LinuxTest):
    """One processor, with every device in use and a trace; its report is then verified by another TD."""

    def test_devices_measurements_and_trace(self):
        content = os.urandom(1 << 20)
        path("a.img").write_bytes(content)
        path("b.img").write_bytes(bytes(len(content)))
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            boot = self.boots(1, f"quiet do=devices port={server.server_port}", "--disk", f"{path('a.img')},ro", "--disk", path("b.img"),
                              "--console", f"file:{path('hvc0')}", "--trace", f"{path('t.jsonl')}:ve_inject,kvm_tdx_vmcall,kvm_mmio,kvm_emulate_insn")
            server.shutdown()
        self.is_a_td(boot, 1)
        self.assertEqual(boot.says("clocksource"), "tsc")
        self.assertRegex(boot.says("entropy"), "^virtio_rng")
        self.assertEqual(boot.says("disk"), f"{hashlib.sha256(content).hexdigest()}  -")
        self.assertEqual(path("b.img").read_bytes(), content)
        self.assertEqual(boot.says("network"), "a word from the host")
        self.assertIn("said on hvc0", path("hvc0").read_text())
        self.took_the_flow()
        self.is_verified(boot.report())

    def took_the_flow(self):
        count, devices = collections.Counter(), 0
        with open(path("t.jsonl"), encoding="ascii") as trace:
            for line in trace:
                event = json.loads(line)
                count[event["ev"], event.get("exit_reason", event.get("leaf"))] += 1
                devices += event["ev"] == "kvm_mmio" and event["gpa"].startswith("0xfeb0") and event["type"] != "unsatisfied-read"
        self.assertGreater(devices, 300)
        self.assertEqual(count["ve_inject", "EPT_VIOLATION"], count["kvm_tdx_vmcall", "MMIO"])
        self.assertGreaterEqual(count["kvm_tdx_vmcall", "MMIO"], devices)
        self.assertEqual(count["kvm_emulate_insn", None], 0)

    def is_verified(self, report):
        def verify(content, key):
            path("report").write_bytes(content)
            return subprocess.run([SEAMLESS, "run", "--platform-key", key, "--firmware", GUESTS / "verify.fd", "--kernel", KERNEL, "--initrd", path("report"),
                                   "--timeout", "60"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)

        good = verify(report, platform_key())
        self.assertEqual(good.returncode, 0, good)
        self.assertIn("\nVERIFIED", good.stdout)
        self.assertIn(f"MRTD {report[MRTD:MRTD + DIGEST].hex()}", good.stdout)

        def refused(words, content, key):
            bad = verify(content, key)
            self.assertNotEqual(bad.returncode, 0, bad)
            self.assertIn("\nNOT VERIFIED", bad.stdout)
            self.assertRegex(bad.stdout, f"FAIL.*{words}")

        path("other key").write_bytes(bytes(32))
        refused("the MAC is this platform's", report, path("other key"))
        for offset, words in ((REPORTDATA, "the MAC is this platform's"), (300, "it covers the TCB"), (MRTD, "it covers the TD"), (RTMR + 47, "it covers the TD")):
            flipped = bytearray(report)
            flipped[offset] ^= 1
            refused(words, bytes(flipped), platform_key())


class Smp(LinuxTest):
    def test_a_td_with_four_processors(self):
        boot = self.boots(4, "do=work", "--trace", f"{path('t.jsonl')}:kvm_emulate_insn")
        self.is_a_td(boot, 4)
        self.does_its_work(boot)
        self.assertEqual(path("t.jsonl").read_bytes(), b"")


class Plain(LinuxTest):
    def test_one_processor(self):
        boot = self.boots(1, "do=work", "--vm", "plain")
        self.assertEqual(boot.says("tdx_guest"), "0", boot)
        self.assertEqual(boot.report(), b"")
        self.does_its_work(boot)

    def test_two_processors(self):
        self.does_its_work(self.boots(2, "quiet do=work", "--vm", "plain"))


class Memory(LinuxTest):
    """What the guest does not touch costs the host nothing; a TD cannot be reset, a plain VM starts again."""

    def sees(self, boot, size):
        self.assertGreater(int(boot.says("memory")), size // 2)  # 64 MiB are swiotlb's
        self.assertLess(int(boot.says("memory")), size)

    def test_256_mib_and_a_reboot(self):
        # On hardware-reduced ACPI the kernel asks EFI's ResetSystem, unless it is told another way.
        boot = self.boots(1, "quiet do=reboot", "--memory", "256M", status=8)
        self.assertIn("a TD cannot be reset", boot.errors)
        self.sees(boot, 256 << 10)

    def test_a_plain_vm_starts_again(self):
        # The first sector counts the boots: what the disk and the network were connected to stays.
        path("boots.img").write_bytes(b"0" + bytes(511))
        boot = Boot("quiet do=reboots", "--vm", "plain", "--cpus", "2", "--disk", path("boots.img"), "--net", "user",
                    limit=3 * LIMIT)
        self.assertEqual(boot.status, 0, boot)
        self.assertEqual(re.findall(r"^SAYS boot: (.*)$", boot.log, re.MULTILINE), ["0", "1", "2"], boot)
        self.assertEqual(boot.errors.count("it starts again"), 2, boot)
        self.assertEqual(path("boots.img").read_bytes()[:2], b"2\0")
        self.assertIsNone(COMPLAINTS.search(boot.log), boot)

    def test_8_gib(self):
        boot = self.boots(1, "quiet", "--memory", "8G")
        self.sees(boot, 8 << 20)
        self.assertLess(boot.peak, 1536, "MiB")


class Inputs(unittest.TestCase):
    """What is wrong with the real kernel and its companions is one line and status 2."""

    def refused(self, words, *arguments):
        result = subprocess.run([SEAMLESS, "run", "--timeout", "60", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        self.assertEqual((result.returncode, result.stdout, result.stderr.count("\n")), (2, "", 1), result)
        self.assertRegex(result.stderr, words)

    def test_kernels(self):
        kernel = KERNEL.read_bytes()
        bad = path("bad kernel")
        self.refused("No such file", "--kernel", path("none"))
        for words, content in (("truncated", kernel[:len(kernel) // 2]), ("truncated", kernel[:1 << 14]), ("empty", b""),
                               ("setup header", kernel[:0x202] + b"XXXX" + kernel[0x206:])):
            with self.subTest(words=words):
                bad.write_bytes(content)
                self.refused(words, "--kernel", bad)

    def test_memory_and_processors(self):
        with open(path("large"), "wb") as large:
            large.truncate(300 << 20)
        self.refused("fit", "--kernel", KERNEL, "--initrd", path("large"), "--memory", "256M")
        self.refused("--cpus 0", "--kernel", KERNEL, "--cpus", "0")
        self.refused("outside RAM", "--kernel", KERNEL, "--memory", "2M")
        for size in ("4096T", "16777215T"):
            self.refused("--memory", "--kernel", KERNEL, "--memory", size)


if __name__ == "__main__":
    if not all((LINUX / name).exists() for name in ("vmlinuz", "busybox", "modules")):
        print(f"SKIPPED: there is no kernel in {LINUX}; tools/linux_packages.sh says how it gets there")
        sys.exit(SKIPPED)
    unittest.main()
