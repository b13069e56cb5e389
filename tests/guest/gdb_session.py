# SPDX-License-Identifier: Apache-2.0
"""A guest that waits for gdb, and scripted sessions of Debian's gdb with it."""
import os
import re
import shutil
import subprocess
import tempfile
import time

SEAMLESS = os.environ["SEAMLESS"]
LIMIT = 250
GDB = shutil.which("gdb")


def gdb_script(address, commands, *, elf=None, limit=LIMIT, background=False):
    """What gdb says to these commands, after it has connected."""
    setup = ("set confirm off", "set pagination off", "set height 0", "set width 0", "set remotetimeout 60", "set tcp connect-timeout 60",
             f"target remote {address}")
    words = [GDB, "-nx", "-batch"]
    if elf:
        words.append(str(elf))
    for command in (*setup, *commands):
        words += ["-ex", command]
    if background:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=limit, check=False).stdout


class Guest:
    """`seamless run` with a port for gdb. In a with statement; wait() gives its status."""

    def __init__(self, *arguments, wait=True, limit=LIMIT - 20, port=("--gdb", "0"), stdin=subprocess.DEVNULL):
        self.out, self.err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        timeout = () if "--timeout" in arguments else ("--timeout", str(limit))
        self.process = subprocess.Popen([SEAMLESS, "run", *timeout, *port, *(("-S",) if wait else ()), *map(str, arguments)],
                                        stdin=stdin, stdout=self.out, stderr=self.err)
        self.address = None
        while self.address is None:
            time.sleep(0.01)
            found = re.search(r"target remote (\S+)", self.errors())
            self.address = found and found.group(1)
            if self.process.poll() is not None and not self.address:
                raise RuntimeError(self.errors())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()
        self.out.close()
        self.err.close()

    def errors(self):
        return os.pread(self.err.fileno(), 1 << 20, 0).decode(errors="replace")

    def console(self):
        return os.pread(self.out.fileno(), 1 << 24, 0).decode(errors="replace").replace("\r", "")

    def wait_for(self, text, limit=LIMIT):
        """Until the console has said this."""
        until = time.monotonic() + limit
        while text not in self.console():
            if self.process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"no {text!r}: {self.console()}{self.errors()}")
            time.sleep(0.01)

    def type(self, text):
        """Needs stdin=subprocess.PIPE."""
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def gdb(self, *commands, **options):
        return gdb_script(self.address, commands, **options)

    def wait(self, limit=LIMIT):
        return self.process.wait(timeout=limit)
