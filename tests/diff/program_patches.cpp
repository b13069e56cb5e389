// SPDX-License-Identifier: Apache-2.0
// Self-modifying code of random programs: what may be written to, what writes, and the state around it all.
#include <algorithm>
#include <cstring>

#include "diff/program_generator.h"

namespace seamless::diff {

using namespace layout;

u8 PatchSlot::value(Rng& rng) const
{
    switch (kind) {
    case Kind::immediate:
        return rng.byte();
    case Kind::arithmetic: {
        // ADD, OR, AND, SUB, XOR, CMP of RAX, RCX, RDX. DEVIATION: where code that reads no flags is
        // replaced, by a store just before it, with code that does (ADC), the flags are arbitrary.
        constexpr u8 kOperations[] = {0, 1, 4, 5, 6, 7};
        return static_cast<u8>(0xc0 | kOperations[rng.below(std::size(kOperations))] << 3 | rng.below(3));
    }
    case Kind::condition:
        return static_cast<u8>(0x70 | rng.below(16));
    }
    return 0;
}

// Something that may be written to. Loops run it often enough to notice.
void ProgramGenerator::slot()
{
    const u64 begin = code_.offset();
    if (rng_.percent(50)) {
        code_.mov_imm(kValues[rng_.below(3)], rng_.next() & 0xffffffff);
        program_.slots.push_back(
            {.offset = code_.offset() - 1 - rng_.below(4), .kind = PatchSlot::Kind::immediate});
    } else {
        code_.reg({.code = 0x83, .wide = true}, 4 + static_cast<Reg>(rng_.below(4)),
                  static_cast<Reg>(rng_.below(3)));
        program_.slots.push_back({.offset = code_.offset() - 1, .kind = PatchSlot::Kind::arithmetic});
        code_.imm(rng_.byte(), 1);
    }
    piece(begin, true);
}

// A store to a slot that the end of the generation chooses; half of them to the next one.
void ProgramGenerator::patch()
{
    const u64 begin = code_.offset();
    Write w{.near = rng_.percent(50), .alias = rng_.percent(35), .relative = rng_.percent(50)};
    const auto address = [&](const Opcode& op, Reg reg, unsigned following) {
        code_.mem(op, reg, w.relative ? MemoryOperand{.rip = true} : MemoryOperand{}, following);
        w.at = code_.offset() - 4;
        w.tail = following;
    };
    if (rng_.percent(60)) { // MOV of an immediate
        address({.code = 0xc6}, 0, 1);
        w.value_at = code_.offset();
        code_.imm(0, 1);
    } else if (rng_.percent(60)) { // of a register
        code_.mov_imm(kRdx, 0);
        w.value_at = code_.offset() - 4;
        address({.code = static_cast<u8>(rng_.percent(50) ? 0x88 : 0x86)}, kRdx, 0); // MOV, XCHG
    } else { // by a string instruction
        code_.mov_imm(kRdi, 0);
        w.at = code_.offset() - 4;
        w.relative = false;
        code_.bytes({0xb0});
        w.value_at = code_.offset();
        code_.bytes({0x00, 0xaa});
    }
    writes_.push_back(w);
    piece(begin, true);
}

void ProgramGenerator::finish_writes()
{
    std::vector<PatchSlot>& slots = program_.slots;
    program_.code = code_.all();
    if (slots.empty()) // the writes go to what follows the program
        slots.push_back({.offset = program_.code.size() + 16, .kind = PatchSlot::Kind::immediate});
    std::ranges::sort(slots, {}, &PatchSlot::offset);
    for (const Write& w : writes_) {
        const auto next = std::ranges::upper_bound(slots, w.at, {}, &PatchSlot::offset);
        const PatchSlot& to = w.near && next != slots.end() ? *next : slots[rng_.below(slots.size())];
        u64 target = (w.alias ? kCodeAlias : kCode) + to.offset;
        if (w.relative)
            target -= kCode + w.at + 4 + w.tail;
        const u32 field = static_cast<u32>(target);
        std::memcpy(program_.code.data() + w.at, &field, sizeof field);
        program_.code[w.value_at] = to.value(rng_);
    }
}

// Which pages are there, which may be written, and which are one and the same.
void ProgramGenerator::make_entries()
{
    using namespace page_bits;
    const auto entry = [&](u64 linear) -> u64& { return program_.entries[(linear - kRegion) / kPageSize]; };
    const auto history = [&] {
        return rng_.percent(70) ? kAccessed | kDirty : rng_.percent(50) ? kAccessed : 0;
    };
    for (unsigned i = 0; i < kDataPages; ++i) {
        const u64 roll = rng_.below(100);
        const u64 rights = roll < 60 ? kAll : roll < 80 ? kPresent | kUser : 0;
        const unsigned same = rng_.percent(15) ? static_cast<unsigned>(rng_.below(kDataPages)) : i;
        entry(kData + i * kPageSize) = frame(same) | rights | (rights ? history() : 0);
    }
    for (unsigned i = 0; i < kStackPages; ++i)
        entry(kStack + i * kPageSize) = frame(kStackFrame + i) | (rng_.percent(80) ? kAll | history() : 0);
    entry(kTable) = frame(kTableFrame) | kPresent | kUser;
    for (unsigned i = 0; i < kCodePages; ++i) {
        const u64 code = frame(kCodeFrame + i) | kAll;
        entry(kCode + i * kPageSize) = rng_.percent(15) ? code & ~kWritable : code | history();
        entry(kCodeAlias + i * kPageSize) = code | history();
    }
}

void ProgramGenerator::make_state()
{
    for (u64& r : program_.gpr)
        r = rng_.integer();
    for (const Reg r : kBases)
        program_.gpr[r] = pieces_.data_address();
    program_.gpr[kRsp] = kStackTop - 0x100 - 8 * rng_.below(600);
    program_.rflags = spec::rflags::FIXED1 | (rng_.next() & spec::rflags::kArithmetic) |
                      (rng_.percent(70) ? u64{spec::rflags::IF} : 0);
    program_.fs_base = pieces_.data_address();
    program_.gs_base = rng_.below(64);
    program_.interrupt_period = static_cast<unsigned>(rng_.below(4));
    program_.data.resize(kDataPages * kPageSize);
    for (u64 i = 0; i < program_.data.size(); i += 8) {
        const u64 word = i % 64 == 0 ? rng_.vector_word() : rng_.next();
        std::memcpy(program_.data.data() + i, &word, 8);
    }
    program_.xsave.reset();
    for (u64 i = 0; i < 32; ++i) {
        const u64 word = rng_.vector_word();
        std::memcpy(program_.xsave.bytes + 160 + 8 * i, &word, 8);
    }
    constexpr u64 kLegacyComponents = 3;
    std::memcpy(program_.xsave.bytes + 512, &kLegacyComponents, 8);
}

Program make_program(u64 seed, u64 index)
{
    Program program;
    ProgramGenerator(seed * 0x9e3779b97f4a7c15 ^ (index + 1) * 0xd1b54a32d192ed03, program).run();
    return program;
}

} // namespace seamless::diff
