// SPDX-License-Identifier: Apache-2.0
// What instructions compute where no single instruction of the host does it, or the host's would fault.
#include <utility>

#include "emul/operation.h"
#include "spec/x86.h"

namespace seamless::emul {

namespace rflags = spec::rflags;

void move(Operation& op)
{
    op.dst = op.src;
    op.dst_high = op.src_high;
}
void keep(Operation&) {}
void sign_extend_source(Operation& op) { op.dst = sign_extend(op.src, op.src_size * 8); }
void exchange(Operation& op) { std::swap(op.dst, op.src); }

void swap_bytes(Operation& op)
{
    op.dst = op.size == 2   ? __builtin_bswap16(static_cast<u16>(op.src))
             : op.size == 4 ? __builtin_bswap32(static_cast<u32>(op.src))
                            : __builtin_bswap64(op.src);
}

void exchange_add(Operation& op)
{
    const u64 before = op.dst;
    host_add(op);
    op.src = before;
}

void compare_exchange(Operation& op)
{
    const u64 before = truncate(op.dst, op.size);
    Operation compare = op;
    compare.dst = op.accumulator;
    compare.src = before;
    host_cmp(compare);
    op.rflags = compare.rflags;
    const bool equal = op.rflags & rflags::ZF;
    op.dst = equal ? op.src : before;
    op.accumulator = before;
    op.write_accumulator = !equal;
}

// A source of zero leaves the destination alone, all of it.
void scan_forward(Operation& op)
{
    op.write_dst = truncate(op.src, op.size) != 0;
    host_bsf(op);
}
void scan_reverse(Operation& op)
{
    op.write_dst = truncate(op.src, op.size) != 0;
    host_bsr(op);
}

void multiply(Operation& op)
{
    host_mul_wide(op);
    op.write_accumulator = true;
}
void multiply_signed(Operation& op)
{
    host_imul_wide(op);
    op.write_accumulator = true;
}
void multiply_by_immediate(Operation& op)
{
    op.dst = op.src;
    op.src = op.count;
    host_imul(op);
}

namespace {

using u128 = unsigned __int128;
using i128 = __int128;

// The dividend: AX for bytes, else the upper half and the accumulator.
u128 dividend(const Operation& op)
{
    if (op.size == 1)
        return truncate(op.accumulator, 2);
    return u128{truncate(op.high, op.size)} << (op.size * 8) | truncate(op.accumulator, op.size);
}

i128 sign_extended(u128 value, unsigned width)
{
    return width == 128 ? static_cast<i128>(value)
                        : static_cast<i128>(value << (128 - width)) >> (128 - width);
}

bool quotient_fits(const Operation& op)
{
    const u64 divisor = truncate(op.dst, op.size);
    return divisor != 0 && dividend(op) >> (op.size * 8) < divisor;
}

bool signed_quotient_fits(const Operation& op)
{
    const unsigned width = op.size * 8;
    const i128 divisor = static_cast<i64>(sign_extend(op.dst, width));
    const i128 value = sign_extended(dividend(op), width * 2);
    const auto magnitude = [](i128 v) {
        return v < 0 ? u128{0} - static_cast<u128>(v) : static_cast<u128>(v);
    };
    if (divisor == 0)
        return false;
    const u128 quotient = magnitude(value) / magnitude(divisor);
    const u128 limit = u128{1} << (width - 1);
    return (value < 0) != (divisor < 0) ? quotient <= limit : quotient < limit;
}

} // namespace

void divide(Operation& op)
{
    op.divide_error = !quotient_fits(op);
    if (op.divide_error)
        return;
    host_div_wide(op);
    op.write_accumulator = true;
}

void divide_signed(Operation& op)
{
    op.divide_error = !signed_quotient_fits(op);
    if (op.divide_error)
        return;
    host_idiv_wide(op);
    op.write_accumulator = true;
}

// SDM: "EFLAGS Condition Codes".
bool condition_holds(unsigned code, u64 flags)
{
    const bool less = !(flags & rflags::SF) != !(flags & rflags::OF);
    const bool base[] = {(flags & rflags::OF) != 0,
                         (flags & rflags::CF) != 0,
                         (flags & rflags::ZF) != 0,
                         (flags & (rflags::CF | rflags::ZF)) != 0,
                         (flags & rflags::SF) != 0,
                         (flags & rflags::PF) != 0,
                         less,
                         less || (flags & rflags::ZF)};
    return base[code >> 1] != ((code & 1) != 0);
}

} // namespace seamless::emul
