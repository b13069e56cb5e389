// SPDX-License-Identifier: Apache-2.0
// TDG.VP.VMCALL as KVM answers it. A success leaves R10 as the guest passed it (0); only errors write it.
#include <cstring>

#include "kvm/backend_tdx/tdx.h"
#include "kvm/hypercall.h"
#include "spec/vmx.h"

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;

namespace {

Handled answer(Vcpu& vcpu, TdvmcallStatus status)
{
    vcpu.tdx->set_status(status);
    return kResume;
}

bool is_access_size(u64 size) { return size == 1 || size == 2 || size == 4 || size == 8; }

Handled complete_mmio_read(Vcpu& vcpu)
{
    const kvm_run& run = vcpu.run();
    u64 value = 0;
    // The length is our own copy's: the VMM may write anything into the page.
    std::memcpy(&value, run.mmio.data, std::min<std::size_t>(static_cast<u32>(vcpu.tdx->args.r12), 8));
    vcpu.tdx->args.r11 = value;
    TRACE(vcpu.trace(), trace::Event::kvm_mmio, "read", vcpu.tdx->args.r12 & 0xf, run.mmio.phys_addr, value);
    return kResume;
}

} // namespace

Handled tdx_emulate_mmio(Vcpu& vcpu)
{
    VcpuTdx& tdx = *vcpu.tdx;
    Vm& vm = vcpu.vm();
    const auto size = static_cast<u32>(tdx.args.r12), write = static_cast<u32>(tdx.args.r13);
    u64 gpa = tdx.args.r14;
    u64 value = write ? tdx.args.r15 : 0;
    const u64 shared_bit = gpa_of(vm.gfn_direct_bits).value();
    if (!is_access_size(size) || write > 1 || !(gpa & shared_bit) || !((gpa + size - 1) & shared_bit))
        return answer(vcpu, TdvmcallStatus::INVALID_OPERAND);
    gpa &= ~shared_bit;
    if (write) {
        if (vm.bus(BusId::KVM_FAST_MMIO_BUS).write(gpa, 0, nullptr)) {
            TRACE(vcpu.trace(), trace::Event::kvm_fast_mmio, gpa);
            return kResume;
        }
        TRACE(vcpu.trace(), trace::Event::kvm_mmio, "write", size, gpa, truncate(value, size));
        if (vm.bus(BusId::KVM_MMIO_BUS).write(gpa, size, &value))
            return kResume;
    } else if (vm.bus(BusId::KVM_MMIO_BUS).read(gpa, size, &value)) {
        TRACE(vcpu.trace(), trace::Event::kvm_mmio, "read", size, gpa, truncate(value, size));
        tdx.args.r11 = truncate(value, size);
        return kResume;
    } else {
        TRACE(vcpu.trace(), trace::Event::kvm_mmio, "unsatisfied-read", size, gpa, trace::Absent{});
        vcpu.complete_userspace_io = complete_mmio_read;
    }
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_MMIO;
    run.mmio.phys_addr = gpa;
    run.mmio.len = size;
    run.mmio.is_write = static_cast<u8>(write);
    if (write)
        std::memcpy(run.mmio.data, &value, size);
    return kToUser;
}

Handled tdx_emulate_io(Vcpu& vcpu)
{
    VcpuTdx& tdx = *vcpu.tdx;
    const u64 size = tdx.args.r12, out = tdx.args.r13;
    if ((size != 1 && size != 2 && size != 4) || out > 1)
        return answer(vcpu, TdvmcallStatus::INVALID_OPERAND);
    const auto bytes = static_cast<unsigned>(size);
    const auto port = static_cast<u16>(tdx.args.r14);
    u64 value = out ? truncate(tdx.args.r15, bytes) : 0;
    IoBus& bus = vcpu.vm().bus(BusId::KVM_PIO_BUS);
    const bool served = out ? bus.write(port, bytes, &value) : bus.read(port, bytes, &value);
    if (out || served)
        TRACE(vcpu.trace(), trace::Event::kvm_pio, out ? "write" : "read", bytes, port, value);
    if (served) {
        if (!out)
            tdx.args.r11 = truncate(value, bytes);
        return kResume;
    }
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_IO;
    run.io.direction = out ? KVM_EXIT_IO_OUT : KVM_EXIT_IO_IN;
    run.io.size = static_cast<u8>(bytes);
    run.io.port = port;
    run.io.count = 1;
    run.io.data_offset = kPageSize * KVM_PIO_PAGE_OFFSET;
    std::memcpy(vcpu.pio_data(), &value, bytes);
    if (!out)
        vcpu.complete_userspace_io = [bytes, port](Vcpu& v) -> Handled {
            u64 read = 0;
            std::memcpy(&read, v.pio_data(), bytes);
            v.tdx->args.r11 = read;
            TRACE(v.trace(), trace::Event::kvm_pio, "read", bytes, port, read);
            return kResume;
        };
    return kToUser;
}

