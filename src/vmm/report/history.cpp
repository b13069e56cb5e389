// SPDX-License-Identifier: Apache-2.0
// TDX ABI: "TDCALL Instruction"; GHCI: "TDG.VP.VMCALL Interface".
#include "vmm/report/history.h"

#include <fmt/format.h>

#include "base/table.h"
#include "spec/tdx_abi.h"

namespace seamless::vmm::report {

using spec::ExitReason;
using spec::Gpr;
using spec::TdgLeaf;
using spec::Tdvmcall;
using trace::Crossing;

namespace {

struct TdcallRow {
    u64 leaf;
    std::string_view name;
};

// clang-format off
constexpr TdcallRow kTdcalls[] = {
    {static_cast<u64>(TdgLeaf::VP_VMCALL),       "TDG.VP.VMCALL"},
    {static_cast<u64>(TdgLeaf::VP_INFO),         "TDG.VP.INFO"},
    {static_cast<u64>(TdgLeaf::MR_RTMR_EXTEND),  "TDG.MR.RTMR.EXTEND"},
    {static_cast<u64>(TdgLeaf::VP_VEINFO_GET),   "TDG.VP.VEINFO.GET"},
    {static_cast<u64>(TdgLeaf::MR_REPORT),       "TDG.MR.REPORT"},
    {static_cast<u64>(TdgLeaf::VP_CPUIDVE_SET),  "TDG.VP.CPUIDVE.SET"},
    {static_cast<u64>(TdgLeaf::MEM_PAGE_ACCEPT), "TDG.MEM.PAGE.ACCEPT"},
    {static_cast<u64>(TdgLeaf::VM_RD),           "TDG.VM.RD"},
    {static_cast<u64>(TdgLeaf::VM_WR),           "TDG.VM.WR"},
    {static_cast<u64>(TdgLeaf::VP_RD),           "TDG.VP.RD"},
    {static_cast<u64>(TdgLeaf::VP_WR),           "TDG.VP.WR"},
    {static_cast<u64>(TdgLeaf::SYS_RD),          "TDG.SYS.RD"},
};

struct RequestRow {
    u64 leaf;
    std::string_view name;
    const char* words; // of R12 to R15, or nullptr
};

constexpr RequestRow kRequests[] = {
    {static_cast<u64>(Tdvmcall::INSTRUCTION_CPUID),            "Instruction.CPUID",         "leaf {0:#x}, subleaf {1:#x}"},
    {static_cast<u64>(Tdvmcall::INSTRUCTION_HLT),              "Instruction.HLT",           nullptr},
    {static_cast<u64>(Tdvmcall::INSTRUCTION_IO),               "Instruction.IO",            nullptr},
    {static_cast<u64>(Tdvmcall::INSTRUCTION_RDMSR),            "Instruction.RDMSR",         "MSR {0:#x}"},
    {static_cast<u64>(Tdvmcall::INSTRUCTION_WRMSR),            "Instruction.WRMSR",         "MSR {0:#x}, value {1:#x}"},
    {static_cast<u64>(Tdvmcall::VE_REQUEST_MMIO),              "#VE.RequestMMIO",           nullptr},
    {static_cast<u64>(Tdvmcall::INSTRUCTION_WBINVD),           "Instruction.WBINVD",        nullptr},
    {static_cast<u64>(Tdvmcall::INSTRUCTION_PCONFIG),          "Instruction.PCONFIG",       nullptr},
    {static_cast<u64>(Tdvmcall::GET_TD_VM_CALL_INFO),          "GetTdVmCallInfo",           "leaf {0:#x}"},
    {static_cast<u64>(Tdvmcall::MAP_GPA),                      "MapGPA",                    "{1:#x} bytes at {0:#x}"},
    {static_cast<u64>(Tdvmcall::GET_QUOTE),                    "GetQuote",                  "{1:#x} bytes at {0:#x}"},
    {static_cast<u64>(Tdvmcall::REPORT_FATAL_ERROR),           "ReportFatalError",          "error code {0:#x}"},
    {static_cast<u64>(Tdvmcall::SETUP_EVENT_NOTIFY_INTERRUPT), "SetupEventNotifyInterrupt", "vector {0:#x}"},
    {static_cast<u64>(Tdvmcall::SERVICE),                      "Service",                   nullptr},
};

struct StatusRow {
    u64 status;
    std::string_view name;
};

constexpr StatusRow kStatuses[] = {
    {0,                  "SUCCESS"},
    {1,                  "RETRY"},
    {0x8000000000000000, "INVALID_OPERAND"},
    {0x8000000000000001, "GPA_INUSE"},
    {0x8000000000000002, "ALIGN_ERROR"},
    {0x8000000000000003, "SUBFUNC_UNSUPPORTED"},
};
constexpr const char* kExceptions[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "", "#TS",
                                       "#NP", "#SS", "#GP", "#PF", "", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP"};
// clang-format on
static_assert(base::strictly_ascending(kTdcalls, &TdcallRow::leaf));
static_assert(base::strictly_ascending(kRequests, &RequestRow::leaf));
static_assert(base::strictly_ascending(kStatuses, &StatusRow::status));

Event tdcall(const Crossing& c)
{
    Event e{.kind = Event::Kind::tdcall, .leaf = c.at_exit(Gpr::rax) & 0xffff, .answered = c.resumed};
    const Gpr operands[] = {Gpr::rcx, Gpr::rdx, Gpr::r8, Gpr::r9};
    const Gpr arguments[] = {Gpr::r12, Gpr::r13, Gpr::r14, Gpr::r15};
    if (e.leaf == static_cast<u64>(TdgLeaf::VP_VMCALL)) {
        e.kind = Event::Kind::tdvmcall;
        e.leaf = c.at_exit(Gpr::r11);
        e.vendor = c.at_exit(Gpr::r10) != 0;
        e.status = c.at_entry(Gpr::r10);
        e.value = c.at_entry(Gpr::r11);
        for (unsigned i = 0; i < 4; ++i)
            e.operands[i] = c.at_exit(arguments[i]);
        return e;
    }
    for (unsigned i = 0; i < 4; ++i)
        e.operands[i] = c.at_exit(operands[i]);
    e.status = c.at_entry(Gpr::rax);
    if (e.leaf == static_cast<u64>(TdgLeaf::VP_VEINFO_GET) && c.resumed && e.status == 0) {
        e.kind = Event::Kind::ve;
        e.reason = static_cast<u32>(c.at_entry(Gpr::rcx));
        e.qualification = c.at_entry(Gpr::rdx);
        e.gla = c.at_entry(Gpr::r8);
        e.gpa = c.at_entry(Gpr::r9);
    }
    return e;
}

Event event_of(const Crossing& c)
{
    Event e;
    if ((c.exit_reason & 0xffff) == static_cast<u32>(ExitReason::TDCALL)) {
        e = tdcall(c);
    } else {
        e = {.kind = Event::Kind::exit, .reason = c.exit_reason, .answered = c.resumed};
        e.qualification = c.qualification;
        e.gla = c.gla;
        e.gpa = c.gpa;
        const Gpr operands[] = {Gpr::rax, Gpr::rcx, Gpr::rdx, Gpr::rbx};
        for (unsigned i = 0; i < 4; ++i)
            e.operands[i] = c.at_exit(operands[i]);
    }
    e.number = c.number;
    e.rip = c.rip;
    e.rsp = c.rsp;
    using namespace spec::intr_info;
    if (c.resumed && (c.injected & VALID) && type(c.injected) != NMI && vector(c.injected) < 32)
        e.injected = vector(c.injected);
    return e;
}

std::string place(u64 gpa, u64 shared_bit)
{
    if (shared_bit == 0)
        return fmt::format("{:#x}", gpa);
    return fmt::format("{} {:#x}", gpa & shared_bit ? "shared" : "private", gpa & ~shared_bit);
}

std::string status_name(u64 status)
{
    const StatusRow* row = base::find_row(kStatuses, &StatusRow::status, status);
    return row != nullptr ? std::string(row->name) : fmt::format("{:#x}", status);
}

std::string request_words(const Event& e, u64 shared_bit)
{
    const u64* r = e.operands;
    switch (static_cast<Tdvmcall>(e.leaf)) {
    case Tdvmcall::VE_REQUEST_MMIO:
        return r[1] == 0 ? fmt::format(" read {} bytes at {}", r[0], place(r[2], shared_bit))
                         : fmt::format(" write {} bytes, {:#x}, at {}", r[0], r[3], place(r[2], shared_bit));
    case Tdvmcall::INSTRUCTION_IO:
        return r[1] == 0 ? fmt::format(" read {} bytes from port {:#x}", r[0], r[2])
                         : fmt::format(" write {} bytes, {:#x}, to port {:#x}", r[0], r[3], r[2]);
    case Tdvmcall::INSTRUCTION_HLT:
        return r[0] == 0 ? " with interrupts enabled" : " with interrupts blocked";
    default:
        break;
    }
    const RequestRow* row = base::find_row(kRequests, &RequestRow::leaf, e.leaf);
    if (row == nullptr || row->words == nullptr)
        return {};
    return " " + fmt::format(fmt::runtime(row->words), r[0], r[1], r[2], r[3]);
}

std::string exit_words(const Event& e, u64 shared_bit)
{
    const auto reason = static_cast<ExitReason>(e.reason & 0xffff);
    std::string text = fmt::format("VM exit {}", spec::exit_reason_name(reason));
    switch (reason) {
    case ExitReason::EPT_VIOLATION:
    case ExitReason::EPT_MISCONFIG:
        return text + fmt::format(" at {}, qualification {:#x}", place(e.gpa, shared_bit), e.qualification);
    case ExitReason::MSR_READ:
    case ExitReason::MSR_WRITE:
        return text + fmt::format(" of MSR {:#x}", e.operands[1] & 0xffffffff);
    case ExitReason::CPUID:
        return text + fmt::format(" leaf {:#x}, subleaf {:#x}", e.operands[0] & 0xffffffff,
                                  e.operands[1] & 0xffffffff);
    case ExitReason::IO_INSTRUCTION:
        return text + fmt::format(" {} port {:#x}", test(e.qualification, 3) ? "from" : "to",
                                  field(e.qualification, 31, 16));
    default:
        return text;
    }
}

std::string ve_words(const Event& e, u64 shared_bit)
{
    const auto reason = static_cast<ExitReason>(e.reason & 0xffff);
    std::string text = fmt::format("#VE ({}), as VE_INFO told the guest", spec::exit_reason_name(reason));
    if (reason == ExitReason::EPT_VIOLATION)
        text += fmt::format(": {}, linear {:#x}", place(e.gpa, shared_bit), e.gla);
    return text;
}

std::string tdcall_words(const Event& e)
{
    const TdcallRow* row = base::find_row(kTdcalls, &TdcallRow::leaf, e.leaf);
    std::string text = row != nullptr ? std::string(row->name) : fmt::format("TDCALL leaf {}", e.leaf);
    text += fmt::format(" rcx {:#x} rdx {:#x}", e.operands[0], e.operands[1]);
    return e.answered ? text + fmt::format(": rax {:#x}", e.status) : text + ": no answer";
}

bool answers_with_value(const Event& e)
{
    const auto leaf = static_cast<Tdvmcall>(e.leaf);
    return leaf == Tdvmcall::INSTRUCTION_RDMSR ||
           ((leaf == Tdvmcall::VE_REQUEST_MMIO || leaf == Tdvmcall::INSTRUCTION_IO) && e.operands[1] == 0);
}

std::string tdvmcall_words(const Event& e, u64 shared_bit)
{
    if (e.vendor)
        return fmt::format("TDG.VP.VMCALL, the vendor's sub-function {:#x}", e.leaf);
    std::string text =
        fmt::format("TDG.VP.VMCALL<{}>{}", tdvmcall_name(e.leaf), request_words(e, shared_bit));
    if (!e.answered)
        return text + ": no answer";
    text += ": " + status_name(e.status);
    return e.status == 0 && answers_with_value(e) ? text + fmt::format(", {:#x}", e.value) : text;
}

} // namespace

std::vector<Event> events_of(std::span<const Crossing> crossings)
{
    std::vector<Event> list;
    for (const Crossing& c : crossings)
        list.push_back(event_of(c));
    return list;
}

std::string words_of(const Event& e, u64 shared_bit)
{
    std::string text;
    switch (e.kind) {
    case Event::Kind::ve:
        text = ve_words(e, shared_bit);
        break;
    case Event::Kind::tdvmcall:
        text = tdvmcall_words(e, shared_bit);
        break;
    case Event::Kind::tdcall:
        text = tdcall_words(e);
        break;
    case Event::Kind::exit:
        text = exit_words(e, shared_bit);
        break;
    }
    return e.injected ? text + fmt::format(", and the guest gets {}", exception_name(*e.injected)) : text;
}

std::string tdvmcall_name(u64 leaf)
{
    const RequestRow* row = base::find_row(kRequests, &RequestRow::leaf, leaf);
    return row != nullptr ? std::string(row->name) : fmt::format("sub-function {:#x}", leaf);
}

std::string exception_name(u8 vector)
{
    if (vector < std::size(kExceptions) && *kExceptions[vector] != 0)
        return kExceptions[vector];
    return fmt::format("exception {}", vector);
}

} // namespace seamless::vmm::report
