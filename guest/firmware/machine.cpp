// SPDX-License-Identifier: Apache-2.0
// From start.S to guest_main(), and out.
#include "guest/firmware/machine.h"

#include "guest/firmware/exceptions.h"
#include "guest/firmware/x86.h"

extern "C" {
// What the other vCPUs wait for: 1 = sleep as in a plain VM, 2 = as in a TD.
volatile seamless::u32 secondary_gate;
// Their stacks, from the first one's end on: start.S knows number and size.
alignas(16) seamless::u8 secondary_stacks[8][8192];

void secondary_start(unsigned index);

void guest_start(seamless::u64 hob_list, seamless::u64 gpaw);

// The compiler may call these by name for plain assignments.
void* memset(void* to, int value, unsigned long size)
{
    auto* bytes = static_cast<volatile char*>(to);
    for (unsigned long i = 0; i < size; ++i)
        bytes[i] = static_cast<char>(value);
    return to;
}

void* memcpy(void* to, const void* from, unsigned long size)
{
    auto* bytes = static_cast<volatile char*>(to);
    for (unsigned long i = 0; i < size; ++i)
        bytes[i] = static_cast<const char*>(from)[i];
    return to;
}
}

namespace seamless::guest {
namespace {

constexpr u16 kPowerPort = 0x604; // the PM1a control register of QEMU's q35 machine: SLP_EN with SLP_TYP 0
constexpr u16 kPowerOff = 0x2000;
constexpr u16 kDebugExitPort = 0xf4;
constexpr u8 kDebugExitFailure = 1;

// CPUID leaf 0x21 says "IntelTDX    " in a TD. It is a leaf that never raises #VE.
bool running_in_td()
{
    constexpr u32 kTdxLeaf = 0x21;
    if (cpuid(0).eax < kTdxLeaf)
        return false;
    const CpuidLeaf leaf = cpuid(kTdxLeaf);
    return leaf.ebx == 0x65746e49 && leaf.edx == 0x5844546c && leaf.ecx == 0x20202020;
}

} // namespace

void debug_exit(u8 value)
{
    for (;;)
        out8(kDebugExitPort, value);
}

void end_guest(bool success)
{
    if (!success)
        debug_exit(kDebugExitFailure);
    out16(kPowerPort, kPowerOff);
    debug_exit(0);
}

} // namespace seamless::guest

void secondary_start(unsigned index)
{
    seamless::guest::load_exceptions();
    secondary_main(index);
}

void guest_start(seamless::u64 hob_list, seamless::u64 gpaw)
{
    using namespace seamless::guest;
    Machine machine{
        .td = running_in_td(), .gpaw = static_cast<unsigned>(gpaw), .shared_bit = 0, .hob_list = hob_list};
    if (machine.td)
        machine.shared_bit = seamless::bit(machine.gpaw - 1);
    install_exceptions();
    secondary_gate = machine.td ? 2 : 1;
    end_guest(guest_main(machine));
}
