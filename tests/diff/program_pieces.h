// SPDX-License-Identifier: Apache-2.0
// The straight-line pieces of random programs: computation, and accesses to memory in many forms.
#pragma once

#include "diff/program.h"
#include "diff/program_code.h"

namespace seamless::diff {

// Which registers hold what, everywhere in a program. RSP is the stack's; R12 and R15 count loops.
inline constexpr Reg kValues[] = {0, 1, 2, 8, 9, 10, 11};
inline constexpr Reg kBases[] = {3, 5, 6, 7, 13, 14}; // point into the data, or close to it
inline constexpr Reg kCounter = 12, kMainCounter = 15;
inline constexpr Reg kRax = 0, kRcx = 1, kRdx = 2, kRbx = 3, kRsp = 4, kRbp = 5, kRsi = 6, kRdi = 7;

class Pieces {
  public:
    Pieces(ProgramCode& code, Rng& rng, bool user) : code_(code), rng_(rng), user_(user) {}

    void compute();     // one instruction that reads and writes values and flags only
    void consume();     // one that reads flags
    void stretch();     // accesses around one base
    void change_base(); // any of them
    void anchor(Reg base);
    void frame();  // a stack frame that RBP points to
    void pushes(); // and as many pops, and accesses between
    void string();
    void indexed();
    void wild();     // an access to where nothing can be
    void divide();   // with #DE, often
    void exchange(); // CMPXCHG16B
    void segment();  // an access through FS or GS
    void flags();    // PUSHF, POPF
    void vectors();  // SSE, AVX and x87
    void remap();    // changes a data page's table entry; CPL 0
    void interrupt();

    [[nodiscard]] bool user() const { return user_; }
    // Where data may be pointed to: often at the edge of a page.
    [[nodiscard]] u64 data_address();

  private:
    [[nodiscard]] Reg value() { return kValues[rng_.below(std::size(kValues))]; }
    [[nodiscard]] Reg base() { return kBases[rng_.below(std::size(kBases))]; }
    [[nodiscard]] u8 low_byte() { return static_cast<u8>(rng_.next() >> 20); }
    void access(const MemoryOperand& m);
    void load(const MemoryOperand& m);
    void store(const MemoryOperand& m);
    void modify(const MemoryOperand& m);
    void modify_value(const MemoryOperand& m);
    void through_vector(const MemoryOperand& m);
    void through_x87(const MemoryOperand& m);
    void high_byte(const MemoryOperand& m);
    void move_base(Reg r);

    ProgramCode& code_;
    Rng& rng_;
    bool user_;
};

} // namespace seamless::diff
