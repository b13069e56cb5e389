// SPDX-License-Identifier: Apache-2.0
// What each event means in the flow: from whom to whom, a short label, and a sentence. `from` and `to` are lanes
// of the diagram; equal ones make a note.

const LANES = ["Guest", "Processor", "TDX module", "KVM", "VMM"];
const [GUEST, CPU, MODULE, KVM, VMM] = [0, 1, 2, 3, 4];

const ACCESS = {r: "read", w: "write", x: "fetch"};

const STEPS = {
  ept_violation: (f) => f.outcome === "ve"
    ? {from: GUEST, to: CPU, phase: "#VE", label: `${ACCESS[f.access] || f.access} at ${f.gpa}`,
       say: `The access meets an entry that allows nothing and whose bit 63 (suppress #VE) is ${f.suppress_ve}: no exit, but #VE.`}
    : {from: GUEST, to: CPU, phase: "Violation", label: `${ACCESS[f.access] || f.access} at ${f.gpa}`,
       say: `The ${f.root} EPT does not allow this access; bit 63 (suppress #VE) of the entry is ${f.suppress_ve}: it exits.`},
  ept_misconfig: (f) => ({from: GUEST, to: CPU, phase: "Violation", label: `${ACCESS[f.access] || f.access} at ${f.gpa}`,
    say: "The EPT entry is one that no processor accepts: here, KVM's mark for MMIO."}),
  kvm_exit: (f) => ({from: CPU, to: KVM, via: f.vm === "td" ? MODULE : undefined,
    phase: f.hw_reason === "TDCALL" ? "The guest's request" : "Violation",
    label: f.vm === "td" ? `TD exit: ${f.hw_reason || f.reason}` : `VM exit: ${f.reason}`,
    say: f.vm === "td" ? `The TDX module ends TDH.VP.ENTER. The hardware's reason is ${f.hw_reason}; KVM reads it as ${f.reason}.` : `The reason is ${f.reason}.`}),
  kvm_entry: (f, td) => ({from: KVM, to: CPU, via: td ? MODULE : undefined, phase: "Entry", label: td ? "TDH.VP.ENTER" : "VM entry",
    say: "The vCPU goes on in the guest" + (f.rip ? ` at ${f.rip}.` : ", where the host cannot see.")}),
  kvm_page_fault: (f) => ({from: KVM, to: KVM, phase: "KVM's fault handler", label: `page fault, error code ${f.error_code}`,
    say: `KVM's MMU looks for a memslot at ${f.gpa}${f.private === "1" ? " (private memory)" : ""}.`}),
  mark_mmio_spte: (f) => ({from: KVM, to: KVM, phase: "KVM's fault handler", label: `MMIO entry ${f.spte}`,
    say: `There is no memslot at gfn ${f.gfn}: KVM writes an MMIO entry, with the memslots' generation ${f.gen}. For a TD its bit 63 is 0, so the next access is #VE.`}),
  handle_mmio_page_fault: (f) => ({from: KVM, to: KVM, phase: "KVM's fault handler", label: f.result, say: "KVM meets its own MMIO entry."}),
  kvm_check_emulate: (f) => ({from: KVM, to: KVM, phase: "KVM's fault handler", label: f.result,
    say: f.result === "X86EMUL_RETRY_INSTR" ? "May KVM emulate the instruction? Not a TD's: it runs again." : "May KVM emulate the instruction?"}),
  kvm_emulate_insn: (f) => ({from: KVM, to: KVM, phase: "Emulation", label: `emulates ${f.insn || "?"}`,
    say: f.failed === "1" ? "KVM's emulator could not." : `KVM's emulator did the instruction at ${f.rip}.`}),
  ve_inject: (f) => ({from: CPU, to: GUEST, phase: "#VE", ve: true, label: `#VE: ${f.exit_reason}`,
    say: `The processor fills VE_INFO and delivers vector 20. What caused it is at ${f.cpu_rip || "?"}, which real hardware hides from the host.`}),
  tdx_tdcall: (f) => ({from: GUEST, to: MODULE, phase: "The guest's request", label: f.leaf,
    say: f.leaf === "TDG.VP.VEINFO.GET" ? "The guest's #VE handler asks what happened." : f.leaf === "TDG.VP.VMCALL" ? "The guest asks the host." : `Status ${f.status}.`}),
  tdx_seamcall: (f) => f.leaf === "TDH.VP.ENTER"
    ? {from: MODULE, to: KVM, phase: "SEAMCALL", label: `${f.leaf} returns`, say: `The SEAMCALL by which KVM entered the TD completes with status ${f.status}.`}
    : {from: KVM, to: MODULE, phase: "SEAMCALL", label: f.leaf, say: `KVM called the TDX module; the call has completed with status ${f.status}.`},
  kvm_tdx_vmcall: (f) => ({from: KVM, to: KVM, phase: "The host's answer", label: `request: ${f.leaf}`,
    say: f.leaf === "MMIO" ? `The request as KVM received it: ${f.r13 === "0x1" ? "write" : "read"} of ${f.r12} bytes at ${f.r14}.` : "The request as KVM received it."}),
  kvm_tdx_vmcall_done: (f) => ({from: KVM, to: GUEST, phase: "The host's answer", label: `R10 ${f.r10}, R11 ${f.r11}`,
    say: f.r10 === "0x0" ? "The answer, at re-entry: success; a read's value is in R11." : "The answer, at re-entry: KVM refused."}),
  kvm_fast_mmio: (f) => ({from: KVM, to: KVM, phase: "The host's answer", label: "KVM_FAST_MMIO_BUS", say: `An ioeventfd without data took the write at ${f.gpa}.`}),
  kvm_mmio: (f) => f.type === "read"
    ? {from: VMM, to: KVM, phase: "The host's answer", label: `value ${f.val || "?"}`, say: `${f.len} bytes for the read at ${f.gpa}.`}
    : {from: KVM, to: KVM, phase: "The host's answer", label: f.type === "write" ? `write ${f.val || ""}` : "read",
       say: `${f.len} bytes at ${f.gpa}, without the shared bit. ${f.type === "write" ? "KVM's bus is asked first." : "No device in KVM answers this read: it goes to the VMM."}`},
  kvm_pio: (f) => ({from: KVM, to: KVM, phase: "The host's answer", label: `${f.type} port ${f.port}`, say: `${f.size} bytes` + (f.val ? `, value ${f.val}.` : ".")}),
  kvm_userspace_exit: (f) => ({from: KVM, to: VMM, phase: "The host's answer", label: f.reason, say: "KVM_RUN returns: the device is the VMM's."}),
};

