// SPDX-License-Identifier: Apache-2.0
// A driver's side of virtio-mmio, as small as it can be: up to two queues of eight entries, polled, whose
// rings are in memory that a TD shares with the host.
#pragma once

#include "guest/firmware/access.h"
#include "guest/firmware/console.h"
#include "guest/firmware/machine.h"
#include "guest/firmware/memory.h"
#include "guest/firmware/tdx.h"

namespace seamless::guest {

constexpr u64 kTransports = 0xfeb00000, kTransportSize = 0x200;
constexpr u64 kShared = 0x2000000, kSharedSize = 0x10000; // RAM that device and driver share
constexpr u64 kVersion1 = bit(32), kAccessPlatform = bit(33);
constexpr u8 kFeaturesOk = 8, kDriverOk = 4, kNeedsReset = 64;
constexpr u16 kNext = 1, kWrite = 2;

inline u64 registers, memory; // where they are mapped

inline void map_virtio(const Machine& machine)
{
    registers = map_device(machine, kTransports);
    if (machine.td)
        check_equal(vmcall(kMapGpa, kShared | machine.shared_bit, kSharedSize).status, 0, "MapGPA");
    memory = map_device(machine, kShared);
}

struct Piece {
    u64 address;
    u32 length;
    u16 flags;
};

class Device {
  public:
    explicit Device(unsigned index) : index_(index), rings_(kShared + 0x1000 * u64{index}) {}

    [[nodiscard]] u32 read(u32 offset) const { return static_cast<u32>(load32(at(offset))); }
    void write(u32 offset, u32 value) const { store32(at(offset), value); }
    [[nodiscard]] u8 status() const { return static_cast<u8>(read(0x70)); }

    bool negotiate(u64 features)
    {
        write(0x70, 0);
        write(0x70, 3);
        for (u32 half = 0; half < 2; ++half) {
            write(0x24, half);
            write(0x20, static_cast<u32>(features >> (32 * half)));
        }
        write(0x70, 3 | kFeaturesOk);
        return (status() & kFeaturesOk) != 0;
    }
    void start(unsigned queues = 1)
    {
        (void)negotiate(kVersion1 | kAccessPlatform);
        for (u64 i = 0; i < 0x1000; i += 8)
            store64(local(rings_ + i), 0);
        for (unsigned queue = 0; queue < queues; ++queue) {
            sent_[queue] = 0;
            write(0x30, queue);
            write(0x38, 8);
            write_address(0x80, rings(queue));
            write_address(0x90, rings(queue) + kAvailable);
            write_address(0xa0, rings(queue) + kUsed);
            write(0x44, 1);
        }
        write(0x70, status() | kDriverOk);
    }
    // Gives the device the chain of `pieces`. One at a time: it takes the first descriptors.
    template <unsigned kCount>
    void offer(const Piece (&pieces)[kCount], unsigned queue = 0)
    {
        for (unsigned i = 0; i < kCount; ++i) {
            const u64 to = local(rings(queue) + 16 * u64{i});
            store64(to, pieces[i].address);
            store32(to + 8, pieces[i].length);
            store16(to + 12, static_cast<u16>(pieces[i].flags | (i + 1 < kCount ? kNext : 0)));
            store16(to + 14, static_cast<u16>(i + 1));
        }
        store16(local(rings(queue) + kAvailable + 4 + 2 * (sent_[queue] % 8u)), 0);
        store16(local(rings(queue) + kAvailable + 2), ++sent_[queue]);
        write(0x50, queue);
    }
    // False if the device does not return what it was given.
    bool returned(unsigned queue = 0) const
    {
        for (u64 i = 0; i < 200'000'000; ++i) {
            if (static_cast<u16>(load16(local(rings(queue) + kUsed + 2))) == sent_[queue])
                return true;
            if ((i & 0xffff) == 0xffff && (status() & kNeedsReset) != 0)
                return false;
            asm volatile("pause");
        }
        return false;
    }
    // How many bytes the device has written to what it returned last.
    [[nodiscard]] u32 written(unsigned queue) const
    {
        const u64 entry = static_cast<u16>(sent_[queue] - 1) % 8u;
        return static_cast<u32>(load32(local(rings(queue) + kUsed + 4 + 8 * entry + 4)));
    }
    template <unsigned kCount>
    bool send(const Piece (&pieces)[kCount], unsigned queue = 0)
    {
        offer(pieces, queue);
        return returned(queue);
    }

    static u64 local(u64 address) { return memory + (address - kShared); }

  private:
    static constexpr u64 kAvailable = 0x400, kUsed = 0x800;

    [[nodiscard]] u64 at(u32 offset) const { return registers + kTransportSize * index_ + offset; }
    [[nodiscard]] u64 rings(unsigned queue) const { return rings_ + 0x200 * u64{queue}; }
    void write_address(u32 offset, u64 address) const
    {
        write(offset, static_cast<u32>(address));
        write(offset + 4, static_cast<u32>(address >> 32));
    }

    unsigned index_;
    u64 rings_;
    u16 sent_[2] = {};
};

} // namespace seamless::guest
