// SPDX-License-Identifier: Apache-2.0
// Effective addresses into r14, and lookups that turn them into host pointers.
#include "cpu/translate/emitter.h"

namespace seamless::cpu {

using decode::CodeSize;

void Emitter::add_segment_base(ZydisRegister segment)
{
    const bool fs_gs = segment == ZYDIS_REGISTER_FS || segment == ZYDIS_REGISTER_GS;
    if (!fs_gs && (mode_.code == CodeSize::bits64 || mode_.flat))
        return;
    constexpr spec::Seg kOrder[] = {spec::Seg::es, spec::Seg::cs, spec::Seg::ss,
                                    spec::Seg::ds, spec::Seg::fs, spec::Seg::gs};
    const auto seg = kOrder[segment - ZYDIS_REGISTER_ES];
    const i32 base = FRAME(state) + static_cast<i32>(offsetof(CpuState, seg) +
                                                     static_cast<unsigned>(seg) * sizeof(spec::Segment) +
                                                     offsetof(spec::Segment, base));
    a_.load(kScratch2, base);
    a_.lea(kScratch, kScratch, kScratch2, 1, 0, mode_.code == CodeSize::bits64);
}

// The linear address of a memory operand, in r14; clobbers r15. `rsp_adjust` is added where RSP is the base.
void Emitter::address(const ZydisDecodedOperand& operand, i64 rsp_adjust, bool with_segment)
{
    const auto& mem = operand.mem;
    i64 disp = mem.disp.has_displacement ? mem.disp.value : 0;
    const bool wide = address_width_ == 64;

    if (mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP) {
        const GuestInsn& insn = block_.insns.back();
        a_.load(kScratch, FRAME(page_gva));
        a_.lea(kScratch, kScratch, insn.offset + insn.length); // apart: the sum may not fit a displacement
        a_.lea(kScratch, kScratch, static_cast<i32>(disp), mem.base == ZYDIS_REGISTER_RIP);
    } else if (mem.base == ZYDIS_REGISTER_NONE && mem.index == ZYDIS_REGISTER_NONE) {
        a_.mov_imm(kScratch, static_cast<u64>(disp) & (wide ? ~u64{0} : 0xffffffff));
    } else {
        std::optional<Host> base;
        std::optional<Host> index;
        if (mem.base != ZYDIS_REGISTER_NONE) {
            const unsigned guest = guest_number(mem.base);
            if (guest == 4)
                disp += rsp_adjust;
            base = in_frame(guest) ? kScratch : host_of(guest);
            if (in_frame(guest))
                a_.load(kScratch, guest_slot(guest));
        }
        if (mem.index != ZYDIS_REGISTER_NONE) {
            const unsigned guest = guest_number(mem.index);
            index = in_frame(guest) ? kScratch2 : host_of(guest);
            if (in_frame(guest))
                a_.load(kScratch2, guest_slot(guest));
        }
        const i32 d = static_cast<i32>(disp);
        if (base && index)
            a_.lea(kScratch, *base, *index, mem.scale, d, wide);
        else if (base)
            a_.lea(kScratch, *base, d, wide);
        else
            a_.lea_scaled(kScratch, *index, mem.scale, d, wide);
    }
    if (with_segment)
        add_segment_base(mem.segment);
}

// Jumps here with r14 = linear address: asks C++, and returns into the fast path or runs `op` on a copy.
void Emitter::slow_path(const AccessInfo& info, const Emit& op)
{
    a_.mov_imm(kScratch2, info.pack());
    a_.call(stubs_.slow);
    const u32 direct = a_.jmp_forward(); // kBounceSkip bytes
    op();
    if (info.write)
        a_.call(stubs_.commit);
    const u32 after = a_.jmp_forward();
    a_.patch(direct);
    op();
    a_.patch(after);
}

// Runs `op` with r14 = host pointer for the access at linear address r14. `op` may use r15.
void Emitter::lookup(const AccessInfo& info, bool /*flags_live*/, const Emit& op) { slow_path(info, op); }

} // namespace seamless::cpu
