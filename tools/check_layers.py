#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who includes whom: compares every #include of src/ and guest/ with the lists of layers.

The layers of src/ are the seamless_layer() lines of src/CMakeLists.txt. Prints file:line for each include that a
layer may not have, and exits 1 if there is one. A folder named detail is private to the layer around it.
"""
import argparse
import pathlib
import re
import sys

OPEN_TO_ALL = {"base", "spec", "trace"}
# What is no layer of the build: the two programs on top, and the code inside guests.
OTHERS = {
    "src/preload": {"uapi"} | OPEN_TO_ALL,
    # vmm's interfaces speak in devices (where a UART's bytes go); platform implements what the tools look through.
    "src/cli": {"vmm", "gdb", "devices", "uapi", "platform", "guest"} | OPEN_TO_ALL,
    "guest": {"guest", "base", "spec"},
}
# The only files of guest/ that the host may see.
GUEST_INTERFACE = {"guest/builtin.h"}

LAYER = re.compile(r"^\s*seamless_layer\(\s*([a-z]+)\s*([a-z\s]*)\)", re.MULTILINE)
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
SOURCES = {".h", ".hpp", ".cpp", ".c", ".S", ".inc"}


def read_layers(root):
    text = (root / "src/CMakeLists.txt").read_text()
    return {name: set(allowed.split()) for name, allowed in LAYER.findall(text)}


def includes_of(path):
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1) == '"', match.group(2)


def complaint(root, layers, owner, allowed, path, quoted, target):
    """Why `path`, which belongs to `owner`, may not include `target`; None if it may."""
    top = target.split("/")[0]
    ours = top in layers or top in ("preload", "cli", "guest")
    if not quoted:
        return f"<{target}> is ours: write it in quotes" if ours and "/" in target else None
    if ".." in target.split("/"):
        return f'"{target}" leaves its folder: write the path from src/'
    if not ours or "/" not in target:
        return f'"{target}" does not begin with a layer' if (path.parent / target).exists() else None
    place = root / target if top == "guest" else root / "src" / target
    if not place.exists():
        return f'"{target}" does not exist'
    if top != owner and top not in allowed:
        return f'{owner} may not include {top} ("{target}")'
    if top != owner and "detail" in target.split("/")[1:-1]:
        return f'"{target}" is private to {top}'
    if top == "guest" and owner != "guest" and target not in GUEST_INTERFACE:
        return f'"{target}" is for guests only'
    return None


def check_folder(root, layers, owner, allowed, folder):
    found = []
    for path in sorted(folder.rglob("*")):
        if path.suffix not in SOURCES or not path.is_file():
            continue
        for line, quoted, target in includes_of(path):
            why = complaint(root, layers, owner, allowed, path, quoted, target)
            if why:
                found.append(f"{path.relative_to(root)}:{line}: {why}")
    return found


def check_list(layers):
    """The list itself: only known layers, and no cycle."""
    found = []
    for name, allowed in layers.items():
        found += [f"src/CMakeLists.txt: {name} names {other}, which is no layer" for other in sorted(allowed - set(layers))]
    rest = dict(layers)
    while rest:
        free = [name for name, allowed in rest.items() if not allowed & set(rest)]
        if not free:
            return found + ["src/CMakeLists.txt: a cycle among " + " ".join(sorted(rest))]
        for name in free:
            del rest[name]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    root = parser.parse_args().root.resolve()
    layers = read_layers(root)
    found = check_list(layers) if layers else ["src/CMakeLists.txt: no seamless_layer() line"]
    for folder in sorted((root / "src").iterdir()):
        if not folder.is_dir():
            continue
        name = folder.name
        allowed = layers.get(name, OTHERS.get(f"src/{name}"))
        if allowed is None:
            found.append(f"src/{name}: no layer, and none of the programs")
            continue
        found += check_folder(root, layers, name, allowed, folder)
    if (root / "guest").is_dir():
        found += check_folder(root, layers, "guest", OTHERS["guest"], root / "guest")
    print("\n".join(found) if found else f"{len(layers)} layers: every include is allowed")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
