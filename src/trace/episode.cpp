// SPDX-License-Identifier: Apache-2.0
// Follows each vCPU from a #VE (TDs) or an exit (plain VMs) through the answer to its next entry. Filters may
// have taken events away: what is missing stays empty, and an episode without both ends has no time.
#include "trace/episode.h"

#include <algorithm>

#include "base/address.h"

namespace seamless::trace {
namespace {

u64 page_of(const Line& line) { return line.number("gpa").value_or(0) & ~(base::kPageSize - 1); }

} // namespace

std::string_view name_of(Answer answer)
{
    constexpr std::string_view names[] = {"?", "fast bus", "kernel bus", "user space"};
    return names[static_cast<unsigned>(answer)];
}

void Tally::add(std::optional<u64> took)
{
    ++count;
    if (!took)
        return;
    ++timed;
    ns += *took;
    longest = std::max(longest, *took);
}

void EpisodeFinder::add(const Line& line, EpisodeTaker& taker)
{
    taker_ = &taker;
    Vcpu& vcpu = vcpus_[line.vcpu];
    if (line.row != nullptr)
        dispatch(vcpu, line);
    ++event_;
}

void EpisodeFinder::dispatch(Vcpu& vcpu, const Line& line)
{
    switch (line.row->event) {
    case Event::ept_violation:
    case Event::ept_misconfig:
        return touch(vcpu, line);
    case Event::mark_mmio_spte:
        vcpu.marked = vcpu.first = true;
        return;
    case Event::kvm_exit:
        return exit(vcpu, line);
    case Event::ve_inject:
        return ve_inject(vcpu, line);
    case Event::kvm_emulate_insn:
        vcpu.access.rip = line.number("rip").value_or(0);
        vcpu.access.insn = line.text("insn");
        return;
    case Event::kvm_tdx_vmcall:
        vcpu.ve.call = line.text("leaf");
        return;
    case Event::kvm_fast_mmio:
    case Event::kvm_mmio:
        return mmio(vcpu, line);
    case Event::kvm_userspace_exit:
        if (vcpu.in_access && line.text("reason") == "KVM_EXIT_MMIO")
            vcpu.access.answer = Answer::user_space;
        return;
    case Event::kvm_tdx_vmcall_done:
        return done(line.vcpu, vcpu, &line);
    case Event::kvm_entry:
        if (!vcpu.in_ve || !vcpu.ve.call.empty()) // else another exit came in between
            done(line.vcpu, vcpu, &line);
        return;
    default:
        return;
    }
}

void EpisodeFinder::touch(Vcpu& vcpu, const Line& line)
{
    if (line.text("root") == "secure")
        return;
    const Touch now{event_, page_of(line)};
    vcpu.touch = now;
    if (line.text("outcome") != "exit")
        return;
    vcpu.violation = now;
    vcpu.marked = false;
}

// What has no #VE starts here. A TD's #VE has started already; whatever else exits meanwhile ends nothing.
void EpisodeFinder::exit(Vcpu& vcpu, const Line& line)
{
    if (vcpu.in_ve)
        return;
    done(line.vcpu, vcpu, nullptr); // its entry was filtered
    vcpu.start = line.ts;
    vcpu.first_event = vcpu.touch ? vcpu.touch->event : event_;
    vcpu.touch.reset();
}

void EpisodeFinder::ve_inject(Vcpu& vcpu, const Line& line)
{
    done(line.vcpu, vcpu, nullptr); // the guest asked nobody about the one before
    vcpu.in_ve = true;
    vcpu.start = line.ts;
    vcpu.first_event = vcpu.touch ? vcpu.touch->event : event_;
    if (vcpu.touch && vcpu.violation && vcpu.violation->page == vcpu.touch->page) {
        vcpu.first_event = vcpu.violation->event;
        vcpu.first = vcpu.marked;
    }
    vcpu.violation.reset();
    vcpu.touch.reset();
    vcpu.ve = {.exit_reason = std::string(line.text("exit_reason")),
               .rip = line.number("cpu_rip").value_or(0),
               .insn = std::string(line.text("cpu_insn")),
               .call = {}};
    vcpu.access.rip = vcpu.ve.rip;
    vcpu.access.insn = vcpu.ve.insn;
}

void EpisodeFinder::mmio(Vcpu& vcpu, const Line& line)
{
    const bool fast = line.row->event == Event::kvm_fast_mmio;
    const bool second = vcpu.in_access && line.text("type") == "read"; // the answer to an unsatisfied read
    if (vcpu.in_access && !vcpu.start && !second)
        done(line.vcpu, vcpu, nullptr); // nothing shows where accesses end: each piece counts
    if (!vcpu.in_access && !vcpu.start)
        vcpu.first_event = event_;
    vcpu.in_access = true;
    vcpu.last_event = event_;
    vcpu.access.page = page_of(line);
    vcpu.access.size = line.number("len").value_or(0);
    vcpu.access.write = fast || line.text("type") == "write";
    if (!second)
        vcpu.access.answer = fast ? Answer::fast_bus : Answer::kernel_bus;
}

void EpisodeFinder::done(u32 id, Vcpu& vcpu, const Line* end)
{
    if (vcpu.in_access || vcpu.in_ve) {
        Episode episode{.vcpu = id, .first_event = vcpu.first_event, .first = vcpu.first};
        episode.last_event = end ? event_ : std::max(vcpu.last_event, vcpu.first_event);
        if (end && vcpu.start)
            episode.ns = end->ts - std::min(end->ts, *vcpu.start);
        episode.access = vcpu.in_access ? &vcpu.access : nullptr;
        episode.ve = vcpu.in_ve ? &vcpu.ve : nullptr;
        taker_->take(episode);
    }
    const Vcpu kept{.violation = vcpu.violation, .marked = vcpu.marked, .touch = vcpu.touch};
    vcpu = kept;
}

void EpisodeFinder::finish(EpisodeTaker& taker)
{
    taker_ = &taker;
    for (auto& [id, vcpu] : vcpus_)
        done(id, vcpu, nullptr);
}

} // namespace seamless::trace
