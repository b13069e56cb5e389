// SPDX-License-Identifier: Apache-2.0
// Fuzzes fw_cfg: ports of any width, requests for DMA with any content at any place, held against a model
// that says what a guest must read, and that nothing else of its memory changes.
#include <cstdlib>
#include <optional>

#include "devices/bus.h"
#include "fuzz/depth.h"
#include "fuzz/fw_cfg_driver.h"
#include "fuzz/input.h"
#include "fuzz/target.h"

namespace seamless::fuzz {
namespace {

using devices::FwCfg;
using devices::FwCfgKey;
using Bytes = std::vector<u8>;

void check(bool right)
{
    if (!right)
        std::abort();
}

Bytes pattern(u64 size, u8 first)
{
    Bytes bytes(size);
    for (u64 i = 0; i < size; ++i)
        bytes[i] = static_cast<u8>(first + i * 7);
    return bytes;
}

// What QEMU's document says, and no more.
class Model {
  public:
    std::map<u16, Bytes> items{{0, {'Q', 'E', 'M', 'U'}}, {1, {3, 0, 0, 0}}};
    FwCfgMemory memory;

    void select(u16 key)
    {
        selected_ = key;
        position_ = 0;
    }
    u8 next_byte()
    {
        const Bytes& item = items[selected_];
        return position_ < item.size() ? item[position_++] : u8{0};
    }
    // Whether the request succeeds; nothing if there is none.
    std::optional<bool> dma(u64 at)
    {
        u8* place = memory.map(at, 16);
        if (place == nullptr)
            return {};
        FwCfgRequest request;
        for (unsigned i = 0; i < 4; ++i) {
            request.control = request.control << 8 | place[i];
            request.length = request.length << 8 | place[4 + i];
        }
        for (unsigned i = 8; i < 16; ++i)
            request.address = request.address << 8 | place[i];
        const bool done = perform(request);
        put_be(place, done ? 0 : FwCfgRequest::kError, 4);
        return done;
    }

  private:
    bool perform(const FwCfgRequest& request)
    {
        if (request.control & FwCfgRequest::kSelect)
            select(static_cast<u16>(request.control >> 16));
        const u64 left = items[selected_].size() - position_;
        const u64 taken = std::min<u64>(request.length, left);
        if (request.control & FwCfgRequest::kRead)
            return read(request, taken);
        if (request.control & FwCfgRequest::kWrite)
            return request.length == 0;
        if (request.control & FwCfgRequest::kSkip)
            position_ += taken;
        return true;
    }
    // What lies beyond the item is zero; a part that cannot be stored is not taken from the item.
    bool read(const FwCfgRequest& request, u64 taken)
    {
        if (request.address + request.length < request.address)
            return false;
        u8* to = memory.map(request.address, taken);
        if (taken != 0 && to == nullptr)
            return false;
        for (u64 i = 0; i < taken; ++i)
            to[i] = next_byte();
        u8* zeroes = memory.map(request.address + taken, request.length - taken);
        if (taken != request.length && zeroes != nullptr)
            std::memset(zeroes, 0, request.length - taken);
        return taken == request.length || zeroes != nullptr;
    }

    u16 selected_ = 0;
    u64 position_ = 0;
};

class Case {
  public:
    Case()
    {
        check(bus_.add("fw_cfg", FwCfg::kPort, FwCfg::kPorts, device_).ok());
        add_items();
        learn_directory();
    }
    void run(Input& in)
    {
        for (unsigned steps = 0; !in.empty() && steps < 256; ++steps)
            step(in);
    }

