// SPDX-License-Identifier: Apache-2.0
// The table of trace events. The order and names of fields are a contract with readers of traces
// (docs/tracing.md).
#include "trace/event.h"

#include <cstddef>
#include <iterator>

namespace seamless::trace {
namespace {

constexpr Field hex(std::string_view name) { return {name, Format::hex}; }
constexpr Field dec(std::string_view name) { return {name, Format::dec}; }
constexpr Field text(std::string_view name) { return {name, Format::name}; }
constexpr Field raw(std::string_view name) { return {name, Format::bytes}; }

// clang-format off
constexpr EventRow kEvents[] = {
    {Event::ept_misconfig,          "ept_misconfig",          {hex("gpa"), hex("gla"), text("access")}},
    {Event::ept_violation,          "ept_violation",          {hex("gpa"), hex("gla"), text("access"), text("root"), dec("suppress_ve"), text("outcome")}},
    {Event::handle_mmio_page_fault, "handle_mmio_page_fault", {hex("gpa"), text("result")}},
    {Event::kvm_check_emulate,      "kvm_check_emulate",      {text("vm"), text("result")}},
    {Event::kvm_emulate_insn,       "kvm_emulate_insn",       {hex("rip"), raw("insn"), dec("failed")}},
    {Event::kvm_entry,              "kvm_entry",              {hex("rip")}},
    {Event::kvm_exit,               "kvm_exit",               {text("reason"), text("hw_reason"), hex("qualification"), hex("gpa"), text("vm")}},
    {Event::kvm_fast_mmio,          "kvm_fast_mmio",          {hex("gpa")}},
    {Event::kvm_mmio,               "kvm_mmio",               {text("type"), dec("len"), hex("gpa"), hex("val")}},
    {Event::kvm_page_fault,         "kvm_page_fault",         {hex("gpa"), hex("qualification"), hex("error_code"), dec("private")}},
    {Event::kvm_pio,                "kvm_pio",                {text("type"), dec("size"), hex("port"), hex("val")}},
    {Event::kvm_tdx_vmcall,         "kvm_tdx_vmcall",         {text("leaf"), hex("r12"), hex("r13"), hex("r14"), hex("r15")}},
    {Event::kvm_tdx_vmcall_done,    "kvm_tdx_vmcall_done",    {hex("r10"), hex("r11")}},
    {Event::kvm_userspace_exit,     "kvm_userspace_exit",     {text("reason")}},
    {Event::mark_mmio_spte,         "mark_mmio_spte",         {hex("gfn"), hex("spte"), hex("access"), hex("gen")}},
    {Event::tdx_seamcall,           "tdx_seamcall",           {text("leaf"), hex("status"), hex("rcx"), hex("rdx"), hex("r8"), hex("r9")}},
    {Event::tdx_tdcall,             "tdx_tdcall",             {text("leaf"), hex("status"), hex("rcx"), hex("rdx"), hex("r8"), hex("r9")}},
    {Event::ve_inject,              "ve_inject",              {text("exit_reason"), hex("qualification"), hex("gla"), hex("gpa"), hex("cpu_rip"), raw("cpu_insn"), dec("cpu_insn_len")}},
};
// clang-format on

constexpr bool indexed_by_event()
{
    for (std::size_t i = 0; i < std::size(kEvents); ++i)
        if (kEvents[i].event != static_cast<Event>(i))
            return false;
    return true;
}
static_assert(indexed_by_event());

} // namespace

const EventRow& row_of(Event event) { return kEvents[static_cast<std::size_t>(event)]; }

const EventRow* row_named(std::string_view name)
{
    for (const EventRow& row : kEvents)
        if (row.name == name)
            return &row;
    return nullptr;
}

} // namespace seamless::trace
