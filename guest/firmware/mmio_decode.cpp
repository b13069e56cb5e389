// SPDX-License-Identifier: Apache-2.0
// SDM volume 2: "Instruction Format", MOV, MOVSX, MOVZX.
#include "guest/firmware/mmio_decode.h"

namespace seamless::guest {
namespace {

using Extension = MmioInstruction::Extension;

enum class Operand : u8 { modrm_reg, immediate, offset }; // what accompanies the memory operand

struct OpcodeRow {
    u16 opcode; // 0x0fxx for the two-byte ones
    u8 access;  // bytes of memory, 0 = the operand size
    bool write;
    Operand operand;
    Extension extension;
};

// clang-format off
constexpr OpcodeRow kOpcodes[] = {
    {.opcode = 0x88,   .access = 1, .write = true,  .operand = Operand::modrm_reg, .extension = Extension::none},
    {.opcode = 0x89,   .access = 0, .write = true,  .operand = Operand::modrm_reg, .extension = Extension::none},
    {.opcode = 0x8a,   .access = 1, .write = false, .operand = Operand::modrm_reg, .extension = Extension::none},
    {.opcode = 0x8b,   .access = 0, .write = false, .operand = Operand::modrm_reg, .extension = Extension::none},
    {.opcode = 0xa0,   .access = 1, .write = false, .operand = Operand::offset,    .extension = Extension::none},
    {.opcode = 0xa1,   .access = 0, .write = false, .operand = Operand::offset,    .extension = Extension::none},
    {.opcode = 0xa2,   .access = 1, .write = true,  .operand = Operand::offset,    .extension = Extension::none},
    {.opcode = 0xa3,   .access = 0, .write = true,  .operand = Operand::offset,    .extension = Extension::none},
    {.opcode = 0xc6,   .access = 1, .write = true,  .operand = Operand::immediate, .extension = Extension::none},
    {.opcode = 0xc7,   .access = 0, .write = true,  .operand = Operand::immediate, .extension = Extension::none},
    {.opcode = 0x0fb6, .access = 1, .write = false, .operand = Operand::modrm_reg, .extension = Extension::zero},
    {.opcode = 0x0fb7, .access = 2, .write = false, .operand = Operand::modrm_reg, .extension = Extension::zero},
    {.opcode = 0x0fbe, .access = 1, .write = false, .operand = Operand::modrm_reg, .extension = Extension::sign},
    {.opcode = 0x0fbf, .access = 2, .write = false, .operand = Operand::modrm_reg, .extension = Extension::sign},
};
// clang-format on

const OpcodeRow* find_opcode(u16 opcode)
{
    for (const OpcodeRow& row : kOpcodes) {
        if (row.opcode == opcode)
            return &row;
    }
    return nullptr;
}

struct Prefixes {
    bool operand_size = false;
    bool address_size = false;
    u8 rex = 0; // the whole byte; 0 without one
};

// Reads prefixes and returns how many bytes they are. LOCK and REP make no MMIO move: they are left for an
// opcode, and not found. REX counts only right before the opcode.
unsigned read_prefixes(const u8* bytes, Prefixes& prefixes)
{
    constexpr unsigned kLongest = 14;
    unsigned at = 0;
    for (; at < kLongest; ++at) {
        const u8 byte = bytes[at];
        if ((byte & 0xf0) == 0x40) {
            prefixes.rex = byte;
            continue;
        }
        if (byte == 0x66)
            prefixes.operand_size = true;
        else if (byte == 0x67)
            prefixes.address_size = true;
        else if (byte != 0x26 && byte != 0x2e && byte != 0x36 && byte != 0x3e && byte != 0x64 && byte != 0x65)
            break;
        prefixes.rex = 0;
    }
    return at;
}

// Bytes of ModRM, SIB and displacement of a memory operand; 0 if the operand is a register.
unsigned modrm_length(const u8* bytes)
{
    const unsigned mod = bytes[0] >> 6;
    const unsigned rm = bytes[0] & 7;
    if (mod == 3)
        return 0;
    const bool sib = rm == 4;
    unsigned length = sib ? 2 : 1;
    if (mod == 1)
        length += 1;
    else if (mod == 2 || rm == 5 || (sib && (bytes[1] & 7) == 5))
        length += 4;
    return length;
}

u64 read_immediate(const u8* bytes, unsigned size)
{
    u64 value = 0;
    for (unsigned i = 0; i < size; ++i)
        value |= u64{bytes[i]} << (8 * i);
    return sign_extend(value, 8 * size);
}

} // namespace

bool decode_mmio(const u8* bytes, MmioInstruction& out)
{
    Prefixes prefixes;
    unsigned at = read_prefixes(bytes, prefixes);
    u16 opcode = bytes[at++];
    if (opcode == 0x0f)
        opcode = static_cast<u16>(0x0f00 | bytes[at++]);
    const OpcodeRow* row = find_opcode(opcode);
    if (row == nullptr)
        return false;

    const unsigned operand_size = (prefixes.rex & 8) ? 8 : prefixes.operand_size ? 2 : 4;
    out = {.access = row->access != 0 ? row->access : operand_size,
           .write = row->write,
           .extension = row->extension};
    out.destination = row->extension == Extension::none ? out.access : operand_size;
    if (row->operand == Operand::offset) {
        at += prefixes.address_size ? 4 : 8; // the register is RAX
    } else {
        const unsigned modrm = modrm_length(bytes + at);
        const unsigned reg = (bytes[at] >> 3) & 7;
        if (modrm == 0 || (row->operand == Operand::immediate && reg != 0))
            return false;
        at += modrm;
        out.high_byte =
            row->access == 1 && row->extension == Extension::none && prefixes.rex == 0 && reg >= 4;
        out.reg = out.high_byte ? reg - 4 : reg + ((prefixes.rex & 4) ? 8 : 0);
    }
    if (row->operand == Operand::immediate) {
        const unsigned size = out.access == 8 ? 4 : out.access;
        out.has_immediate = true;
        out.high_byte = false;
        out.immediate = truncate(read_immediate(bytes + at, size), out.access);
        at += size;
    }
    out.length = at;
    return at <= 15;
}

u64 stored_value(const MmioInstruction& instruction, Frame& frame)
{
    if (instruction.has_immediate)
        return instruction.immediate;
    const u64 value = frame.gpr(instruction.reg);
    return truncate(instruction.high_byte ? value >> 8 : value, instruction.access);
}

void take_loaded_value(const MmioInstruction& instruction, Frame& frame, u64 value)
{
    value = truncate(value, instruction.access);
    if (instruction.extension == Extension::sign)
        value = sign_extend(value, 8 * instruction.access);
    u64& target = frame.gpr(instruction.reg);
    if (instruction.high_byte)
        target = with_field(target, 15, 8, value);
    else if (instruction.destination == 1)
        target = with_field(target, 7, 0, value);
    else if (instruction.destination == 2)
        target = with_field(target, 15, 0, truncate(value, 2));
    else
        target = truncate(value, instruction.destination);
}

} // namespace seamless::guest
