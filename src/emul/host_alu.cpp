// SPDX-License-Identifier: Apache-2.0
// Arithmetic by the host's own instructions, so that no flag is computed by hand.
#include "emul/operation.h"

#include "spec/x86.h"

namespace seamless::emul {

namespace {

// The status flags as LAHF and SETO give them: OF in AL, the others in AH.
u16 pack(u64 rflags)
{
    return static_cast<u16>((rflags & 0xff) << 8 | (rflags & spec::rflags::OF ? 1u : 0u));
}

u64 merge(u64 rflags, u16 packed)
{
    constexpr u64 kInHigh = spec::rflags::kArithmetic & 0xff;
    return (rflags & ~spec::rflags::kArithmetic) | (u64{packed} >> 8 & kInHigh) |
           (packed & 1 ? spec::rflags::OF : 0);
}

// The operand sizes of one operation. `run` executes it on a value of type T.
template <bool Bytes, typename Run>
void by_size(Operation& op, Run run)
{
    u16 flags = pack(op.rflags);
    const auto apply = [&]<typename T>(T dst) {
        run(dst, static_cast<T>(op.src), flags);
        op.dst = dst;
    };
    switch (op.size) {
    case 1:
        if constexpr (Bytes)
            apply(static_cast<u8>(op.dst));
        break;
    case 2:
        apply(static_cast<u16>(op.dst));
        break;
    case 4:
        apply(static_cast<u32>(op.dst));
        break;
    default:
        apply(op.dst);
        break;
    }
    op.rflags = merge(op.rflags, flags);
}

} // namespace

// Adding 7FH to AL (0 or 1) makes OF what it was; SAHF sets the other flags and leaves OF.
#define HOST_ALU(name, text)                                                                                 \
    void host_##name(Operation& op)                                                                          \
    {                                                                                                        \
        by_size<true>(op, []<typename T>(T& dst, T src, u16& flags) {                                        \
            asm("addb $0x7f, %%al\n\tsahf\n\t" text "\n\tseto %%al\n\tlahf"                                  \
                : [dst] "+r"(dst), "+&a"(flags)                                                              \
                : [src] "c"(src)                                                                             \
                : "cc");                                                                                     \
        });                                                                                                  \
    }
#define HOST_ALU_NO_BYTE(name, text)                                                                         \
    void host_##name(Operation& op)                                                                          \
    {                                                                                                        \
        by_size<false>(op, [count = op.count]<typename T>(T& dst, T src, u16& flags) {                       \
            asm("addb $0x7f, %%al\n\tsahf\n\t" text "\n\tseto %%al\n\tlahf"                                  \
                : [dst] "+r"(dst), "+&a"(flags)                                                              \
                : [src] "r"(src), "c"(count)                                                                 \
                : "cc");                                                                                     \
        });                                                                                                  \
    }
// The flags are loaded before RAX, and saved after it.
#define HOST_ALU_WIDE(name, text)                                                                            \
    void host_##name(Operation& op)                                                                          \
    {                                                                                                        \
        by_size<true>(op, [wide = &op]<typename T>(T& dst, T, u16& flags) {                                  \
            asm("addb $0x7f, %%al\n\tsahf\n\tmovq %[low], %%rax\n\t" text                                    \
                "\n\tmovq %%rax, %[low]\n\tseto %%al\n\tlahf"                                                \
                : [low] "+r"(wide->accumulator), "+d"(wide->high), "+&a"(flags)                              \
                : [src] "r"(dst)                                                                             \
                : "cc");                                                                                     \
        });                                                                                                  \
    }
#include "emul/host_alu.inc"
#undef HOST_ALU
#undef HOST_ALU_NO_BYTE
#undef HOST_ALU_WIDE

} // namespace seamless::emul
