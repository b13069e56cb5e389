// SPDX-License-Identifier: Apache-2.0
// The emulator's copy of the general registers: a pass changes it, and only a pass that succeeds writes it
// back.
#pragma once

#include <Zydis/Zydis.h>

#include "emul/emulated_cpu.h"

namespace seamless::emul {

class Registers {
  public:
    void load(EmulatedCpu& cpu);
    void store(EmulatedCpu& cpu) const; // those that changed

    [[nodiscard]] u64 read(ZydisRegister r) const;
    void write(ZydisRegister r, u64 value);
    // The low `bytes` bytes; 4 bytes zero the rest, as for every register operand.
    [[nodiscard]] u64 read(spec::Gpr r, unsigned bytes) const
    {
        return truncate(value_[static_cast<unsigned>(r)], bytes);
    }
    void write(spec::Gpr r, unsigned bytes, u64 value);

  private:
    u64 value_[spec::kGprCount] = {};
    u32 changed_ = 0;
};

} // namespace seamless::emul
