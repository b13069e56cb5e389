// SPDX-License-Identifier: Apache-2.0
// Passes of the emulator over one instruction, and what each leaves: registers, an exception, or an exit.
#include "kvm/emulation.h"

#include "kvm/backend_vmx/vmx.h"
#include "kvm/emulate.h"
#include "kvm/emulation_failure.h"
#include "kvm/vm.h"

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;

namespace {

cpu::Vmcs& vmcs_of(Vcpu& vcpu) { return vcpu.vmx->vmcs; }

Handled complete_emulated_io(Vcpu& vcpu) { return x86_emulate_instruction(vcpu, 0, EMULTYPE_NO_DECODE, {}); }

} // namespace

u64 VcpuEmulation::gpr(Gpr r) { return r == Gpr::rsp ? vmcs_of(vcpu_).rsp : vcpu_.vmx->context[r]; }
void VcpuEmulation::set_gpr(Gpr r, u64 value)
{
    (r == Gpr::rsp ? vmcs_of(vcpu_).rsp : vcpu_.vmx->context[r]) = value;
}
u64 VcpuEmulation::rip() { return vmcs_of(vcpu_).rip; }
u64 VcpuEmulation::rflags() { return vmcs_of(vcpu_).rflags; }
u64 VcpuEmulation::cr0() { return vmx_cr0(*vcpu_.vmx); }
u64 VcpuEmulation::cr4() { return vmx_cr4(*vcpu_.vmx); }
u64 VcpuEmulation::efer() { return vmcs_of(vcpu_).efer; }
Segment VcpuEmulation::segment(Seg seg) { return vmcs_of(vcpu_).seg[static_cast<unsigned>(seg)]; }

void VcpuEmulation::set_cr0(u64 value) { vmx_set_cr0(*vcpu_.vmx, value); }

void VcpuEmulation::queue_exception(Vector vector, u32 error_code) { exception_ = {vector, error_code}; }
bool VcpuEmulation::in_guest_mode() { return vcpu_.guest_mode; }
X86Emul VcpuEmulation::check_intercept(const emul::Intercept& intercept)
{
    return vcpu_.vm().ops.check_intercept(vcpu_, intercept);
}

void VcpuEmulation::inject_exception()
{
    if (exception_->vector == Vector::PF)
        vcpu_.vmx->context.cr2 = fault_linear_;
    vmx_queue_exception(vcpu_, exception_->vector, exception_->error_code);
    exception_.reset();
}

void VcpuEmulation::retire()
{
    cpu::Vmcs& v = vmcs_of(vcpu_);
    v.rip = emulator_.new_rip();
    v.rflags = emulator_.new_rflags();
    v.interruptibility &= ~(interruptibility::STI | interruptibility::MOV_SS);
}

Handled VcpuEmulation::emulate(u64 gpa, int emul_type, std::span<const u8> known)
{
    if (!(emul_type & EMULTYPE_NO_DECODE)) {
        exception_.reset();
        mmio_needed_ = mmio_read_completed_ = pio_needed_ = pio_completed_ = false;
        gpa_available_.reset();
        const bool decoded = emulator_.decode(known) == emul::Emulation::OK;
        TRACE(vcpu_.trace(), trace::Event::kvm_emulate_insn, emulator_.rip(), trace::Bytes(emulator_.insn()),
              decoded ? 0 : 1);
        if (!decoded && exception_) {
            inject_exception();
            return kResume;
        }
        if (!decoded && (emul_type & EMULTYPE_TRAP_UD)) {
            vmx_queue_exception(vcpu_, Vector::UD);
            return kResume;
        }
        if (!decoded)
            return handle_emulation_failure(vcpu_, emul_type, emulator_.insn());
    }
    if (emul_type & EMULTYPE_PF)
        gpa_available_ = gpa;
    return run_passes(emul_type);
}

Handled VcpuEmulation::run_passes(int emul_type)
{
    const bool steps = vmx_steps(*vcpu_.vmx);
    for (;;) {
        const emul::Emulation result = emulator_.execute();
        if (result == emul::Emulation::INTERCEPTED)
            return kResume;
        if (result == emul::Emulation::FAILED)
            return handle_emulation_failure(vcpu_, emul_type, emulator_.insn());
        if (exception_) {
            inject_exception();
            return kResume;
        }
        const bool to_user = pio_needed_ || mmio_needed_;
        if (!to_user && result == emul::Emulation::RESTART)
            continue;
        if (pio_needed_ && pio_is_in_)
            vcpu_.complete_userspace_io = complete_emulated_io;
        else if (mmio_needed_)
            vcpu_.complete_userspace_io = complete_emulated_mmio;
        pio_needed_ = false;
        if (emulator_.retired())
            retire();
        // KVM's rule: an instruction that ends in user space loses its single-step trap.
        if (!to_user && emulator_.retired() && steps)
            return vmx_do_singlestep(vcpu_);
        return to_user ? kToUser : kResume;
    }
}

Handled VcpuEmulation::complete_emulated_mmio(Vcpu& vcpu) { return vcpu.vmx->emulation->complete_mmio(); }

Handled VcpuEmulation::complete_mmio()
{
    kvm_run& run = vcpu_.run();
    const Fragment& fragment = fragments_[fragment_];
    const unsigned served = std::min(8u, fragment.len - fragment_done_);
    if (!mmio_is_write_)
        std::copy_n(run.mmio.data, served, value_.data() + fragment.at + fragment_done_);
    fragment_done_ += served;
    if (fragment_done_ == fragment.len) {
        ++fragment_;
        fragment_done_ = 0;
    }
    if (fragment_ < fragment_count_) {
        exit_for_fragment();
        vcpu_.complete_userspace_io = complete_emulated_mmio;
        return kToUser;
    }
    mmio_needed_ = false;
    if (mmio_is_write_)
        return kResume;
    mmio_read_completed_ = true;
    return complete_emulated_io(vcpu_);
}

} // namespace seamless::kvm
