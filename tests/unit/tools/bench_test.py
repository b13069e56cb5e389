# SPDX-License-Identifier: Apache-2.0
"""What ./bench makes of numbers: medians, ratios and noise, the tables, what it says of each target, and which of a
process's memory it takes for the guest's."""
import pathlib
import socket
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

BENCHMARKS = pathlib.Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import machines  # pylint: disable=wrong-import-position
import peers  # pylint: disable=wrong-import-position
import report  # pylint: disable=wrong-import-position
import targets  # pylint: disable=wrong-import-position


def results(**benchmarks):
    """name=(native, tcg, td, plain), None for what was not measured."""
    found = report.Results()
    for name, figures in benchmarks.items():
        for environment, value in zip(report.ENVIRONMENTS, figures):
            if value is not None:
                found.add(name, environment, value, "ns/item")
    return found


def judgement(found, what, guest):
    for name, compare, bound, compute, guests in targets.TARGETS:
        if name.startswith(what) and guest in guests:
            return targets.judge(found, guest, compare, bound, compute)
    raise KeyError(what)


class Numbers(unittest.TestCase):
    def test_median_ratio_and_noise(self):
        found = report.Results()
        for native, guest in ((10, 30), (20, 20), (11, 25)):
            found.add("sieve", "native", native, "ns/cell")
            found.add("sieve", "td", guest, "ns/cell")
        self.assertEqual(found.value("sieve", "native"), 11)
        self.assertAlmostEqual(found.ratio("sieve", "td", "native"), 25 / 11)
        self.assertAlmostEqual(found.noise("sieve"), 10 / 11)
        self.assertIsNone(found.ratio("sieve", "td", "tcg"))
        self.assertIsNone(found.value("crc32", "td"))

    def test_the_best(self):
        found = report.Results()
        found.best = True
        for figure in (3, 1, 2):
            found.add("sieve", "td", figure, "ns/cell")
            found.add("disk", "td", figure, "MB/s")
        self.assertEqual((found.value("sieve", "td"), found.value("disk", "td")), (1, 3))

    def test_geometric_mean_leaves_out_what_one_lacks(self):
        found = results(a=(1, None, 2, None), b=(1, None, 8, None), c=(1, None, None, None))
        self.assertAlmostEqual(found.mean_ratio("abc", "td", "native"), 4)
        self.assertIsNone(found.mean_ratio("abc", "plain", "native"))

    def test_digits(self):
        self.assertEqual([report.number(value) for value in (None, 0, 0.012345, 1.5, 99.96, 123456)], ["-", "0", "0.0123", "1.50", "100.0", "123456"])

    def test_throughputs_are_turned(self):
        found = report.Results()
        found.add("disk", "tcg", 100, "MB/s")
        found.add("disk", "td", 200, "MB/s")
        self.assertEqual(report.row(found, "disk")[report.HEAD.index("td:tcg")], "0.500")

    def test_what_is_written_can_be_read(self):
        found = results(sieve=(1, 2, 3, 4))
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "r.json"
            found.write(path)
            self.assertEqual(report.Results.read(path).measured, found.measured)


class Targets(unittest.TestCase):
    def test_each_side_of_a_bound(self):
        self.assertEqual(judgement(results(syscall=(1, 20, 10, 11)), "syscall", "td"), ("2.00", "met"))
        self.assertEqual(judgement(results(syscall=(1, 20, 10, 11)), "syscall", "plain")[1], "NOT MET")
        self.assertEqual(judgement(results(memory=(None, 1, 96, 97)), "memory", "td")[1], "met")
        self.assertEqual(judgement(results(memory=(None, 1, 96, 97)), "memory", "plain")[1], "NOT MET")

    def test_the_worst_is_named(self):
        found = results(sieve=(1, 9, 1, 1), crc32=(1, 2, 4, 1))
        self.assertEqual(judgement(found, "compute, the worst", "td"), ("0.500 (crc32)", "NOT MET"))

    def test_a_mean_of_a_few_is_none(self):
        every = {name: (1, 8, 2, 2) for name in targets.COMPUTE}
        self.assertEqual(judgement(results(**every), "compute, geometric mean, times faster", "td"), ("4.00", "met"))
        self.assertEqual(judgement(results(**every), "compute, geometric mean, times native", "td"), ("2.00", "met"))
        del every["sieve"]
        self.assertEqual(judgement(results(**every), "compute, geometric mean, times faster", "td")[1], "not measured")

    def test_scaling_and_mmio(self):
        found = results(parallel_1=(1, 1, 10, 10), parallel_2=(1, 1, 5, 10), mmio_read=(None, 50, 1200, 200), ioapic_read=(None, 60, 1, 1))
        self.assertEqual(judgement(found, "2 processors", "td"), ("2.00", "met"))
        self.assertEqual(judgement(found, "2 processors", "plain"), ("1.00", "NOT MET"))
        self.assertEqual(judgement(found, "MMIO read through", "td"), ("20.0", "met"))
        self.assertEqual(judgement(found, "MMIO read, times", "plain"), ("4.00", "NOT MET"))


