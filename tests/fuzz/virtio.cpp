// SPDX-License-Identifier: Apache-2.0
// Fuzzes virtio transports, rings and devices: a driver that writes any register and any ring, changes memory
// while the device works, and resets it at any point. What the devices reach outside is in memory.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "devices/virtio/block.h"
#include "devices/virtio/console.h"
#include "devices/virtio/entropy.h"
#include "devices/virtio/net.h"
#include "devices/virtio/transport.h"
#include "fuzz/depth.h"
#include "fuzz/input.h"
#include "fuzz/target.h"

namespace seamless::fuzz {
namespace {

using namespace devices::virtio;

void require(bool holds, const char* what)
{
    if (holds)
        return;
    std::fprintf(stderr, "virtio: not so: %s\n", what);
    std::abort();
}

// The driver's memory, and nothing behind it that a sanitizer would not see.
struct Ram : devices::DmaMemory {
    static constexpr u64 kBase = 0x100000, kSize = 0x8000, kData = 0x4000;
    std::unique_ptr<u8[]> bytes = std::make_unique<u8[]>(kSize);

    u8* map(u64 address, u64 size) override
    {
        const bool inside = address >= kBase && address - kBase <= kSize && size <= kSize - (address - kBase);
        return inside ? &bytes[address - kBase] : nullptr;
    }
    void put(u64 offset, u64 value, u64 size)
    {
        if (offset <= kSize && size <= kSize - offset)
            std::memcpy(&bytes[offset], &value, size);
    }
};

struct MemoryDisk : Disk {
    static constexpr u64 kSize = 32 * Block::kSector;
    std::vector<u8> bytes = std::vector<u8>(kSize, 0x55);
    bool fixed = false, failing = false;

    u64 size() const override { return bytes.size(); }
    bool read_only() const override { return fixed; }
    bool read(u64 offset, std::span<const std::span<u8>> to) override
    {
        for (const std::span<u8> piece : to) {
            check(offset, piece.size());
            std::memmove(piece.data(), &bytes[offset], piece.size());
            offset += piece.size();
        }
        return !failing;
    }
    bool write(u64 offset, std::span<const std::span<u8>> from) override
    {
        require(!fixed, "nobody writes to a read-only disk");
        for (const std::span<u8> piece : from) {
            check(offset, piece.size());
            std::memmove(&bytes[offset], piece.data(), piece.size());
            offset += piece.size();
        }
        return !failing;
    }
    bool flush() override { return !failing; }
    bool zero(u64 offset, u64 size, bool) override
    {
        require(!fixed, "nobody clears a read-only disk");
        check(offset, size);
        std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), size, u8{0});
        return !failing;
    }
    static void check(u64 offset, u64 size)
    {
        require(offset <= kSize && size <= kSize - offset, "requests lie within the disk");
    }
};

struct Outside : Network, devices::SerialSink, base::Random {
    u64 sum = 0;
    void send(std::span<const u8> frame) override
    {
        require(!frame.empty() && frame.size() <= Net::kMostFrame, "frames have a size");
        transmit_all(frame);
    }
    void transmit(u8 byte) override { sum += byte; }
    bool fill(std::span<u8> out) override
    {
        std::fill(out.begin(), out.end(), u8{7});
        return true;
    }
};

struct Line : devices::InterruptLine {
    bool level = false;
    void set(bool asserted) override { level = asserted; }
};

// Does at once what there is, or in steps between which the driver goes on.
struct SteppingWorker : Worker {
    enum class Stage : u8 { idle, taken, performed };

    Device& device;
    bool at_once = true;
    Stage stage = Stage::idle;

    explicit SteppingWorker(Device& d) : device(d) {}
    void wake() override
    {
        for (unsigned i = 0; at_once && i < 32 && step(); ++i)
            while (stage != Stage::idle)
                (void)step();
    }
    void quiesce() override
    {
        while (stage != Stage::idle)
            (void)step();
    }
    bool step()
    {
        switch (stage) {
        case Stage::idle:
            if (!device.take())
                return false;
            stage = Stage::taken;
            break;
        case Stage::taken:
            device.perform();
            stage = Stage::performed;
            break;
        case Stage::performed:
            device.finish();
            stage = Stage::idle;
            break;
        }
        return true;
    }
};

constexpr const char* kNames[] = {"block", "network", "console", "entropy"};

