// SPDX-License-Identifier: Apache-2.0
// SDM: "XSAVE-Managed Features", "Standard Form of XRSTOR": what XSTATE_BV leaves out is in its initial
// state.
#include "platform/vector_state.h"

#include <algorithm>
#include <cstring>

#include "cpu/cpuid.h"

namespace seamless::platform {
namespace {

using trace::VectorState;

constexpr u64 kX87 = bit(0), kSse = bit(1);
constexpr std::size_t kMxcsr = 24, kMxcsrMask = 28, kRegisters = 32, kXmm = 160, kXmmEnd = 416, kHeader = 512;

// Where a component lies in the standard form.
struct Place {
    std::size_t offset, bytes;
};

Place place_of(unsigned component)
{
    const cpu::CpuidResult r = cpu::native_cpuid(0xd, component);
    return {r.ebx, r.eax};
}

u64 present(const cpu::XsaveArea& area)
{
    u64 bv = 0;
    std::memcpy(&bv, area.bytes + kHeader, sizeof bv);
    return bv;
}

// Calls each(component, its bytes in the state) for those behind the legacy region.
template <typename State, typename Each>
void for_each_component(State& s, const Each& each)
{
    each(2u, s.ymm_high);
    each(5u, s.opmask);
    each(6u, s.zmm_high);
    each(7u, s.zmm_upper);
}

bool fits(unsigned component, std::size_t bytes)
{
    const Place place = place_of(component);
    return test(cpu::supported_xcr0(), component) && place.bytes >= bytes &&
           place.offset + bytes <= sizeof(cpu::XsaveArea::bytes);
}

} // namespace

VectorState vector_state_of(const cpu::XsaveArea& area)
{
    constexpr u16 kFcw = 0x37f;
    VectorState s;
    const u64 bv = present(area);
    std::memcpy(s.legacy.data(), area.bytes, s.legacy.size());
    if (!(bv & kX87)) {
        std::fill_n(s.legacy.begin(), kMxcsr, u8{0});
        std::fill(s.legacy.begin() + kRegisters, s.legacy.begin() + kXmm, u8{0});
        std::memcpy(s.legacy.data(), &kFcw, sizeof kFcw);
    }
    if (!(bv & kSse))
        std::fill(s.legacy.begin() + kXmm, s.legacy.begin() + kXmmEnd, u8{0});
    for_each_component(s, [&](unsigned component, auto& bytes) {
        if (!fits(component, bytes.size()))
            return;
        if (test(bv, component))
            std::memcpy(bytes.data(), area.bytes + place_of(component).offset, bytes.size());
    });
    return s;
}

bool set_vector_state(cpu::XsaveArea& area, const VectorState& state)
{
    constexpr u32 kDefaultMask = 0xffbf; // SDM: "Checking for the MXCSR_MASK"
    const VectorState now = vector_state_of(area);
    u32 mxcsr = 0, mask = 0;
    std::memcpy(&mxcsr, &state.legacy[kMxcsr], sizeof mxcsr);
    std::memcpy(&mask, area.bytes + kMxcsrMask, sizeof mask);
    if (mxcsr & ~(mask != 0 ? mask & 0xffff : kDefaultMask))
        return false;
    u64 bv = present(area);
    if (state.legacy != now.legacy) {
        bv |= kX87 | kSse;
        std::memcpy(area.bytes, state.legacy.data(), kMxcsrMask);
        std::memcpy(area.bytes + kRegisters, &state.legacy[kRegisters], kXmmEnd - kRegisters);
    }
    for_each_component(state, [&](unsigned component, const auto& bytes) {
        const Place place = place_of(component);
        if (!fits(component, bytes.size()))
            return;
        const u8* old = test(bv, component) ? area.bytes + place.offset : nullptr;
        const bool initial = std::ranges::all_of(bytes, [](u8 b) { return b == 0; });
        if (old ? std::memcmp(old, bytes.data(), bytes.size()) == 0 : initial)
            return;
        bv |= bit(component);
        std::memcpy(area.bytes + place.offset, bytes.data(), bytes.size());
    });
    std::memcpy(area.bytes + kHeader, &bv, sizeof bv);
    return true;
}

} // namespace seamless::platform
