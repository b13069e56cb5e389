// SPDX-License-Identifier: Apache-2.0
// What a failed EPT walk becomes: EPT misconfiguration, EPT violation, or #VE. Only the entry that ended the
// walk and the VMCS decide. SDM: "EPT-Induced VM Exits", "Convertible EPT Violations",
// "Virtualization-Exception Information".
#include "cpu/core.h"

namespace seamless::cpu {
namespace {

using namespace spec;
using paging::EptWalk;

const char* access_name(Access access)
{
    constexpr const char* kNames[] = {"r", "w", "x"};
    return kNames[static_cast<u8>(access)];
}

u64 qualification_of(const EptWalk& walk, Access access, bool translated)
{
    u64 q = ept::qual::GLA_VALID;
    if (translated)
        q |= ept::qual::GLA_TRANSLATED;
    q |= access == Access::read    ? ept::qual::READ
         : access == Access::write ? ept::qual::WRITE
                                   : ept::qual::FETCH;
    return q | (walk.permissions & ept::RWX) << 3;
}

} // namespace

// True if the violation became #VE: the information area is written.
bool Core::virtualization_exception(u64 qualification, Gva gla, Gpa gpa)
{
    if (!(vmcs_->proc_based2 & proc2::EPT_VIOLATION_VE) || !(frame_.state.cr0 & cr0::PE) || delivering_)
        return false;
    auto& info = *mem::host_ptr<VeInfo>(Hpa(vmcs_->ve_information_address));
    if (__atomic_load_n(&info.valid, __ATOMIC_ACQUIRE) != 0)
        return false;
    info.exit_reason = static_cast<u32>(ExitReason::EPT_VIOLATION);
    info.exit_qualification = qualification;
    info.gla = gla.value();
    info.gpa = gpa.value();
    info.eptp_index = 0;
    __atomic_store_n(&info.valid, kVeInfoValid, __ATOMIC_RELEASE);
    return true;
}

Fault Core::ept_fault(const EptWalk& walk, Gpa gpa, Gva gla, Access access, bool translated)
{
    const char* root = !in_td() ? "plain" : walk.shared ? "shared" : "secure";
    if (walk.outcome == EptWalk::Outcome::misconfig) {
        TRACE(trace, trace::Event::ept_misconfig, gpa.value(), gla.value(), access_name(access));
        const Fault fault = exit(ExitReason::EPT_MISCONFIG);
        record_.gpa = gpa;
        return fault;
    }
    const u64 qualification = qualification_of(walk, access, translated);
    const bool convertible = !walk.suppress_ve();
    if (convertible && virtualization_exception(qualification, gla, gpa)) {
        TRACE(trace, trace::Event::ept_violation, gpa.value(), gla.value(), access_name(access), root, 0,
              "ve");
        record_.qualification = qualification;
        record_.gla = gla;
        record_.gpa = gpa;
        return exception(Vector::VE);
    }
    TRACE(trace, trace::Event::ept_violation, gpa.value(), gla.value(), access_name(access), root,
          static_cast<u32>(walk.suppress_ve()), "exit");
    const Fault fault = exit(ExitReason::EPT_VIOLATION, qualification);
    record_.gla = gla;
    record_.gpa = gpa;
    return fault;
}

} // namespace seamless::cpu
