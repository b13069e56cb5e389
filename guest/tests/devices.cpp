// SPDX-License-Identifier: Apache-2.0
// The board's devices from inside: fw_cfg, the real-time clock, and COM1's interrupt through the I/O APIC. It
// leaves by the reset port in a TD, and by ACPI's sleep control register in a plain VM.
#include "guest/firmware/access.h"
#include "guest/firmware/console.h"
#include "guest/firmware/exceptions.h"
#include "guest/firmware/machine.h"
#include "guest/firmware/memory.h"
#include "guest/tests/apic.h"

namespace seamless::guest {
namespace {

constexpr u64 kIoapic = 0xfec00000;
constexpr unsigned kSerialPin = 4, kVector = 40, kLevelVector = 41;
constexpr u16 kSerial = 0x3f8, kInterruptEnable = 1, kInterruptId = 2, kModemControl = 4;
constexpr u8 kThre = 2, kOut2 = 8;
constexpr u32 kMasked = 1u << 16, kLevel = 1u << 15, kRemoteIrr = 1u << 14;
constexpr u16 kSelector = 0x510, kData = 0x511;
constexpr u16 kResetPort = 0xcf9, kSleepControl = 0x620;

u64 ioapic; // where it is mapped
volatile unsigned edges, levels;
volatile u8 identified;

u32 ioapic_read(u8 index)
{
    store32(ioapic, index);
    return static_cast<u32>(load32(ioapic + 0x10));
}

void ioapic_write(u8 index, u32 value)
{
    store32(ioapic, index);
    store32(ioapic + 0x10, value);
}

void connect(u32 entry)
{
    ioapic_write(0x11 + 2 * kSerialPin, static_cast<u32>(rdmsr(apic::ID)) << 24);
    ioapic_write(0x10 + 2 * kSerialPin, entry);
}

bool on_serial(Frame& frame)
{
    identified = in8(kSerial + kInterruptId); // which also acknowledges
    if (frame.vector == kVector)
        edges = edges + 1;
    else
        levels = levels + 1;
    apic::end_of_interrupt();
    return true;
}

void firmware_configuration()
{
    out16(kSelector, 0);
    const char expected[] = "QEMU";
    for (unsigned i = 0; i < 4; ++i)
        check_equal(in8(kData), static_cast<u8>(expected[i]), "fw_cfg signature");
    out16(kSelector, 5);
    check_equal(in8(kData), 1, "fw_cfg number of processors");
    out16(kSelector, 0x7fff);
    check_equal(in8(kData), 0, "an item that is not there reads as zero");
}

u8 clock_register(u8 index)
{
    out8(0x70, index);
    return in8(0x71);
}

void real_time_clock()
{
    check_equal(clock_register(0x0d), 0x80, "the clock is valid");
    check_equal(clock_register(0x32), 0x20, "century");
    const u8 month = clock_register(8), day = clock_register(7);
    check(month >= 1 && month <= 0x12, "month");
    check(day >= 1 && day <= 0x31, "day");
}

void serial_interrupt()
{
    check_equal(ioapic_read(1), 0x00170020, "version of the I/O APIC");
    check_equal(ioapic_read(0x10 + 2 * kSerialPin), kMasked, "pins are masked at first");
    set_handler(kVector, on_serial);
    out8(kSerial + kModemControl, kOut2);
    out8(kSerial + kInterruptEnable, kThre);
    interrupts_for_a_moment();
    check_equal(edges, 0, "a masked pin is quiet");
    out8(kSerial + kInterruptEnable, 0);
    connect(kVector);
    out8(kSerial + kInterruptEnable, kThre);
    interrupts_for_a_moment();
    const unsigned first = edges; // what is printed raises the interrupt too
    interrupts_for_a_moment();
    const unsigned second = edges;
    out8(kSerial + kInterruptEnable, 0);
    connect(kMasked);
    check_equal(first, 1, "the transmitter's interrupt comes once");
    check_equal(second, 1, "and not again");
    check_equal(identified & 15u, kThre, "and says what it is");
}

// A TD's VMM cannot hear of EOIs, so levels are for plain VMs.
void level_interrupt()
{
    set_handler(kLevelVector, on_serial);
    connect(kLevelVector | kLevel);
    out8(kSerial + kInterruptEnable, kThre);
    const u32 waiting = ioapic_read(0x10 + 2 * kSerialPin);
    interrupts_for_a_moment();
    const unsigned taken = levels;
    const u32 ended = ioapic_read(0x10 + 2 * kSerialPin);
    out8(kSerial + kInterruptEnable, 0);
    connect(kMasked);
    check((waiting & kRemoteIrr) != 0, "a level waits for its EOI");
    check_equal(taken, 1, "the level interrupt comes");
    check_equal(ended & kRemoteIrr, 0, "and its EOI has arrived");
}

} // namespace

bool guest_main(const Machine& machine)
{
    apic::enable();
    ioapic = map_device(machine, kIoapic);
    firmware_configuration();
    real_time_clock();
    serial_interrupt();
    if (!machine.td)
        level_interrupt();
    if (failures() != 0)
        return false;
    if (machine.td)
        out8(kResetPort, 6);
    else
        out8(kSleepControl, 0x34);
    print("FAIL still here\n");
    return false;
}

} // namespace seamless::guest