class Machines(unittest.TestCase):
    def test_lines_of_results(self):
        self.assertEqual(machines.values("noise\nBENCH sieve 1.5 ns/cell\nBENCH x 2 s\n"), {"sieve": (1.5, "ns/cell"), "x": (2.0, "s")})
        with self.assertRaises(machines.Failed):
            machines.values("BENCH sieve 1.5 ns/cell\nFAILED crc32\n")

    def test_a_guest_that_ends_early_has_failed(self):
        with self.assertRaisesRegex(machines.Failed, "ended before BENCH-UP(.|\n)*no kernel here(.|\n)*a complaint"):
            machines.Guest(["sh", "-c", "echo no kernel here; echo a complaint >&2"])

    def test_memory_of_the_guest_is_left_out(self):
        smaps = "\n".join(f"{start:x}-{start + (mib << 20):x} rw-p 00000000 00:00 0 {name}\nRss: 9 kB\nPss: {kib} kB" for start, mib, kib, name in (
            (1 << 32, 512, 7000, ""), (1 << 33, 64, 1024, "/memfd:[kvm-gmem] (deleted)"), (1 << 34, 64, 2048, ""), (1 << 35, 600, 512, "/a file")))
        with unittest.mock.patch.object(pathlib.Path, "read_text", return_value=smaps):
            self.assertEqual(machines.beyond_guest_memory(1), 2.5)


class Peers(unittest.TestCase):
    def test_the_server_sends_receives_and_echoes(self):
        with peers.ServerProcess() as port, socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(b"P")
            self.assertEqual(connection.recv(1), b"P")
            connection.sendall(b"R")
            stream = connection.makefile("rb").read(peers.STREAMED)
            self.assertEqual(stream, peers.Handler.stream)
            connection.sendall(b"S" + stream)
            self.assertEqual(connection.recv(1), b"\1")
            connection.sendall(b"S" + stream[:-1] + b"\xff")
            self.assertEqual(connection.recv(1), b"\0")

    def test_each_sector_of_the_disk_has_its_number(self):
        with tempfile.TemporaryDirectory() as folder:
            disk = pathlib.Path(folder) / "disk"
            peers.make_disk(disk)
            content = disk.read_bytes()
        self.assertEqual(len(content), 64 << 20)
        self.assertEqual(content[12345 * 4096:][:8], (12346).to_bytes(8, "little"))


class Program(unittest.TestCase):
    """The real program, built and run natively."""

    def bench(self, *arguments):
        with tempfile.TemporaryDirectory() as folder:
            return subprocess.run([sys.executable, BENCHMARKS / "run.py", "--linux", folder, "--out", folder, "--environments", "native", *arguments],
                                  capture_output=True, text=True, check=False)

    def test_a_run_gives_a_table(self):
        done = self.bench("--runs", "1", "--only", "^(crc32|parallel_2)$")
        self.assertEqual(done.returncode, 0, done)
        self.assertRegex(done.stdout, r"\ncrc32 +ns/byte +[0-9.]+ +- +- +- ")
        self.assertRegex(done.stdout, r"\nparallel_2 +ns/byte +[0-9.]+ +- +- +- ")
        self.assertNotIn("sieve", done.stdout)

    def test_wrong_usage_is_refused(self):
        self.assertIn("no benchmark has such a name", self.bench("--only", "nothing of that name").stderr)
        self.assertIn("is no regular expression", self.bench("--only", "(").stderr)
        self.assertIn("give a number above 0", self.bench("--runs", "0").stderr)
        self.assertIn("there is no xen", self.bench("--environments", "td,xen").stderr)

    def test_a_wrong_result_has_no_time(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for source in (BENCHMARKS / "guest" / "linux").glob("*.[ch]"):
                (folder / source.name).write_text(source.read_text(encoding="utf-8").replace(".want = 41538", ".want = 41539"), encoding="utf-8")
            subprocess.run(["gcc", "-O1", "-std=gnu11", "-pthread", "-o", folder / "work", *folder.glob("*.c")], check=True)
            wrong = subprocess.run([folder / "work", "sieve"], capture_output=True, text=True, check=False)
            unknown = subprocess.run([folder / "work", "siege"], capture_output=True, text=True, check=False)
        self.assertEqual((wrong.returncode, wrong.stdout), (1, ""))
        self.assertIn("sieve computed 0xa242 for 0xa243", wrong.stderr)
        self.assertEqual((unknown.returncode, unknown.stdout), (2, ""))


if __name__ == "__main__":
    unittest.main()
