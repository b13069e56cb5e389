#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page that `seamless trace --html` writes, in a headless Chromium. SEAMLESS names the program.

`page_test.py --screenshots FOLDER` makes the pictures of docs/ instead.
"""
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import browser

SEAMLESS = os.environ["SEAMLESS"]
FIRST = ["ept_violation", "kvm_exit", "kvm_page_fault", "mark_mmio_spte", "kvm_check_emulate", "kvm_entry", "ept_violation", "ve_inject",
         "tdx_tdcall", "tdx_tdcall", "kvm_exit", "kvm_tdx_vmcall", "kvm_mmio", "kvm_userspace_exit", "kvm_tdx_vmcall_done", "kvm_entry"]
PLAIN_FIRST = ["ept_violation", "kvm_exit", "kvm_page_fault", "mark_mmio_spte", "kvm_check_emulate", "kvm_emulate_insn", "kvm_mmio",
               "kvm_userspace_exit", "kvm_entry"]
STEPS = "[...document.querySelectorAll('#diagram .step')].map((s) => s.dataset.event)"
ROWS = "[...document.querySelectorAll('%s tr.row')].map((r) => [...r.cells].map((c) => c.textContent))"


def seamless(*arguments):
    result = subprocess.run([SEAMLESS, *arguments], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL, check=False)
    assert result.returncode == 0, result.stderr
    return result


def record(folder, name, *options):
    """Runs the demo; returns the names of its trace and of the page."""
    lines, page = str(folder / f"{name}.jsonl"), str(folder / f"{name}.html")
    seamless("run", "--trace", lines, *options)
    seamless("trace", lines, "--html", page)
    return lines, page


def events_of(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines()]


class Pages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        cls.lines, cls.page = record(cls.folder, "demo")
        cls.events = events_of(cls.lines)
        cls.b = browser.Browser()

    @classmethod
    def tearDownClass(cls):
        cls.b.close()
        cls.temporary.cleanup()

    def setUp(self):
        self.b.complaints.clear()

    def open(self, page):
        self.b.open(page)
        self.assertRegex(self.b.run("document.documentElement.dataset.ready"), r"^\d+$")

    def tab(self, name):
        self.b.click("#tab-" + name)
        self.assertFalse(self.b.run(f"document.getElementById('view-{name}').hidden"))

    def text(self, selector):
        return self.b.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def flow(self):
        return [event for event in self.b.run(STEPS) if event != "tdx_seamcall"]

    def search(self, table, text):
        self.b.run(f"document.querySelector('{table} input').focus()")
        self.b.type(text)

    def quiet(self):
        self.assertEqual(self.b.complaints, [])

    def test_shows_the_flow_of_the_first_and_of_later_accesses(self):
        self.open(self.page)
        self.assertIn(f"{len(self.events):,} events, 1 vCPU", self.text("#facts"))
        self.assertIn("First access to 0xfe000000: write", self.text("#flow-title"))
        self.assertEqual(self.flow(), FIRST)
        self.search("#episodes", "MMIO read")
        self.b.click("#episodes tr.row", 1)
        self.assertIn("Later access", self.text("#flow-title"))
        self.assertEqual(self.flow(), FIRST[6:12] + ["kvm_mmio", "kvm_userspace_exit", "kvm_mmio"] + FIRST[14:])
        self.quiet()

    def test_steps_show_their_fields_on_hover_click_and_by_keys(self):
        self.open(self.page)
        mark = next(e for e in self.events if e["ev"] == "mark_mmio_spte")
        self.b.run("document.querySelector('[data-event=mark_mmio_spte] .hit').dispatchEvent(new MouseEvent('mouseenter'))")
        self.b.run("document.querySelector('[data-event=mark_mmio_spte]').dispatchEvent(new MouseEvent('mouseenter'))")
        self.assertIn(mark["spte"], self.text("#event"))
        self.b.click("#diagram .step[data-event=ve_inject]")
        self.assertIn("mov", self.text("#event"))
        self.assertIn("cpu_rip", self.text("#event"))
        self.b.press("ArrowDown")
        self.assertIn("TDG.VP.VEINFO.GET", self.text("#event"))
        self.assertIn("tdx_tdcall: Guest to TDX module", self.b.run("document.activeElement.getAttribute('aria-label')"))
        self.quiet()

    def test_a_plain_vm_has_no_tdx_module(self):
        _, page = record(self.folder, "plain", "--vm", "plain")
        self.open(page)
        self.assertEqual(self.flow(), PLAIN_FIRST)
        self.assertEqual(self.b.run("[...document.querySelectorAll('#diagram .lane')].map((e) => e.textContent)"),
                         ["Guest", "Processor", "KVM", "VMM"])
        self.quiet()

    def test_tables_sort_and_search(self):
        self.open(self.page)
        self.tab("pages")
        accesses = collections.Counter(int(e["gpa"], 16) & ~0xFFF for e in self.events if e["ev"] == "kvm_mmio" and e["type"] != "unsatisfied-read")
        self.assertEqual({row[0]: int(row[1].replace(",", "")) for row in self.b.run(ROWS % "#pages")},
                         {hex(page): n for page, n in accesses.items()})
        self.tab("code")
        counts = [int(row[8].replace(",", "")) for row in self.b.run(ROWS % "#code")]
        self.assertEqual(counts, sorted(counts, reverse=True))
        self.b.click("#code th:nth-child(9) button")
        counts = [int(row[8].replace(",", "")) for row in self.b.run(ROWS % "#code")]
        self.assertEqual(counts, sorted(counts))
        self.assertEqual(self.b.run("document.querySelector('#code th:nth-child(9)').getAttribute('aria-sort')"), "ascending")
        self.search("#code", "mov [rbp], rcx")
        rows = self.b.run(ROWS % "#code")
        self.assertEqual({tuple(row[:2]) for row in rows}, {("48894d00", "mov [rbp], rcx")})
        self.assertIn(["0xfe000000", "8", "write"], [row[5:8] for row in rows])
        self.quiet()

    def test_costs_count_what_the_trace_has(self):
        self.open(self.page)
        self.tab("costs")
        exits = collections.Counter((e["reason"], e["hw_reason"], e["vm"]) for e in self.events if e["ev"] == "kvm_exit")
        self.assertEqual({tuple(row[:3]): int(row[3].replace(",", "")) for row in self.b.run(ROWS % "#exits")}, dict(exits))
        calls = collections.Counter(e["leaf"] for e in self.events if e["ev"] == "kvm_tdx_vmcall")
        self.assertEqual({row[0]: int(row[1].replace(",", "")) for row in self.b.run(ROWS % "#vmcalls")}, dict(calls))
        names = collections.Counter(e["ev"] for e in self.events)
        self.assertEqual({row[0]: int(row[1].replace(",", "")) for row in self.b.run(ROWS % "#counts")}, dict(names))
        self.quiet()

    def test_the_timeline_zooms_moves_and_leads_to_the_flow(self):
        self.open(self.page)
        self.tab("timeline")
        whole = self.text("#range")
        self.assertIn(f"{len(self.events):,} events", whole)
        self.b.run("document.getElementById('canvas').focus()")
        for _ in range(6):
            self.b.press("+", "+")
        near = self.text("#range")
        self.assertNotEqual(near, whole)
        self.b.press("ArrowRight")
        self.assertNotEqual(self.text("#range"), near)
        box = self.b.run("(() => { const r = document.getElementById('canvas').getBoundingClientRect(); return [r.x, r.y, r.width]; })()")
        self.b.mouse("mouseWheel", box[0] + box[2] / 2, box[1] + 40, deltaX=0, deltaY=-300)
        self.b.wait(f"document.getElementById('range').textContent !== {json.dumps(near)}")
        self.b.press("]")
        first = self.text("#picked")
        self.assertIn("vCPU", first)
        self.b.press("]")
        self.assertNotEqual(self.text("#picked"), first)
        drawn = self.b.run("new Set(document.getElementById('canvas').getContext('2d').getImageData(70, 24, 900, 40).data).size")
        self.assertGreater(drawn, 8, "the canvas has colours")
        self.b.press("Enter")
        self.assertFalse(self.b.run("document.getElementById('view-flow').hidden"))
        self.assertIn("vCPU 0 around", self.text("#flow-title"))
        self.assertGreater(len(self.b.run(STEPS)), 1)
        self.quiet()

    def test_all_events_can_be_filtered(self):
        self.open(self.page)
        self.tab("events")
        self.b.run("(() => { const s = document.querySelector('#events select'); s.value = 'mark_mmio_spte'; s.dispatchEvent(new Event('change')); })()")
        marks = [e for e in self.events if e["ev"] == "mark_mmio_spte"]
        self.b.wait(f"document.querySelectorAll('#events tr.row').length === {len(marks)}")
        self.assertIn("gfn=" + marks[0]["gfn"], self.b.run(ROWS % "#events")[0][4])
        self.b.click("#events tr.row")
        self.assertIn(marks[0]["spte"], self.text("#event-fields"))
        self.quiet()

    def test_tabs_go_by_keys_and_colours_change(self):
        self.open(self.page)
        self.b.run("document.getElementById('tab-flow').focus()")
        self.b.press("ArrowRight")
        self.assertEqual(self.b.run("document.activeElement.id"), "tab-timeline")
        light = self.b.run("getComputedStyle(document.body).backgroundColor")
        self.b.run("(() => { const s = document.getElementById('theme'); s.value = 'dark'; s.dispatchEvent(new Event('change')); })()")
        self.assertNotEqual(self.b.run("getComputedStyle(document.body).backgroundColor"), light)
        self.quiet()

    def test_hostile_text_stays_text(self):
        evil = '</script><img src=x onerror="window.pwned=1"><b>\u202e\u0000\u001b[2J'
        lines = [{"ts": 1, "vcpu": 0, "ev": "ve_inject", "exit_reason": evil, "cpu_insn": evil, "cpu_rip": "0x1000"},
                 {"ts": 2, "vcpu": 0, "ev": "kvm_exit", "reason": evil, "hw_reason": evil, "vm": evil},
                 {"ts": 3, "vcpu": 0, "ev": "kvm_tdx_vmcall", "leaf": evil},
                 {"ts": 4, "vcpu": 0, "ev": "kvm_userspace_exit", "reason": evil},
                 {"ts": 5, "vcpu": 0, "ev": evil},
                 {"ts": 6, "vcpu": 4294967295, "ev": "tdx_seamcall", "leaf": "__proto__", "status": evil},
                 {"ts": 18446744073709551615, "vcpu": 0, "ev": "kvm_tdx_vmcall_done", "r10": "0xffffffffffffffff", "r11": evil}]
        path = self.folder / '<b onclick="window.pwned=1">.jsonl'
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        symbols = self.folder / "evil.map"
        symbols.write_bytes(b"0000000000001000 T " + evil.replace("\0", "").encode() + b"\xff\n")
        page = str(self.folder / "evil.html")
        seamless("trace", str(path), "--html", page, "--symbols", str(symbols))
        self.open(page)
        for name in ("flow", "timeline", "pages", "code", "costs", "events"):
            self.tab(name)
            if name == "events":
                self.b.click("#events tr.row", 4)
            self.assertEqual(self.b.run("[document.querySelectorAll('img, b, iframe').length, window.pwned ?? null]"), [0, None])
            self.assertEqual(self.b.run("/[\\u0000\\u001b\\u202e]/.test(document.body.innerText)"), False)
        self.assertIn("onerror", self.text("#code"))
        self.assertIn("\\u{202e}\\u{0}\\u{1b}[2J", self.text("#exits"))
        self.assertIn('<b onclick="window.pwned=1">.jsonl', self.b.run("document.title"))
        self.quiet()

    def test_a_damaged_page_says_so(self):
        damaged = pathlib.Path(self.page).read_text(encoding="utf-8").replace('class="tables">', 'class="tables">AAAA', 1)
        path = self.folder / "damaged.html"
        path.write_text(damaged, encoding="utf-8")
        self.b.open(path)
        self.assertIn("This page is damaged", self.text("#facts"))

    def test_a_million_events_open_without_stalling(self):
        path, page = self.folder / "big.jsonl", str(self.folder / "big.html")
        write_many(self.lines, path, 1_000_000)
        seamless("trace", str(path), "--html", page)
        self.b.open("about:blank")
        spent = [self.b.seconds_spent()]
        self.open(page)
        self.assertIn("1,000,000 events, 4 vCPUs", self.text("#facts"))
        spent.append(self.b.seconds_spent())
        self.tab("timeline")
        self.b.run("document.getElementById('canvas').focus()")
        for key in "++++----0":
            self.b.press(key, key)
        spent.append(self.b.seconds_spent())
        self.tab("events")
        self.assertLess(self.b.run("document.querySelectorAll('tr.row').length"), 400, "only what is in sight is in the document")
        self.b.run("document.querySelector('#events .rows').scrollTop = 1e9")
        self.b.wait("[...document.querySelectorAll('#events tr.row')].at(-1)?.cells[0].textContent === '999,999'")
        spent.append(self.b.seconds_spent())
        opened, timeline, events = (b - a for a, b in zip(spent, spent[1:]))
        print(f"a million events: {os.path.getsize(page) / 1e6:.1f} MB; seconds of the page's thread: to open {opened:.2f}, for the timeline "
              f"and nine zooms {timeline:.2f}, for the table of events {events:.2f}", file=sys.stderr)
        self.assertLess(max(opened, timeline, events), 5)
        self.quiet()


def write_many(source, path, wanted):
    """The events of a trace again and again, on four vCPUs in turn."""
    lines = pathlib.Path(source).read_text(encoding="utf-8").splitlines()
    span, written = json.loads(lines[-1])["ts"] + 1000, 0
    with open(path, "w", encoding="utf-8") as file:
        while written < wanted:
            turn = written // len(lines)
            for line in lines[:wanted - written]:
                event = json.loads(line)
                event.update(ts=event["ts"] + turn * span, vcpu=turn % 4)
                file.write(json.dumps(event) + "\n")
            written += min(len(lines), wanted - written)


def screenshots(folder):
    with tempfile.TemporaryDirectory() as temporary:
        _, page = record(pathlib.Path(temporary), "demo")
        for name, height, dark in (("flow", 700, False), ("timeline", 400, True)):
            b = browser.Browser(1100, height, dark)
            b.open(page)
            b.click("#tab-" + name)
            if name == "flow":
                b.click("#diagram .step[data-event=ve_inject]")
            if name == "timeline":
                start = b.run("(({ts, episode: e}) => ts[e.first[e.fresh.indexOf(1)]])(window.app.trace)")
                b.run(f"window.app.made.timeline.look({start} - 60000, {start} + 500000); document.getElementById('canvas').focus()")
                for _ in range(3):
                    b.press("]")
            b.screenshot(pathlib.Path(folder) / f"trace-{name}.png")
            b.close()


if __name__ == "__main__":
    if browser.program() is None:
        print("skipped: the test needs a browser: apt-get install chromium, or CHROMIUM=/path/of/one")
        sys.exit(77)
    if sys.argv[1:2] == ["--screenshots"]:
        screenshots(sys.argv[2])
    else:
        unittest.main()