namespace {

// An MSR that the kernel refuses may be user space's, if it asked for that.
Handled msr_to_user(Vcpu& vcpu, u32 exit_reason, u32 index, u64 data, u32 reason = KVM_MSR_EXIT_REASON_INVAL)
{
    if (!(vcpu.vm().user_space_msr_mask & reason))
        return answer(vcpu, TdvmcallStatus::INVALID_OPERAND);
    kvm_run& run = vcpu.run();
    run.exit_reason = exit_reason;
    run.msr.error = 0;
    run.msr.reason = reason;
    run.msr.index = index;
    run.msr.data = data;
    vcpu.complete_userspace_io = [exit_reason](Vcpu& v) -> Handled {
        if (v.run().msr.error)
            v.tdx->set_status(TdvmcallStatus::INVALID_OPERAND);
        else if (exit_reason == KVM_EXIT_X86_RDMSR)
            v.tdx->args.r11 = v.run().msr.data;
        return kResume;
    };
    return kToUser;
}

Handled emulate_rdmsr(Vcpu& vcpu)
{
    const auto index = static_cast<u32>(vcpu.tdx->args.r12);
    if (!vcpu.vm().msr_filter.allows(index, KVM_MSR_FILTER_READ))
        return msr_to_user(vcpu, KVM_EXIT_X86_RDMSR, index, 0, KVM_MSR_EXIT_REASON_FILTER);
    const auto value = vcpu.vm().ops.get_msr(vcpu, index, false);
    if (!value)
        return msr_to_user(vcpu, KVM_EXIT_X86_RDMSR, index, 0);
    vcpu.tdx->args.r11 = value.value();
    return kResume;
}

Handled emulate_wrmsr(Vcpu& vcpu)
{
    const auto index = static_cast<u32>(vcpu.tdx->args.r12);
    const u64 data = vcpu.tdx->args.r13;
    if (!vcpu.vm().msr_filter.allows(index, KVM_MSR_FILTER_WRITE))
        return msr_to_user(vcpu, KVM_EXIT_X86_WRMSR, index, data, KVM_MSR_EXIT_REASON_FILTER);
    if (!vcpu.vm().ops.set_msr(vcpu, index, data, false))
        return msr_to_user(vcpu, KVM_EXIT_X86_WRMSR, index, data);
    return kResume;
}

} // namespace

Handled tdx_emulate_instruction_call(Vcpu& vcpu, u32 reason)
{
    VcpuTdx& tdx = *vcpu.tdx;
    switch (static_cast<ExitReason>(reason)) {
    case ExitReason::CPUID: {
        u32 eax = static_cast<u32>(tdx.args.r12), ebx = 0, ecx = static_cast<u32>(tdx.args.r13), edx = 0;
        kvm_cpuid(vcpu, eax, ebx, ecx, edx);
        tdx.args.r12 = eax;
        tdx.args.r13 = ebx;
        tdx.args.r14 = ecx;
        tdx.args.r15 = edx;
        return kResume;
    }
    case ExitReason::HLT:
        vcpu.set_mp_state(vcpu.vm().ops.has_events(vcpu) ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_HALTED);
        return kResume;
    case ExitReason::MSR_READ:
        return emulate_rdmsr(vcpu);
    default:
        return emulate_wrmsr(vcpu);
    }
}

