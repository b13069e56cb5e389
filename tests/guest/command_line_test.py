#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""--help, man pages and completion say the same. SEAMLESS names the program; zsh, fish and man are asked where they are."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

SEAMLESS = os.environ["SEAMLESS"]
COMMANDS = ["run", "measure", "caps", "trace"]


def run(*arguments, **more):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False, **more)


class Generated(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        result = run(SEAMLESS, "generate", str(cls.folder))
        assert result.returncode == 0, result.stderr
        cls.options = {command: re.findall(r"^  (-\w|--[\w-]+)", run(SEAMLESS, command, "--help").stdout.replace("-h,--help", "--help"), re.MULTILINE)
                       for command in COMMANDS}

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def read(self, name):
        return (self.folder / name).read_text(encoding="utf-8")

    def complete(self, line, folder=None):
        """What bash offers behind `line`."""
        script = (f"source {self.folder}/seamless.bash; COMP_LINE=$1 COMP_POINT=${{#1}}; _seamless; printf '%s\\n' \"${{COMPREPLY[@]}}\"")
        result = run("bash", "-c", script, "bash", line, cwd=folder or self.folder)
        self.assertEqual(result.stderr, "")
        return sorted(word for word in result.stdout.split("\n") if word)

    def test_every_option_is_everywhere(self):
        self.assertGreater(len(self.options["run"]), 20)
        for command, options in self.options.items():
            man, zsh, fish = self.read(f"seamless-{command}.1").replace("\\-", "-"), self.read("_seamless"), self.read("seamless.fish")
            offered = self.complete(f"seamless {command} -")
            self.assertEqual(offered, sorted(options))
            section = zsh[zsh.index(f"    {command}) _arguments"):].partition(" ;;\n")[0]
            for option in options:
                with self.subTest(command=command, option=option):
                    self.assertRegex(man, rf"(?m)^\.BI? {re.escape(option)}( |$)")
                    self.assertRegex(section, rf"'\*?{re.escape(option)}\[")
                    name = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1]}"
                    self.assertIn(f"_from {command}' {name} ", fish)

    def test_help_names_the_kinds_of_values(self):
        text = run(SEAMLESS, "run", "--help").stdout
        for what in ("--vm td|plain", "--kernel FILE", "--timeout SECONDS", "--trace FILE[:EVENT,...]", "Exit status: 0"):
            self.assertIn(what, text)
        self.assertNotIn("generate", run(SEAMLESS, "--help").stdout)

    def test_bash_completes_commands_words_files_and_events(self):
        files = self.folder / "files"
        files.mkdir()
        for name in ("vmlinuz", "initrd.gz", "two words"):
            (files / name).touch()
        self.assertEqual(self.complete("seamless "), ["--help", "--version", "caps", "measure", "run", "trace"])
        self.assertEqual(self.complete("seamless m"), ["measure"])
        self.assertEqual(self.complete("seamless run --vm "), ["plain", "td"])
        self.assertEqual(self.complete("seamless run --vm t"), ["td"])
        self.assertEqual(self.complete("seamless run --kernel ", files), ["initrd.gz", "two words", "vmlinuz"])
        self.assertEqual(self.complete("seamless run --kernel v", files), ["vmlinuz"])
        self.assertEqual(self.complete("seamless run --serial "), ["file:", "null", "pty", "stdio"])
        self.assertEqual(self.complete("seamless run --serial file:v", files), ["vmlinuz"])
        self.assertEqual(self.complete("seamless run --memory "), [])
        self.assertEqual(self.complete("seamless run --trace v", files), ["vmlinuz"])
        self.assertEqual(self.complete("seamless run --trace t.jsonl:ve"), ["ve_inject"])
        self.assertEqual(self.complete("seamless run --trace t.jsonl:ve_inject,kvm_mm"), ["ve_inject,kvm_mmio"])
        self.assertEqual(self.complete("seamless trace v", files), ["vmlinuz"])
        self.assertEqual(self.complete("seamless run --ker"), ["--kernel"])

    def test_shells_accept_the_files(self):
        for shell, *arguments in (("bash", "-n", "seamless.bash"), ("zsh", "-n", "_seamless"), ("fish", "--no-execute", "seamless.fish")):
            if shutil.which(shell) is None:
                continue
            with self.subTest(shell=shell):
                result = run(shell, *arguments, cwd=self.folder)
                self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_fish_completes(self):
        if shutil.which("fish") is None:
            self.skipTest("there is no fish")
        for line, wanted in (("seamless run --vm ", {"td", "plain"}), ("seamless run --trace t.jsonl:ve", {"t.jsonl:ve_inject"})):
            result = run("fish", "-c", f"source {self.folder}/seamless.fish; complete -C '{line}'", env={**os.environ, "HOME": str(self.folder)})
            self.assertLessEqual(wanted, {row.split("\t")[0] for row in result.stdout.splitlines()})

    def test_man_reads_the_pages(self):
        if shutil.which("man") is None:
            self.skipTest("there is no man")
        for name in ("seamless.1", *(f"seamless-{command}.1" for command in COMMANDS)):
            with self.subTest(page=name):
                result = run("man", "--warnings", "-E", "UTF-8", "-l", str(self.folder / name), env={**os.environ, "MANWIDTH": "80"})
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                self.assertIn("NAME", result.stdout)

    def test_a_folder_that_is_absent_is_refused(self):
        result = run(SEAMLESS, "generate", str(self.folder / "absent"))
        self.assertEqual((result.returncode, result.stderr.count("\n")), (2, 1))


if __name__ == "__main__":
    unittest.main()
