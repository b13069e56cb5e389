// SPDX-License-Identifier: Apache-2.0
// Writes the instructions of random programs, with labels.
#pragma once

#include <initializer_list>
#include <vector>

#include "base/bits.h"
#include "spec/x86.h"

namespace seamless::diff {

using Reg = unsigned; // by its number in encodings

inline constexpr Reg kNoReg = 16;

struct MemoryOperand {
    Reg base = kNoReg;
    Reg index = kNoReg; // not RSP
    unsigned scale = 0; // the logarithm
    i64 disp = 0;       // or the linear address, of RIP-relative ones
    bool rip = false;
    u8 segment = 0; // prefix
};

// The operation of an instruction with a ModRM byte.
struct Opcode {
    u8 code = 0;
    u8 map = 0;    // 0; 1: 0F; 2: 0F 38; 3: 0F 3A
    u8 prefix = 0; // 66, F2, F3
    bool wide = false;
    bool lock = false;
    bool byte = false; // SPL to DIL take a REX prefix
};

class ProgramCode {
  public:
    explicit ProgramCode(u64 address) : address_(address) {}

    using Label = unsigned;
    [[nodiscard]] Label label();
    void bind(Label label) { labels_[label] = bytes_.size(); }
    [[nodiscard]] u64 address_of(Label label) const { return address_ + labels_[label]; }

    void bytes(std::initializer_list<u8> list) { bytes_.insert(bytes_.end(), list); }
    void imm(u64 value, unsigned size);
    void reg(const Opcode& op, Reg reg, Reg rm);
    // `following`: bytes of an immediate behind it.
    void mem(const Opcode& op, Reg reg, const MemoryOperand& m, unsigned following = 0);
    void mov_imm(Reg r, u64 value);                    // the shortest of its forms
    void mov_label(Reg r, Label label, u64 delta = 0); // the label's address, 32 bits
    void push(Reg r);
    void pop(Reg r);
    void push_label(Label label, u64 delta = 0);
    void jump(u8 opcode, Label label);         // E8, E9: 32 bits
    void jcc(unsigned condition, Label label); // 32 bits
    // A short one; gives where its displacement is, for land().
    u64 jcc_short(unsigned condition);
    void land(u64 displacement);
    // Puts the addresses in.
    void resolve();

    [[nodiscard]] u64 offset() const { return bytes_.size(); }
    [[nodiscard]] u64 here() const { return address_ + bytes_.size(); }
    void pad(u64 count, u8 byte) { bytes_.insert(bytes_.end(), count, byte); }
    [[nodiscard]] const std::vector<u8>& all() const { return bytes_; }

  private:
    struct Fixup {
        u64 at;
        Label label;
        bool relative;
        u64 delta;
    };
    void prefixes(const Opcode& op, Reg reg, Reg index, Reg base);

    u64 address_;
    std::vector<u8> bytes_;
    std::vector<u64> labels_;
    std::vector<Fixup> fixups_;
};

} // namespace seamless::diff
