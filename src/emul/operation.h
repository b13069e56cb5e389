// SPDX-License-Identifier: Apache-2.0
// What an instruction computes, apart from where its operands are: a function of a few values and the flags.
#pragma once

#include "base/bits.h"

namespace seamless::emul {

struct Operation {
    u64 dst = 0;         // first operand: as read, then as it is to be written
    u64 src = 0;         // second operand, likewise
    u64 count = 0;       // third operand: a count or an immediate
    u64 src_high = 0;    // the upper half of a 16-byte source
    u64 dst_high = 0;    // and destination
    u64 accumulator = 0; // RAX, for what uses it implicitly; AX where the first operand is a byte
    u64 high = 0;        // RDX, the upper half of a product or dividend
    u64 rflags = 0;
    unsigned size = 0;     // of the first operand, in bytes
    unsigned src_size = 0; // of the second
    bool write_dst = true;
    bool write_accumulator = false;
    bool divide_error = false;
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
// Not for bytes.
void host_bt(Operation& op);
void host_bts(Operation& op);
void host_btr(Operation& op);
void host_btc(Operation& op);
void host_bsf(Operation& op);
void host_bsr(Operation& op);
void host_imul(Operation& op);
void host_shld(Operation& op); // by `count`
void host_shrd(Operation& op);
// RDX:RAX and `dst`. Quotients must fit.
void host_mul_wide(Operation& op);
void host_imul_wide(Operation& op);
void host_div_wide(Operation& op);
void host_idiv_wide(Operation& op);

// What no single instruction of the host does (compute.cpp).
void move(Operation& op);
void keep(Operation& op);
void sign_extend_source(Operation& op);
void exchange(Operation& op);
void swap_bytes(Operation& op);
void exchange_add(Operation& op);
void compare_exchange(Operation& op);
void scan_forward(Operation& op);
void scan_reverse(Operation& op);
void multiply(Operation& op);
void multiply_signed(Operation& op);
void multiply_by_immediate(Operation& op);
void divide(Operation& op);
void divide_signed(Operation& op);
[[nodiscard]] bool condition_holds(unsigned code, u64 rflags);

template <unsigned Code>
void set_if(Operation& op)
{
    op.dst = condition_holds(Code, op.rflags);
}
template <unsigned Code>
void move_if(Operation& op)
{
    if (condition_holds(Code, op.rflags))
        op.dst = op.src;
}

} // namespace seamless::emul
