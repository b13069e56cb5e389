// SPDX-License-Identifier: Apache-2.0
// SDM: "Paging", "Extended Page-Table Mechanism (EPT)"; TDX ABI: "Secure EPT Entry".
#include "gdb/entry_text.h"

#include <fmt/format.h>

#include "spec/ept.h"
#include "spec/tdx_abi.h"

namespace seamless::gdb {
namespace {

using trace::Walk;
using trace::WalkStep;

struct Flag {
    unsigned bit;
    const char* name;
};

constexpr Flag kGuestFlags[] = {{0, "P"}, {1, "RW"}, {2, "US"}, {3, "PWT"}, {4, "PCD"},
                                {5, "A"}, {6, "D"},  {8, "G"},  {63, "XD"}};

std::string guest_entry(const WalkStep& step)
{
    if (!(step.entry & 1))
        return "not present";
    std::string text;
    for (const Flag& flag : kGuestFlags)
        if (test(step.entry, flag.bit) && !(step.narrow && flag.bit == 63))
            text += fmt::format("{}{}", text.empty() ? "" : " ", flag.name);
    const bool large = step.level > 0 && test(step.entry, 7);
    return text + fmt::format("{} -> {:#x}", large ? " large page" : "",
                              step.entry & (step.narrow ? bits(31, 12) : bits(51, 12)));
}

const char* memory_type(u64 entry)
{
    constexpr const char* kTypes[] = {"UC", "WC", "?", "?", "WT", "WP", "WB", "?"};
    return kTypes[field(entry, 5, 3)];
}

std::string rights(u64 entry)
{
    return fmt::format("{}{}{}", entry & spec::ept::R ? 'r' : '-', entry & spec::ept::W ? 'w' : '-',
                       entry & spec::ept::X ? 'x' : '-');
}

std::string present_entry(const WalkStep& step)
{
    using namespace spec::ept;
    const bool leaf = step.level == 0 || (step.entry & LEAF);
    std::string text = rights(step.entry);
    if (leaf)
        text += fmt::format(" {}{}{}", memory_type(step.entry), step.entry & IPAT ? " ignore-PAT" : "",
                            step.level > 0 ? " large page" : "");
    text +=
        fmt::format("{}{}{} -> host {:#x}", step.entry & A ? " A" : "", step.entry & D && leaf ? " D" : "",
                    step.entry & SUPPRESS_VE ? " suppress-#VE" : "", step.entry & ADDRESS & bits(46, 0));
    if (const u64 key = field(step.entry, 51, 47); key != 0)
        text += fmt::format(" key {}", key);
    return text;
}

std::string ept_entry(const WalkStep& step)
{
    using namespace spec::ept;
    if ((step.entry & RWX) == (W | X) || (step.entry & RWX) == W)
        return fmt::format(
            "misconfigured on purpose: KVM's entry for MMIO, {}; an access exits to be emulated",
            rights(step.entry));
    if (step.entry & RWX)
        return present_entry(step);
    if (step.entry == 0)
        return step.table == WalkStep::Table::plain_ept ? "empty: an access exits as EPT violation"
                                                        : "empty, suppress-#VE clear: an access becomes #VE";
    if (step.entry == SUPPRESS_VE)
        return "not present, suppress-#VE set: an access exits as EPT violation";
    if (!(step.entry & SUPPRESS_VE))
        return "KVM's entry for MMIO, suppress-#VE clear: an access becomes #VE";
    return "not present, suppress-#VE set";
}

const char* state_name(u8 state)
{
    switch (static_cast<spec::SeptState>(state)) {
    case spec::SeptState::FREE:
        return "FREE: the host has given no page";
    case spec::SeptState::BLOCKED:
        return "BLOCKED by the host";
    case spec::SeptState::PENDING:
        return "PENDING: the guest has not accepted the page";
    case spec::SeptState::PENDING_BLOCKED:
        return "PENDING_BLOCKED: not accepted, and blocked by the host";
    case spec::SeptState::MAPPED:
        return "MAPPED";
    case spec::SeptState::REMOVED:
        return "REMOVED";
    case spec::SeptState::NL_BLOCKED:
        return "NL_BLOCKED: a table that the host has blocked";
    case spec::SeptState::NL_MAPPED:
        return "NL_MAPPED";
    }
    return "in a state of its own";
}

std::string secure_entry(const WalkStep& step)
{
    const std::string state = state_name(step.state);
    if (step.entry & spec::ept::RWX)
        return state + ", " + present_entry(step);
    return state + (step.entry & spec::ept::SUPPRESS_VE ? "; suppress-#VE set"
                                                        : "; suppress-#VE clear: an access becomes #VE");
}

const char* table_name(WalkStep::Table table)
{
    switch (table) {
    case WalkStep::Table::guest:
        return "guest";
    case WalkStep::Table::plain_ept:
        return "EPT";
    case WalkStep::Table::shared_ept:
        return "shared EPT";
    case WalkStep::Table::secure_ept:
        return "secure EPT";
    }
    return "?";
}

} // namespace

std::string entry_text(const WalkStep& step)
{
    if (!step.readable)
        return "cannot be read";
    switch (step.table) {
    case WalkStep::Table::guest:
        return guest_entry(step);
    case WalkStep::Table::secure_ept:
        return secure_entry(step);
    default:
        return ept_entry(step);
    }
}

std::string walk_text(const Walk& walk)
{
    std::string text;
    for (const WalkStep& step : walk.steps)
        text += fmt::format("{:<10} level {}  [{:#014x}] = {:#018x}  {}\n", table_name(step.table),
                            step.level, step.address, step.entry, entry_text(step));
    if (walk.gpa)
        text += fmt::format("guest-physical {:#x}{}\n", *walk.gpa,
                            walk.host ? fmt::format(", at {:#x} of the host", *walk.host)
                                      : ", which has no memory");
    else
        text += "the guest's page tables map nothing there\n";
    return text;
}

} // namespace seamless::gdb
