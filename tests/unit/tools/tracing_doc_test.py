# SPDX-License-Identifier: Apache-2.0
# docs/tracing.md against the table of events in src/trace/event.cpp: the same events, the same fields, the same order.
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]


def events_of_code():
    text = (ROOT / "src/trace/event.cpp").read_text()
    rows = re.findall(r'\{Event::\w+,\s*"(\w+)",\s*\{(.*)\}\},', text)
    return [(name, re.findall(r'"(\w+)"', fields)) for name, fields in rows]


def events_of_document():
    text = (ROOT / "docs/tracing.md").read_text()
    rows = re.findall(r"^\| (\w+) \| ([\w ]+) \| .* \|$", text, re.MULTILINE)
    return [(name, fields.split()) for name, fields in rows if name != "ev"]


class TracingDocument(unittest.TestCase):
    def test_lists_the_events_of_the_code(self):
        code = events_of_code()
        self.assertGreater(len(code), 10)
        self.assertEqual(events_of_document(), code)


if __name__ == "__main__":
    unittest.main()
