// SPDX-License-Identifier: Apache-2.0
// Encodings of the instructions that random programs are made of. SDM: "Instruction Format".
#include "diff/program_code.h"

#include "base/check.h"

namespace seamless::diff {

ProgramCode::Label ProgramCode::label()
{
    labels_.push_back(0);
    return static_cast<Label>(labels_.size() - 1);
}

void ProgramCode::imm(u64 value, unsigned size)
{
    for (unsigned i = 0; i < size; ++i)
        bytes_.push_back(static_cast<u8>(value >> 8 * i));
}

void ProgramCode::prefixes(const Opcode& op, Reg reg, Reg index, Reg base)
{
    if (op.lock)
        bytes({0xf0});
    if (op.prefix)
        bytes({op.prefix});
    const unsigned rex = (op.wide ? 8u : 0) | (reg >> 3 & 1) << 2 | (index >> 3 & 1) << 1 | (base >> 3 & 1);
    if (rex || (op.byte && reg >= 4))
        bytes({static_cast<u8>(0x40 | rex)});
    if (op.map)
        bytes({0x0f});
    if (op.map >= 2)
        bytes({static_cast<u8>(op.map == 2 ? 0x38 : 0x3a)});
    bytes({op.code});
}

void ProgramCode::reg(const Opcode& op, Reg reg, Reg rm)
{
    prefixes(op, reg, 0, rm);
    bytes({static_cast<u8>(0xc0 | (reg & 7) << 3 | (rm & 7))});
}

void ProgramCode::mem(const Opcode& op, Reg reg, const MemoryOperand& m, unsigned following)
{
    if (m.segment)
        bytes({m.segment});
    const bool base = m.base != kNoReg, index = m.index != kNoReg;
    prefixes(op, reg, index ? m.index : 0, base ? m.base : 0);
    const unsigned field = (reg & 7) << 3;
    if (m.rip) {
        bytes({static_cast<u8>(field | 5)});
        return imm(static_cast<u64>(m.disp) - (here() + 4 + following), 4);
    }
    const unsigned sib = m.scale << 6 | (index ? m.index & 7 : 4) << 3;
    if (!base) {
        bytes({static_cast<u8>(field | 4), static_cast<u8>(sib | 5)});
        return imm(static_cast<u64>(m.disp), 4);
    }
    const bool small = static_cast<i8>(m.disp) == m.disp;
    const unsigned mod = small ? 1 : 2;
    if (index || (m.base & 7) == 4)
        bytes({static_cast<u8>(mod << 6 | field | 4), static_cast<u8>(sib | (m.base & 7))});
    else
        bytes({static_cast<u8>(mod << 6 | field | (m.base & 7))});
    imm(static_cast<u64>(m.disp), small ? 1 : 4);
}

void ProgramCode::mov_imm(Reg r, u64 value)
{
    const u8 code = static_cast<u8>(0xb8 | (r & 7));
    if (value >> 32) {
        bytes({static_cast<u8>(r >= 8 ? 0x49 : 0x48), code});
        return imm(value, 8);
    }
    if (r >= 8)
        bytes({0x41});
    bytes({code});
    imm(value, 4);
}

void ProgramCode::mov_label(Reg r, Label label, u64 delta)
{
    mov_imm(r, 0);
    fixups_.push_back({.at = offset() - 4, .label = label, .relative = false, .delta = delta});
}

void ProgramCode::push(Reg r)
{
    if (r >= 8)
        bytes({0x41});
    bytes({static_cast<u8>(0x50 | (r & 7))});
}

void ProgramCode::pop(Reg r)
{
    if (r >= 8)
        bytes({0x41});
    bytes({static_cast<u8>(0x58 | (r & 7))});
}

void ProgramCode::push_label(Label label, u64 delta)
{
    bytes({0x68});
    imm(0, 4);
    fixups_.push_back({.at = offset() - 4, .label = label, .relative = false, .delta = delta});
}

void ProgramCode::jump(u8 opcode, Label label)
{
    bytes({opcode});
    imm(0, 4);
    fixups_.push_back({.at = offset() - 4, .label = label, .relative = true, .delta = 0});
}

void ProgramCode::jcc(unsigned condition, Label label)
{
    bytes({0x0f});
    jump(static_cast<u8>(0x80 | condition), label);
}

u64 ProgramCode::jcc_short(unsigned condition)
{
    bytes({static_cast<u8>(0x70 | condition), 0});
    return offset() - 1;
}

void ProgramCode::land(u64 displacement)
{
    const u64 distance = offset() - displacement - 1;
    CHECK(distance < 128);
    bytes_[displacement] = static_cast<u8>(distance);
}

void ProgramCode::resolve()
{
    for (const Fixup& f : fixups_) {
        const u64 target = labels_[f.label];
        const u64 value = f.relative ? target - (f.at + 4) : address_ + target + f.delta;
        for (unsigned i = 0; i < 4; ++i)
            bytes_[f.at + i] = static_cast<u8>(value >> 8 * i);
    }
    fixups_.clear();
}

} // namespace seamless::diff
