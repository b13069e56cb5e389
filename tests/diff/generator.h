// SPDX-License-Identifier: Apache-2.0
// Makes cases: short runs of random instructions, each with the registers that put its memory operands where
// the test wants them.
#pragma once

#include <utility>
#include <vector>

#include "diff/forms.h"
#include "diff/random.h"
#include "diff/state.h"

namespace seamless::diff {

// One instruction of a case.
struct Piece {
    std::vector<std::pair<unsigned, u64>> registers; // set before it: general register, value
    std::vector<std::pair<u64, u64>> words;          // of memory, at the start of the case
    std::vector<u8> bytes;
    bool last = false; // nothing may follow
    Mask mask;
    ZydisMnemonic mnemonic{};
    ZydisISASet isa{};
    u32 code_begin = 0; // its bytes in Inputs::code, the loads of `registers` included
    u32 code_end = 0;
};

struct Case {
    Inputs inputs;
    std::vector<Piece> pieces;
};

class Generator {
  public:
    Generator(u64 seed, u64 fs_base);
    void next(Case& out);
    [[nodiscard]] std::size_t mnemonics() const { return forms_.size(); }
    [[nodiscard]] const std::vector<MnemonicForms>& forms() const { return forms_; }

  private:
    // `at` is where the piece will be; `alone`: nothing runs before or after it, so initial memory is known.
    [[nodiscard]] Piece piece(u64 at, bool alone);
    void fill(Inputs& in);
    void fill_extended(cpu::XsaveArea& area);

    Rng rng_;
    u64 fs_base_;
    std::vector<MnemonicForms> forms_;
    std::size_t turn_ = 0; // mnemonics take turns, so that all are covered evenly
};

} // namespace seamless::diff
