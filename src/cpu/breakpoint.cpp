// SPDX-License-Identifier: Apache-2.0
// Breakpoints and single-stepping. While one is enabled, blocks have one instruction and all accesses go
// through C++. SDM: "Debug Registers", "Debug Exceptions".
#include <utility>

#include "cpu/core.h"

namespace seamless::cpu {
namespace {

using namespace spec;

enum class Kind : u8 { execute, write, io, access };

Kind kind_of(u64 dr7, unsigned n) { return static_cast<Kind>(dr7 >> (16 + 4 * n) & 3); }
bool enabled(u64 dr7, unsigned n) { return dr7 >> (2 * n) & 3; }

// LEN: 0 is 1 byte, 1 is 2, 2 is 8, 3 is 4.
unsigned length_of(u64 dr7, unsigned n)
{
    constexpr unsigned kLengths[] = {1, 2, 8, 4};
    return kLengths[dr7 >> (18 + 4 * n) & 3];
}

} // namespace

void Mmu::watch(Gva gva, unsigned size, Access access)
{
    if (debug_points_) [[unlikely]]
        watch_for_debugger(gva, size, access);
    const u64 dr7 = state_.dr7;
    if (!(dr7 & dr7::ENABLED)) [[likely]]
        return;
    for (unsigned n = 0; n < 4; ++n) {
        if (!enabled(dr7, n))
            continue;
        const Kind kind = kind_of(dr7, n);
        if (kind != Kind::access && !(kind == Kind::write && access == Access::write))
            continue;
        const unsigned length = length_of(dr7, n);
        const u64 start = state_.dr[n] & ~u64{length - 1};
        if (gva.value() < start + length && start < gva.value() + size)
            watched_ |= bit(n);
    }
}

u64 Mmu::take_watched() { return std::exchange(watched_, 0); }

// Before an instruction: those breakpoints are faults, and RF holds them back once.
bool Core::instruction_breakpoint()
{
    CpuState& s = frame_.state;
    if (!(s.dr7 & dr7::ENABLED) || (s.rflags & rflags::RF)) [[likely]]
        return false;
    const u64 at = s.code64() ? s.rip : static_cast<u32>(s.rip + s.segment(Seg::cs).base);
    u64 hit = 0;
    for (unsigned n = 0; n < 4; ++n)
        if (enabled(s.dr7, n) && kind_of(s.dr7, n) == Kind::execute && s.dr[n] == at)
            hit |= bit(n);
    if (hit == 0)
        return false;
    s.dr6 = (s.dr6 & ~dr6::B0_3) | hit;
    return true;
}

// Behind an instruction: data breakpoints and single-stepping are traps. `stepped`: TF was set before it.
bool Core::debug_trap(bool stepped)
{
    CpuState& s = frame_.state;
    const u64 hit = mmu_.take_watched();
    if (hit == 0 && !stepped) [[likely]]
        return true;
    s.dr6 = (s.dr6 & ~dr6::B0_3) | hit | (stepped ? dr6::BS : 0);
    return deliver({.vector = static_cast<u8>(Vector::DB)});
}

} // namespace seamless::cpu
