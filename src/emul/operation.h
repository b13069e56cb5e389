// SPDX-License-Identifier: Apache-2.0
// What an instruction computes, apart from where its operands are: a function of two values and the flags.
#pragma once

#include "base/bits.h"

namespace seamless::emul {

struct Operation {
    u64 dst = 0;         // first operand: as read, then as it is to be written
    u64 src = 0;         // second operand, likewise
    u64 accumulator = 0; // RAX, for what uses it implicitly
    u64 rflags = 0;
    unsigned size = 0;     // of the first operand, in bytes
    unsigned src_size = 0; // of the second
    bool write_accumulator = false;
};

using Execute = void (*)(Operation&);

// Arithmetic as this host does it: the result and the flags are the processor's own.
void host_add(Operation& op);
void host_or(Operation& op);
void host_adc(Operation& op);
void host_sbb(Operation& op);
void host_and(Operation& op);
void host_sub(Operation& op);
void host_xor(Operation& op);
void host_cmp(Operation& op);
void host_test(Operation& op);
void host_inc(Operation& op);
void host_dec(Operation& op);
void host_neg(Operation& op);
void host_not(Operation& op);
void host_rol(Operation& op);
void host_ror(Operation& op);
void host_rcl(Operation& op);
void host_rcr(Operation& op);
void host_shl(Operation& op);
void host_shr(Operation& op);
void host_sar(Operation& op);

} // namespace seamless::emul
