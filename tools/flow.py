#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Explains the MMIO accesses in a trace of `seamless run --trace FILE.jsonl`, step by step with their real values.

Exit status 1, naming the event, if the flow is not exactly the one that docs/tracing.md lays down:
  TD     first access to a page: violation, exit, MMIO entry, RETRY_INSTR, re-entry, #VE, TDVMCALL, answer;
         every later one: #VE, TDVMCALL, answer, without an exit for the violation; nothing is ever emulated.
  plain  first access: violation, emulated at once; every later one: misconfiguration, emulated.
"""
import argparse
import collections
import json
import statistics
import sys

# Events of which each step's stands alone: meeting another of these before the expected one means that is missing.
FLOW = {"ept_violation", "ept_misconfig", "kvm_page_fault", "handle_mmio_page_fault", "mark_mmio_spte", "kvm_check_emulate",
        "kvm_emulate_insn", "ve_inject", "tdx_tdcall", "kvm_tdx_vmcall", "kvm_tdx_vmcall_done", "kvm_mmio"}
FLOW_EXITS = {"EPT_VIOLATION", "EPT_MISCONFIG", "TDCALL", "IO_INSTRUCTION"}
SUPPRESS_VE = 1 << 63


class FlowError(Exception):
    pass


def number(event, field):
    value = event.get(field)
    return int(value, 16) if isinstance(value, str) else value


def gfn(event, shared=0):
    return (number(event, "gpa") & ~shared) >> 12


def in_flow(event):
    if event["ev"] == "kvm_exit":
        return event["reason"] in FLOW_EXITS
    if event["ev"] == "kvm_userspace_exit":
        return event["reason"] != "KVM_EXIT_INTR"
    # Private memory that KVM adds on the way has nothing to do with MMIO.
    return event["ev"] in FLOW and event.get("root") != "secure" and event.get("private", 0) != 1


class Step:
    """One event that must come: its name, what it must say, and what to tell people."""

    def __init__(self, ev, tell, optional=False, **must):
        self.ev, self.tell, self.optional, self.must = ev, tell, optional, must

    def wrong(self, event):
        """Why `event` is not this step, or None."""
        if event["ev"] != self.ev:
            return f"{event['ev']} came instead"
        for field, wanted in self.must.items():
            good = wanted(event) if callable(wanted) else event.get(field) == wanted
            if not good:
                return f"its {field} is {event.get(field)!r}" + ("" if callable(wanted) else f", not {wanted!r}")
        return None


def follow(stream, start, steps, what):
    """Matches `steps` from stream[start]; returns the events. Events outside the flow may lie between."""
    matched, at = [], start
    for step in steps:
        while at < len(stream) and not in_flow(stream[at]) and not stream[at]["ev"] == step.ev == "kvm_entry":
            at += 1
        reason = step.wrong(stream[at]) if at < len(stream) else "the trace ends"
        if reason is None:
            matched.append(stream[at])
            at += 1
        elif step.optional:
            matched.append(None)
        else:
            raise FlowError(f"{what}: event {step.ev} is missing or wrong after {len([m for m in matched if m])} events: {reason}")
    return matched, at


def page_of(page, shared=0):
    return lambda event: gfn(event, shared) == page


def shared_bit(trace):
    """The GPA bit by which a TD marks shared memory: the highest in any address of the shared root."""
    gpas = [number(e, "gpa") for e in trace if e["ev"] == "ept_violation" and e.get("root") == "shared"]
    return 1 << (max(gpas).bit_length() - 1) if gpas else 0


def td_exit_steps(page, shared):
    return [
        Step("ept_violation", lambda e: f"the guest's access ({e['access']}) to GPA {e['gpa']} (shared bit set) meets an entry whose "
             f"bit 63 (suppress #VE) is {e['suppress_ve']}: the TD exits", outcome="exit", suppress_ve=1, root="shared",
             gpa=page_of(page, shared)),
        Step("kvm_exit", lambda e: f"KVM gets {e['hw_reason']}: qualification {e['qualification']}, GPA {e['gpa']}", vm="td",
             reason="EPT_VIOLATION", hw_reason="EPT_VIOLATION", gpa=lambda e: gfn(e, shared) == page and number(e, "gpa") & 0xFFF == 0),
        Step("kvm_page_fault", lambda e: f"KVM's fault handler: error code {e['error_code']}; no memslot is there", private=0,
             gpa=page_of(page, shared)),
        Step("mark_mmio_spte", lambda e: f"it writes an MMIO entry for gfn {e['gfn']}: {e['spte']} (no access rights, bit 63 now 0, "
             f"generation {e['gen']})", gfn=lambda e: number(e, "gfn") == page,
             spte=lambda e: number(e, "spte") & (SUPPRESS_VE | 7) == 0),
        Step("kvm_check_emulate", lambda e: f"may KVM emulate the instruction? For a TD the answer is {e['result']}: hands off", vm="td",
             result="X86EMUL_RETRY_INSTR"),
        Step("kvm_entry", lambda e: "the TD is entered again; the same instruction runs again",
             rip=lambda e: "rip" not in e),
    ]


def td_ve_steps(page, shared):
    return [
        Step("ept_violation", lambda e: f"the access to GPA {e['gpa']} meets bit 63 = {e['suppress_ve']}: no exit, but #VE", outcome="ve",
             suppress_ve=0, root="shared", gpa=page_of(page, shared)),
        Step("ve_inject", lambda e: f"VE_INFO: reason {e['exit_reason']}, qualification {e['qualification']}, GLA {e['gla']}, GPA {e['gpa']}; "
             f"vector 20 is delivered (the processor knows what no host sees: rip {e.get('cpu_rip')}, instruction {e.get('cpu_insn')})",
             gpa=page_of(page, shared)),
        Step("tdx_tdcall", lambda e: f"the guest's handler: {e['leaf']}, status {e.get('status')}", leaf="TDG.VP.VEINFO.GET",
             status=lambda e: number(e, "status") == 0),
        Step("tdx_tdcall", lambda e: f"it decodes the instruction and asks the host: {e['leaf']}", leaf="TDG.VP.VMCALL"),
        Step("kvm_exit", lambda e: f"the TD exits by {e['hw_reason']}, which KVM reads as {e['reason']}", vm="td", reason="EPT_MISCONFIG",
             hw_reason="TDCALL"),
        Step("kvm_tdx_vmcall", lambda e: f"TDVMCALL {e['leaf']}: R12 {e['r12']} (size), R13 {e['r13']} "
             f"({'write' if number(e, 'r13') else 'read'}), R14 {e['r14']} (GPA), R15 {e['r15']} (value)",
             r14=lambda e: number(e, "r14") & shared and (number(e, "r14") & ~shared) >> 12 == page),
    ]


def device_steps(page, write):
    """From the device bus to the answer. A device in KVM needs no way to the VMM and back."""
    mmio = lambda e: f"{e['type']} of {e['len']} bytes at {e['gpa']}" + (f": {e['val']}" if "val" in e else "")
    out = Step("kvm_userspace_exit", lambda e: f"the device is the VMM's: {e['reason']}", optional=True, reason="KVM_EXIT_MMIO")
    if write:
        return [Step("kvm_mmio", mmio, type="write", gpa=page_of(page)), out]
    return [Step("kvm_mmio", mmio, optional=True, type="unsatisfied-read", gpa=page_of(page)), out,
            Step("kvm_mmio", mmio, type="read", gpa=page_of(page))]


def td_access(stream, at, page, shared, first, what):
    head = (td_exit_steps(page, shared) if first else []) + td_ve_steps(page, shared)
    events, after = follow(stream, at, head, what)
    write = number(events[-1], "r13") & 0xFFFFFFFF == 1
    tail = device_steps(page, write) + [
        Step("kvm_tdx_vmcall_done", lambda e: f"the answer at re-entry: R10 {e['r10']}, R11 {e['r11']}"
             + ("" if write else " (the value read)"), r10=lambda e: number(e, "r10") == 0)]
    more, after = follow(stream, after, tail, what)
    return list(zip(head + tail, events + more)), after


def plain_access(stream, at, page, first, what):
    if first:
        head = [
            Step("ept_violation", lambda e: f"the access ({e['access']}) to GPA {e['gpa']} meets an empty entry", outcome="exit",
                 root="plain", gpa=page_of(page)),
            Step("kvm_exit", lambda e: f"KVM gets {e['hw_reason']}: qualification {e['qualification']}", vm="plain", reason="EPT_VIOLATION"),
            Step("kvm_page_fault", lambda e: f"KVM's fault handler: error code {e['error_code']}; no memslot is there", gpa=page_of(page)),
            Step("mark_mmio_spte", lambda e: f"it writes an MMIO entry for gfn {e['gfn']}: {e['spte']} (W and X without R: the next access "
                 f"is a misconfiguration; generation {e['gen']})", gfn=lambda e: number(e, "gfn") == page,
                 spte=lambda e: number(e, "spte") & 7 == 6),
        ]
    else:
        head = [
            Step("ept_misconfig", lambda e: f"the access ({e['access']}) to GPA {e['gpa']} meets the MMIO entry: misconfiguration",
                 gpa=page_of(page)),
            Step("kvm_exit", lambda e: f"KVM gets {e['hw_reason']}", vm="plain", reason="EPT_MISCONFIG"),
            Step("handle_mmio_page_fault", lambda e: f"the entry is KVM's own: {e['result']}", optional=True),
        ]
    head += [
        Step("kvm_check_emulate", lambda e: f"may KVM emulate the instruction? {e['result']}", vm="plain", result="X86EMUL_CONTINUE"),
        Step("kvm_emulate_insn", lambda e: f"it emulates {e['insn']} at rip {e['rip']}", failed=0),
    ]
    events, after = follow(stream, at, head, what)
    write = next((e["type"] == "write" for e in stream[after:] if e["ev"] == "kvm_mmio"), True)
    tail = device_steps(page, write)
    more, after = follow(stream, after, tail, what)
    return list(zip(head + tail, events + more)), after


Access = collections.namedtuple("Access", "page first vcpu steps ns")


def accesses_of(trace):
    """All MMIO accesses, in order of time, each checked. Raises FlowError."""
    kinds = {e["vm"] for e in trace if e["ev"] == "kvm_exit"}
    if len(kinds) != 1:
        raise FlowError(f"event kvm_exit: the trace shows the kinds of VM {sorted(kinds)}; one is expected")
    td = kinds == {"td"}
    if td and any(e["ev"] == "kvm_emulate_insn" for e in trace):
        raise FlowError("event kvm_emulate_insn in a TD: KVM touched a guest it must not touch")
    shared = shared_bit(trace) if td else 0
    marks = {number(e, "gfn"): e["vcpu"] for e in trace if e["ev"] == "mark_mmio_spte"}
    pages = {gfn(e, shared) for e in trace if e["ev"] == "ept_misconfig" or e["ev"] == "ept_violation" and e["outcome"] == "ve"} | set(marks)
    if not marks:
        raise FlowError("event mark_mmio_spte is missing: no MMIO page was ever touched")
    found = []
    for vcpu in sorted({e["vcpu"] for e in trace}):
        stream = [e for e in trace if e["vcpu"] == vcpu]
        found += walk(stream, pages, shared, td, marks)
    for page in pages - {a.page for a in found if a.first}:
        raise FlowError(f"page {page:#x}: event ept_violation of the first access is missing")
    return td, sorted(found, key=lambda a: a.steps[0][1]["ts"])


def walk(stream, pages, shared, td, marks):
    at, found, seen, vcpu = 0, [], set(), stream[0]["vcpu"]
    while at < len(stream):
        event = stream[at]
        begins = event["ev"] in ("ept_violation", "ept_misconfig") and event.get("root") != "secure"
        if not begins or gfn(event, shared) not in pages:
            at += 1
            continue
        page = gfn(event, shared)
        exits = event["ev"] == "ept_violation" and event["outcome"] == "exit"
        what = f"{'first' if exits else 'later'} access to page {page:#x} (vCPU {event['vcpu']}, ts {event['ts']})"
        if exits and page in seen:
            raise FlowError(f"{what}: event ept_violation outcome=exit, though this vCPU has accessed the page before")
        if exits and marks.get(page, vcpu) != vcpu:
            at += 1  # another vCPU made the entry at the same time: this one only retries
            continue
        steps, at = (td_access(stream, at, page, shared, exits, what) if td else plain_access(stream, at, page, exits, what))
        seen.add(page)
        events = [e for _, e in steps if e]
        found.append(Access(page, exits, event["vcpu"], steps, events[-1]["ts"] - events[0]["ts"]))
    return found


def show(title, access):
    print(f"{title} (vCPU {access.vcpu}, {access.ns / 1000:.1f} us)")
    for n, (step, event) in enumerate([s for s in access.steps if s[1]], 1):
        print(f"  {n:2}. [{event['ev']}] {step.tell(event)}")
    print()


def summary(trace, found):
    print("Events: " + ", ".join(f"{name} {count}" for name, count in sorted(collections.Counter(e["ev"] for e in trace).items())))
    for name, group in (("first", [a.ns for a in found if a.first]), ("later", [a.ns for a in found if not a.first])):
        if group:
            print(f"{name.capitalize()} accesses: {len(group)}, median {statistics.median(group) / 1000:.1f} us")


def load(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


def main():
    parser = argparse.ArgumentParser(description="Explain and check the MMIO accesses of a trace.")
    parser.add_argument("trace", help="a .jsonl trace")
    parser.add_argument("--check", action="store_true", help="check only: print one line")
    options = parser.parse_args()
    try:
        trace = load(options.trace)
        td, found = accesses_of(trace)
        later = [a for a in found if not a.first]
        if not later:
            raise FlowError(f"event {'ve_inject' if td else 'ept_misconfig'} of a second access is missing")
    except (OSError, ValueError) as error:
        sys.exit(f"flow: {options.trace}: {error}")
    except FlowError as error:
        sys.exit(f"flow: {error}")
    if options.check:
        print(f"{'TD' if td else 'plain VM'}: {len(found)} MMIO accesses, {len(found) - len(later)} of them first; all exact")
        return
    first = next(a for a in found if a.first)
    show("The first access to a page of MMIO", first)
    second = next((a for a in later if a.page == first.page), later[0])
    show("The second access: no exit for the violation" if td else "The second access", second)
    summary(trace, found)


if __name__ == "__main__":
    main()
