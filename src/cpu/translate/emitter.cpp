// SPDX-License-Identifier: Apache-2.0
// Chooses how an instruction is emitted, and the ways out of a block.
#include "cpu/translate/emitter.h"

#include "cpu/translate/in_block.h"

namespace seamless::cpu {

using decode::Execution;
using decode::Instruction;
using decode::Operation;

unsigned guest_number(ZydisRegister r)
{
    if (is_high_byte(r))
        return static_cast<unsigned>(r - ZYDIS_REGISTER_AH);
    const auto id = ZydisRegisterGetId(r);
    return ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_GPR8 && r >= ZYDIS_REGISTER_SPL
               ? static_cast<unsigned>(r - ZYDIS_REGISTER_SPL) + 4
               : static_cast<unsigned>(id);
}

bool is_general(ZydisRegister r)
{
    switch (ZydisRegisterGetClass(r)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return true;
    default:
        return false;
    }
}

bool is_high_byte(ZydisRegister r) { return r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH; }

void Emitter::read_guest(Host to, ZydisRegister r)
{
    const unsigned guest = guest_number(r);
    if (in_frame(guest))
        a_.load(to, guest_slot(guest));
    else
        a_.mov(to, host_of(guest));
}

void Emitter::write_guest(ZydisRegister r, Host from, unsigned size)
{
    const unsigned guest = guest_number(r);
    if (!in_frame(guest)) {
        a_.mov_sized(host_of(guest), from, size);
        return;
    }
    const Host other = from == kScratch ? kScratch2 : kScratch;
    if (size < 4) {
        a_.load(other, guest_slot(guest));
        a_.mov_sized(other, from, size);
        a_.store(guest_slot(guest), other);
    } else {
        if (size == 4)
            a_.mov32(from, from);
        a_.store(guest_slot(guest), from);
    }
}

// RIP is the page's linear address plus an offset, so that a block serves every address its page is mapped
// at.
void Emitter::rip_to_r15(i64 offset)
{
    a_.load(kScratch2, FRAME(page_gva));
    const bool wide = mode_.code == decode::CodeSize::bits64;
    if (static_cast<i32>(offset) == offset) {
        a_.lea(kScratch2, kScratch2, static_cast<i32>(offset), wide);
    } else { // a branch as far as can be, from the end of the page
        a_.mov_imm(kScratch, static_cast<u64>(offset));
        a_.lea(kScratch2, kScratch2, kScratch, 1, 0, wide);
    }
}

void Emitter::set_rip(i64 offset)
{
    rip_to_r15(offset);
    a_.store(FRAME(state) + static_cast<i32>(offsetof(CpuState, rip)), kScratch2);
}

void Emitter::begin(u16 offset)
{
    a_.lea(kScratch2, kScratch2, -i32{offset});
    a_.store(FRAME(page_gva), kScratch2);
    block_.near = block_.live = a_.offset();
    entry();
    if (block_.extended_state) {
        ensure_extended();
        block_.live = a_.offset();
        entry();
    }
    if (options_.count)
        count_instructions();
}

// All of the block's: one that leaves it half way is counted too high.
void Emitter::count_instructions()
{
    a_.load(kScratch, FRAME(retired));
    a_.lea(kScratch, kScratch, static_cast<i32>(insns_.size()));
    a_.store(FRAME(retired), kScratch);
}

// Room for the jump that replaces it when the block is dropped.
void Emitter::entry()
{
    constexpr u8 kNop5[] = {0x0f, 0x1f, 0x44, 0x00, 0x00};
    a_.bytes(kNop5);
}

// By CALL: the stub keeps where it came from, which tells the block.
void Emitter::exit_with(ExitCode code, u32 detail)
{
    a_.mov_imm(kScratch, static_cast<u64>(code) | u64{detail} << 8);
    a_.call(stubs_.exit);
}

// Leaves, on the way to `target`, if somebody waits for this processor. Keeps the flags where they may be
// read; uses r15.
void Emitter::poll(u16 target)
{
    constexpr u8 kNotEqual = 5;
    if (!target_flags_live_) {
        a_.compare_imm8(FRAME(request), 0);
        return pending_polls_.push_back({a_.jcc_forward(kNotEqual), target});
    }
    a_.mov(kScratch2, Host::rcx);
    a_.load(Host::rcx, FRAME(request));
    const u32 none = a_.jrcxz_forward();
    a_.mov(Host::rcx, kScratch2);
    pending_polls_.push_back({a_.jmp_forward(), target});
    a_.land(none);
    a_.mov(Host::rcx, kScratch2);
}

bool Emitter::links_to(i64 offset) const { return options_.links && in_page(offset); }

// A jump inside the page, taken on `condition` where there is one. Until it is linked it leads to the way
// out. Loops are where requests are noticed.
void Emitter::link_edge(u16 target, bool backward, std::optional<u8> condition)
{
    if (backward)
        poll(target);
    link_site(condition ? a_.jcc_forward(*condition) : a_.jmp_forward(), target);
}

void Emitter::link_site(u32 site, u16 target)
{
    const u32 number = static_cast<u32>(block_.links.size());
    block_.links.push_back({.patch = site, .target = target});
    out_of_line_.push_back([this, site, target, number] {
        a_.patch(site);
        set_rip(target);
        exit_with(ExitCode::link, number << 8);
    });
}

void Emitter::exit_to(i64 offset)
{
    if (links_to(offset))
        return link_edge(static_cast<u16>(offset), offset <= block_.insns.back().offset);
    if (links_far() && !in_page(offset))
        return far_jump(offset);
    rip_to_r15(offset);
    exit_to_rip_in_r15();
}

// Goes on where r15 says: through the jump cache if it knows the way and nobody waits.
void Emitter::exit_to_rip_in_r15()
{
    if (options_.jump_cache)
        return a_.jmp(stubs_.jump[mode_.tlb_set]);
    a_.store(FRAME(state) + static_cast<i32>(offsetof(CpuState, rip)), kScratch2);
    exit_with(ExitCode::ended);
}

void Emitter::raise(spec::Vector vector, u16 index)
{
    set_rip(block_.insns[index].offset);
    exit_with(ExitCode::raise, static_cast<u8>(vector));
}

// call gs:[ensure_extended]: no flags are touched, and a live state costs one predicted call and return.
void Emitter::ensure_extended()
{
    a_.byte(0x65);
    a_.byte(0xff);
    a_.byte(0x14);
    a_.byte(0x25);
    a_.imm32(static_cast<u32>(FRAME(ensure_extended)));
}

// SDM: "Legacy SSE, AVX and x87: #UD and #NM conditions".
std::optional<spec::Vector> unavailable(const Instruction& insn, const ModeWord& mode)
{
    if (insn.execution != Execution::native || !insn.uses_extended_state())
        return {};
    const bool x87 = insn.z.meta.isa_set == ZYDIS_ISA_SET_X87 || insn.z.meta.isa_set == ZYDIS_ISA_SET_FCMOV ||
                     insn.z.meta.isa_set == ZYDIS_ISA_SET_SSE3X87;
    const bool mmx = insn.z.meta.isa_set == ZYDIS_ISA_SET_PENTIUMMMX;
    const bool evex = insn.z.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
    const bool vex = insn.z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
    if (x87)
        return mode.fp_emulate || mode.fp_trap ? std::optional(spec::Vector::NM) : std::nullopt;
    if ((mode.fp_emulate && !vex && !evex) || (vex && !mode.avx) || (evex && !mode.avx512) ||
        (!mmx && !vex && !evex && !mode.sse))
        return spec::Vector::UD;
    return mode.fp_trap ? std::optional(spec::Vector::NM) : std::nullopt;
}

void Emitter::emit(std::span<const Instruction> insns, const std::vector<bool>& flags_live, u16 offset)
{
    insns_ = insns;
    flags_live_ = &flags_live;
    u16 at = offset;
    std::size_t bytes = 0;
    for (const Instruction& insn : insns)
        bytes += insn.length();
    block_.insns.reserve(insns.size()); // exactly: there are many blocks
    block_.bytes.reserve(bytes);
    for (const Instruction& insn : insns) {
        block_.insns.push_back({at, insn.length()});
        block_.bytes.insert(block_.bytes.end(), insn.bytes, insn.bytes + insn.length());
        at = static_cast<u16>(at + insn.length());
    }
    begin(offset);
    if (options_.stretches && mode_.code == decode::CodeSize::bits64)
        stretches_ =
            find_stretches(insns.first(insns.size() - (unavailable(insns.back(), mode_) ? 1u : 0u)), offset);
    bool open = true;
    auto stretch = stretches_.begin();
    for (u16 i = 0; i < insns.size(); ++i) {
        if (stretch != stretches_.end() && stretch->first == i) {
            const Stretch& found = *stretch++;
            if (!flags_live[i] || options_.inline_flags_live) {
                i = found.last;
                open = emit_stretch(found);
                continue;
            }
        }
        block_.insns[i].host = a_.offset();
        open = emit_one(insns[i], i, flags_live[i]);
    }
    if (open)
        end_at(at);
}

bool Emitter::emit_one(const Instruction& insn, u16 index, bool flags_live)
{
    now_ = index;
    address_width_ = insn.z.address_width;
    switch (insn.execution) {
    case Execution::undefined:
        raise(spec::Vector::UD, index);
        return false;
    case Execution::system:
        return inline_system(insn, index, flags_live) || emit_system(insn, index);
    case Execution::silent:
        return true;
    case Execution::control:
        return control(insn, index, flags_live);
    case Execution::native:
        if (const auto vector = unavailable(insn, mode_)) {
            raise(*vector, index);
            return false;
        }
        native(insn, index, flags_live);
        return true;
    }
    return false;
}

void Emitter::finish()
{
    for (std::size_t i = 0; i < out_of_line_.size(); ++i) // one may add others
        Emit(std::move(out_of_line_[i]))();
    block_.native.shrink_to_fit();
    block_.links.shrink_to_fit();
    for (const auto& [from, target] : pending_polls_) {
        a_.patch(from);
        set_rip(target);
        exit_with(ExitCode::ended);
    }
}

} // namespace seamless::cpu
