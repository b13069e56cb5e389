// SPDX-License-Identifier: Apache-2.0
// x87, SSE and AVX: enables them, computes, and checks results, rounding and that exceptions keep the
// registers.
#pragma once

#include "guest/firmware/console.h"
#include "guest/firmware/x86.h"

namespace seamless::guest {

// Doubles by their bits: the guest's compiler may not use floating point.
inline constexpr u64 kOne = 0x3ff0000000000000;
inline constexpr u64 kTwo = 0x4000000000000000;
inline constexpr u64 kThree = 0x4008000000000000;
inline constexpr u64 kSqrtTwo = 0x3ff6a09e667f3bcd;
inline constexpr u64 kThird = 0x3fd5555555555555;
inline constexpr u64 kThirdRoundedUp = 0x3fd5555555555556;
inline constexpr u32 kMxcsrReset = 0x1f80;
inline constexpr u32 kMxcsrRoundUp = kMxcsrReset | 0x4000;

// CR0.EM clear, MP and NE set; CR4.OSFXSR and OSXMMEXCPT; and XCR0 for AVX where there is AVX. Returns that.
inline bool enable_vector_state()
{
    constexpr u64 kEm = bit(2), kTs = bit(3), kMp = bit(1), kNe = bit(5);
    u64 cr0, cr4;
    asm volatile("mov %%cr0, %0; mov %%cr4, %1" : "=r"(cr0), "=r"(cr4));
    cr0 = (cr0 & ~(kEm | kTs)) | kMp | kNe;
    cr4 |= bit(9) | bit(10);
    const u32 features = cpuid(1).ecx;
    const bool avx = test(features, 26) && test(features, 28);
    if (avx)
        cr4 |= bit(18);
    asm volatile("mov %0, %%cr0; mov %1, %%cr4" : : "r"(cr0), "r"(cr4) : "memory");
    if (avx)
        asm volatile("xsetbv" : : "a"(7), "d"(0), "c"(0));
    return avx;
}

inline void check_x87()
{
    u64 result;
    i32 rounded;
    u16 control = 0x0f7f; // 64-bit precision, round to zero, exceptions masked
    asm volatile("fninit; fldl %1; fsqrt; fstpl %0" : "=m"(result) : "m"(kTwo));
    check_equal(result, kSqrtTwo, "x87: square root of 2");
    asm volatile("fld1; fldl %1; fdivrp; fstpl %0" : "=m"(result) : "m"(kThree));
    check_equal(result, kThird, "x87: 1 / 3");
    asm volatile("fldcw %2; fldl %1; fistpl %0; fninit" : "=m"(rounded) : "m"(kSqrtTwo), "m"(control));
    check_equal(static_cast<u64>(rounded), 1, "x87: round to zero");
    asm volatile("fldpi; fldpi; fsubp; fstpl %0" : "=m"(result));
    check_equal(result, 0, "x87: the stack");
}

inline void check_sse()
{
    u64 result;
    u32 mxcsr = kMxcsrReset;
    asm volatile("ldmxcsr %2; sqrtsd %1, %%xmm0; movsd %%xmm0, %0" : "=m"(result) : "m"(kTwo), "m"(mxcsr));
    check_equal(result, kSqrtTwo, "SSE: square root of 2");
    asm volatile("movsd %1, %%xmm1; divsd %2, %%xmm1; movsd %%xmm1, %0"
                 : "=m"(result)
                 : "m"(kOne), "m"(kThree));
    check_equal(result, kThird, "SSE: 1 / 3");
    mxcsr = kMxcsrRoundUp;
    asm volatile("ldmxcsr %3; movsd %1, %%xmm1; divsd %2, %%xmm1; movsd %%xmm1, %0"
                 : "=m"(result)
                 : "m"(kOne), "m"(kThree), "m"(mxcsr));
    check_equal(result, kThirdRoundedUp, "SSE: 1 / 3 rounded up");
    asm volatile("stmxcsr %0" : "=m"(mxcsr));
    check_equal(mxcsr, kMxcsrRoundUp | 0x20, "SSE: MXCSR shows the inexact result");
    mxcsr = kMxcsrReset;
    asm volatile("ldmxcsr %0" : : "m"(mxcsr));
    alignas(16) const u32 left[4] = {1, 2, 3, 0xffffffff};
    alignas(16) u32 sum[4];
    asm volatile("movdqa %1, %%xmm9; paddd %%xmm9, %%xmm9; movdqa %%xmm9, %0" : "=m"(sum) : "m"(left));
    check(sum[0] == 2 && sum[1] == 4 && sum[2] == 6 && sum[3] == 0xfffffffe, "SSE: packed integers");
}

inline void check_avx()
{
    const u64 left[4] = {kOne, kTwo, kThree, kSqrtTwo};
    u64 product[4];
    asm volatile("vmovupd %1, %%ymm3; vmulpd %%ymm3, %%ymm3, %%ymm4; vmovupd %%ymm4, %0"
                 : "=m"(product)
                 : "m"(left));
    check(product[0] == kOne && product[1] == 0x4010000000000000 && product[2] == 0x4022000000000000 &&
              product[3] == 0x4000000000000001,
          "AVX: packed product");
    asm volatile("vmovupd %1, %%ymm5; movsd %1, %%xmm5; vmovupd %%ymm5, %0; vzeroupper"
                 : "=m"(product)
                 : "m"(left));
    check(product[1] == 0 && product[3] == kSqrtTwo, "AVX: a legacy move keeps the upper half");
}

// What an exception's handler must find untouched after it: printing takes an exception for each character in
// a TD.
inline void check_kept_over_exceptions(bool avx)
{
    const u64 value[4] = {kOne, kTwo, kThree, kSqrtTwo};
    u64 after[4] = {};
    u64 x87 = 0;
    asm volatile("fldl %0; movupd %1, %%xmm7" : : "m"(kThree), "m"(value));
    if (avx)
        asm volatile("vmovupd %0, %%ymm8" : : "m"(value));
    print("x87, SSE and AVX registers hold values over this line\n");
    asm volatile("fstpl %0; movupd %%xmm7, %1" : "=m"(x87), "=m"(after));
    check(x87 == kThree && after[0] == kOne && after[1] == kTwo, "x87 and XMM are kept");
    if (!avx)
        return;
    asm volatile("vmovupd %%ymm8, %0; vzeroupper" : "=m"(after));
    check(after[0] == kOne && after[3] == kSqrtTwo, "YMM is kept");
}

inline void check_vector_state()
{
    const bool avx = enable_vector_state();
    check_x87();
    check_sse();
    if (avx)
        check_avx();
    else
        print("no AVX here\n");
    check_kept_over_exceptions(avx);
}

} // namespace seamless::guest
