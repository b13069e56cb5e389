// SPDX-License-Identifier: Apache-2.0
// Follows each vCPU from a #VE (TDs) or an exit (plain VMs) through the answer to its next entry. Filters may
// have taken events away: what is missing stays empty.
#include "trace/summary.h"

#include "base/address.h"

namespace seamless::trace {

std::string_view name_of(Answer answer)
{
    constexpr std::string_view names[] = {"?", "fast bus", "kernel bus", "user space"};
    return names[static_cast<unsigned>(answer)];
}

void Summary::add(const Line& line)
{
    if (events++ == 0)
        first_ts = line.ts;
    last_ts = std::max(last_ts, line.ts);
    if (line.row != nullptr)
        dispatch(vcpus_[line.vcpu], line);
}

void Summary::dispatch(Vcpu& vcpu, const Line& line)
{
    switch (line.row->event) {
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
    case Event::kvm_entry:
    case Event::kvm_tdx_vmcall_done:
        if (!vcpu.in_ve || !vcpu.ve.call.empty()) // else another exit came in between
            done(vcpu, line.ts);
        return;
    default:
        return;
    }
}

// A plain VM's access starts here; a TD's has started at its #VE.
void Summary::exit(Vcpu& vcpu, const Line& line)
{
    if (line.text("vm") == "td")
        return;
    vcpu.access = {};
    vcpu.in_access = false;
    vcpu.start = line.ts;
}

void Summary::ve_inject(Vcpu& vcpu, const Line& line)
{
    done(vcpu, vcpu.start); // the guest asked nobody about the one before
    vcpu.in_ve = true;
    vcpu.start = line.ts;
    vcpu.ve = {.exit_reason = std::string(line.text("exit_reason")),
               .rip = line.number("cpu_rip").value_or(0),
               .insn = std::string(line.text("cpu_insn")),
               .call = {}};
    vcpu.access.rip = vcpu.ve.rip;
    vcpu.access.insn = vcpu.ve.insn;
}

void Summary::mmio(Vcpu& vcpu, const Line& line)
{
    const bool fast = line.row->event == Event::kvm_fast_mmio;
    const bool second = vcpu.in_access && line.text("type") == "read"; // the answer to an unsatisfied read
    vcpu.in_access = true;
    vcpu.access.page = line.number("gpa").value_or(0) & ~(base::kPageSize - 1);
    vcpu.access.size = line.number("len").value_or(0);
    vcpu.access.write = fast || line.text("type") == "write";
    if (!second)
        vcpu.access.answer = fast ? Answer::fast_bus : Answer::kernel_bus;
}

void Summary::done(Vcpu& vcpu, u64 ts)
{
    const u64 ns = ts - std::min(ts, vcpu.start);
    const auto count = [ns](Tally& tally) {
        ++tally.count;
        tally.ns += ns;
    };
    if (vcpu.in_access)
        count(accesses[vcpu.access]);
    if (vcpu.in_ve)
        count(ves[vcpu.ve]);
    vcpu = {};
}

void Summary::finish()
{
    for (auto& [id, vcpu] : vcpus_)
        done(vcpu, vcpu.start);
}

} // namespace seamless::trace
