#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`seamless run` on a terminal: raw mode, the keys after Ctrl-A, and a terminal that is as before however the run ends.
SEAMLESS names the program, GUESTS the folder with the guests' images."""
import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import termios
import time
import unittest

SEAMLESS = os.environ["SEAMLESS"]
GUESTS = pathlib.Path(os.environ["GUESTS"])
PATIENCE = 60
LFLAG = 3


class Terminal:
    """A run of `guest` whose terminal is a pseudo-terminal of ours."""

    def __init__(self, guest, *options):
        self.master, slave = pty.openpty()
        self.slave = slave
        self.before = termios.tcgetattr(slave)
        self.output = b""
        network = () if guest == "virtio_streams" else ("--net", "none")
        # pylint: disable=consider-using-with
        self.program = subprocess.Popen([SEAMLESS, "run", *network, "--firmware", str(GUESTS / f"{guest}.fd"), *options], stdin=slave, stdout=slave, stderr=slave)

    def wait_for(self, text):
        end = time.monotonic() + PATIENCE
        while text not in self.output:
            if time.monotonic() > end or not select.select([self.master], [], [], 5)[0] and self.program.poll() is not None:
                raise AssertionError(f"{text!r} did not come, but {self.output!r}")
            if select.select([self.master], [], [], 0.1)[0]:
                self.output += os.read(self.master, 4096)

    def keys(self, text):
        os.write(self.master, text)

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[LFLAG] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def end(self):
        status = self.program.wait(PATIENCE)
        restored = termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)
        return status, restored


class Keys(unittest.TestCase):
    def test_help_and_quit(self):
        run = Terminal("hang")
        run.wait_for(b"hanging")
        self.assertTrue(run.is_raw())
        run.keys(b"\x03")  # Ctrl-C is the guest's
        run.keys(b"\x01h")
        run.wait_for(b"Ctrl-A x")
        run.keys(b"\x01x")
        self.assertEqual(run.end(), (0, True))

    def test_quitting_a_guest_that_reads_nothing(self):
        run = Terminal("hang")
        run.wait_for(b"hanging")
        for _ in range(10):
            run.keys(b"x" * 1000)
            time.sleep(0.05)
        run.keys(b"\x01x")
        self.assertEqual(run.end(), (0, True))

    def test_the_virtio_console_has_the_keys_where_it_is_the_terminal(self):
        run = Terminal("hang", "--console", "stdio")
        run.wait_for(b"hanging")
        run.keys(b"never read\x01x")
        self.assertEqual(run.end(), (0, True))


    def test_ctrl_a_twice_is_ctrl_a(self):
        run = Terminal("virtio_streams", "--console", "stdio")
        run.wait_for(b"offers 10.0.2.15")
        run.keys(b"a\x01\x01b")
        run.wait_for(b"A\x01B")
        run.keys(b".")
        run.wait_for(b"output goes")
        self.assertEqual(run.end(), (0, True))


class Ends(unittest.TestCase):
    def test_timeout(self):
        run = Terminal("hang", "--timeout", "2")
        run.wait_for(b"hanging")
        self.assertEqual(run.end(), (4, True))

    def test_signals_that_end_a_run(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(signal=number):
                run = Terminal("hang")
                run.wait_for(b"hanging")
                self.assertTrue(run.is_raw())
                run.program.send_signal(number)
                self.assertEqual(run.end(), (128 + number, True))

    def test_signals_that_kill(self):
        for number in (signal.SIGABRT, signal.SIGPIPE, signal.SIGUSR2, signal.SIGXCPU, signal.SIGILL):
            with self.subTest(signal=number):
                run = Terminal("hang")
                run.wait_for(b"hanging")
                self.assertTrue(run.is_raw())
                run.program.send_signal(number)
                status, restored = run.end()
                self.assertNotEqual(status, 0)
                self.assertTrue(restored)

    def test_a_run_that_does_not_start(self):
        run = Terminal("hang", "--disk", "/nonexistent")
        self.assertEqual(run.end(), (2, True))


class Pty(unittest.TestCase):
    def start(self, guest, *options):
        # pylint: disable=consider-using-with
        program = subprocess.Popen([SEAMLESS, "run", "--net", "none", "--serial", "pty", "--timeout", "50", "--firmware", str(GUESTS / f"{guest}.fd"), *options],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(program.communicate)
        self.addCleanup(program.kill)
        line = program.stderr.readline().decode()
        self.assertRegex(line, "^seamless: the serial port is /dev/pts/[0-9]+\n$")
        return program, line.split()[-1]

    def test_the_serial_port_is_a_terminal_of_its_own(self):
        program, name = self.start("hang")
        port = os.open(name, os.O_RDWR | os.O_NOCTTY)
        self.addCleanup(os.close, port)
        output = b""
        while b"hanging" not in output:
            self.assertTrue(select.select([port], [], [], PATIENCE)[0], output)
            output += os.read(port, 4096)
        self.assertFalse(termios.tcgetattr(port)[LFLAG] & (termios.ICANON | termios.ECHO))
        os.write(port, b"x" * 3000)  # a guest that never reads holds nobody up
        program.terminate()
        self.assertEqual((program.wait(PATIENCE), program.stdout.read()), (128 + signal.SIGTERM, b""))

    def test_a_guest_whose_port_nobody_opens_runs_to_its_end(self):
        program, _ = self.start("seamless", "--device", "testdev,gpa=0xfe000000,size=0x2000")
        self.assertEqual(program.wait(PATIENCE), 0)


class NoTerminal(unittest.TestCase):
    def test_a_pipe_is_input_and_nothing_in_it_is_special(self):
        result = subprocess.run([SEAMLESS, "run", "--timeout", "2", "--firmware", str(GUESTS / "hang.fd")], input=b"\x01x", capture_output=True, timeout=PATIENCE, check=False)
        self.assertEqual(result.returncode, 4)


def has_terminals():
    try:
        for fd in pty.openpty():
            os.close(fd)
        return True
    except OSError:
        return False


if __name__ == "__main__":
    if not has_terminals():
        print("SKIPPED: there are no pseudo-terminals here (is /dev/pts mounted?)")
        sys.exit(77)
    unittest.main()