class Machine {
  public:
    explicit Machine(Input& in) : in_(in), kind_(static_cast<unsigned>(in.below(4)))
    {
        const u8 flags = in.byte();
        disk_.fixed = (flags & 1) != 0;
        disk_.failing = (flags & 2) != 0;
        bounce_ = (flags & 4) != 0;
        event_index_ = (flags & 8) != 0;
        block_ = std::make_unique<Block>(disk_, "a disk");
        worker_ = std::make_unique<SteppingWorker>(device());
        worker_->at_once = (flags & 16) != 0;
        transport_ = std::make_unique<Transport>(device(), *worker_, ram_, line_, bounce_);
    }
    void act();
    ~Machine()
    {
        write(Register::Status, 0);
        require(read(Register::Status) == 0, "a reset ends");
        require(worker_->stage == SteppingWorker::Stage::idle, "a reset waits for the device");
        check();
        require(disk_.bytes.size() == MemoryDisk::kSize, "a disk keeps its size");
    }

  private:
    Device& device()
    {
        Device* const devices[] = {block_.get(), &net_, &console_, &entropy_};
        return *devices[kind_];
    }
    u32 read(Register which)
    {
        u32 value = 0;
        transport_->read(static_cast<u64>(which), {reinterpret_cast<u8*>(&value), sizeof(value)});
        return value;
    }
    void write(Register which, u64 value)
    {
        const auto low = static_cast<u32>(value);
        transport_->write(static_cast<u64>(which), {reinterpret_cast<const u8*>(&low), sizeof(low)});
    }
    void write_pair(Register low, u64 value)
    {
        write(low, value);
        write(static_cast<Register>(static_cast<u32>(low) + 4), value >> 32);
    }
    u64 any_address() { return in_.flag() ? Ram::kBase + in_.below(Ram::kSize) : in_.number(); }
    static u64 rings(u64 queue) { return 0x1000 * (queue % Transport::kMaxQueues); }

    void start();
    void any_register();
    void describe();
    void block_request();
    void make_available();
    void receive();
    void check();
    void note();

    Input& in_;
    unsigned kind_;
    bool bounce_ = false, event_index_ = false;
    u32 size_ = 8;
    u16 available_[Transport::kMaxQueues] = {};
    Ram ram_;
    Line line_;
    MemoryDisk disk_;
    Outside outside_;
    Net net_{outside_, {2, 0, 0, 0, 0, 1}};
    Console console_{outside_};
    Entropy entropy_{outside_};
    std::unique_ptr<Block> block_;
    std::unique_ptr<SteppingWorker> worker_;
    std::unique_ptr<Transport> transport_;
};

// As a driver does that wants the device to work.
void Machine::start()
{
    using namespace feature;
    write(Register::Status, 0);
    write(Register::Status, status::ACKNOWLEDGE | status::DRIVER);
    u64 wanted = VERSION_1 | ACCESS_PLATFORM | RING_INDIRECT_DESC | (device().features() & in_.number());
    if (event_index_)
        wanted |= RING_EVENT_IDX;
    for (u32 i = 0; i < 2; ++i) {
        write(Register::DriverFeaturesSel, i);
        write(Register::DriverFeatures, wanted >> (32 * i));
    }
    write(Register::Status, status::FEATURES_OK);
    require((read(Register::Status) & status::FEATURES_OK) != 0, "what is offered can be accepted");
    size_ = u32{1} << in_.below(7);
    for (u32 i = 0; i < device().queues(); ++i) {
        write(Register::QueueSel, i);
        write(Register::QueueSize, size_);
        write_pair(Register::QueueDescLow, Ram::kBase + rings(i));
        write_pair(Register::QueueDriverLow, Ram::kBase + rings(i) + 0x400);
        write_pair(Register::QueueDeviceLow, Ram::kBase + rings(i) + 0x800);
        write(Register::QueueReady, 1);
        require(read(Register::QueueReady) == 1, "a good queue is enabled");
        std::fill_n(&ram_.bytes[rings(i) + 0x400], 0xc00, u8{0});
        available_[i] = 0;
    }
    write(Register::Status, status::DRIVER_OK);
}

void Machine::any_register()
{
    const u64 offset = in_.flag() ? 4 * in_.below(Transport::kSize / 4) : in_.below(Transport::kSize);
    const u64 width = in_.flag() ? 4 : 1 + in_.below(8);
    u64 value = in_.number();
    const std::span<u8> data{reinterpret_cast<u8*>(&value), width};
    if (in_.flag())
        transport_->read(offset, data);
    else
        transport_->write(offset, data);
}

// One descriptor; most point into memory.
void Machine::describe()
{
    const u64 at = rings(in_.byte()) + 16 * in_.below(64);
    ram_.put(at, any_address(), 8);
    ram_.put(at + 8, in_.flag() ? in_.below(0x1000) : in_.number(), 4);
    ram_.put(at + 12, in_.flag() ? in_.below(8) : in_.number(), 2);
    ram_.put(at + 14, in_.flag() ? in_.below(size_ + 1) : in_.number(), 2);
}

