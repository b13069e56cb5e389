#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_leaf.py OBJECT...: fails if one of the object files uses a vector or x87 register, or calls a function that is
not defined in one of them, or has one that the linker may take from elsewhere. Translated code calls them with the guest's state in those registers (src/CMakeLists.txt)."""
import re
import subprocess
import sys

REGISTERS = re.compile(r"%([xyz]mm\d|mm\d|st\b)")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols(objects):
    """Pairs of nm's letter for the kind of symbol and the name."""
    lines = [line.split() for path in objects for line in output("nm", path).splitlines() if line]
    return {(words[-2], words[-1]) for words in lines}


def main(objects):
    if not objects:
        sys.exit("check_leaf.py: no object files")
    found = [f"{path}: {line.strip()}" for path in objects for line in output("objdump", "-d", "--no-show-raw-insn", path).splitlines() if REGISTERS.search(line)]
    known = symbols(objects)
    defined = {name for kind, name in known if kind != "U"}
    found += [f"calls {name}" for kind, name in sorted(known) if kind == "U" and name not in defined]
    found += [f"shares {name}" for kind, name in sorted(known) if kind in "WwVvu"]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
