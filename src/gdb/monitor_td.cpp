// SPDX-License-Identifier: Apache-2.0
// Monitor commands about TDs, and about what has happened of late.
#include <algorithm>
#include <charconv>
#include <fmt/format.h>

#include "gdb/monitor.h"
#include "spec/tdx_abi.h"
#include "trace/text.h"

namespace seamless::gdb {
namespace {

using spec::td_attributes::DEBUG;
using trace::Event;
using trace::Record;

constexpr std::string_view kNoTd = "this vCPU belongs to no TD\n";

struct Bit {
    u64 mask;
    const char* name;
};

constexpr Bit kAttributes[] = {{DEBUG, "DEBUG"},
                               {spec::td_attributes::SEPT_VE_DISABLE, "SEPT_VE_DISABLE"},
                               {spec::td_attributes::MIGRATABLE, "MIGRATABLE"},
                               {spec::td_attributes::PKS, "PKS"},
                               {spec::td_attributes::KL, "KL"},
                               {spec::td_attributes::PERFMON, "PERFMON"}};
constexpr Bit kXfam[] = {{spec::xfam::X87, "X87"}, {spec::xfam::SSE, "SSE"},
                         {spec::xfam::AVX, "AVX"}, {spec::xfam::AVX512, "AVX512"},
                         {spec::xfam::PT, "PT"},   {spec::xfam::PKRU, "PKRU"},
                         {spec::xfam::CET, "CET"}, {spec::xfam::UINTR, "UINTR"},
                         {spec::xfam::LBR, "LBR"}, {spec::xfam::AMX, "AMX"}};
constexpr Bit kTdCtls[] = {{spec::td_ctls::PENDING_VE_DISABLE, "PENDING_VE_DISABLE"},
                           {spec::td_ctls::ENUM_TOPOLOGY, "ENUM_TOPOLOGY"},
                           {spec::td_ctls::VIRT_CPUID2, "VIRT_CPUID2"},
                           {spec::td_ctls::REDUCE_VE, "REDUCE_VE"},
                           {spec::td_ctls::LOCK, "LOCK"}};

std::string named(u64 value, std::span<const Bit> names)
{
    std::string text = fmt::format("{:#x}", value);
    for (const Bit& b : names)
        if ((value & b.mask) != 0)
            text += fmt::format(" {}", b.name);
    return text;
}

const char* op_state_name(u8 state)
{
    switch (static_cast<spec::TdOpState>(state)) {
    case spec::TdOpState::UNINITIALIZED:
        return "UNINITIALIZED";
    case spec::TdOpState::INITIALIZED:
        return "INITIALIZED (not finalized)";
    case spec::TdOpState::RUNNABLE:
        return "RUNNABLE";
    default:
        return "of migration";
    }
}

const char* vcpu_state_name(u8 state)
{
    switch (static_cast<spec::TdVcpuState>(state)) {
    case spec::TdVcpuState::UNINITIALIZED:
        return "UNINITIALIZED";
    case spec::TdVcpuState::READY:
        return "READY";
    case spec::TdVcpuState::ACTIVE:
        return "ACTIVE (in TDH.VP.ENTER)";
    case spec::TdVcpuState::DISABLED:
        return "DISABLED";
    }
    return "?";
}

std::string digest(std::string_view name, const trace::TdFacts::Digest& d)
{
    return fmt::format("{:<13} {:02x}\n", name, fmt::join(d, ""));
}

} // namespace

std::string Monitor::td(Words)
{
    const auto facts = guests_.td_facts(vcpu_);
    if (!facts)
        return std::string(kNoTd);
    const trace::TdFacts& f = *facts;
    std::string text;
    text += fmt::format("TDR {:#x}, key {}, {}{}, {} of {} vCPUs\n", f.tdr, f.hkid, op_state_name(f.op_state),
                        f.fatal ? ", FATAL: the guest did what ends a TD" : "", f.vcpus, f.max_vcpus);
    text += fmt::format("TDVPR {:#x}, vCPU {} is {}\n", f.tdvpr, vcpu_, vcpu_state_name(f.vcpu_state));
    text += fmt::format("ATTRIBUTES    {}\n", named(f.attributes, kAttributes));
    text += fmt::format("XFAM          {}\n", named(f.xfam, kXfam));
    text += fmt::format("CONFIG_FLAGS  {:#x}, shared bit {:#x}\n", f.config_flags, f.shared_bit);
    text +=
        fmt::format("TD_CTLS       {}, NOTIFY_ENABLES {:#x}\n", named(f.td_ctls, kTdCtls), f.notify_enables);
    text += fmt::format("secure EPT at {:#x}\n", f.sept_root);
    text += digest("MRTD", f.mrtd) + digest("MRCONFIGID", f.mrconfigid) + digest("MROWNER", f.mrowner) +
            digest("MROWNERCONFIG", f.mrownerconfig);
    for (unsigned i = 0; i < std::size(f.rtmr); ++i)
        text += digest(fmt::format("RTMR{}", i), f.rtmr[i]);
    return text;
}

std::string Monitor::ve_info(Words)
{
    const auto facts = guests_.td_facts(vcpu_);
    if (!facts)
        return std::string(kNoTd);
    const spec::VeInfo& ve = facts->ve_info;
    std::string text =
        ve.valid != 0 ? "VALID: the guest has not read it; another #VE-causing access would exit instead\n"
                      : "not valid: read, or never written; the last one was\n";
    text += fmt::format("exit reason {} ({}), qualification {:#x}\n", ve.exit_reason & 0xffff,
                        spec::exit_reason_name(static_cast<spec::ExitReason>(ve.exit_reason & 0xffff)),
                        ve.exit_qualification);
    text += fmt::format("linear address {:#x}, guest-physical address {:#x} ({})\n", ve.gla, ve.gpa,
                        ve.gpa & facts->shared_bit ? "shared" : "private");
    return text +
           fmt::format(
               "instruction length {}, information {:#x} (of instructions that cause #VE, not of accesses)\n",
               ve.instruction_length, ve.instruction_information);
}

template <typename Which>
std::string Monitor::last_events(Words words, const Which& which)
{
    u64 count = 20;
    if (!words.empty()) {
        const auto [end, error] = std::from_chars(words[0].data(), words[0].data() + words[0].size(), count);
        if (error != std::errc{} || end != words[0].data() + words[0].size())
            return fmt::format("\"{}\" is no number\n", words[0]);
    }
    std::vector<Record> wanted;
    for (const Record& record : guests_.recent_events())
        if (which(record))
            wanted.push_back(record);
    const std::size_t first = wanted.size() - std::min<u64>(wanted.size(), count);
    std::string text;
    for (const Record& record : std::span(wanted).subspan(first))
        text += trace::to_text(record) + "\n";
    return text.empty() ? "none that is remembered\n" : text;
}

std::string Monitor::exits(Words words)
{
    return last_events(words,
                       [this](const Record& r) { return r.vcpu == vcpu_ && r.event == Event::kvm_exit; });
}

std::string Monitor::ves(Words words)
{
    return last_events(words,
                       [this](const Record& r) { return r.vcpu == vcpu_ && r.event == Event::ve_inject; });
}

std::string Monitor::vmcalls(Words words)
{
    return last_events(words, [this](const Record& r) {
        return r.vcpu == vcpu_ && (r.event == Event::kvm_tdx_vmcall || r.event == Event::kvm_tdx_vmcall_done);
    });
}

std::string Monitor::events(Words words)
{
    return last_events(words, [](const Record&) { return true; });
}

std::string Monitor::history(Words words)
{
    const auto gpa = address(words[0]);
    if (!gpa)
        return fmt::format("\"{}\" is neither a number nor a register\n", words[0]);
    std::string text;
    for (const Record& record : guests_.memory_events(*gpa))
        text += trace::to_text(record) + "\n";
    return text.empty() ? "nothing that is remembered\n" : text;
}

} // namespace seamless::gdb
