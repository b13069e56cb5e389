#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line of `seamless`: usage, input that is wrong, measure and caps. SEAMLESS names the program, GUESTS the
folder with the guests' images."""
import hashlib
import json
import os
import pathlib
import struct
import subprocess
import tempfile
import unittest

SEAMLESS = os.environ["SEAMLESS"]
GUESTS = pathlib.Path(os.environ["GUESTS"])
OVMF = pathlib.Path("/usr/share/ovmf/OVMF.fd")


def seamless(*arguments, **options):
    return subprocess.run([SEAMLESS, *arguments], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False, **options)


def mrtd_by_hand(image):
    """MRTD from the TDVF metadata, found by its signature: a second implementation, in another language."""
    at = image.index(b"TDVF")
    _, _, _, count = struct.unpack_from("<4sIII", image, at)
    digest = hashlib.sha384()
    for i in range(count):
        offset, raw, address, size, kind, attributes = struct.unpack_from("<IIQQII", image, at + 16 + 32 * i)
        if kind in (4, 7, 8):
            continue
        data = image[offset:offset + raw].ljust(size, b"\0")
        for page in range(0, size, 4096):
            digest.update(b"MEM.PAGE.ADD".ljust(16, b"\0") + struct.pack("<Q", address + page) + bytes(104))
            for chunk in range(page, page + 4096, 256) if attributes & 1 else ():
                digest.update(b"MR.EXTEND".ljust(16, b"\0") + struct.pack("<Q", address + chunk) + bytes(104) + data[chunk:chunk + 256])
    return digest.hexdigest()


class Usage(unittest.TestCase):
    def test_wrong_usage_gives_status_2(self):
        for arguments in ([], ["nonsense"], ["run", "--kernel", "x"], ["run", "--vm", "other"], ["run", "--engine", "fast"], ["run", "--engine", "full,no-such"],
                          ["run", "--cpus", "many"], ["run", "--timeout", "-1"], ["run", "extra"], ["measure", "--memory", "1G"]):
            with self.subTest(arguments=arguments):
                self.assertEqual(seamless(*arguments).returncode, 2)

    def test_wrong_input_gives_status_2_and_one_line(self):
        for arguments in (["--memory", "12Q"], ["--memory", "0"], ["--memory", "99999999999999999999"], ["--memory", "2M"], ["--cpus", "0"],
                          ["--cpus", "1000"], ["--device", "disk"], ["--device", "testdev,gpa=0x1000"], ["--device", "testdev,gpa=0,size=8"],
                          ["--device", "testdev,gpa=0xfe000000,size=8,size=8"], ["--device", "testdev,gpa=zz,size=8"],
                          ["--serial", "file:/nonexistent/x"], ["--trace", "x.jsonl:nonsense"], ["--trace", ":kvm_exit"], ["--trace", "/nonexistent/x.json"], ["--platform-key", "/nonexistent"], ["--platform-key", "/dev/null"],
                          ["--firmware", "/nonexistent"], ["--firmware", "/dev/null"], ["--firmware", __file__]):
            with self.subTest(arguments=arguments):
                result = seamless("run", *arguments)
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertEqual(result.stderr.count("\n"), 1, result.stderr)
                self.assertTrue(result.stderr.startswith("seamless: "))
                self.assertEqual(result.stdout, "")

    def test_help_and_version(self):
        self.assertIn("--firmware", seamless("run", "--help").stdout)
        self.assertEqual(seamless("--help").returncode, 0)
        self.assertEqual(seamless("--version").returncode, 0)


