// SPDX-License-Identifier: Apache-2.0
// Effective addresses into r14, and lookups that turn them into host pointers.
#include <bit>

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

// The guest's own access, at r14, by an instruction of the translator's: nothing of the guest's state has
// changed when it faults.
void Emitter::load_operand(Host to, unsigned size, u16 index)
{
    const u32 start = a_.offset();
    a_.load_from(to, kScratch, size);
    block_.native.push_back({.start = start, .end = a_.offset(), .index = index});
}

void Emitter::store_operand(Host from, unsigned size, u16 index)
{
    const u32 start = a_.offset();
    a_.store_to(kScratch, from, size);
    block_.native.push_back({.start = start, .end = a_.offset(), .index = index});
}

// With r14 = linear address: asks C++, then runs `op` on the pointer, or on a copy whose result is written
// back.
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
void Emitter::lookup(const AccessInfo& info, bool flags_live, const Emit& op)
{
    if (!options_.inline_tlb || (flags_live && !options_.inline_flags_live))
        return slow_path(info, op);
    if (flags_live)
        return lookup_flags_live(info, op);
    lookup_flags_dead(info, op);
}

i32 Emitter::tlb_field(std::size_t field) const
{
    return FRAME(tlb) + static_cast<i32>(mode_.tlb_set * sizeof(paging::Tlb) + field);
}

// The rest of a miss, behind the block: the slow path, and back.
void Emitter::later(const Miss& miss, const AccessInfo& info, const Emit& op)
{
    out_of_line_.push_back([this, miss, info, op] {
        a_.patch(miss.from);
        miss.restore();
        a_.mov_imm(kScratch2, info.pack());
        a_.call(stubs_.slow);
        a_.jmp(a_.address_of(miss.hit)); // kBounceSkip bytes
        op();
        if (info.write)
            a_.call(stubs_.commit);
        a_.jmp(a_.address_of(miss.after));
    });
}

// The address plus the tag is the offset in the page, or a large number. DEVIATION: the arithmetic flags that
// a #PF frame shows are arbitrary where the code behind would overwrite them unread.
void Emitter::lookup_flags_dead(const AccessInfo& info, const Emit& op)
{
    constexpr u8 kShr = 5, kAnd = 4, kCmp = 7, kAddFrom = 0x03, kSubFrom = 0x2b, kAbove = 7;
    constexpr u8 kEntryBits = std::countr_zero(sizeof(paging::TlbEntry));
    const i32 tag =
        tlb_field(info.write ? offsetof(paging::TlbEntry, write_tag) : offsetof(paging::TlbEntry, read_tag));
    a_.mov(kScratch2, kScratch);
    a_.shift(true, kShr, kScratch2, kPageShift - kEntryBits);
    a_.ri(false, kAnd, kScratch2, (paging::Tlb::kEntries - 1) << kEntryBits);
    a_.gs_indexed(true, kAddFrom, kScratch, kScratch2, tag);
    a_.ri(true, kCmp, kScratch, static_cast<u32>(kPageSize - info.size));
    Miss miss{.from = a_.jcc_forward(kAbove)};
    a_.gs_indexed(true, kAddFrom, kScratch, kScratch2, tlb_field(offsetof(paging::TlbEntry, addend)));
    miss.hit = a_.offset();
    op();
    miss.after = a_.offset();
    miss.restore = [this, tag] { a_.gs_indexed(true, kSubFrom, kScratch, kScratch2, tag); };
    later(miss, info, op);
}

// The same with instructions that leave the flags alone: PEXT, LEA and JRCXZ.
void Emitter::lookup_flags_live(const AccessInfo& info, const Emit& op)
{
    constexpr u8 kMovFrom = 0x8b;
    const i32 tag =
        tlb_field(info.write ? offsetof(paging::TlbEntry, write_tag) : offsetof(paging::TlbEntry, read_tag));
    a_.store(FRAME(spill) + 8, Host::rcx);
    a_.pext_gs(kScratch2, kScratch, FRAME(index_mask));
    a_.lea_scaled(kScratch2, kScratch2, 8, 0);
    a_.gs_scaled(kMovFrom, Host::rcx, kScratch2, 4, tag);
    a_.lea(Host::rcx, Host::rcx, kScratch, 1, info.size - 1);
    a_.pext_gs(Host::rcx, Host::rcx, FRAME(page_mask));
    const u32 hit = a_.jrcxz_forward();
    a_.load(Host::rcx, FRAME(spill) + 8);
    Miss miss{.from = a_.jmp_forward()};
    a_.land(hit);
    a_.load(Host::rcx, FRAME(spill) + 8);
    a_.gs_scaled(kMovFrom, kScratch2, kScratch2, 4, tlb_field(offsetof(paging::TlbEntry, delta)));
    a_.lea(kScratch, kScratch, kScratch2, 1, 0);
    miss.hit = a_.offset();
    op();
    miss.after = a_.offset();
    miss.restore = [] {};
    later(miss, info, op);
}

} // namespace seamless::cpu