  private:
    void add_items()
    {
        device_.add_number(FwCfgKey::RAM_SIZE, 0x123456789, 8);
        model_.items[0x03] = {0x89, 0x67, 0x45, 0x23, 1, 0, 0, 0};
        device_.add(FwCfgKey::CMDLINE_DATA, pattern(40, 1));
        model_.items[0x15] = pattern(40, 1);
        device_.add_external(FwCfgKey::KERNEL_DATA, kernel_, [this](std::span<const u8> part) {
            check(part.empty() || (part.data() >= kernel_.data() &&
                                   part.data() + part.size() <= kernel_.data() + kernel_.size()));
        });
        model_.items[0x11] = kernel_;
        device_.add_external(FwCfgKey::INITRD_DATA, {});
        device_.add_file("etc/acpi/tables", pattern(300, 9));
        model_.items[0x20] = pattern(300, 9);
        device_.add_file("etc/acpi/rsdp", pattern(36, 3));
        model_.items[0x21] = pattern(36, 3);
    }
    // Its content is checked by the unit tests; here it is one more item.
    void learn_directory()
    {
        Bytes directory(4 + 2 * 64);
        select_by_port(device_, 0x19);
        for (u8& byte : directory)
            device_.read(1, {&byte, 1});
        check(directory[3] == 2);
        model_.items[0x19] = directory;
        select_by_port(device_, 0);
    }
    void step(Input& in)
    {
        switch (in.below(4)) {
        case 0:
            return read_port(in);
        case 1:
            return write_port(in);
        case 2: {
            const u16 key = draw_key(in);
            select_by_port(device_, key);
            return model_.select(key);
        }
        default:
            return dma(in);
        }
    }
    u16 draw_key(Input& in)
    {
        constexpr u16 keys[] = {0, 1, 3, 0x11, 0x12, 0x15, 0x19, 0x20, 0x21, 0x22};
        return in.byte() < 240 ? in.pick(keys) : in.take<u16>();
    }
    void read_port(Input& in)
    {
        const u64 offset = in.below(FwCfg::kPorts + 1), size = 1 + in.below(8);
        Bytes data(size, 0xee);
        const bool claimed = bus_.read(FwCfg::kPort + offset, data);
        check(claimed == (offset + size <= FwCfg::kPorts));
        for (u64 i = 0; i < size && claimed && offset == 1; ++i)
            check(data[i] == model_.next_byte());
        if (claimed)
            Depth::reached("accesses", "read " + std::to_string(offset) + " " + std::to_string(size));
    }
    // The address of a request comes in one piece or two; other widths mean nothing.
    void write_port(Input& in)
    {
        const u64 offset = in.below(FwCfg::kPorts + 1), size = 1 + in.below(8);
        Bytes data(size);
        in.fill(data.data(), data.size());
        u64 value = 0;
        for (const u8 byte : data)
            value = value << 8 | byte;
        const bool claimed = bus_.write(FwCfg::kPort + offset, data);
        check(claimed == (offset + size <= FwCfg::kPorts));
        if (!claimed)
            return;
        Depth::reached("accesses", "write " + std::to_string(offset) + " " + std::to_string(size));
        if (offset == 0 && size == 2)
            model_.select(static_cast<u16>(data[0] | data[1] << 8));
        else if (offset == 4 && size == 4)
            half_ = value << 32;
        else if ((offset == 8 && size == 4) || (offset == 4 && size == 8))
            started(half_ | value);
    }
    void dma(Input& in)
    {
        const u64 at = in.flag() ? FwCfgMemory::kStart + in.below(FwCfgMemory::kSize) : in.number();
        FwCfgRequest request{
            .control = in.flag() ? in.take<u32>() : u32{in.byte()} % 32 | u32{draw_key(in)} << 16,
            .length = in.flag() ? static_cast<u32>(in.below(64)) : static_cast<u32>(in.number()),
            .address = in.flag() ? FwCfgMemory::kStart + in.below(FwCfgMemory::kSize) : in.number()};
        for (FwCfgMemory* memory : {&memory_, &model_.memory})
            if (u8* to = memory->map(at, 16))
                request.put(to);
        start_dma(device_, half_ | at);
        const auto done = started(half_ | at);
        Depth::reached("requests", !done   ? "nowhere"
                                   : *done ? "done " + std::to_string(request.control & 31)
                                           : "failed " + std::to_string(request.control & 31));
    }
    std::optional<bool> started(u64 at)
    {
        half_ = 0;
        const auto done = model_.dma(at);
        check(memory_.bytes == model_.memory.bytes);
        return done;
    }

    Bytes kernel_ = pattern(5000, 5);
    FwCfgMemory memory_;
    FwCfg device_{memory_};
    devices::Bus bus_;
    Model model_;
    u64 half_ = 0; // the high half of a request's address, once written
};

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::Input in(data, size);
    seamless::fuzz::Case().run(in);
    return 0;
}
