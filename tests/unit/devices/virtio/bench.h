// SPDX-License-Identifier: Apache-2.0
// A virtio device behind its transport, driven as a driver would: through registers and rings in memory.
#pragma once

#include <cstring>
#include <gtest/gtest.h>
#include <vector>

#include "devices/virtio/transport.h"

namespace seamless::devices::virtio::test {

struct Ram : DmaMemory {
    static constexpr u64 kBase = 0x100000, kSize = 0x40000;
    alignas(16) u8 bytes[kSize] = {};

    u8* map(u64 address, u64 size) override
    {
        const bool inside = address >= kBase && address - kBase <= kSize && size <= kSize - (address - kBase);
        return inside ? bytes + (address - kBase) : nullptr;
    }
    template <typename T>
    void put(u64 address, T value)
    {
        u8* to = map(address, sizeof(T));
        ASSERT_NE(to, nullptr);
        std::memcpy(to, &value, sizeof(T));
    }
    template <typename T>
    T get(u64 address)
    {
        T value{};
        std::memcpy(&value, map(address, sizeof(T)), sizeof(T));
        return value;
    }
};

// Counts rising edges.
struct Line : InterruptLine {
    bool level = false;
    unsigned edges = 0;
    void set(bool asserted) override
    {
        edges += asserted && !level ? 1u : 0u;
        level = asserted;
    }
};

// Works at once, but not for ever: rings that overlap can give more work than any driver.
struct Inline : Worker {
    explicit Inline(Device& d) : device(d) {}
    void wake() override
    {
        for (unsigned i = 0; i < 4096 && device.take(); ++i) {
            device.perform();
            device.finish();
        }
    }
    void quiesce() override { ++quiesced; }
    Device& device;
    unsigned quiesced = 0;
};

struct Desc {
    u64 address;
    u32 length;
    u16 flags = 0;
    u16 next = 0;
};

struct Bench {
    static constexpr u16 kSize = 8;
    static constexpr u64 kData = Ram::kBase + 0x10000;

    Ram ram;
    Line line;
    Inline worker;
    Transport transport;
    u16 available[2] = {};

    explicit Bench(Device& device, bool bounce = false)
        : worker(device), transport(device, worker, ram, line, bounce)
    {}

    static u64 rings(unsigned queue) { return Ram::kBase + 0x1000 * queue; }
    static u64 descriptors(unsigned queue) { return rings(queue); }
    static u64 driver(unsigned queue) { return rings(queue) + 0x400; }
    static u64 device(unsigned queue) { return rings(queue) + 0x800; }

    u32 read(Register which)
    {
        u8 data[4];
        transport.read(static_cast<u64>(which), data);
        u32 value;
        std::memcpy(&value, data, 4);
        return value;
    }
    void write(Register which, u32 value)
    {
        u8 data[4];
        std::memcpy(data, &value, 4);
        transport.write(static_cast<u64>(which), data);
    }
    u8 status() { return static_cast<u8>(read(Register::Status)); }
    void add_status(u8 bits) { write(Register::Status, status() | bits); }

    u64 offered()
    {
        write(Register::DeviceFeaturesSel, 0);
        const u64 low = read(Register::DeviceFeatures);
        write(Register::DeviceFeaturesSel, 1);
        return low | u64{read(Register::DeviceFeatures)} << 32;
    }
    void accept(u64 features)
    {
        write(Register::DriverFeaturesSel, 0);
        write(Register::DriverFeatures, static_cast<u32>(features));
        write(Register::DriverFeaturesSel, 1);
        write(Register::DriverFeatures, static_cast<u32>(features >> 32));
    }
    // True if the device took the features.
    bool negotiate(u64 features)
    {
        add_status(status::ACKNOWLEDGE);
        add_status(status::DRIVER);
        accept(features);
        add_status(status::FEATURES_OK);
        return (status() & status::FEATURES_OK) != 0;
    }
    void set_queue(unsigned queue, u32 size, u64 descriptors, u64 driver, u64 device)
    {
        write(Register::QueueSel, queue);
        write(Register::QueueSize, size);
        write(Register::QueueDescLow, static_cast<u32>(descriptors));
        write(Register::QueueDescHigh, static_cast<u32>(descriptors >> 32));
        write(Register::QueueDriverLow, static_cast<u32>(driver));
        write(Register::QueueDriverHigh, static_cast<u32>(driver >> 32));
        write(Register::QueueDeviceLow, static_cast<u32>(device));
        write(Register::QueueDeviceHigh, static_cast<u32>(device >> 32));
        write(Register::QueueReady, 1);
    }
    void start(u64 features = 0, unsigned queues = 1)
    {
        ASSERT_TRUE(negotiate(features | feature::VERSION_1));
        for (unsigned i = 0; i < queues; ++i)
            set_queue(i, kSize, descriptors(i), driver(i), device(i));
        add_status(status::DRIVER_OK);
    }

    void describe(u16 index, const Desc& d, unsigned queue = 0)
    {
        ram.put(descriptors(queue) + 16 * u64{index}, d);
    }
    void make_available(u16 head, unsigned queue = 0)
    {
        ram.put<u16>(driver(queue) + 4 + 2u * (available[queue] % kSize), head);
        ram.put<u16>(driver(queue) + 2, ++available[queue]);
    }
    void kick(unsigned queue = 0) { write(Register::QueueNotify, queue); }
    u16 used(unsigned queue = 0) { return ram.get<u16>(device(queue) + 2); }
    u32 used_length(unsigned entry, unsigned queue = 0)
    {
        return ram.get<u32>(device(queue) + 4 + 8 * u64{entry} + 4);
    }
    bool broken() { return (status() & status::DEVICE_NEEDS_RESET) != 0; }
};
static_assert(sizeof(Desc) == 16);

inline constexpr u16 kNext = ring::DESC_NEXT, kWrite = ring::DESC_WRITE, kIndirect = ring::DESC_INDIRECT;

// A device that remembers what it was given and answers with as many bytes as fit.
struct Echo : Device {
    DeviceId id() const override { return DeviceId::entropy; }
    u64 features() const override { return bit(3); }
    unsigned queues() const override { return 2; }
    std::span<const u8> config() const override { return config_; }
    void start(u64 features) override { started_with = features; }
    void stop() override { ++stopped; }
    bool take() override { return port().pop(0, chain); }
    void perform() override
    {
        got.resize(total_size(chain.readable));
        (void)chain.read(got);
        written = copy_to(chain.writable, 0, got);
    }
    void finish() override { port().push(0, chain, written); }

    u8 config_[6] = {1, 2, 3, 4, 5, 6};
    Chain chain;
    std::vector<u8> got;
    std::size_t written = 0;
    u64 started_with = 0;
    unsigned stopped = 0;
};

} // namespace seamless::devices::virtio::test