def bzimage(code=b"", **header):
    """A bzImage with the least that a boot needs; `header` replaces fields by name. `code` is what runs, in 64-bit mode."""
    image = bytearray(3 * 512 + 4096)
    image[3 * 512 + 0x200:3 * 512 + 0x200 + len(code)] = code
    fields = {"sectors": (0x1f1, "B", 2), "syssize": (0x1f4, "<I", 4096 // 16), "jump": (0x200, "<H", 0x66eb), "flag": (0x1fe, "<H", 0xaa55), "magic": (0x202, "4s", b"HdrS"),
              "version": (0x206, "<H", 0x20f), "xloadflags": (0x236, "<H", 1), "cmdline_size": (0x238, "<I", 255), "preferred": (0x258, "<Q", 16 << 20), "init_size": (0x260, "<I", 1 << 20)}
    for name, (offset, code, value) in fields.items():
        struct.pack_into(code, image, offset, header.get(name, value))
    return bytes(image)


class Kernel(unittest.TestCase):
    """--kernel and its companions: what is wrong with them is one line and status 2."""

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def file(self, name, content):
        path = pathlib.Path(self.folder.name) / name
        path.write_bytes(content)
        return str(path)

    def refused(self, words, *arguments):
        result = seamless("run", *arguments)
        self.assertEqual((result.returncode, result.stdout, result.stderr.count("\n")), (2, "", 1), result.stderr)
        self.assertIn(words, result.stderr)

    def test_kernels_that_cannot_be_booted(self):
        for words, content in (("setup header", b"x" * 5000), ("setup header", bzimage(magic=b"hdrs")), ("empty", b""), ("64-bit", bzimage(xloadflags=0)),
                               ("2.09", bzimage(version=0x209)), ("truncated", bzimage()[:4000]), ("truncated", bzimage(syssize=0xffffffff))):
            with self.subTest(words=words):
                self.refused(words, "--kernel", self.file("kernel", content), "--firmware", str(GUESTS / "seamless.fd"))
        self.refused("No such file", "--kernel", "/nonexistent")
        self.refused("regular", "--kernel", "/dev/null")

    def test_companions(self):
        kernel = self.file("kernel", bzimage())
        firmware = ["--firmware", str(GUESTS / "seamless.fd")]
        self.refused("--append: 256 bytes", "--kernel", kernel, "--append", "x" * 256, *firmware)
        self.refused("--initrd", "--kernel", kernel, "--initrd", "/nonexistent", *firmware)
        self.refused("--cpus 9: the built-in firmware", "--kernel", kernel, "--cpus", "9")
        self.refused("do not fit", "-kernel", kernel, "-initrd", self.file("initrd", bytes(16 << 20)), "-m", "16M", *firmware)
        for arguments in (["--append", "quiet"], ["--initrd", kernel], ["-append", "quiet"], ["-no-such", "1"]):
            with self.subTest(arguments=arguments):
                self.assertEqual(seamless("run", *arguments).returncode, 2)

    def test_qemu_spellings_mean_ours(self):
        self.refused("--cpus 1000", "-smp", "1000")
        self.refused("--memory", "-m", "12Q")
        self.refused("/nonexistent", "-bios", "/nonexistent")
        self.refused("--append: 300 bytes", "-kernel", self.file("kernel", bzimage()), "-append", "-m " * 100)

    def test_a_report_of_nobody_is_not_verified(self):
        key = self.file("key", bytes(32))
        result = seamless("run", "--platform-key", key, "--firmware", str(GUESTS / "verify.fd"), "--kernel", self.file("kernel", bzimage()),
                          "--initrd", self.file("report", bytes(1024)), "--timeout", "60")
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("NOT VERIFIED", result.stdout)

    def test_a_machine_with_a_kernel_runs(self):
        # The demo does not look for a kernel, so it runs as it does without one.
        result = seamless("run", "--vm", "plain", "--kernel", self.file("kernel", bzimage()), "--append", "quiet", "--firmware", str(GUESTS / "seamless.fd"),
                          "--device", "testdev,gpa=0xfe000000,size=0x2000", "--timeout", "60")
        self.assertEqual(result.returncode, 0, result.stderr)


class Reset(unittest.TestCase):
    """A kernel that resets the machine as soon as it runs."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.kernel = self.folder / "kernel"
        # mov $6, %al; mov $0xcf9, %dx; out %al, %dx; jmp .
        self.kernel.write_bytes(bzimage(code=bytes.fromhex("b006 66baf90c ee ebfe")))

    def test_a_plain_vm_starts_again_until_the_time_is_up(self):
        disk = self.folder / "disk"
        disk.write_bytes(bytes(512))
        result = seamless("run", "--vm", "plain", "--kernel", self.kernel, "--disk", disk, "--console", f"file:{self.folder / 'console'}", "--timeout", "4")
        self.assertEqual(result.returncode, 4, result.stderr)
        self.assertGreater(result.stderr.count("seamless: the guest asked for a reset; it starts again\n"), 1, result.stderr)

    def test_no_reboot_ends_the_run(self):
        for option in ("--no-reboot", "-no-reboot"):
            result = seamless("run", "--vm", "plain", option, "--kernel", self.kernel, "--timeout", "60")
            self.assertEqual((result.returncode, result.stderr), (8, "seamless: the guest asked for a reset\n"))

    def test_a_timeout_may_be_longer_than_any_clock(self):
        result = seamless("run", "--vm", "plain", "--no-reboot", "--kernel", self.kernel, "--timeout", "1e300")
        self.assertEqual(result.returncode, 8, result.stderr)

    def test_instructions_are_counted_on_demand(self):
        def run(turns, *options):
            # mov $turns, %ecx; dec %ecx; jnz; xor %eax, %eax; out %al, $0xf4
            self.kernel.write_bytes(bzimage(code=bytes.fromhex("b9") + struct.pack("<I", turns) + bytes.fromhex("ffc9 75fc 31c0 e6f4")))
            result = seamless("run", "--vm", "plain", "--json", "--kernel", self.kernel, "--timeout", "60", *options)
            self.assertEqual(result.returncode, 1, result.stderr)
            return json.loads(result.stdout.splitlines()[-1])["counters"]

        few, many = run(1000, "--engine", "step"), run(51000, "--engine", "step")
        self.assertEqual(many["instructions"] - few["instructions"], 2 * 50000)
        counted = [run(turns, "--engine", "full,count-instructions") for turns in (1000, 51000)]
        self.assertEqual(counted[1]["instructions"] - counted[0]["instructions"], 2 * 50000)
        translated = run(51000)
        self.assertNotIn("instructions", translated)
        for counters in (few, many, *counted, translated):
            self.assertGreater(min(counters["vm_exits"], counters["translations"]), 0)

    def test_a_signal_ends_a_machine_that_is_never_there_for_long(self):
        with subprocess.Popen([SEAMLESS, "run", "--vm", "plain", "--kernel", self.kernel, "--timeout", "60"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as process:
            self.assertIn("starts again", process.stderr.readline())
            process.terminate()
            process.communicate(timeout=60)
            self.assertEqual(process.returncode, 128 + 15)


class Measure(unittest.TestCase):
    def check(self, path):
        expected = mrtd_by_hand(path.read_bytes())
        self.assertEqual(seamless("measure", "--firmware", path).stdout, f"MRTD {expected}\n")
        self.assertEqual(json.loads(seamless("measure", "--firmware", path, "--json").stdout), {"firmware": str(path), "mrtd": expected})

    def test_our_image(self):
        self.check(GUESTS / "seamless.fd")
        self.assertEqual(seamless("measure").stdout, seamless("measure", "--firmware", GUESTS / "seamless.fd").stdout)

    def test_registers_the_firmware_extends(self):
        def extended(register, event):
            return hashlib.sha384(register + hashlib.sha384(event).digest()).digest()

        firmware = GUESTS / "seamless.fd"
        kernel, initrd = bzimage(), b"initrd"
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder) / name for name in ("kernel", "initrd")]
            for path, content in zip(paths, (kernel, initrd)):
                path.write_bytes(content)
            common = ["measure", "--firmware", firmware, "--kernel", paths[0]]
            with_initrd = json.loads(seamless(*common, "--initrd", paths[1], "--append", "quiet", "--json").stdout)
            self.assertEqual(with_initrd["mrtd"], mrtd_by_hand(firmware.read_bytes()))
            self.assertEqual(with_initrd["rtmr1"], extended(bytes(48), kernel).hex())
            self.assertEqual(with_initrd["rtmr2"], extended(extended(bytes(48), b"quiet\0"), initrd).hex())
            lines = dict(line.split() for line in seamless(*common).stdout.splitlines())
            self.assertEqual(lines["RTMR2"], extended(bytes(48), b"\0").hex())
            self.assertEqual((lines["RTMR0"], lines["RTMR1"], lines["MRTD"]), tuple(with_initrd[name] for name in ("rtmr0", "rtmr1", "mrtd")))
            more = dict(line.split() for line in seamless(*common, "--cpus", "2").stdout.splitlines())
            self.assertNotEqual(more["RTMR0"], lines["RTMR0"])
            for wrong in (["--cpus", "0"], ["--cpus", "65"], ["--append", "x" * 256], ["--initrd", "/nonexistent"]):
                result = seamless(*common, *wrong)
                self.assertEqual((result.returncode, result.stdout, result.stderr.count("\n")), (2, "", 1), result.stderr)
            self.assertEqual(seamless("measure", "--append", "quiet").returncode, 2)

    @unittest.skipUnless(OVMF.exists(), "the ovmf package is not installed")
    def test_debian_ovmf(self):
        self.check(OVMF)

    def test_damaged_images_give_one_line(self):
        image = bytearray((GUESTS / "seamless.fd").read_bytes())
        image[image.index(b"TDVF")] = 0
        with tempfile.NamedTemporaryFile() as file:
            for content in (bytes(image), bytes(image[:-4096]), b""):
                file.seek(0)
                file.truncate()
                file.write(content)
                file.flush()
                result = seamless("measure", "--firmware", file.name)
                self.assertEqual((result.returncode, result.stdout, result.stderr.count("\n")), (2, "", 1), result.stderr)


class Caps(unittest.TestCase):
    def test_caps_name_tdx(self):
        text = seamless("caps")
        self.assertEqual(text.returncode, 0, text.stderr)
        self.assertIn("KVM API version 12", text.stdout)
        caps = json.loads(seamless("caps", "--json").stdout)
        self.assertEqual(caps["api_version"], 12)
        self.assertTrue(caps["capabilities"]["VM_TYPES"] & 1 << 5)
        self.assertTrue(int(caps["tdx"]["attributes"], 16) & 1 << 28)


if __name__ == "__main__":
    unittest.main()
