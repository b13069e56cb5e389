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

// The instruction at local label 1 goes on at local label 2.
#define MAY_FAULT                                                                                            \
    ".pushsection seamless_host_faults, \"a\"\n\t"                                                           \
    ".balign 4\n\t"                                                                                          \
    ".long 1b - .\n\t"                                                                                       \
    ".long 2b - .\n\t"                                                                                       \
    ".popsection"

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

bool try_equal(Hpa hpa, std::span<const u8> bytes)
{
    std::array<u8, 128> found;
    while (!bytes.empty()) {
        const auto piece = bytes.first(std::min(bytes.size(), found.size()));
        if (!try_copy_from(std::span(found).first(piece.size()), hpa) ||
            !std::equal(piece.begin(), piece.end(), found.begin()))
            return false;
        bytes = bytes.subspan(piece.size());
        hpa += piece.size();
    }
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
