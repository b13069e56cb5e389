// SPDX-License-Identifier: Apache-2.0
// Builds a program of functions: each calls only those behind it, and each of its loops has a counter, so
// that every program ends, also where a write to its code or a skipped instruction changed what it does.
#pragma once

#include "diff/program_pieces.h"

namespace seamless::diff {

class ProgramGenerator {
  public:
    ProgramGenerator(u64 seed, Program& program);
    void run();

  private:
    // Instructions that may be executed, roughly, by what is emitted next; what is spent comes off.
    using Budget = u64;

    void make_entries();
    void make_state();
    void emit_function(unsigned index);
    void emit_recursion();
    void emit_return(unsigned index);
    void items(unsigned function, u64 count, Budget& budget, unsigned depth);
    void item(unsigned function, Budget& budget, unsigned depth);
    void straight();
    void forward_jump(unsigned function, Budget& budget, unsigned depth);
    void short_jump();
    void loop(unsigned function, Budget& budget, unsigned depth);
    void call(unsigned function, Budget& budget);
    void call_function(unsigned callee);
    void recurse(Budget& budget);
    void odd_return();
    void patch();
    void slot();
    void finish_writes();
    // A piece from `begin` to here.
    void piece(u64 begin, bool removable);
    void place_function();

    [[nodiscard]] Budget cost_of(unsigned function) const;

    Program& program_;
    Rng rng_;
    ProgramCode code_{layout::kCode};
    Pieces pieces_;
    unsigned functions_ = 0;
    std::vector<ProgramCode::Label> labels_;
    std::vector<unsigned> arguments_; // words that a function's RET releases
    ProgramCode::Label recursion_ = 0;
    unsigned recursion_pushes_ = 0;
    // A store to code, whose target is chosen when all code is there.
    struct Write {
        bool near = false;     // the next slot rather than any
        bool alias = false;    // through the other linear address
        bool relative = false; // to the end of the instruction, `tail` bytes behind the address
        unsigned tail = 0;
        u64 at = 0;       // where the address goes
        u64 value_at = 0; // and the byte to write
    };
    std::vector<Write> writes_;
};

} // namespace seamless::diff
