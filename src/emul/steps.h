// SPDX-License-Identifier: Apache-2.0
// The steps of instructions that touch more than their operands. They work on the emulator's copy of the
// registers, so that a step that fails half way leaves nothing behind but what it wrote to memory.
#pragma once

#include "emul/emulator.h"

namespace seamless::emul {

struct Steps {
    using Done = Result<void, X86Emul>;

    // stack.cpp
    static Done push(Emulator& e, Operation& op);
    static Done pop(Emulator& e, Operation& op);
    static Done push_flags(Emulator& e, Operation& op);
    static Done pop_flags(Emulator& e, Operation& op);
    static Done push_all(Emulator& e, Operation& op);
    static Done pop_all(Emulator& e, Operation& op);
    static Done enter(Emulator& e, Operation& op);
    static Done leave(Emulator& e, Operation& op);
    static Done jump(Emulator& e, Operation& op);
    static Done call(Emulator& e, Operation& op);
    static Done ret(Emulator& e, Operation& op);

    // system.cpp
    static Done compare_exchange_8_bytes(Emulator& e, Operation& op);
    static Done touch(Emulator& e, Operation& op);
    static Done translate(Emulator& e, Operation& op);
    static Done store_machine_status(Emulator& e, Operation& op);
    static Done load_machine_status(Emulator& e, Operation& op);
    static Done store_ldtr(Emulator& e, Operation& op);
    static Done store_tr(Emulator& e, Operation& op);
    static Done store_x87_control(Emulator& e, Operation& op);
    static Done store_x87_status(Emulator& e, Operation& op);
    static Done store_segment(Emulator& e, Operation& op);
};

} // namespace seamless::emul
