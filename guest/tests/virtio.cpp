// SPDX-License-Identifier: Apache-2.0
// virtio-mmio devices from inside a guest, which brings its own small driver: entropy with its interrupt, a
// disk that is written and read back, a read-only one, and what the devices refuse. Run with --disk A --disk
// B,ro; the first sector of A begins with "SEAMLESS".
#include "guest/firmware/access.h"
#include "guest/firmware/console.h"
#include "guest/firmware/exceptions.h"
#include "guest/firmware/machine.h"
#include "guest/firmware/memory.h"
#include "guest/tests/apic.h"
#include "guest/tests/virtio_driver.h"

namespace seamless::guest {
namespace {

constexpr u64 kIoapic = 0xfec00000;
constexpr unsigned kEntropyPin = 23, kVector = 48;
constexpr u64 kHole = 0xd0000000; // no memory
constexpr u32 kIn = 0, kOut = 1, kFlush = 4;
constexpr unsigned kSector = 512;

volatile unsigned interrupts;
alignas(4096) u8 secret[kSector];

constexpr u64 kHeader = kShared + 0x8000, kStatus = kShared + 0x8100, kData = kShared + 0x9000;

// The device's status byte of a request for one sector at `data`; 0xff if none came.
u8 request(Device& disk, u32 type, u64 sector, u64 data)
{
    store32(Device::local(kHeader), type);
    store64(Device::local(kHeader + 8), sector);
    store8(Device::local(kStatus), 0xff);
    const Piece pieces[] = {{kHeader, 16, 0},
                            {data, type == kFlush ? 0u : kSector, type == kIn ? kWrite : u16{0}},
                            {kStatus, 1, kWrite}};
    (void)disk.send(pieces);
    return static_cast<u8>(load8(Device::local(kStatus)));
}

void fill(u64 value)
{
    for (unsigned i = 0; i < kSector; i += 8)
        store64(Device::local(kData + i), value);
}

bool filled(u64 value)
{
    bool same = true;
    for (unsigned i = 0; i < kSector; i += 8)
        same = same && load64(Device::local(kData + i)) == value;
    return same;
}

void identities()
{
    constexpr u32 ids[] = {2, 2, 0, 0, 0, 1, 0, 4};
    for (unsigned i = 0; i < 8; ++i) {
        const Device device(i);
        check_equal(device.read(0), 0x74726976, "magic value");
        check_equal(device.read(4), 2, "version");
        check_equal(device.read(8), ids[i], "device id");
    }
}

void negotiation(const Machine& machine)
{
    Device device(7);
    check(!device.negotiate(kAccessPlatform), "a driver of the old version is refused");
    check(!device.negotiate(kVersion1 | kAccessPlatform | bit(60)), "unknown features are refused");
    check(device.negotiate(kVersion1) != machine.td, "a TD's driver must use the platform's DMA");
    check(device.negotiate(kVersion1 | kAccessPlatform), "the right features are accepted");
}

bool on_interrupt(Frame&)
{
    const Device device(7);
    device.write(0x64, device.read(0x60));
    interrupts = interrupts + 1;
    apic::end_of_interrupt();
    return true;
}

void entropy(u64 ioapic)
{
    set_handler(kVector, on_interrupt);
    const u32 writes[][2] = {{0x11 + 2 * kEntropyPin, static_cast<u32>(rdmsr(apic::ID)) << 24},
                             {0x10 + 2 * kEntropyPin, kVector}};
    for (const auto& [index, value] : writes) {
        store32(ioapic, index);
        store32(ioapic + 0x10, value);
    }
    Device device(7);
    device.start();
    fill(0);
    const Piece pieces[] = {{kData, kSector, kWrite}};
    for (unsigned i = 1; i <= 3; ++i) {
        check(device.send(pieces), "the entropy device answers");
        for (unsigned k = 0; k < 1000 && interrupts < i; ++k) // raised just after the answer
            interrupts_for_a_moment();
        check_equal(interrupts, i, "and interrupts");
    }
    check(!filled(0), "and has given entropy");
}

void disk(const Machine& machine)
{
    Device device(0);
    device.start();
    check_equal(request(device, kIn, 0, kData), 0, "sector 0 is read");
    check_equal(load64(Device::local(kData)), 0x5353454c4d414553, "and is what the host wrote");
    fill(0x1122334455667788);
    check_equal(request(device, kOut, 1, kData), 0, "sector 1 is written");
    check_equal(request(device, kFlush, 0, kData), 0, "and flushed");
    fill(0);
    check_equal(request(device, kIn, 1, kData), 0, "and read");
    check(filled(0x1122334455667788), "and the same");
    check_equal(request(device, kIn, bit(40), kData), 1, "there is no such sector");

    for (u8& byte : secret)
        byte = 0x5a;
    const u8 private_status = request(device, kOut, 2, reinterpret_cast<u64>(secret));
    check_equal(private_status, 0, "a write from private memory harms nobody");
    check_equal(request(device, kIn, 2, kData), 0, "its sector is read");
    check(filled(machine.td ? 0 : 0x5a5a5a5a5a5a5a5a), "and shows nothing of a TD's private memory");
}

void refusals()
{
    Device read_only(1);
    read_only.start();
    check_equal(request(read_only, kIn, 0, kData), 0, "a read-only disk is read");
    check_equal(request(read_only, kOut, 0, kData), 1, "and not written");

    Device device(0);
    check_equal(request(device, kIn, 0, kHole), 0xff, "a buffer that is no memory is no request");
    check((device.status() & kNeedsReset) != 0, "the device needs a reset");
    device.start();
    check_equal(request(device, kIn, 0, kData), 0, "and works after it");
}

} // namespace

bool guest_main(const Machine& machine)
{
    apic::enable();
    const u64 ioapic = map_device(machine, kIoapic);
    map_virtio(machine);
    identities();
    negotiation(machine);
    entropy(ioapic);
    disk(machine);
    refusals();
    return failures() == 0;
}

} // namespace seamless::guest
