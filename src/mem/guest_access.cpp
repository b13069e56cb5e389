// SPDX-License-Identifier: Apache-2.0
// Accesses that may fail. Each is one instruction that a table knows, with the place to go on at where the
// host faults on it; behind it a flag or a count tells whether it was executed.
#include "mem/guest_access.h"

#include <algorithm>
#include <array>

namespace seamless::mem {
namespace {

// Distances from the entry's own fields, so that the table needs no relocation.
struct FaultEntry {
    i32 instruction;
    i32 go_on;
};

// The instruction at that local label goes on at local label 2.
#define MAY_FAULT_AT(label)                                                                                  \
    ".pushsection seamless_host_faults, \"a\"\n\t"                                                           \
    ".balign 4\n\t"                                                                                          \
    ".long " label "b - .\n\t"                                                                               \
    ".long 2b - .\n\t"                                                                                       \
    ".popsection\n\t"
#define MAY_FAULT MAY_FAULT_AT("1")

template <typename T>
bool load_at(Hpa hpa, T& value)
{
    u32 done = 0;
    T got = 0;
    __asm__ volatile("1: mov (%[at]), %[got]\n\t"
                     "inc %[done]\n"
                     "2:\n\t" MAY_FAULT
                     : [got] "+q"(got), [done] "+r"(done)
                     : [at] "r"(host_ptr(hpa))
                     : "memory", "cc");
    value = done ? got : value;
    return done;
}

template <typename T>
bool store_at(Hpa hpa, T value)
{
    u32 done = 0;
    __asm__ volatile("1: mov %[value], (%[at])\n\t"
                     "inc %[done]\n"
                     "2:\n\t" MAY_FAULT
                     : [done] "+r"(done)
                     : [at] "r"(host_ptr(hpa)), [value] "q"(value)
                     : "memory", "cc");
    return done;
}

template <typename T>
Exchange exchange_at(Hpa hpa, T& expected, T desired)
{
    u32 done = 0;
    u8 equal = 0;
    T found = expected;
    __asm__ volatile("1: lock cmpxchg %[desired], (%[at])\n\t"
                     "sete %[equal]\n\t"
                     "inc %[done]\n"
                     "2:\n\t" MAY_FAULT
                     : "+a"(found), [equal] "+q"(equal), [done] "+r"(done)
                     : [at] "r"(host_ptr(hpa)), [desired] "r"(desired)
                     : "memory", "cc");
    if (!done)
        return Exchange::gone;
    expected = found;
    return equal ? Exchange::done : Exchange::changed;
}

} // namespace

bool try_load(Hpa hpa, u8& value) { return load_at(hpa, value); }
bool try_load(Hpa hpa, u16& value) { return load_at(hpa, value); }
bool try_load(Hpa hpa, u32& value) { return load_at(hpa, value); }
bool try_load(Hpa hpa, u64& value) { return load_at(hpa, value); }
bool try_store(Hpa hpa, u8 value) { return store_at(hpa, value); }
bool try_store(Hpa hpa, u16 value) { return store_at(hpa, value); }
bool try_store(Hpa hpa, u32 value) { return store_at(hpa, value); }
bool try_store(Hpa hpa, u64 value) { return store_at(hpa, value); }

Exchange try_compare_exchange(Hpa hpa, u32& expected, u32 desired)
{
    return exchange_at(hpa, expected, desired);
}

Exchange try_compare_exchange(Hpa hpa, u64& expected, u64 desired)
{
    return exchange_at(hpa, expected, desired);
}

u64 try_copy(void* to, const void* from, u64 bytes)
{
    u64 left = bytes;
    __asm__ volatile("1: rep movsb\n"
                     "2:\n\t" MAY_FAULT
                     : "+D"(to), "+S"(from), "+c"(left)
                     :
                     : "memory");
    return bytes - left;
}

u64 try_fill(Hpa hpa, u64 value, unsigned size, u64 count)
{
    void* to = host_ptr(hpa);
    u64 left = count;
#define FILL(store)                                                                                          \
    __asm__ volatile("1: rep " store "\n2:\n\t" MAY_FAULT : "+D"(to), "+c"(left) : "a"(value) : "memory")
    switch (size) {
    case 1:
        FILL("stosb");
        break;
    case 2:
        FILL("stosw");
        break;
    case 4:
        FILL("stosl");
        break;
    default:
        FILL("stosq");
        break;
    }
#undef FILL
    return count - left;
}

namespace {

// `left` pieces of 64 bytes; stops at one that differs or is gone.
bool equal_pieces(const void* at, const void* with, u64 left)
{
    u32 same = 0;
    if (left == 0)
        return true;
    __asm__ volatile("1: movdqu (%[at]), %%xmm0\n"
                     "3: movdqu 16(%[at]), %%xmm1\n"
                     "4: movdqu 32(%[at]), %%xmm2\n"
                     "5: movdqu 48(%[at]), %%xmm3\n\t"
                     "movdqu (%[with]), %%xmm4\n\t"
                     "movdqu 16(%[with]), %%xmm5\n\t"
                     "movdqu 32(%[with]), %%xmm6\n\t"
                     "movdqu 48(%[with]), %%xmm7\n\t"
                     "pcmpeqb %%xmm4, %%xmm0\n\t"
                     "pcmpeqb %%xmm5, %%xmm1\n\t"
                     "pcmpeqb %%xmm6, %%xmm2\n\t"
                     "pcmpeqb %%xmm7, %%xmm3\n\t"
                     "pand %%xmm1, %%xmm0\n\t"
                     "pand %%xmm3, %%xmm2\n\t"
                     "pand %%xmm2, %%xmm0\n\t"
                     "pmovmskb %%xmm0, %[same]\n\t"
                     "cmp $0xffff, %[same]\n\t"
                     "jne 2f\n\t"
                     "add $64, %[at]\n\t"
                     "add $64, %[with]\n\t"
                     "dec %[left]\n\t"
                     "jnz 1b\n"
                     "2:\n\t" MAY_FAULT_AT("1") MAY_FAULT_AT("3") MAY_FAULT_AT("4") MAY_FAULT_AT("5")
                     : [at] "+r"(at), [with] "+r"(with), [left] "+r"(left), [same] "=&r"(same)
                     :
                     : "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
    return left == 0;
}

template <typename T>
bool equal_at(Hpa hpa, const u8* with)
{
    T found = 0, wanted;
    std::memcpy(&wanted, with, sizeof wanted);
    return try_load(hpa, found) && found == wanted;
}

} // namespace

bool try_equal(Hpa hpa, std::span<const u8> bytes)
{
    constexpr u64 kPiece = 64;
    const u64 pieces = bytes.size() / kPiece * kPiece;
    if (!equal_pieces(host_ptr(hpa), bytes.data(), pieces / kPiece))
        return false;
    u64 at = pieces;
    for (; at + sizeof(u64) <= bytes.size(); at += sizeof(u64))
        if (!equal_at<u64>(hpa + at, bytes.data() + at))
            return false;
    if (at == bytes.size())
        return true;
    if (bytes.size() >= sizeof(u64)) { // the last ones, some of them again
        at = bytes.size() - sizeof(u64);
        return equal_at<u64>(hpa + at, bytes.data() + at);
    }
    for (; at < bytes.size(); ++at)
        if (!equal_at<u8>(hpa + at, bytes.data() + at))
            return false;
    return true;
}

} // namespace seamless::mem

// The linker's names for the bounds of the section.
extern "C" [[gnu::visibility("hidden")]] const seamless::mem::FaultEntry __start_seamless_host_faults[];
extern "C" [[gnu::visibility("hidden")]] const seamless::mem::FaultEntry __stop_seamless_host_faults[];

namespace seamless::mem {

// Async-signal-safe.
bool recover_access(u64& rip)
{
    const auto at = [](const i32& field) {
        return reinterpret_cast<u64>(&field) + static_cast<u64>(i64{field});
    };
    for (const FaultEntry* e = __start_seamless_host_faults; e != __stop_seamless_host_faults; ++e)
        if (at(e->instruction) == rip) {
            rip = at(e->go_on);
            return true;
        }
    return false;
}

} // namespace seamless::mem
