#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs one image on Seamless (both engine modes) and on QEMU's TCG. On Seamless every check must be good; what TCG does
otherwise must be what differences.md lists for it, no more and no less, and so with known failures of Seamless. Without QEMU that half is left out, and said so.
runner.py SEAMLESS IMAGE"""
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
QEMU = "qemu-system-x86_64"


class Failure(Exception):
    pass


def outcomes(output, who):
    """label -> "ok", "skip" or "FAIL got"; the number of checks must be what the image counted."""
    found = {}
    count = None
    for line in output.splitlines():
        line = line.strip("\r\n\x00 ")
        if match := re.fullmatch(r"done ([0-9a-f]{16})", line):
            count = int(match[1], 16)
        elif match := re.fullmatch(r"(ok|skip) (.*)", line):
            label, result = match[2], match[1]
        elif match := re.fullmatch(r"FAIL (.*) ([0-9a-f]{16}) ([0-9a-f]{16})", line):
            label, result = match[1], f"{int(match[2], 16):#x} instead of {int(match[3], 16):#x}"
        elif line.startswith("UNEXPECTED"):
            raise Failure(f"{who}: unexpected trap (vector, RIP, error code): {line[10:]}, after {list(found)[-1:]}")
        elif line:
            raise Failure(f"{who}: strange line {line!r}")
        if line and count is None:
            if label in found:
                raise Failure(f"{who}: two checks are called {label!r}")
            found[label] = result
    if count is None:
        raise Failure(f"{who}: the image did not come to its end; last check: {list(found)[-1:]}")
    if not found or count != sum(result != "skip" for result in found.values()):
        raise Failure(f"{who}: {count} checks ran, {len(found)} lines arrived")
    return found


def run(command, who):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=100, check=False)
    try:
        return outcomes(done.stdout.decode(errors="replace"), who)
    except Failure as failure:
        raise Failure(f"{failure}\n{done.stderr.decode(errors='replace')[-2000:]}") from None


def on_seamless(program, image, engine):
    return run([program, "run", "--vm", "plain", "--firmware", image, "--memory", "64M", "--engine", engine, "--timeout", "60"],
               f"Seamless ({engine})")


def on_tcg(image):
    return run([QEMU, "-accel", "tcg", "-cpu", "max", "-m", "64", "-bios", image, "-display", "none", "-serial", "stdio", "-monitor", "none",
                "-nodefaults", "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"], "TCG")


def listed(name, who):
    """The rows of differences.md for this image, TCG's or Seamless's: label -> what it does; the label * stands for all."""
    table = (HERE / "differences.md").read_text().split("## ")[1 if who == "TCG" else 2]
    rows = re.findall(r"^\| (\w+) \| (.*?) \| (.*?) \| .+ \|$", table, re.MULTILINE)
    return {label: does for image, label, does in rows if image == name}


def against_list(who, found, known):
    """What of `found` is bad and not listed, or listed and not so. "*" in the list stands for any value: an address, say."""
    bad = {label: result for label, result in found.items() if result not in ("ok", "skip")}
    return ([f"{who}: {label}: {result}" for label, result in bad.items() if known.get(label) not in (result, "*")] +
            [f"{who}: listed in differences.md, but good: {label}" for label in known if found.get(label) == "ok"] +
            [f"{who}: listed in differences.md, but there is no such check: {label}" for label in known
             if label not in found and "skip" not in found.values()])


def main(program, image):
    name = pathlib.Path(image).stem
    results = {engine: on_seamless(program, image, engine) for engine in ("full", "step")}
    problems = []
    for engine, found in results.items():
        problems += against_list(f"Seamless ({engine})", found, listed(name, "Seamless"))
    if results["full"].keys() != results["step"].keys():
        problems.append("the engine modes ran different checks")
    skipped = [label for label, result in results["full"].items() if result == "skip"]
    print(f"{name}: {len(results['full'])} checks", f"(this host lacks: {', '.join(skipped)})" if skipped else "")
    known = listed(name, "TCG")
    if "*" in known:
        print(f"not compared with TCG: {known['*']}")
    elif shutil.which(QEMU):
        tcg = on_tcg(image)
        problems += against_list("TCG", tcg, known)
        lacks = sorted(label for label, result in tcg.items() if result == "skip")
        print(f"TCG: {len(tcg)} checks", f"(it lacks: {', '.join(lacks)})" if lacks else "")
        if not lacks and not skipped and tcg.keys() != results["full"].keys():
            problems.append("TCG and Seamless ran different checks")
    else:
        print(f"SKIPPED: {QEMU} is not installed, nothing was compared with TCG")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except Failure as problem:
        sys.exit(str(problem))
