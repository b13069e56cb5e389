// SPDX-License-Identifier: Apache-2.0
// Control and debug registers, and what drops translations. SDM: "MOV—Move to/from Control Registers", "CR
// Accesses".
#include "cpu/cpuid.h"
#include "cpu/system/operand.h"
#include "cpu/system/system.h"
#include "cpu/vmx/virtual_apic.h"

namespace seamless::cpu::op {

using decode::Instruction;
using spec::ExitReason;
using spec::Gpr;
using spec::Seg;
namespace cr0 = spec::cr0;
namespace cr4 = spec::cr4;

namespace {

enum class CrAccess : u8 { mov_to, mov_from, clts, lmsw };

u64 qualification(unsigned cr, CrAccess access, unsigned gpr, u16 source = 0)
{
    return cr | static_cast<u64>(access) << 4 | u64{gpr} << 8 | u64{source} << 16;
}

// What MOV from CR0 or CR4 shows: host-owned bits come from the shadow.
u64 shadowed(u64 real, u64 mask, u64 shadow) { return (real & ~mask) | (shadow & mask); }

u64 cr4_supported()
{
    static const u64 value = [] {
        u64 v = cr4::VME | cr4::PVI | cr4::TSD | cr4::DE | cr4::PSE | cr4::PAE | cr4::MCE | cr4::PGE |
                cr4::PCE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE | cr4::SMEP | cr4::SMAP | cr4::UMIP |
                cr4::PCIDE | cr4::VMXE | cr4::LA57;
        if (native_cpuid(7, 0).ebx & 1)
            v |= cr4::FSGSBASE;
        return v;
    }();
    return value;
}

Result<void, Fault> set_cr0(Core& core, u64 value)
{
    CpuState& s = core.state();
    if (value >> 32)
        return fail(core.gp());
    const bool pg = value & cr0::PG;
    if ((pg && !(value & cr0::PE)) || ((value & cr0::NW) && !(value & cr0::CD)))
        return fail(core.gp());
    const bool enabling = pg && !s.paging();
    if (enabling && (s.efer & spec::efer::LME)) {
        if (!(s.cr4 & cr4::PAE) || (s.segment(Seg::cs).ar & spec::segment_ar::L))
            return fail(core.gp());
        s.efer |= spec::efer::LMA;
    }
    if (!pg && s.paging()) {
        if (s.code64() || (s.cr4 & cr4::PCIDE))
            return fail(core.gp());
        s.efer &= ~spec::efer::LMA;
    }
    const u64 changed = s.cr0 ^ value;
    s.cr0 = (value & cr0::kDefined) | cr0::ET;
    core.paging_changed((changed & (cr0::PG | cr0::WP | cr0::PE)) != 0);
    return {};
}

Result<void, Fault> set_cr4(Core& core, u64 value)
{
    CpuState& s = core.state();
    if (value & ~cr4_supported())
        return fail(core.gp());
    if (s.long_mode() && !(value & cr4::PAE))
        return fail(core.gp());
    if (((value ^ s.cr4) & cr4::LA57) && s.long_mode())
        return fail(core.gp());
    if ((value & cr4::PCIDE) && !(s.cr4 & cr4::PCIDE) && (!s.long_mode() || (s.cr3 & 0xfff)))
        return fail(core.gp());
    constexpr u64 kFlushing = cr4::PSE | cr4::PAE | cr4::PGE | cr4::PCIDE | cr4::SMEP | cr4::SMAP | cr4::LA57;
    const u64 changed = s.cr4 ^ value;
    s.cr4 = value;
    core.paging_changed((changed & kFlushing) != 0);
    return {};
}

Result<void, Fault> set_cr3(Core& core, u64 value)
{
    CpuState& s = core.state();
    const bool pcid = s.cr4 & cr4::PCIDE;
    if (s.long_mode() && (value & (pcid ? bits(62, 52) : bits(63, 52))))
        return fail(core.gp());
    s.cr3 = pcid ? value & ~bit(63) : value;
    core.mmu().reload();
    core.mmu().cr3_loaded(pcid ? value & 0xfff : 0, pcid && test(value, 63));
    return {};
}

Result<void, Fault> write_cr0(Core& core, u64 value, unsigned gpr)
{
    const Vmcs& v = core.vmcs();
    if ((value ^ v.cr0_read_shadow) & v.cr0_guest_host_mask)
        return fail(core.exit(ExitReason::CR_ACCESS, qualification(0, CrAccess::mov_to, gpr)));
    return set_cr0(core, (core.state().cr0 & v.cr0_guest_host_mask) | (value & ~v.cr0_guest_host_mask));
}

Result<void, Fault> write_cr4(Core& core, u64 value, unsigned gpr)
{
    const Vmcs& v = core.vmcs();
    if ((value ^ v.cr4_read_shadow) & v.cr4_guest_host_mask)
        return fail(core.exit(ExitReason::CR_ACCESS, qualification(4, CrAccess::mov_to, gpr)));
    return set_cr4(core, (core.state().cr4 & v.cr4_guest_host_mask) | (value & ~v.cr4_guest_host_mask));
}

Result<void, Fault> write_cr8(Core& core, u64 value, unsigned gpr)
{
    const Vmcs& v = core.vmcs();
    if (value > 15)
        return fail(core.gp());
    if (v.proc_based & spec::proc::CR8_LOAD_EXITING)
        return fail(core.exit(ExitReason::CR_ACCESS, qualification(8, CrAccess::mov_to, gpr)));
    if (v.proc_based & spec::proc::TPR_SHADOW)
        VirtualApic(core.vmcs()).write_tpr(static_cast<u8>(value << 4));
    else
        core.state().cr8 = value;
    return {};
}

Result<u64, Fault> read_cr(Core& core, unsigned cr, unsigned gpr)
{
    const CpuState& s = core.state();
    const Vmcs& v = core.vmcs();
    switch (cr) {
    case 0:
        return shadowed(s.cr0, v.cr0_guest_host_mask, v.cr0_read_shadow);
    case 2:
        return s.cr2;
    case 3:
        if (v.proc_based & spec::proc::CR3_STORE_EXITING)
            return fail(core.exit(ExitReason::CR_ACCESS, qualification(3, CrAccess::mov_from, gpr)));
        return s.cr3;
    case 4:
        return shadowed(s.cr4, v.cr4_guest_host_mask, v.cr4_read_shadow);
    case 8:
        if (v.proc_based & spec::proc::CR8_STORE_EXITING)
            return fail(core.exit(ExitReason::CR_ACCESS, qualification(8, CrAccess::mov_from, gpr)));
        return v.proc_based & spec::proc::TPR_SHADOW
                   ? u64{VirtualApic(core.vmcs()).reg(VirtualApic::kTpr) >> 4 & 15}
                   : s.cr8;
    default:
        return fail(core.ud());
    }
}

Result<void, Fault> write_cr(Core& core, unsigned cr, u64 value, unsigned gpr)
{
    switch (cr) {
    case 0:
        return write_cr0(core, value, gpr);
    case 2:
        core.state().cr2 = value;
        return {};
    case 3:
        if (core.vmcs().proc_based & spec::proc::CR3_LOAD_EXITING)
            return fail(core.exit(ExitReason::CR_ACCESS, qualification(3, CrAccess::mov_to, gpr)));
        return set_cr3(core, value);
    case 4:
        return write_cr4(core, value, gpr);
    case 8:
        return write_cr8(core, value, gpr);
    default:
        return fail(core.ud());
    }
}

unsigned register_number(ZydisRegister r, ZydisRegister first) { return static_cast<unsigned>(r - first); }

} // namespace

Result<Flow, Fault> mov_cr(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const ZydisRegister to = insn.operands[0].reg.value;
    const ZydisRegister from = insn.operands[1].reg.value;
    if (user_mode(core))
        return fail(core.gp());
    if (ZydisRegisterGetClass(to) == ZYDIS_REGCLASS_CONTROL) {
        const u64 value = read_register(s, from);
        TRY(write_cr(core, register_number(to, ZYDIS_REGISTER_CR0), value,
                     static_cast<unsigned>(ZydisRegisterGetId(from))));
    } else {
        const u64 value = TRY(read_cr(core, register_number(from, ZYDIS_REGISTER_CR0),
                                      static_cast<unsigned>(ZydisRegisterGetId(to))));
        write_register(s, to, value);
    }
    return Flow::next;
}

// SDM: "Debug Registers", "MOV-DR exits".
Result<Flow, Fault> mov_dr(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const ZydisRegister to = insn.operands[0].reg.value;
    const ZydisRegister from = insn.operands[1].reg.value;
    const bool write = ZydisRegisterGetClass(to) == ZYDIS_REGCLASS_DEBUG;
    unsigned dr = register_number(write ? to : from, ZYDIS_REGISTER_DR0);
    if (user_mode(core))
        return fail(core.gp());
    if (dr == 4 || dr == 5) {
        if (s.cr4 & cr4::DE)
            return fail(core.ud());
        dr += 2;
    }
    if (dr > 7)
        return fail(core.ud());
    if (core.vmcs().proc_based & spec::proc::MOV_DR_EXITING)
        return fail(core.exit(ExitReason::DR_ACCESS,
                              dr | (write ? 0 : 0x10) |
                                  static_cast<u64>(ZydisRegisterGetId(write ? from : to)) << 8));
    if (s.dr7 & spec::dr7::GD) {
        s.dr6 |= spec::dr6::BD;
        s.dr7 &= ~spec::dr7::GD;
        return fail(core.exception(spec::Vector::DB));
    }
    u64& target = dr < 4 ? s.dr[dr] : dr == 6 ? s.dr6 : s.dr7;
    if (!write) {
        write_register(s, to, target);
        return Flow::next;
    }
    const u64 value = read_register(s, from);
    if (dr >= 6 && value >> 32)
        return fail(core.gp());
    if (dr == 6)
        target = (value & 0x1e00f) | 0xffff0ff0;
    else if (dr == 7)
        target = (value & 0xffff2fff) | spec::dr7::kReset;
    else
        target = value;
    return Flow::next;
}

Result<Flow, Fault> clts(Core& core, const Instruction&)
{
    if (user_mode(core))
        return fail(core.gp());
    const Vmcs& v = core.vmcs();
    if (v.cr0_guest_host_mask & cr0::TS) {
        if (v.cr0_read_shadow & cr0::TS)
            return fail(core.exit(ExitReason::CR_ACCESS, qualification(0, CrAccess::clts, 0)));
        return Flow::next;
    }
    core.state().cr0 &= ~cr0::TS;
    return Flow::next;
}

Result<Flow, Fault> smsw(Core& core, const Instruction& insn)
{
    if ((core.state().cr4 & cr4::UMIP) && user_mode(core))
        return fail(core.gp());
    TRY(write_operand(core, insn, insn.operands[0], TRY(read_cr(core, 0, 0))));
    return Flow::next;
}

// LMSW can set PE but not clear it, and touches TS, EM and MP.
Result<Flow, Fault> lmsw(Core& core, const Instruction& insn)
{
    if (user_mode(core))
        return fail(core.gp());
    const Vmcs& v = core.vmcs();
    const u64 source = TRY(read_operand(core, insn, insn.operands[0])) & 0xffff;
    const u64 seen = TRY(read_cr(core, 0, 0));
    const u64 value = (seen & ~u64{0xe}) | (source & 0xf);
    if ((value ^ v.cr0_read_shadow) & v.cr0_guest_host_mask & 0xf)
        return fail(
            core.exit(ExitReason::CR_ACCESS, qualification(0, CrAccess::lmsw, 0, static_cast<u16>(source))));
    const u64 mask = v.cr0_guest_host_mask;
    TRY(set_cr0(core,
                (core.state().cr0 & mask) | (((core.state().cr0 & ~u64{0xe}) | (source & 0xf)) & ~mask)));
    return Flow::next;
}

Result<Flow, Fault> invlpg(Core& core, const Instruction& insn)
{
    if (user_mode(core))
        return fail(core.gp());
    const Gva gva = linear_address(core, insn, insn.operands[0]);
    if (core.vmcs().proc_based & spec::proc::INVLPG_EXITING)
        return fail(core.exit(ExitReason::INVLPG, gva.value()));
    core.mmu().flush_page(gva);
    return Flow::next;
}

// SDM: "INVPCID—Invalidate Process-Context Identifier".
enum class InvpcidType : u8 { address, context, all, all_but_global };

static void invalidate(Mmu& mmu, InvpcidType type, u16 pcid, Gva gva)
{
    switch (type) {
    case InvpcidType::address:
        return mmu.flush_pcid_page(pcid, gva);
    case InvpcidType::context:
        return mmu.flush_pcid(pcid);
    case InvpcidType::all:
        return mmu.flush();
    case InvpcidType::all_but_global:
        return mmu.flush_local();
    }
}

Result<Flow, Fault> invpcid(Core& core, const Instruction& insn)
{
    const Vmcs& v = core.vmcs();
    CpuState& s = core.state();
    if (!(v.proc_based2 & spec::proc2::INVPCID))
        return fail(core.ud());
    if (user_mode(core))
        return fail(core.gp());
    if (v.proc_based & spec::proc::INVLPG_EXITING)
        return fail(core.exit(ExitReason::INVPCID));
    const u64 type = read_register(s, insn.operands[0].reg.value);
    const Gva at = linear_address(core, insn, insn.operands[1]);
    const u64 pcid = TRY(core.mmu().load<u64>(at, purpose_of(insn.operands[1])));
    const u64 address = TRY(core.mmu().load<u64>(at + 8, purpose_of(insn.operands[1])));
    if (type > 3 || pcid >> 12 || (type == 0 && !core.mmu().canonical(Gva(address))) ||
        (type <= 1 && pcid != 0 && !(s.cr4 & cr4::PCIDE)))
        return fail(core.gp());
    invalidate(core.mmu(), static_cast<InvpcidType>(type), static_cast<u16>(pcid), Gva(address));
    return Flow::next;
}

Result<Flow, Fault> invd(Core& core, const Instruction&)
{
    if (user_mode(core))
        return fail(core.gp());
    return fail(core.exit(ExitReason::INVD));
}

Result<Flow, Fault> wbinvd(Core& core, const Instruction&)
{
    if (user_mode(core))
        return fail(core.gp());
    if (core.vmcs().proc_based2 & spec::proc2::WBINVD_EXITING)
        return fail(core.exit(ExitReason::WBINVD));
    return Flow::next; // memory is coherent here
}

} // namespace seamless::cpu::op
