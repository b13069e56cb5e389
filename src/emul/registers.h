// SPDX-License-Identifier: Apache-2.0
// The emulator's copy of the general registers: a pass reads those that it needs and changes the copy, and
// only a pass that succeeds writes it back.
#pragma once

#include <Zydis/Zydis.h>

#include "emul/emulated_cpu.h"

namespace seamless::emul {

class Registers {
  public:
    explicit Registers(EmulatedCpu& cpu) : cpu_(cpu) {}
    void forget() { known_ = changed_ = 0; }
    void store() const; // those that changed

    [[nodiscard]] u64 read(ZydisRegister r) const;
    void write(ZydisRegister r, u64 to);
    // The low `bytes` bytes; 4 bytes zero the rest, as for every register operand.
    [[nodiscard]] u64 read(spec::Gpr r, unsigned bytes) const { return truncate(value(r), bytes); }
    void write(spec::Gpr r, unsigned bytes, u64 to);

  private:
    [[nodiscard]] u64& value(spec::Gpr r) const;

    EmulatedCpu& cpu_;
    mutable u64 value_[spec::kGprCount] = {};
    mutable u32 known_ = 0;
    u32 changed_ = 0;
};

} // namespace seamless::emul