// KVM's own hypercalls, for guests that use them from within a TD: number and arguments in R10 to R14.
Handled tdx_emulate_vmcall(Vcpu& vcpu)
{
    VcpuTdx& tdx = *vcpu.tdx;
    const auto result =
        kvm_hypercall(vcpu, {.nr = tdx.args.r10, .args = {tdx.args.r11, tdx.args.r12, tdx.args.r13}});
    if (result) {
        tdx.args.r10 = *result;
        return kResume;
    }
    vcpu.complete_userspace_io = [](Vcpu& v) -> Handled {
        v.tdx->args.r10 = v.run().hypercall.ret;
        return kResume;
    };
    return kToUser;
}

namespace {

constexpr u64 kMapGpaChunk = u64{2} << 20;

Handled complete_map_gpa(Vcpu& vcpu);

bool is_legal_gpa(const Vcpu& vcpu, u64 gpa)
{
    const unsigned width = cpuid_maxphyaddr(vcpu);
    return width >= 64 || gpa >> width == 0;
}

// User space converts at most 2 MiB at a time, so that a guest's interrupts do not wait for all of it.
Handled map_gpa_chunk(Vcpu& vcpu)
{
    VcpuTdx& tdx = *vcpu.tdx;
    const u64 shared_bit = gpa_of(vcpu.vm().gfn_direct_bits).value();
    const u64 bytes = std::min(kMapGpaChunk, tdx.map_gpa_end - tdx.map_gpa_next);
    const bool to_private = !(tdx.map_gpa_next & shared_bit);
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_HYPERCALL;
    run.hypercall = {.nr = KVM_HC_MAP_GPA_RANGE,
                     .args = {tdx.map_gpa_next & ~shared_bit, bytes >> kPageShift,
                              to_private ? KVM_MAP_GPA_RANGE_ENCRYPTED : 0, 0, 0, 0},
                     .ret = 0,
                     .flags = 1};
    vcpu.complete_userspace_io = complete_map_gpa;
    return kToUser;
}

Handled complete_map_gpa(Vcpu& vcpu)
{
    VcpuTdx& tdx = *vcpu.tdx;
    if (vcpu.run().hypercall.ret != 0) {
        tdx.args.r11 = tdx.map_gpa_next;
        return answer(vcpu, TdvmcallStatus::INVALID_OPERAND);
    }
    tdx.map_gpa_next += std::min(kMapGpaChunk, tdx.map_gpa_end - tdx.map_gpa_next);
    if (tdx.map_gpa_next >= tdx.map_gpa_end)
        return kResume;
    if (vcpu.vm().ops.has_events(vcpu)) {
        tdx.args.r11 = tdx.map_gpa_next;
        return answer(vcpu, TdvmcallStatus::RETRY);
    }
    return map_gpa_chunk(vcpu);
}

Handled tdx_map_gpa(Vcpu& vcpu)
{
    VcpuTdx& tdx = *vcpu.tdx;
    const u64 gpa = tdx.args.r12, size = tdx.args.r13, end = gpa + size;
    const u64 shared_bit = gpa_of(vcpu.vm().gfn_direct_bits).value();
    const auto refuse = [&](TdvmcallStatus status) {
        tdx.args.r11 = gpa; // where the guest would try again
        return answer(vcpu, status);
    };
    if (!(vcpu.vm().hypercall_exit_enabled & bit(KVM_HC_MAP_GPA_RANGE)))
        return refuse(TdvmcallStatus::SUBFUNC_UNSUPPORTED);
    if (end <= gpa || !is_legal_gpa(vcpu, gpa) || !is_legal_gpa(vcpu, end - 1) ||
        ((gpa ^ (end - 1)) & shared_bit))
        return refuse(TdvmcallStatus::INVALID_OPERAND);
    if (!aligned(gpa, kPageSize) || !aligned(size, kPageSize))
        return refuse(TdvmcallStatus::ALIGN_ERROR);
    tdx.map_gpa_next = gpa;
    tdx.map_gpa_end = end;
    return map_gpa_chunk(vcpu);
}

Handled to_user_tdx(Vcpu& vcpu, u64 nr, std::function<Handled(Vcpu&)> complete)
{
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_TDX;
    run.tdx.flags = 0;
    run.tdx.nr = nr;
    vcpu.complete_userspace_io = std::move(complete);
    return kToUser;
}

Handled complete_simple(Vcpu& vcpu)
{
    vcpu.tdx->args.r10 = vcpu.run().tdx.unknown.ret;
    return kResume;
}

Handled tdx_get_td_vm_call_info(Vcpu& vcpu)
{
    VcpuTdx& tdx = *vcpu.tdx;
    if (tdx.args.r12 == 0) {
        tdx.args.r10 = tdx.args.r11 = tdx.args.r12 = tdx.args.r13 = tdx.args.r14 = 0;
        return kResume;
    }
    if (tdx.args.r12 != 1)
        return answer(vcpu, TdvmcallStatus::INVALID_OPERAND);
    vcpu.run().tdx.get_tdvmcall_info = {
        .ret = TDVMCALL_STATUS_SUCCESS, .leaf = 1, .r11 = 0, .r12 = 0, .r13 = 0, .r14 = 0};
    return to_user_tdx(vcpu, TDVMCALL_GET_TD_VM_CALL_INFO, [](Vcpu& v) -> Handled {
        const auto& info = v.run().tdx.get_tdvmcall_info;
        v.tdx->args.r10 = info.ret;
        v.tdx->args.r11 = info.r11;
        v.tdx->args.r12 = info.r12;
        v.tdx->args.r13 = info.r13;
        v.tdx->args.r14 = info.r14;
        return kResume;
    });
}

Handled tdx_get_quote(Vcpu& vcpu)
{
    const u64 shared_bit = gpa_of(vcpu.vm().gfn_direct_bits).value();
    const u64 gpa = vcpu.tdx->args.r12;
    if (!(gpa & shared_bit))
        return answer(vcpu, TdvmcallStatus::INVALID_OPERAND);
    vcpu.run().tdx.get_quote = {
        .ret = TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED, .gpa = gpa & ~shared_bit, .size = vcpu.tdx->args.r13};
    return to_user_tdx(vcpu, TDVMCALL_GET_QUOTE, complete_simple);
}

Handled tdx_setup_event_notify(Vcpu& vcpu)
{
    const u64 vector = vcpu.tdx->args.r12;
    if (vector < 32 || vector > 255)
        return answer(vcpu, TdvmcallStatus::INVALID_OPERAND);
    vcpu.run().tdx.setup_event_notify = {.ret = TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED, .vector = vector};
    return to_user_tdx(vcpu, TDVMCALL_SETUP_EVENT_NOTIFY_INTERRUPT, complete_simple);
}

Handled tdx_report_fatal_error(Vcpu& vcpu)
{
    const VcpuTdx& tdx = *vcpu.tdx;
    const cpu::SeamRegs& a = tdx.args;
    const u64 data[16] = {tdx.vp_enter_ret,
                          a.rcx,
                          a.rdx,
                          a.rbx,
                          0,
                          0,
                          a.rsi,
                          a.rdi,
                          a.r8,
                          a.r9,
                          a.r10,
                          a.r11,
                          a.r12,
                          a.r13,
                          a.r14,
                          a.r15};
    kvm_run& run = vcpu.run();
    run.exit_reason = KVM_EXIT_SYSTEM_EVENT;
    run.system_event.type = KVM_SYSTEM_EVENT_TDX_FATAL;
    run.system_event.ndata = 16;
    std::memcpy(run.system_event.data, data, sizeof data);
    return kToUser;
}

} // namespace

Handled handle_tdvmcall(Vcpu& vcpu)
{
    switch (static_cast<Tdvmcall>(vcpu.tdx->args.r11)) {
    case Tdvmcall::GET_TD_VM_CALL_INFO:
        return tdx_get_td_vm_call_info(vcpu);
    case Tdvmcall::MAP_GPA:
        return tdx_map_gpa(vcpu);
    case Tdvmcall::GET_QUOTE:
        return tdx_get_quote(vcpu);
    case Tdvmcall::REPORT_FATAL_ERROR:
        return tdx_report_fatal_error(vcpu);
    case Tdvmcall::SETUP_EVENT_NOTIFY_INTERRUPT:
        return tdx_setup_event_notify(vcpu);
    default:
        return answer(vcpu, TdvmcallStatus::SUBFUNC_UNSUPPORTED);
    }
}

} // namespace seamless::kvm