// The events of the flow itself; others may lie between.
const ASIDE = new Set(["tdx_seamcall"]);

function stepOf(event, td) {
  const make = STEPS[event.ev];
  if (!make)
    return {from: KVM, to: KVM, phase: "", label: event.ev, say: "An event that this page does not know."};
  const step = make(event.fields, td);
  step.aside = ASIDE.has(event.ev);
  return step;
}

// What the trace knows of the instruction that an event names.
function instructionOf(trace, event) {
  const kind = trace.code.get((event.fields.cpu_rip || event.fields.rip) + "/" + (event.fields.cpu_insn || event.fields.insn || ""));
  return kind && (kind.text || kind.symbol) ? {instruction: kind.text, function: kind.symbol} : {};
}

// All about an event, for a panel.
function eventFields(trace, event, td) {
  const rows = [["event", event.ev], ["time", moment(event.ts) + " s"], ["vCPU", String(event.vcpu)], ["number", count(event.i)],
    ...Object.entries(event.fields), ...Object.entries(instructionOf(trace, event)).filter(([, value]) => value)];
  const list = element("dl", {});
  for (const [name, value] of rows)
    list.append(element("dt", {}, name), element("dd", {}, value));
  const say = stepOf(event, td).say;
  return [element("p", {style: "margin:0 0 .3em"}, say), list];
}
