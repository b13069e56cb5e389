# SPDX-License-Identifier: Apache-2.0
"""Where a benchmark runs: natively, or in Linux under QEMU's TCG, in a TD and in a plain VM of Seamless. All guests have
the same kernel, initial RAM disk and memory; none has a device that it does not need."""
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time

GUEST_MIB = 512
LIMIT = 300  # seconds, for one guest, on a machine that others keep busy
UP, END = b"BENCH-UP", b"BENCH-END"
PRIORITY = -20
LIKE_THE_GUESTS = {"GLIBC_TUNABLES": "glibc.cpu.x86_non_temporal_threshold=0x10000000"}  # guest/linux/script.sh says why
RESULT = re.compile(r"^BENCH (\S+) ([0-9.]+) (\S+)", re.M)


class Failed(Exception):
    """A run that gave no result, and why."""


def raise_priority():
    """Before the others on this machine, where we may: what is measured is not how busy they are. Linux may share the
    processors out by sessions first (CONFIG_SCHED_AUTOGROUP), so this makes a session, and raises that too."""
    os.setsid()
    try:
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        pathlib.Path("/proc/self/autogroup").write_text(str(PRIORITY), encoding="ascii")
    except OSError:
        pass


def values(text):
    """{name: (value, unit)} of all lines of results."""
    if "FAILED" in text:
        raise Failed(text[-2000:])
    return {name: (float(value), unit) for name, value, unit in RESULT.findall(text)}


def beyond_guest_memory(pid):
    """MiB of the host that a process has beside its guest's memory, which is guest_memfds and nameless mappings that are
    large enough. In Pss, not Rss: a page that the process maps twice, as its code cache's are, is one page."""
    beyond = 0
    is_guest = False
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+ *(.*)", line)
        if head:
            mib = (int(head[2], 16) - int(head[1], 16)) >> 20
            is_guest = "kvm-gmem" in head[3] or (not head[3] and mib >= GUEST_MIB)
        elif line.startswith("Pss:") and not is_guest:
            beyond += int(line.split()[1])
    return beyond / 1024


def cpu_seconds(pid):
    """Of all its threads, in user mode and in the kernel."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Guest:
    """One run of a guest, followed by its console."""

    def __init__(self, command, measure_memory=False):
        self.console = b""
        self.boot_seconds = self.boot_cpu_seconds = self.memory_mib = None
        self.start = time.monotonic()
        # pylint: disable=subprocess-popen-preexec-fn
        with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
                                                                preexec_fn=raise_priority) as self.process:
            try:
                self._follow(measure_memory)
            except (Failed, subprocess.TimeoutExpired) as error:
                self.process.kill()
                said.seek(0)
                raise Failed(f"{' '.join(map(str, command))}\n{error}\n{self.text()[-2000:]}\n{said.read().decode(errors='replace')[-2000:]}") from error
            except BaseException:
                self.process.kill()
                raise

    def _follow(self, measure_memory):
        self._wait_for(UP)
        self.boot_seconds = time.monotonic() - self.start
        self.boot_cpu_seconds = cpu_seconds(self.process.pid)
        if measure_memory:
            self._look_at_memory()
        self._wait_for(END)
        self.process.wait(LIMIT)

    def text(self):
        return self.console.replace(b"\r", b"").decode(errors="replace")

    def values(self):
        return values(self.text())

    def _wait_for(self, what):
        while what not in self.console:
            if time.monotonic() - self.start > LIMIT:
                raise Failed(f"no {what.decode()} within {LIMIT} s")
            if not select.select([self.process.stdout], [], [], 1)[0]:
                continue
            got = os.read(self.process.stdout.fileno(), 65536)
            if not got:
                raise Failed(f"the guest ended before {what.decode()}")
            self.console += got

    def _look_at_memory(self):
        self.process.send_signal(signal.SIGSTOP)
        self.memory_mib = beyond_guest_memory(self.process.pid)
        self.process.send_signal(signal.SIGCONT)


class Native:
    name = "native"

    def __init__(self, work):
        self.work = work

    def run(self, names):
        """All on one processor, as in a guest that has one."""
        return values("".join(self._run(name, self._alone) for name in names))

    def parallel(self, count):
        """By as many threads; there may be fewer processors."""
        return values(self._run("parallel", raise_priority, str(count)))

    def _run(self, name, prepare, *arguments):
        # pylint: disable=subprocess-popen-preexec-fn
        done = subprocess.run([self.work, *arguments, name], capture_output=True, text=True, preexec_fn=prepare, timeout=LIMIT, check=False,
                              env=os.environ | LIKE_THE_GUESTS)
        if done.returncode:
            raise Failed(f"work {name}: {done.stderr}")
        return done.stdout

    @staticmethod
    def _alone():
        raise_priority()
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


class Linux:
    """A guest with `append` on its kernel's command line; command() says how its machine is started."""

    def __init__(self, kernel):
        self.kernel = kernel

    def guest(self, initrd, append, cpus=1, extra=(), **how):
        return Guest([*self.command(initrd, f"console=ttyS0 {append}".strip(), cpus), *extra], **how)

    def command(self, initrd, append, cpus):
        raise NotImplementedError


class Tcg(Linux):
    """What boots fastest: no default devices that would have to be set up, and the default processor, whose system calls and
    page faults cost half of those of -cpu max, though it has no AVX."""
    name = "tcg"
    program = "qemu-system-x86_64"

    def command(self, initrd, append, cpus):
        return [self.program, "-accel", "tcg", "-nodefaults", "-no-user-config", "-M", "q35", "-m", f"{GUEST_MIB}M", "-smp", str(cpus),
                "-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", self.kernel, "-initrd", initrd, "-append", append]

    @staticmethod
    def devices(disk):
        """PCI, as q35 has no virtio-mmio; without the option ROM that a network card has for firmware."""
        return ["-drive", f"file={disk},if=none,id=disk,format=raw", "-device", "virtio-blk-pci,drive=disk", "-netdev", "user,id=net", "-device",
                "virtio-net-pci,netdev=net,romfile="]

    @classmethod
    def present(cls):
        return shutil.which(cls.program) is not None


class Seamless(Linux):
    def __init__(self, kernel, program, kind):
        super().__init__(kernel)
        self.program, self.name = program, kind

    def command(self, initrd, append, cpus):
        return [self.program, "run", "--vm", self.name, "--memory", f"{GUEST_MIB}M", "--cpus", str(cpus), "--kernel", self.kernel, "--initrd", initrd,
                "--append", append, "--timeout", str(LIMIT)]

    @staticmethod
    def devices(disk):
        return ["--disk", disk, "--net", "user"]

    @staticmethod
    def tracing(file):
        return ["--trace", file]
