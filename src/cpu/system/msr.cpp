// SPDX-License-Identifier: Apache-2.0
// Model-specific registers that the processor itself holds, the time-stamp counter, and entropy. Which of
// them exit is the MSR bitmap's word. SDM: "RDMSR", "WRMSR", "MSR-Bitmap Address".
#include "cpu/system/operand.h"
#include "cpu/system/system.h"

#include "base/table.h"
#include "cpu/cpuid.h"
#include "cpu/package.h"
#include "cpu/vmx/virtual_apic.h"

namespace seamless::cpu::op {

using decode::Instruction;
using spec::ExitReason;
using spec::Gpr;
using spec::Msr;
using spec::Seg;

namespace {

using Write = Result<void, Fault> (*)(Core& core, u64& target, u64 value);

Result<void, Fault> plain(Core&, u64& target, u64 value)
{
    target = value;
    return {};
}

Result<void, Fault> canonical(Core& core, u64& target, u64 value)
{
    if (!core.mmu().canonical(Gva(value)))
        return fail(core.gp());
    target = value;
    return {};
}

// Each byte is a memory type: 0, 1, 4 to 7. SDM: "IA32_PAT MSR".
Result<void, Fault> pat(Core& core, u64& target, u64 value)
{
    for (unsigned i = 0; i < 8; ++i) {
        const u64 type = value >> (8 * i) & 0xff;
        if (type > 7 || type == 2 || type == 3)
            return fail(core.gp());
    }
    target = value;
    return {};
}

Result<void, Fault> efer(Core& core, u64& target, u64 value)
{
    constexpr u64 kWritable = spec::efer::SCE | spec::efer::LME | spec::efer::NXE;
    CpuState& s = core.state();
    if (value & ~(kWritable | spec::efer::LMA))
        return fail(core.gp());
    if (((value ^ target) & spec::efer::LME) && s.paging())
        return fail(core.gp());
    target = (target & ~kWritable) | (value & kWritable);
    core.paging_changed(true);
    return {};
}

Result<void, Fault> low_32(Core& core, u64& target, u64 value)
{
    if (value >> 32)
        return fail(core.gp());
    target = value;
    return {};
}

Result<void, Fault> xss(Core& core, u64& target, u64 value)
{
    if (value & ~supported_xss())
        return fail(core.gp());
    target = value;
    return {};
}

// Nothing is speculated on here that these bits would hold back: they are state. SDM: IA32_SPEC_CTRL.
Result<void, Fault> spec_ctrl(Core& core, u64& target, u64 value)
{
    constexpr u64 kDefined = bits(8, 0) | bit(10);
    if (value & ~kDefined)
        return fail(core.gp());
    target = value;
    return {};
}

// FS and GS bases live in the segment registers.
constexpr std::size_t base_of(Seg seg)
{
    return offsetof(CpuState, seg) + static_cast<std::size_t>(seg) * sizeof(spec::Segment) +
           offsetof(spec::Segment, base);
}

struct MsrRow {
    Msr msr;
    std::size_t offset; // in CpuState
    Write write;
};

// clang-format off
constexpr MsrRow kMsrs[] = {
    {Msr::IA32_SPEC_CTRL,       offsetof(CpuState, spec_ctrl),      spec_ctrl},
    {Msr::IA32_SYSENTER_CS,     offsetof(CpuState, sysenter_cs),    low_32},
    {Msr::IA32_SYSENTER_ESP,    offsetof(CpuState, sysenter_esp),   canonical},
    {Msr::IA32_SYSENTER_EIP,    offsetof(CpuState, sysenter_eip),   canonical},
    {Msr::IA32_DEBUGCTL,        offsetof(CpuState, debugctl),       plain},
    {Msr::IA32_PAT,             offsetof(CpuState, pat),            pat},
    {Msr::IA32_XSS,             offsetof(CpuState, xss),            xss},
    {Msr::IA32_EFER,            offsetof(CpuState, efer),           efer},
    {Msr::IA32_STAR,            offsetof(CpuState, star),           plain},
    {Msr::IA32_LSTAR,           offsetof(CpuState, lstar),          canonical},
    {Msr::IA32_CSTAR,           offsetof(CpuState, cstar),          canonical},
    {Msr::IA32_FMASK,           offsetof(CpuState, fmask),          low_32},
    {Msr::IA32_FS_BASE,         base_of(Seg::fs),                   canonical},
    {Msr::IA32_GS_BASE,         base_of(Seg::gs),                   canonical},
    {Msr::IA32_KERNEL_GS_BASE,  offsetof(CpuState, kernel_gs_base), canonical},
    {Msr::IA32_TSC_AUX,         offsetof(CpuState, tsc_aux),        low_32},
};
// clang-format on
static_assert(strictly_ascending(kMsrs, &MsrRow::msr));

u64& slot(CpuState& state, const MsrRow& row)
{
    return *reinterpret_cast<u64*>(reinterpret_cast<u8*>(&state) + row.offset);
}

// SDM: "MSR-Bitmap Address": read low, read high, write low, write high, 1 KiB each.
bool exits(const Vmcs& v, u32 msr, bool write)
{
    if (!(v.proc_based & spec::proc::MSR_BITMAPS))
        return true;
    const bool high = msr >= 0xc0000000;
    if ((msr & (high ? 0x3fffffff : 0xffffffff)) > 0x1fff)
        return true;
    const u32 index = msr & 0x1fff;
    const u64 at = v.msr_bitmap + (write ? 2048 : 0) + (high ? 1024 : 0) + index / 8;
    return test(mem::load<u8>(Hpa(at)), index % 8);
}

// x2APIC registers on the virtual-APIC page. SDM: "Virtualizing MSR-Based APIC Accesses".
u32* virtual_apic_register(const Vmcs& v, u32 msr)
{
    constexpr u32 kFirst = 0x800;
    if (!(v.proc_based2 & spec::proc2::VIRTUALIZE_X2APIC) || msr < kFirst || msr > kFirst + 0xff)
        return nullptr;
    return mem::host_ptr<u32>(Hpa(v.virtual_apic_page + u64{msr - kFirst} * 16));
}

constexpr u32 kX2ApicTpr = 0x808, kX2ApicEoi = 0x80b, kX2ApicSelfIpi = 0x83f;

// SDM: "Virtualizing MSR-Based APIC Accesses", WRMSR. EOI and SELF_IPI only with virtual-interrupt delivery.
Result<void, Fault> write_virtual_apic(Core& core, u32 msr, u64 value)
{
    Vmcs& v = core.vmcs();
    VirtualApic apic(v);
    const bool delivery = v.proc_based2 & spec::proc2::VIRTUAL_INTERRUPT_DELIVERY;
    if (msr == kX2ApicTpr && value <= 0xff)
        apic.write_tpr(static_cast<u8>(value));
    else if (msr == kX2ApicEoi && value == 0 && delivery)
        apic.write_eoi();
    else if (msr == kX2ApicSelfIpi && value <= 0xff && delivery)
        apic.self_ipi(static_cast<u8>(value));
    else
        return fail(core.gp());
    return {};
}

void set_edx_eax(CpuState& s, u64 value)
{
    s.reg(Gpr::rax) = static_cast<u32>(value);
    s.reg(Gpr::rdx) = value >> 32;
}

} // namespace

Result<Flow, Fault> rdmsr(Core& core, const Instruction&)
{
    CpuState& s = core.state();
    if (user_mode(core))
        return fail(core.gp());
    const u32 index = static_cast<u32>(s.reg(Gpr::rcx));
    if (exits(core.vmcs(), index, false))
        return fail(core.exit(ExitReason::MSR_READ));
    if (index == static_cast<u32>(Msr::IA32_TSC)) {
        set_edx_eax(s, core.guest_tsc());
        return Flow::next;
    }
    if (const u32* reg = virtual_apic_register(core.vmcs(), index)) {
        set_edx_eax(s, __atomic_load_n(reg, __ATOMIC_RELAXED));
        return Flow::next;
    }
    const MsrRow* row = find_row(kMsrs, &MsrRow::msr, static_cast<Msr>(index));
    if (!row)
        return fail(core.gp());
    set_edx_eax(s, slot(s, *row));
    return Flow::next;
}

Result<Flow, Fault> wrmsr(Core& core, const Instruction&)
{
    CpuState& s = core.state();
    if (user_mode(core))
        return fail(core.gp());
    const u32 index = static_cast<u32>(s.reg(Gpr::rcx));
    if (exits(core.vmcs(), index, true))
        return fail(core.exit(ExitReason::MSR_WRITE));
    const u64 value = static_cast<u32>(s.reg(Gpr::rax)) | s.reg(Gpr::rdx) << 32;
    if (virtual_apic_register(core.vmcs(), index)) {
        TRY(write_virtual_apic(core, index, value));
        return Flow::next;
    }
    const bool command =
        index == static_cast<u32>(Msr::IA32_PRED_CMD) || index == static_cast<u32>(Msr::IA32_FLUSH_CMD);
    if (command)
        return value & ~u64{1} ? Result<Flow, Fault>(fail(core.gp()))
                               : Flow::next; // barriers: nothing is predicted here
    const MsrRow* row = find_row(kMsrs, &MsrRow::msr, static_cast<Msr>(index));
    if (!row)
        return fail(core.gp());
    TRY(row->write(core, slot(s, *row), value));
    return Flow::next;
}

Result<Flow, Fault> rdtsc(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const bool with_aux = insn.z.mnemonic == ZYDIS_MNEMONIC_RDTSCP;
    if (with_aux && !(core.vmcs().proc_based2 & spec::proc2::RDTSCP))
        return fail(core.ud());
    if ((s.cr4 & spec::cr4::TSD) && user_mode(core))
        return fail(core.gp());
    if (core.vmcs().proc_based & spec::proc::RDTSC_EXITING)
        return fail(core.exit(with_aux ? ExitReason::RDTSCP : ExitReason::RDTSC));
    set_edx_eax(s, core.guest_tsc());
    if (with_aux)
        s.reg(Gpr::rcx) = static_cast<u32>(s.tsc_aux);
    return Flow::next;
}

Result<Flow, Fault> rdpid(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    if (!(core.vmcs().proc_based2 & spec::proc2::RDTSCP))
        return fail(core.ud());
    write_register(s, insn.operands[0].reg.value, s.tsc_aux);
    return Flow::next;
}

// There are no performance counters: exit where the controls say so, else #GP.
Result<Flow, Fault> rdpmc(Core& core, const Instruction&)
{
    if (user_mode(core) && !(core.state().cr4 & spec::cr4::PCE))
        return fail(core.gp());
    if (core.vmcs().proc_based & spec::proc::RDPMC_EXITING)
        return fail(core.exit(ExitReason::RDPMC));
    return fail(core.gp());
}

Result<Flow, Fault> rdrand(Core& core, const Instruction& insn)
{
    const bool seed = insn.z.mnemonic == ZYDIS_MNEMONIC_RDSEED;
    if (core.vmcs().proc_based2 & (seed ? spec::proc2::RDSEED_EXITING : spec::proc2::RDRAND_EXITING))
        return fail(core.exit(seed ? ExitReason::RDSEED : ExitReason::RDRAND));
    CpuState& s = core.state();
    u64 value = 0;
    const bool filled = core.package().random().fill({reinterpret_cast<u8*>(&value), sizeof value});
    write_register(s, insn.operands[0].reg.value, filled ? value : 0);
    s.rflags = (s.rflags & ~spec::rflags::kArithmetic) | (filled ? spec::rflags::CF : 0);
    return Flow::next;
}

} // namespace seamless::cpu::op
