// SPDX-License-Identifier: Apache-2.0
// Of those for paravirtualized guests, none is offered in CPUID; KVM answers the rest.
#include "kvm/hypercall.h"

#include <cerrno>

#include "kvm/vm.h"

namespace seamless::kvm {

using namespace spec::kvm;

namespace {

constexpr u64 kVapicPollIrq = 1;

std::optional<u64> map_gpa_range(Vcpu& vcpu, const Hypercall& call)
{
    const auto [gpa, pages, attributes] = call.args;
    if (!(vcpu.vm().hypercall_exit_enabled & bit(KVM_HC_MAP_GPA_RANGE)))
        return -KVM_ENOSYS;
    if (!aligned(gpa, kPageSize) || pages == 0 || gpa_of(gfn_of(Gpa(gpa)) + pages).value() <= gpa)
        return -u64{EINVAL};
    vcpu.run().exit_reason = KVM_EXIT_HYPERCALL;
    vcpu.run().hypercall = {
        .nr = call.nr, .args = {gpa, pages, attributes, 0, 0, 0}, .ret = 0, .flags = call.long_mode};
    return {};
}

} // namespace

std::optional<u64> kvm_hypercall(Vcpu& vcpu, const Hypercall& call)
{
    Hypercall seen = call;
    if (!call.long_mode) {
        seen.nr = static_cast<u32>(seen.nr);
        for (u64& arg : seen.args)
            arg = static_cast<u32>(arg);
    }
    if (call.cpl != 0)
        return -u64{EPERM};
    switch (seen.nr) {
    case kVapicPollIrq:
        return 0;
    case KVM_HC_MAP_GPA_RANGE:
        return map_gpa_range(vcpu, seen);
    default:
        return -KVM_ENOSYS;
    }
}

} // namespace seamless::kvm
