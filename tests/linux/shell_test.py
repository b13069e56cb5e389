#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Somebody types at a TD's shell, over --serial pty: fetches a file from a server on the host's loopback and writes it to
an ext4 disk, which the host then finds clean, with the same bytes. Environment and exit status as linux_test.py's."""
import http.server
import os
import select
import shutil
import subprocess
import sys
import termios
import threading
import time
import unittest

from linux_test import COMPLAINTS, HERE, KERNEL, LIMIT, LINUX, SEAMLESS, SKIPPED, path

MODULES = ("virtio_mmio", "virtio_blk", "virtio_net", "crc32c_generic", "ext4")
CONTENT = os.urandom(4 << 20)
TOOLS = "/usr/sbin:/sbin"


def tool(name):
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{TOOLS}")


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


class Typist:
    """A run whose serial port we have open."""

    def __init__(self, *arguments):
        # pylint: disable=consider-using-with
        self.program = subprocess.Popen([SEAMLESS, "run", "--serial", "pty", "--timeout", str(LIMIT), *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        name = self.program.stderr.readline().split()[-1]
        self.port = os.open(name, os.O_RDWR | os.O_NOCTTY)
        self.log = ""
        self.seen = 0

    def wait_for(self, text):
        """Waits until `text` comes after what was waited for before."""
        end = time.monotonic() + LIMIT
        while text not in self.log[self.seen:]:
            if time.monotonic() > end or self.program.poll() is not None:
                raise AssertionError(f"{text!r} did not come, but {self.log[-3000:]!r}")
            if select.select([self.port], [], [], 0.5)[0]:
                self.log += os.read(self.port, 4096).decode(errors="replace")
        self.seen = self.log.index(text, self.seen) + len(text)

    def types(self, line):
        os.write(self.port, line.encode() + b"\r")

    def end(self):
        status = self.program.wait(LIMIT)
        errors = self.program.stderr.read().decode()
        self.program.stderr.close()
        os.close(self.port)
        return status, errors


class Shell(unittest.TestCase):
    def test_a_file_from_the_network_to_an_ext4_disk(self):
        image, initrd, copy = path("ext4.img"), path("initrd.shell"), path("copy")
        with open(image, "wb") as disk:
            disk.truncate(64 << 20)
        subprocess.run([tool("mke2fs"), "-q", "-t", "ext4", image], check=True)
        subprocess.run([sys.executable, HERE.parents[1] / "tools" / "initramfs.py", "--output", initrd, "--busybox", LINUX / "busybox", "--shell",
                        "--modules", LINUX / "modules", *(word for module in MODULES for word in ("--module", module))], check=True)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            guest = Typist("--kernel", KERNEL, "--initrd", initrd, "--append", "console=ttyS0 quiet", "--disk", image)
            guest.wait_for("# ")
            self.assertFalse(termios.tcgetattr(guest.port)[3] & termios.ECHO)
            for line in ("mount -t ext4 /dev/vda /mnt", "ifconfig eth0 10.0.2.15", f"wget -q -O /mnt/file http://10.0.2.2:{server.server_port}/",
                         "mkdir /mnt/folder && mv /mnt/file /mnt/folder/", "umount /mnt"):
                guest.types(f"{line} && echo well d''one")
                guest.wait_for("well done")  # which the echo of what was typed is not
            guest.types("sleep 1000")
            guest.wait_for("sleep 1000")
            time.sleep(0.5)
            guest.types("\x03echo inter''rupted")
            guest.wait_for("interrupted")
            guest.types("exit")
            status, errors = guest.end()
            server.shutdown()
        self.assertEqual((status, errors), (0, ""), guest.log)
        self.assertIsNone(COMPLAINTS.search(guest.log), guest.log)
        check = subprocess.run([tool("e2fsck"), "-f", "-n", image], capture_output=True, text=True, check=False)
        self.assertEqual(check.returncode, 0, check)
        subprocess.run([tool("debugfs"), "-R", f"dump /folder/file {copy}", image], capture_output=True, check=True)
        self.assertEqual(copy.read_bytes(), CONTENT)


if __name__ == "__main__":
    if not all((LINUX / name).exists() for name in ("vmlinuz", "busybox", "modules")):
        print(f"SKIPPED: there is no kernel in {LINUX}; tools/linux_packages.sh says how it gets there")
        sys.exit(SKIPPED)
    if not all(tool(name) for name in ("mke2fs", "e2fsck", "debugfs")):
        print("SKIPPED: there is no e2fsprogs here")
        sys.exit(SKIPPED)
    if not os.path.exists("/dev/pts/ptmx"):
        print("SKIPPED: there are no pseudo-terminals here (is /dev/pts mounted?)")
        sys.exit(SKIPPED)
    unittest.main()
