// SPDX-License-Identifier: Apache-2.0
// Effective addresses into r14, and lookups that turn them into host pointers.
#include <bit>

#include "cpu/translate/emitter.h"

namespace seamless::cpu {

using decode::CodeSize;
using decode::Instruction;

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
void Emitter::address(const ZydisDecodedOperand& operand, i64 rsp_adjust)
{
    if (shared_)
        return;
    const auto& mem = operand.mem;
    i64 disp = mem.disp.has_displacement ? mem.disp.value : 0;
    if (mem.base == ZYDIS_REGISTER_RSP || mem.base == ZYDIS_REGISTER_ESP)
        disp += rsp_adjust;
    if (mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP) {
        const GuestInsn& insn = block_.insns[now_];
        a_.load(kScratch, FRAME(page_gva));
        a_.lea(kScratch, kScratch, insn.offset + insn.length); // apart: the sum may not fit a displacement
        a_.lea(kScratch, kScratch, static_cast<i32>(disp), mem.base == ZYDIS_REGISTER_RIP);
    } else {
        address_of({.base = mem.base, .index = mem.index, .scale = mem.scale}, disp);
    }
    add_segment_base(mem.segment);
}

// The same from its parts, without the segment's base.
void Emitter::address_of(const AddressForm& form, i64 disp)
{
    const bool wide = address_width_ == 64;
    if (form.base == ZYDIS_REGISTER_NONE && form.index == ZYDIS_REGISTER_NONE)
        return a_.mov_imm(kScratch, static_cast<u64>(disp) & (wide ? ~u64{0} : 0xffffffff));
    std::optional<Host> base;
    std::optional<Host> index;
    if (form.base == ZYDIS_REGISTER_RIP) {
        base = kScratch;
        a_.load(kScratch, FRAME(page_gva));
    } else if (form.base != ZYDIS_REGISTER_NONE) {
        const unsigned guest = guest_number(form.base);
        base = in_frame(guest) ? kScratch : host_of(guest);
        if (in_frame(guest))
            a_.load(kScratch, guest_slot(guest));
    }
    if (form.index != ZYDIS_REGISTER_NONE) {
        const unsigned guest = guest_number(form.index);
        index = in_frame(guest) ? kScratch2 : host_of(guest);
        if (in_frame(guest))
            a_.load(kScratch2, guest_slot(guest));
    }
    const i32 d = static_cast<i32>(disp);
    if (base && index)
        a_.lea(kScratch, *base, *index, form.scale, d, wide);
    else if (base && d == 0 && wide) // which takes the host no time
        a_.mov(kScratch, *base);
    else if (base)
        a_.lea(kScratch, *base, d, wide);
    else
        a_.lea_scaled(kScratch, *index, form.scale, d, wide);
}

// The guest's own access, at r14, by an instruction of the translator's: nothing of the guest's state has
// changed when it faults.
void Emitter::load_operand(Host to, unsigned size, u16 index)
{
    const u32 start = a_.offset();
    a_.load_from(to, kScratch, size, pointer_disp_);
    block_.native.push_back({.start = start, .end = a_.offset(), .index = index});
}

void Emitter::store_operand(Host from, unsigned size, u16 index)
{
    const u32 start = a_.offset();
    a_.store_to(kScratch, from, size, pointer_disp_);
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

// Runs `op` with r14 = host pointer for the access at linear address r14. `op` may use r15. Where it splits,
// it finds the pointer in r14 + r15: behind a miss r15 is 0 (stubs.cpp).
void Emitter::lookup(const AccessInfo& info, bool flags_live, const Emit& op, bool splits)
{
    if (shared_) {
        pointer_disp_ = shared_->at[now_ - shared_->first];
        op();
        pointer_disp_ = 0;
        return;
    }
    if (!options_.inline_tlb || (flags_live && !options_.inline_flags_live))
        return slow_path(info, op);
    Miss miss{.from = probe(info.size, info.write, flags_live, splits), .flags_live = flags_live};
    miss.hit = a_.offset();
    pointer_split_ = splits;
    op();
    pointer_split_ = false;
    miss.after = a_.offset();
    later(miss, info, op);
}

i32 Emitter::tlb_field(std::size_t field) const
{
    return FRAME(tlb) + static_cast<i32>(mode_.tlb_set * sizeof(paging::Tlb) + field);
}

i32 Emitter::tlb_tag(bool write) const
{
    return tlb_field(write ? offsetof(paging::TlbEntry, write_tag) : offsetof(paging::TlbEntry, read_tag));
}

// The rest of a miss, behind the block: the slow path, and back.
void Emitter::later(const Miss& miss, const AccessInfo& info, const Emit& op)
{
    out_of_line_.push_back([this, miss, info, op] {
        constexpr u8 kSubFrom = 0x2b;
        a_.patch(miss.from);
        if (!miss.flags_live)
            a_.gs_indexed(true, kSubFrom, kScratch, kScratch2,
                          tlb_tag(info.write)); // the linear address again
        a_.mov_imm(kScratch2, info.pack());
        a_.call(options_.bmi2 ? stubs_.missed[mode_.tlb_set][info.write] : stubs_.slow);
        a_.jmp(a_.address_of(miss.hit)); // kBounceSkip bytes
        op();
        if (info.write)
            a_.call(stubs_.commit);
        a_.jmp(a_.address_of(miss.after));
    });
}

// Makes r14, or r14 + r15, the host pointer for `size` bytes at linear address r14, or jumps: returned is
// from where.
u32 Emitter::probe(unsigned size, bool write, bool flags_live, bool split)
{
    return flags_live ? probe_flags_live(size, write, split) : probe_flags_dead(size, write, split);
}

// The address plus the tag is the offset in the page, or a large number. DEVIATION: the arithmetic flags that
// a #PF frame shows are arbitrary where the code behind would overwrite them unread; so are those that code
// finds which this very store has put there.
u32 Emitter::probe_flags_dead(unsigned size, bool write, bool split)
{
    constexpr u8 kShr = 5, kAnd = 4, kCmp = 7, kAddFrom = 0x03, kMovFrom = 0x8b, kAbove = 7;
    constexpr u8 kEntryBits = std::countr_zero(sizeof(paging::TlbEntry));
    if (options_.bmi2) {
        a_.rorx(kScratch2, kScratch, kPageShift - kEntryBits);
    } else {
        a_.mov(kScratch2, kScratch);
        a_.shift(true, kShr, kScratch2, kPageShift - kEntryBits);
    }
    a_.ri(false, kAnd, kScratch2, (paging::Tlb::kEntries - 1) << kEntryBits);
    a_.gs_indexed(true, kAddFrom, kScratch, kScratch2, tlb_tag(write));
    a_.ri(true, kCmp, kScratch, static_cast<u32>(kPageSize - size));
    const u32 miss = a_.jcc_forward(kAbove);
    a_.gs_indexed(true, split ? kMovFrom : kAddFrom, split ? kScratch2 : kScratch, kScratch2,
                  tlb_field(offsetof(paging::TlbEntry, addend)));
    return miss;
}

// The same with instructions that leave the flags alone: PEXT, LEA and JRCXZ.
u32 Emitter::probe_flags_live(unsigned size, bool write, bool split)
{
    constexpr u8 kMovFrom = 0x8b;
    a_.store(FRAME(spill) + 8, Host::rcx);
    a_.pext_gs(kScratch2, kScratch, FRAME(index_mask));
    a_.lea_scaled(kScratch2, kScratch2, 8, 0);
    a_.gs_scaled(kMovFrom, Host::rcx, kScratch2, 4, tlb_tag(write));
    a_.lea(Host::rcx, Host::rcx, kScratch, 1, static_cast<i32>(size - 1));
    a_.pext_gs(Host::rcx, Host::rcx, FRAME(page_mask));
    const u32 hit = a_.jrcxz_forward();
    a_.load(Host::rcx, FRAME(spill) + 8);
    const u32 miss = a_.jmp_forward();
    a_.land(hit);
    a_.load(Host::rcx, FRAME(spill) + 8);
    a_.gs_scaled(kMovFrom, kScratch2, kScratch2, 4, tlb_field(offsetof(paging::TlbEntry, delta)));
    if (!split)
        a_.lea(kScratch, kScratch, kScratch2, 1, 0);
    return miss;
}

// One lookup for all accesses of the stretch; where that fails, one for each, apart. False if the block ends
// with it.
bool Emitter::emit_stretch(const Stretch& stretch)
{
    const bool flags_live = (*flags_live_)[stretch.first];
    block_.insns[stretch.first].host = a_.offset();
    address_width_ = 64;
    address_of(stretch.form, stretch.lowest);
    add_segment_base(stretch.form.segment);
    const u32 miss = probe(stretch.bytes, stretch.write, flags_live);
    shared_ = &stretch;
    emit_accesses(stretch);
    shared_ = nullptr;
    const u32 after = a_.offset();
    out_of_line_.push_back([this, &stretch, miss, after] {
        a_.patch(miss);
        emit_accesses(stretch);
        a_.jmp(a_.address_of(after));
    });
    const Instruction& last = insns_[stretch.last];
    if (last.operation == decode::Operation::call)
        call_go(last);
    else if (last.operation == decode::Operation::ret)
        ret_go();
    else
        return true;
    return false;
}

void Emitter::emit_accesses(const Stretch& stretch)
{
    for (u16 i = stretch.first; i <= stretch.last; ++i) {
        const Instruction& insn = insns_[i];
        GuestInsn& at = block_.insns[i];
        (shared_ ? at.host : at.apart) = shared_ && i == stretch.first ? at.host : a_.offset();
        now_ = i;
        if (insn.operation == decode::Operation::call)
            call_push(insn, i, (*flags_live_)[i]);
        else if (insn.operation == decode::Operation::ret)
            ret_pop(insn, i, (*flags_live_)[i]);
        else
            CHECK(emit_one(insn, i, (*flags_live_)[i]));
    }
}

} // namespace seamless::cpu