// Header, data and status byte, in the first three descriptors of queue 0.
void Machine::block_request()
{
    constexpr u32 types[] = {0, 1, 4, 8, 11, 13, 5};
    const u32 type = in_.pick(types);
    const bool range = type == 11 || type == 13;
    ram_.put(Ram::kData, type, 4);
    ram_.put(Ram::kData + 8, in_.flag() ? in_.below(33) : in_.number(), 8);
    ram_.put(Ram::kData + 0x40, in_.below(33), 8);
    ram_.put(Ram::kData + 0x48, in_.below(33), 4);
    ram_.put(Ram::kData + 0x4c, in_.below(4), 4);
    const u64 length = range ? 16 : in_.flag() ? Block::kSector * in_.below(4) : in_.below(0x1000);
    const u16 direction = type == 0 || type == 8 ? ring::DESC_WRITE : u16{0};
    const u64 pieces[][3] = {{Ram::kData, 16, ring::DESC_NEXT},
                             {Ram::kData + 0x40, length, u64{ring::DESC_NEXT} | direction},
                             {Ram::kData + 0x20, 1, ring::DESC_WRITE}};
    for (u64 i = 0; i < 3; ++i) {
        ram_.put(16 * i, Ram::kBase + pieces[i][0], 8);
        ram_.put(16 * i + 8, pieces[i][1], 4);
        ram_.put(16 * i + 12, pieces[i][2], 2);
        ram_.put(16 * i + 14, i + 1, 2);
    }
    ram_.put(Ram::kData + 0x20, 0xee, 1);
    ram_.put(0x404 + 2 * (available_[0] % size_), 0, 2);
    ram_.put(0x402, ++available_[0], 2);
    write(Register::QueueNotify, 0);
    const u8 answer = ram_.bytes[Ram::kData + 0x20];
    if (kind_ == 0 && answer <= 2)
        Depth::reached("requests", std::to_string(type) + " " + std::to_string(answer));
}

void Machine::make_available()
{
    const u64 queue = in_.below(3);
    u16& index = available_[queue];
    for (u64 i = 1 + in_.below(3); i > 0; --i)
        ram_.put(rings(queue) + 0x404 + 2 * (index++ % size_), in_.below(size_ + 1), 2);
    ram_.put(rings(queue) + 0x402, index, 2);
    if (event_index_)
        ram_.put(rings(queue) + 0x404 + 2 * u64{size_}, in_.number(), 2);
    write(Register::QueueNotify, queue);
}

// From the outside; what the device says it took must be no more than there was.
void Machine::receive()
{
    const std::vector<u8> bytes(in_.below(0x2000), in_.byte());
    if (kind_ == 1 && net_.receive(bytes))
        Depth::reached("inputs", "frame");
    const std::size_t taken = kind_ == 2 ? console_.receive(bytes) : 0;
    require(taken <= bytes.size(), "a console takes what it is given");
    if (taken != 0)
        Depth::reached("inputs", "keys");
}

void Machine::check()
{
    const u32 now = read(Register::Status);
    require((read(Register::InterruptStatus) != 0) == line_.level,
            "the line shows whether a cause is pending");
    require((now & status::FEATURES_OK) != 0 || (now & status::DRIVER_OK) == 0, "features come first");
    require(read(Register::MagicValue) == kMagic, "the place has a device");
}

void Machine::note()
{
    const u32 now = read(Register::Status);
    const std::string name = kNames[kind_];
    if ((now & status::DEVICE_NEEDS_RESET) != 0)
        Depth::reached("broken", name);
    if ((read(Register::InterruptStatus) & interrupt::USED_BUFFER) != 0)
        Depth::reached("used", name);
    if (worker_->stage != SteppingWorker::Stage::idle)
        Depth::reached("under_way", name);
}

void Machine::act()
{
    switch (in_.below(9)) {
    case 0:
        start();
        break;
    case 1:
        any_register();
        break;
    case 2:
        describe();
        break;
    case 3:
        block_request();
        break;
    case 4:
        make_available();
        break;
    case 5:
        receive();
        break;
    case 6:
        (void)worker_->step();
        break;
    case 7:
        write(Register::InterruptACK, in_.byte());
        break;
    default:
        in_.fill(&ram_.bytes[in_.below(Ram::kSize - 64)], in_.below(64));
        break;
    }
    check();
    note();
}

void run(Input in)
{
    constexpr unsigned kMostActions = 256;
    Machine machine(in);
    for (unsigned i = 0; i < kMostActions && !in.empty(); ++i)
        machine.act();
}

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::run({data, size});
    return 0;
}
