// SPDX-License-Identifier: Apache-2.0
// Descriptor tables and segment registers. SDM: "LGDT/LIDT", "LLDT", "LTR", "MOV", "SWAPGS",
// "RDFSBASE/RDGSBASE".
#include "cpu/system/operand.h"
#include "cpu/system/system.h"

namespace seamless::cpu::op {

using decode::Instruction;
using spec::ExitReason;
using spec::Gpr;
using spec::Seg;
using spec::Vector;
namespace ar = spec::segment_ar;

namespace {

bool umip_blocks(Core& core) { return (core.state().cr4 & spec::cr4::UMIP) && user_mode(core); }

Result<Flow, Fault> load_table(Core& core, const Instruction& insn, spec::DescriptorTable& table)
{
    if (user_mode(core))
        return fail(core.gp());
    if (core.vmcs().proc_based2 & spec::proc2::DESCRIPTOR_TABLE_EXITING)
        return fail(core.exit(ExitReason::GDTR_IDTR));
    const CpuState& s = core.state();
    const Gva at = linear_address(core, insn, insn.operands[0]);
    const Purpose purpose = purpose_of(insn.operands[0]);
    const u16 limit = TRY(core.mmu().load<u16>(at, purpose));
    u64 base = TRY(core.mmu().load_n(at + 2, s.code64() ? 8 : 4, purpose));
    if (!s.code64() && insn.z.operand_width == 16)
        base &= 0xffffff;
    if (!core.mmu().canonical(Gva(base)))
        return fail(core.gp());
    table = {.base = base, .limit = limit};
    return Flow::next;
}

Result<Flow, Fault> store_table(Core& core, const Instruction& insn, const spec::DescriptorTable& table)
{
    if (umip_blocks(core))
        return fail(core.gp());
    if (core.vmcs().proc_based2 & spec::proc2::DESCRIPTOR_TABLE_EXITING)
        return fail(core.exit(ExitReason::GDTR_IDTR));
    u8 image[10];
    __builtin_memcpy(image, &table.limit, 2);
    __builtin_memcpy(image + 2, &table.base, 8);
    const std::size_t size = core.state().code64() ? 10 : 6;
    TRY(core.mmu().write(linear_address(core, insn, insn.operands[0]), {image, size},
                         purpose_of(insn.operands[0])));
    return Flow::next;
}

// A system descriptor in long mode has 16 bytes: the upper half of its base is in the next slot.
Result<spec::Segment, Fault> system_segment(Core& core, u16 selector, u64& low)
{
    low = TRY(core.read_descriptor(selector));
    spec::Segment segment = Core::segment_from(low, selector);
    if (core.state().long_mode()) {
        const u64 high = TRY(
            core.mmu().load<u64>(Gva(core.state().gdtr.base + (selector & 0xfff8u) + 8), Purpose::implicit));
        segment.base = (segment.base & 0xffffffff) | high << 32;
    }
    return segment;
}

struct Found {
    bool valid = false;
    u64 descriptor = 0;
};

// For LAR, LSL, VERR, VERW: the descriptor if the selector names one that the CPL may see.
Result<Found, Fault> visible_descriptor(Core& core, u16 selector)
{
    if ((selector & 0xfffc) == 0)
        return Found{};
    const Result<u64, Fault> read = core.read_descriptor(selector);
    if (!read) {
        if (read.error() == Fault::exception && core.fault_record().vector == Vector::GP)
            return Found{};
        return fail(read.error());
    }
    const spec::Segment segment = Core::segment_from(read.value(), selector);
    const unsigned type = ar::type(segment.ar);
    const unsigned dpl = ar::dpl(segment.ar);
    const bool conforming = (segment.ar & ar::S) && (type & 0xc) == 0xc;
    if (!conforming && (core.state().cpl() > dpl || (selector & 3u) > dpl))
        return Found{};
    return Found{.valid = true, .descriptor = read.value()};
}

void set_zf(CpuState& s, bool value)
{
    s.rflags = value ? s.rflags | spec::rflags::ZF : s.rflags & ~spec::rflags::ZF;
}

bool system_type_valid(unsigned type, bool long_mode, bool for_limit)
{
    const u32 legacy = for_limit ? 0x0a0e : 0x1a3e; // LDT, TSS; LAR: gates too
    const u32 wide = for_limit ? 0x0a04 : 0x1a04;
    return (long_mode ? wide : legacy) >> type & 1;
}

} // namespace

Result<Flow, Fault> lgdt(Core& core, const Instruction& insn)
{
    return load_table(core, insn, core.state().gdtr);
}
Result<Flow, Fault> lidt(Core& core, const Instruction& insn)
{
    return load_table(core, insn, core.state().idtr);
}
Result<Flow, Fault> sgdt(Core& core, const Instruction& insn)
{
    return store_table(core, insn, core.state().gdtr);
}
Result<Flow, Fault> sidt(Core& core, const Instruction& insn)
{
    return store_table(core, insn, core.state().idtr);
}

Result<Flow, Fault> lldt(Core& core, const Instruction& insn)
{
    if (!core.state().protected_mode())
        return fail(core.ud());
    if (user_mode(core))
        return fail(core.gp());
    if (core.vmcs().proc_based2 & spec::proc2::DESCRIPTOR_TABLE_EXITING)
        return fail(core.exit(ExitReason::LDTR_TR));
    const u16 selector = static_cast<u16>(TRY(read_operand(core, insn, insn.operands[0])));
    spec::Segment& ldtr = core.state().segment(Seg::ldtr);
    if ((selector & 0xfffc) == 0) {
        ldtr = {.limit = 0, .ar = ar::UNUSABLE, .selector = selector};
        return Flow::next;
    }
    u64 low = 0;
    if (selector & 4)
        return fail(core.gp(selector & 0xfffcu));
    const spec::Segment segment = TRY(system_segment(core, selector, low));
    if ((segment.ar & ar::S) || ar::type(segment.ar) != 2)
        return fail(core.gp(selector & 0xfffcu));
    if (!(segment.ar & ar::P))
        return fail(core.exception(Vector::NP, selector & 0xfffcu));
    ldtr = segment;
    return Flow::next;
}

Result<Flow, Fault> ltr(Core& core, const Instruction& insn)
{
    if (!core.state().protected_mode())
        return fail(core.ud());
    if (user_mode(core))
        return fail(core.gp());
    if (core.vmcs().proc_based2 & spec::proc2::DESCRIPTOR_TABLE_EXITING)
        return fail(core.exit(ExitReason::LDTR_TR));
    const u16 selector = static_cast<u16>(TRY(read_operand(core, insn, insn.operands[0])));
    if ((selector & 0xfffc) == 0 || (selector & 4))
        return fail(core.gp(selector & 0xfffcu));
    u64 low = 0;
    spec::Segment segment = TRY(system_segment(core, selector, low));
    constexpr unsigned kAvailableTss = 9, kBusy = 2;
    if ((segment.ar & ar::S) || ar::type(segment.ar) != kAvailableTss)
        return fail(core.gp(selector & 0xfffcu));
    if (!(segment.ar & ar::P))
        return fail(core.exception(Vector::NP, selector & 0xfffcu));
    const Gva access_byte(core.state().gdtr.base + (selector & 0xfff8u) + 5);
    TRY(core.mmu().store<u8>(access_byte, static_cast<u8>(field(low, 47, 40) | kBusy), Purpose::implicit));
    segment.ar |= kBusy;
    core.state().segment(Seg::tr) = segment;
    return Flow::next;
}

Result<Flow, Fault> sldt(Core& core, const Instruction& insn)
{
    if (!core.state().protected_mode())
        return fail(core.ud());
    if (umip_blocks(core))
        return fail(core.gp());
    TRY(write_operand(core, insn, insn.operands[0], core.state().segment(Seg::ldtr).selector));
    return Flow::next;
}

Result<Flow, Fault> str(Core& core, const Instruction& insn)
{
    if (!core.state().protected_mode())
        return fail(core.ud());
    if (umip_blocks(core))
        return fail(core.gp());
    TRY(write_operand(core, insn, insn.operands[0], core.state().segment(Seg::tr).selector));
    return Flow::next;
}

Result<Flow, Fault> lar(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    if (!s.protected_mode())
        return fail(core.ud());
    const Found found =
        TRY(visible_descriptor(core, static_cast<u16>(TRY(read_operand(core, insn, insn.operands[1])))));
    const u32 access = static_cast<u32>(found.descriptor >> 32) & 0x00f0ff00;
    const bool system = !test(found.descriptor, 44);
    const bool valid =
        found.valid && (!system || system_type_valid(static_cast<unsigned>(field(found.descriptor, 43, 40)),
                                                     s.long_mode(), false));
    if (valid)
        write_register(s, insn.operands[0].reg.value, access);
    set_zf(s, valid);
    return Flow::next;
}

Result<Flow, Fault> lsl(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    if (!s.protected_mode())
        return fail(core.ud());
    const Found found =
        TRY(visible_descriptor(core, static_cast<u16>(TRY(read_operand(core, insn, insn.operands[1])))));
    const bool system = !test(found.descriptor, 44);
    const bool valid =
        found.valid && (!system || system_type_valid(static_cast<unsigned>(field(found.descriptor, 43, 40)),
                                                     s.long_mode(), true));
    if (valid)
        write_register(s, insn.operands[0].reg.value, Core::segment_from(found.descriptor, 0).limit);
    set_zf(s, valid);
    return Flow::next;
}

// VERR and VERW.
Result<Flow, Fault> verr(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    if (!s.protected_mode())
        return fail(core.ud());
    const Found found =
        TRY(visible_descriptor(core, static_cast<u16>(TRY(read_operand(core, insn, insn.operands[0])))));
    const unsigned type = static_cast<unsigned>(field(found.descriptor, 43, 40));
    const bool code = type & 8;
    const bool allowed = insn.z.mnemonic == ZYDIS_MNEMONIC_VERW ? !code && (type & 2) : !code || (type & 2);
    set_zf(s, found.valid && test(found.descriptor, 44) && allowed);
    return Flow::next;
}

Result<Flow, Fault> mov_sreg(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const ZydisDecodedOperand& to = insn.operands[0];
    if (to.type == ZYDIS_OPERAND_TYPE_REGISTER &&
        ZydisRegisterGetClass(to.reg.value) == ZYDIS_REGCLASS_SEGMENT) {
        if (to.reg.value == ZYDIS_REGISTER_CS)
            return fail(core.ud());
        const u16 selector = static_cast<u16>(TRY(read_operand(core, insn, insn.operands[1])));
        const Seg seg = segment_of(to.reg.value);
        TRY(core.load_segment(seg, selector));
        if (seg == Seg::ss)
            s.interruptibility |= spec::interruptibility::MOV_SS;
        return Flow::next;
    }
    TRY(write_operand(core, insn, to, s.segment(segment_of(insn.operands[1].reg.value)).selector));
    return Flow::next;
}

Result<Flow, Fault> push_sreg(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const unsigned size = s.code64() ? (insn.z.operand_width == 16 ? 2 : 8) : insn.z.operand_width / 8u;
    TRY(push(core, s.segment(segment_of(insn.operands[0].reg.value)).selector, size));
    return Flow::next;
}

Result<Flow, Fault> pop_sreg(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    const unsigned size = s.code64() ? (insn.z.operand_width == 16 ? 2 : 8) : insn.z.operand_width / 8u;
    const u16 selector = static_cast<u16>(TRY(peek(core, 0, size)));
    const Seg seg = segment_of(insn.operands[0].reg.value);
    TRY(core.load_segment(seg, selector));
    release(core, size);
    if (seg == Seg::ss)
        s.interruptibility |= spec::interruptibility::MOV_SS;
    return Flow::next;
}

static Seg far_pointer_segment(ZydisMnemonic mnemonic)
{
    switch (mnemonic) {
    case ZYDIS_MNEMONIC_LSS:
        return Seg::ss;
    case ZYDIS_MNEMONIC_LDS:
        return Seg::ds;
    case ZYDIS_MNEMONIC_LES:
        return Seg::es;
    case ZYDIS_MNEMONIC_LFS:
        return Seg::fs;
    default:
        return Seg::gs;
    }
}

// LSS, LFS, LGS, and LDS and LES of 32-bit code.
Result<Flow, Fault> load_far_pointer(Core& core, const Instruction& insn)
{
    const Seg seg = far_pointer_segment(insn.z.mnemonic);
    const unsigned size = insn.z.operand_width / 8u;
    const Gva at = linear_address(core, insn, insn.operands[1]);
    const Purpose purpose = purpose_of(insn.operands[1]);
    const u64 offset = TRY(core.mmu().load_n(at, size, purpose));
    const u16 selector = TRY(core.mmu().load<u16>(at + size, purpose));
    TRY(core.load_segment(seg, selector));
    write_register(core.state(), insn.operands[0].reg.value, offset);
    return Flow::next;
}

namespace {

Seg fs_or_gs(const Instruction& insn)
{
    return insn.z.mnemonic == ZYDIS_MNEMONIC_RDFSBASE || insn.z.mnemonic == ZYDIS_MNEMONIC_WRFSBASE ? Seg::fs
                                                                                                    : Seg::gs;
}

bool fsgsbase(const CpuState& s) { return s.code64() && (s.cr4 & spec::cr4::FSGSBASE); }

} // namespace

Result<Flow, Fault> rdsegbase(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    if (!fsgsbase(s))
        return fail(core.ud());
    write_register(s, insn.operands[0].reg.value, s.segment(fs_or_gs(insn)).base);
    return Flow::next;
}

Result<Flow, Fault> wrsegbase(Core& core, const Instruction& insn)
{
    CpuState& s = core.state();
    if (!fsgsbase(s))
        return fail(core.ud());
    const u64 value = read_register(s, insn.operands[0].reg.value);
    if (!core.mmu().canonical(Gva(value)))
        return fail(core.gp());
    s.segment(fs_or_gs(insn)).base = value;
    return Flow::next;
}

Result<Flow, Fault> swapgs(Core& core, const Instruction&)
{
    CpuState& s = core.state();
    if (!s.code64())
        return fail(core.ud());
    if (user_mode(core))
        return fail(core.gp());
    std::swap(s.segment(Seg::gs).base, s.kernel_gs_base);
    return Flow::next;
}

} // namespace seamless::cpu::op
