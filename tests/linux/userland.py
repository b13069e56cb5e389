#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a Debian's userland in `seamless run`, by hand: hashes, compressors, a compiler, python3's own tests, stress-ng
and ext4, on a disk that tools/debian_image.sh makes (needs root and mmdebstrap the first time). Prints a table of what was
done; status 0 if everything went well, 1 if not.

    tests/linux/userland.py build/release/seamless --vm td --cpus 2
"""
import argparse
import hashlib
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = HERE.parents[1] / "tools"
PACKAGES = "python3 libpython3.11-testsuite gcc libc6-dev stress-ng gzip xz-utils zstd e2fsprogs coreutils diffutils gawk util-linux".split()
MODULES = ("crc32c_generic", "virtio_mmio", "virtio_blk", "ext4", "virtio_net", "virtio_rng")
SIZE = 100 << 20
PRIMES = 5000000
SIGILL = 128 + 4
COMPLAINTS = re.compile(r"WARNING:|BUG:|Oops|Call Trace|soft lockup|blocked for more than|self-detected stall|detected stalls|EXT4-fs error|I/O error")
# The rest of init's work: a Debian on /mnt, with this machine's devices.
SCRIPT = """mount -t ext4 /dev/vda /mnt || echo "RESULT mount 1 0"
for folder in dev proc sys; do mount -o bind /$folder /mnt/$folder; done
mkdir -p /mnt/dev/shm
mount -t tmpfs shm /mnt/dev/shm
mount -t tmpfs tmp /mnt/tmp
chmod 1777 /mnt/tmp /mnt/dev/shm
cp /work.sh /mnt/work.sh
grep -m 1 -E '^model' /proc/cpuinfo
echo "FOUND features: $(grep -m 1 ^flags /proc/cpuinfo)"
chroot /mnt /bin/bash /work.sh
rm -r /mnt/userland /mnt/work.sh
sync
for folder in tmp dev/shm sys proc dev ""; do umount "/mnt/$folder" || echo "RESULT umount_/$folder 1 0"; done
dmesg > /tmp/log
grep -E -A 20 'WARNING:|BUG:|soft lockup|detected stall|EXT4-fs error|I/O error' /tmp/log
echo "RESULT end 0 0"
"""


def run(*command, **options):
    return subprocess.run([str(word) for word in command], check=False, **options)


def program(name):
    """e2fsprogs is often outside a user's PATH."""
    return next((f"{folder}/{name}" for folder in ("/usr/sbin", "/sbin", "/usr/bin") if os.path.exists(f"{folder}/{name}")), name)


