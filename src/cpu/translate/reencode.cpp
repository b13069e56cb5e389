// SPDX-License-Identifier: Apache-2.0
// Byte-level re-encoding: prefixes, REX, VEX or EVEX, opcode, ModRM and immediates, each taken over or
// replaced.
#include "cpu/translate/reencode.h"

#include "cpu/translate/emitter.h"

namespace seamless::cpu {
namespace {

using decode::CodeSize;
using decode::Instruction;

class Reencoder {
  public:
    Reencoder(const Instruction& insn, const RegisterChoice& choice) : insn_(insn), choice_(choice) {}

    HostBytes run()
    {
        const unsigned start = prefixes();
        switch (insn_.z.encoding) {
        case ZYDIS_INSTRUCTION_ENCODING_VEX:
            vex();
            break;
        case ZYDIS_INSTRUCTION_ENCODING_EVEX:
            evex();
            break;
        default:
            legacy(start);
            break;
        }
        for (unsigned i = tail_; i < insn_.length(); ++i)
            put(insn_.bytes[i]);
        return out_;
    }

  private:
    void put(unsigned byte)
    {
        DCHECK(out_.size < out_.data.size());
        out_.data[out_.size++] = static_cast<u8>(byte);
    }

    [[nodiscard]] bool has_modrm() const { return insn_.has(ZYDIS_ATTRIB_HAS_MODRM); }

    // Takes over the legacy prefixes that still mean something, each once: what the host executes may be
    // longer than the guest's by REX, SIB and a displacement, but not than 15 bytes. Returns the offset
    // behind them. Remembers REX, which counts only directly before the opcode.
    unsigned prefixes()
    {
        unsigned i = 0;
        bool size = false, lock = false;
        u8 repeat = 0; // the last one counts
        for (;; ++i) {
            const u8 byte = insn_.bytes[i];
            switch (byte) {
            case 0x66:
                rex_ = 0;
                size = true;
                continue;
            case 0xf0:
                rex_ = 0;
                lock = true;
                continue;
            case 0xf2:
            case 0xf3:
                rex_ = 0;
                repeat = byte;
                continue;
            case 0x26: // segment overrides and the address size went into the address
            case 0x2e:
            case 0x36:
            case 0x3e:
            case 0x64:
            case 0x65:
            case 0x67:
                rex_ = 0;
                continue;
            default:
                break;
            }
            if (insn_.z.machine_mode != ZYDIS_MACHINE_MODE_LONG_64 || (byte & 0xf0) != 0x40)
                break;
            rex_ = byte;
        }
        if (lock)
            put(0xf0);
        if (size)
            put(0x66);
        if (repeat)
            put(repeat);
        const auto& raw = insn_.z.raw;
        tail_ = has_modrm()       ? raw.modrm.offset + 1u + (raw.sib.offset ? 1u : 0u) + raw.disp.size / 8u
                : raw.imm[0].size ? raw.imm[0].offset
                                  : insn_.length();
        return i;
    }

    void legacy(unsigned start)
    {
        const unsigned opcode_end = has_modrm() ? insn_.z.raw.modrm.offset : tail_;
        const bool b = choice_.memory   ? Assembler::high(*choice_.memory)
                       : choice_.rm     ? Assembler::high(*choice_.rm)
                       : choice_.opcode ? Assembler::high(*choice_.opcode)
                                        : (rex_ & 1) != 0;
        const bool r = choice_.reg ? Assembler::high(*choice_.reg) : (rex_ & 4) != 0;
        const bool x = choice_.index && Assembler::high(*choice_.index);
        const unsigned rex = 0x40u | (rex_ & 8u) | (r ? 4u : 0) | (x ? 2u : 0) | (b ? 1u : 0);
        if (rex != 0x40 || rex_ != 0)
            put(rex);
        for (unsigned i = start; i < opcode_end; ++i) {
            u8 byte = insn_.bytes[i];
            if (choice_.opcode && i == opcode_end - 1)
                byte = static_cast<u8>((byte & 0xf8) | Assembler::low(*choice_.opcode));
            put(byte);
        }
        if (has_modrm())
            modrm();
    }

