// SPDX-License-Identifier: Apache-2.0
// VM exit: saving the guest and the exit information. SDM: "VM Exits".
#include "cpu/core.h"
#include "cpu/package.h"
#include "cpu/vmx/guest_fields.h"

namespace seamless::cpu {

using namespace spec;

void Core::save_guest(Vmcs& v, GuestContext& c)
{
    CpuState& s = frame_.state;
    for_each_guest_field(v, c, s, [](auto& saved, const auto& live) { saved = live; });
    v.rsp = s.reg(Gpr::rsp);
    tag_.cr3 = s.cr3;
    tag_.cr0 = s.cr0;
    tag_.cr4 = s.cr4;
    tag_.efer = s.efer;
}

void Core::store_exit(Vmcs& v)
{
    v.exit_reason = static_cast<u32>(record_.reason);
    v.exit_qualification = record_.qualification;
    v.guest_linear_address = record_.gla.value();
    v.guest_physical_address = record_.gpa.value();
    v.instruction_info = record_.instruction_info;
    v.exit_instruction_len = engine_->last_length();
    if (record_.reason != ExitReason::EXCEPTION_NMI) {
        v.exit_intr_info = 0;
        if (record_.reason == ExitReason::EXTERNAL_INTERRUPT)
            v.exit_intr_info = intr_info::VALID | intr_info::EXTERNAL | exit_vector_;
    }
    if (delivering_) {
        v.idt_vectoring_info = intr_info::VALID | current_event_.type | current_event_.vector |
                               (current_event_.has_error_code ? intr_info::ERROR_CODE : 0);
        v.idt_vectoring_error_code = current_event_.error_code;
        v.exit_instruction_len = current_event_.instruction_length;
        delivering_ = false;
    } else {
        v.idt_vectoring_info = 0;
    }
}

// SDM: "Exceptions and the exception bitmap". The page-fault error-code mask and match are zero here.
bool Core::intercepted_exception(const Event& event)
{
    const bool exception = event.type == intr_info::HARDWARE_EXCEPTION ||
                           event.type == intr_info::SOFTWARE_EXCEPTION ||
                           event.type == intr_info::PRIVILEGED_SOFTWARE_EXCEPTION;
    if (!exception || event.vector >= 32 || !test(vmcs_->exception_bitmap, event.vector))
        return false;
    const bool page_fault = event.vector == static_cast<u8>(Vector::PF);
    (void)exit(ExitReason::EXCEPTION_NMI, page_fault ? record_.cr2 : 0);
    vmcs_->exit_intr_info =
        intr_info::VALID | event.type | event.vector | (event.has_error_code ? intr_info::ERROR_CODE : 0);
    vmcs_->exit_intr_error_code = event.has_error_code ? event.error_code : 0;
    return true;
}

} // namespace seamless::cpu