def make_input(path):
    """Half of it noise, half of it words, and the same each time."""
    chance = random.Random(4)
    words = [chance.randbytes(chance.randint(2, 9)).hex() for _ in range(500)]
    with open(path, "wb") as out:
        out.write(chance.randbytes(SIZE // 2))
        while out.tell() < SIZE:
            out.write(" ".join(chance.choices(words, k=20000)).encode()[:SIZE - out.tell()])


def expected(path):
    found = {}
    for name in ("md5sum", "sha1sum", "sha256sum", "sha512sum", "b2sum", "cksum"):
        found[name] = run(name, path, stdout=subprocess.PIPE, text=True).stdout.split()[0]
    sieve = bytearray([1]) * (PRIMES + 1)
    sieve[:2] = bytes(2)
    for i in range(2, int(PRIMES ** 0.5) + 1):
        if sieve[i]:
            sieve[i * i::i] = bytes(len(range(i * i, PRIMES + 1, i)))
    primes = [i for i, prime in enumerate(sieve) if prime]
    for level in (0, 2, 3):
        found[f"primes at -O{level}"] = f"{len(primes)} {sum(primes)}"
    return found


class Table:
    def __init__(self):
        self.failures = 0

    def row(self, name, passed, note=""):
        self.failures += not passed
        print(f"{'ok  ' if passed else 'FAIL'} {name:24} {note}", flush=True)


def boot(args, disks, initrd, log):
    command = [args.seamless, "run", "--vm", args.vm, "--cpus", args.cpus, "--memory", args.memory, "--kernel", args.linux / "vmlinuz", "--initrd", initrd,
               "--append", "console=ttyS0 quiet", "--timeout", args.timeout, *args.option, *(word for disk in disks for word in ("--disk", disk))]
    with open(log, "wb") as out:
        return run(*command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT).returncode


def judge_log(table, args, text, wanted):
    """What the guest said, one row for each piece of work and each value to compare."""
    found = dict(re.findall(r"^FOUND ([^:]*): (.*)$", text, re.MULTILINE))
    # GCC's target_clones go by the model of a TD's processor, not by its features: docs/linux.md, "Limits".
    clones = args.vm == "td" and "avx512f" not in found.get("features", "").split()
    results = re.findall(r"^RESULT (\S+) (\d+) (\S+)$", text, re.MULTILINE)
    for name, status, seconds in results:
        known = clones and name.startswith("cpu_") and int(status) in (SIGILL, 2)
        known = known and re.search(rf"SIGILL[^\n]*|signal 4[^\n]*", text.split(f"RESULT {name} ")[1].split("\nRESULT ")[0])
        if known:
            table.row(name, True, "known limit: its code is chosen by the processor's model (SIGILL)")
        elif name != "end":
            table.row(name, status == "0", f"{seconds} s" if status == "0" else f"status {status}")
    for name, value in wanted.items():
        table.row(name, found.get(name) == value, "as on the host" if found.get(name) == value else f"{found.get(name)}, not {value}")
    table.row("all work was reached", any(name == "end" for name, *_ in results) and len(results) > 60, f"{len(results)} results")
    complaint = COMPLAINTS.search(text)
    table.row("kernel's log", complaint is None, complaint.group() if complaint else "without complaint")


def judge_disks(table, folder, root, data):
    for name, disk in (("root disk", root), ("second disk", data)):
        check = run(program("e2fsck"), "-fn", disk, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        table.row(f"{name} on the host", check.returncode == 0, "clean" if check.returncode == 0 else check.stdout[-300:])
    copy = folder / "copy"
    run(program("debugfs"), "-R", f"dump /copy {copy}", data, stderr=subprocess.DEVNULL)
    same = copy.exists() and hashlib.sha256(copy.read_bytes()).digest() == hashlib.sha256((folder / "input").read_bytes()).digest()
    table.row("file read on the host", same, "byte for byte" if same else "differs")


def main():
    cache = pathlib.Path(os.environ.get("SEAMLESS_LINUX") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "seamless/linux")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seamless", type=pathlib.Path, help="the program; an optimised one takes 5 to 10 minutes")
    parser.add_argument("--vm", choices=("td", "plain"), default="td")
    parser.add_argument("--cpus", default="2")
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--timeout", default="3600", help="seconds (default: %(default)s)")
    parser.add_argument("--linux", type=pathlib.Path, default=cache, help="what tools/linux_packages.sh fills (default: %(default)s)")
    parser.add_argument("--image", type=pathlib.Path, help="the Debian disk; made if it is not there (default: debian.img beside the kernel)")
    parser.add_argument("--log", type=pathlib.Path, help="keep what the guest said here")
    parser.add_argument("--option", action="append", default=[], help="another word for seamless run (repeatable)")
    args = parser.parse_args()
    image = args.image or args.linux / "debian.img"
    if not image.exists() and run("bash", TOOLS / "debian_image.sh", image, *PACKAGES).returncode != 0:
        sys.exit("userland.py: the disk could not be made")
    with tempfile.TemporaryDirectory(prefix="userland", dir=image.parent) as name:
        folder = pathlib.Path(name)
        root, data, initrd, log = folder / "root.img", folder / "data.img", folder / "initrd", args.log or folder / "log"
        (folder / "script").write_text(SCRIPT)
        run("cp", "--sparse=always", image, root).check_returncode()
        with open(data, "wb") as file:
            file.truncate(512 << 20)
        make_input(folder / "input")
        run(sys.executable, TOOLS / "initramfs.py", "--output", initrd, "--busybox", args.linux / "busybox", "--modules", args.linux / "modules",
            *(word for module in MODULES for word in ("--module", module)), "--file", f"{HERE / 'userland.sh'}:/work.sh", "--script",
            folder / "script").check_returncode()
        start = time.monotonic()
        status = boot(args, (root, f"{folder / 'input'},ro", data), initrd, log)
        table = Table()
        judge_log(table, args, log.read_text(errors="replace").replace("\r", ""), expected(folder / "input"))
        judge_disks(table, folder, root, data)
        table.row("the machine's end", status == 0, f"status {status}")
        print(f"{args.vm}, {args.cpus} processors: {table.failures} failures, {time.monotonic() - start:.0f} s")
        sys.exit(table.failures != 0)


if __name__ == "__main__":
    main()
