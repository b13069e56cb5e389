# SPDX-License-Identifier: Apache-2.0
# tools/check_layers.py on small trees: each way to break the layers is found, with its place.
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[3] / "tools/check_layers.py"


class CheckLayers(unittest.TestCase):
    def run_on(self, files, layers="seamless_layer(low)\nseamless_layer(high low)\n"):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            tree = {"src/CMakeLists.txt": layers, "src/low/low.h": "", "src/low/detail/inner.h": "", **files}
            for name, text in tree.items():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_text(text)
            done = subprocess.run([sys.executable, TOOL, "--root", folder], capture_output=True, text=True)
            return done.returncode, done.stdout

    def refused(self, files, *words, **more):
        status, output = self.run_on(files, **more)
        self.assertEqual(status, 1, output)
        for word in words:
            self.assertIn(word, output)

    def test_downward_includes_are_allowed(self):
        status, output = self.run_on({"src/high/a.cpp": '#include <vector>\n#include "low/low.h"\n',
                                      "src/low/a.cpp": '#include "low/detail/inner.h"\n'})
        self.assertEqual(status, 0, output)

    def test_upward_include_is_refused_with_its_line(self):
        self.refused({"src/high/high.h": "", "src/low/a.cpp": '// text\n#include "high/high.h"\n'},
                     "src/low/a.cpp:2", "low may not include high")

    def test_detail_is_private(self):
        self.refused({"src/high/a.cpp": '#include "low/detail/inner.h"\n'}, "src/high/a.cpp:1", "private to low")

    def test_relative_include_is_refused(self):
        self.refused({"src/high/a.cpp": '#include "../low/low.h"\n'}, "leaves its folder")

    def test_angle_brackets_do_not_hide_a_layer(self):
        self.refused({"src/high/high.h": "", "src/low/a.cpp": "#include <high/high.h>\n"}, "in quotes")

    def test_unqualified_include_is_refused(self):
        self.refused({"src/low/a.cpp": '#include "low.h"\n'}, "does not begin with a layer")

    def test_missing_header_is_refused(self):
        self.refused({"src/low/a.cpp": '#include "low/none.h"\n'}, "does not exist")

    def test_preload_reaches_no_further_than_uapi(self):
        self.refused({"src/preload/a.cpp": '#include "low/low.h"\n'}, "preload may not include low")

    def test_guest_code_is_for_guests(self):
        self.refused({"guest/firmware/x86.h": "", "src/cli/a.cpp": '#include "guest/firmware/x86.h"\n'}, "for guests only")

    def test_folder_without_a_layer_is_refused(self):
        self.refused({"src/stray/a.cpp": ""}, "src/stray")

    def test_cycle_in_the_list_is_refused(self):
        self.refused({}, "cycle", layers="seamless_layer(low high)\nseamless_layer(high low)\n")

    def test_unknown_layer_in_the_list_is_refused(self):
        self.refused({}, "no layer", layers="seamless_layer(low nothing)\n")


if __name__ == "__main__":
    unittest.main()