    void modrm()
    {
        const auto& raw = insn_.z.raw.modrm;
        const unsigned reg = choice_.reg ? Assembler::low(*choice_.reg) : raw.reg;
        if (!choice_.memory) {
            put(0xc0u | reg << 3 | (choice_.rm ? Assembler::low(*choice_.rm) : raw.rm));
            return;
        }
        const u8 base = Assembler::low(*choice_.memory); // never rsp, rbp, r12 or r13: those need SIB or disp
        DCHECK(base != 4 && base != 5);
        const bool wide = insn_.z.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX || // whose short one is scaled
                          static_cast<i8>(choice_.disp) != choice_.disp;
        put((choice_.disp == 0 ? 0u : wide ? 0x80u : 0x40u) | reg << 3 | (choice_.index ? 4u : base));
        if (choice_.index)
            put(unsigned{Assembler::low(*choice_.index)} << 3 | base);
        for (unsigned i = 0; choice_.disp != 0 && i < (wide ? 4u : 1u); ++i)
            put(static_cast<u8>(static_cast<u32>(choice_.disp) >> 8 * i));
    }

    // Always the three-byte form. R, X, B and vvvv are stored inverted.
    void vex()
    {
        const u8* p = insn_.bytes + insn_.z.raw.vex.offset;
        const bool two_byte = p[0] == 0xc5;
        u8 p1 = two_byte ? static_cast<u8>((p[1] & 0x80) | 0x61) : p[1];
        u8 p2 = two_byte ? static_cast<u8>(p[1] & 0x7f) : p[2];
        if (choice_.reg)
            p1 = static_cast<u8>((p1 & 0x7f) | (Assembler::high(*choice_.reg) ? 0 : 0x80));
        if (choice_.memory || choice_.rm)
            p1 =
                static_cast<u8>((p1 & 0x9f) | 0x40 |
                                (Assembler::high(choice_.memory ? *choice_.memory : *choice_.rm) ? 0 : 0x20));
        if (choice_.index && Assembler::high(*choice_.index))
            p1 &= 0xbf;
        if (choice_.vvvv)
            p2 = static_cast<u8>((p2 & 0x87) | (15u - static_cast<unsigned>(*choice_.vvvv)) << 3);
        put(0xc4);
        put(p1);
        put(p2);
        put(insn_.z.opcode);
        if (has_modrm())
            modrm();
    }

    void evex()
    {
        const u8* p = insn_.bytes + insn_.z.raw.evex.offset;
        u8 p0 = p[1];
        u8 p1 = p[2];
        if (choice_.reg)
            p0 = static_cast<u8>((p0 & 0x6f) | 0x10 | (Assembler::high(*choice_.reg) ? 0 : 0x80));
        if (choice_.memory)
            p0 = static_cast<u8>((p0 & 0x9f) | 0x40 | (Assembler::high(*choice_.memory) ? 0 : 0x20));
        if (choice_.rm)
            p0 = static_cast<u8>((p0 & 0x9f) | 0x40 | (Assembler::high(*choice_.rm) ? 0 : 0x20));
        if (choice_.vvvv)
            p1 = static_cast<u8>((p1 & 0x87) | (15u - static_cast<unsigned>(*choice_.vvvv)) << 3);
        put(0x62);
        put(p0);
        put(p1);
        put(p[3]);
        put(insn_.z.opcode);
        modrm();
    }

    const Instruction& insn_;
    const RegisterChoice& choice_;
    HostBytes out_;
    u8 rex_ = 0;
    unsigned tail_ = 0;
};

bool names_high_byte(const Instruction& insn)
{
    for (const ZydisDecodedOperand& operand : insn.all_operands())
        if (operand.visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT &&
            operand.type == ZYDIS_OPERAND_TYPE_REGISTER && is_high_byte(operand.reg.value))
            return true;
    return false;
}

} // namespace

bool needs_legacy_registers(const Instruction& insn, const RegisterChoice& choice)
{
    if (!names_high_byte(insn))
        return false;
    const auto high = [](const std::optional<Host>& r) { return r && Assembler::high(*r); };
    return high(choice.reg) || high(choice.rm) || high(choice.opcode) || high(choice.memory);
}

HostBytes reencode(const Instruction& insn, const RegisterChoice& choice)
{
    return Reencoder(insn, choice).run();
}

} // namespace seamless::cpu
