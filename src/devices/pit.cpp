// SPDX-License-Identifier: Apache-2.0
// Counting down, and the byte-wise registers that show it. A count is computed from the time when somebody
// looks.
#include "devices/pit.h"

namespace seamless::devices {
namespace {

constexpr u64 kControl = 3;
constexpr u64 kSecond = 1'000'000'000;
constexpr u8 kReadBack = 3;
constexpr u8 STATUS_OUTPUT = 0x80, STATUS_NULL_COUNT = 0x40;
constexpr u8 B_GATE = 1, B_SPEAKER = 2, B_REFRESH = 0x10, B_OUTPUT = 0x20;
constexpr u64 kRefreshNs = 15'085;

u64 ticks_in(u64 ns) { return static_cast<u64>(static_cast<unsigned __int128>(ns) * Pit::kHz / kSecond); }

u16 from_bcd(u16 v)
{
    return static_cast<u16>((v >> 12 & 0xf) * 1000 + (v >> 8 & 0xf) * 100 + (v >> 4 & 0xf) * 10 + (v & 0xf));
}

u16 to_bcd(u32 v)
{
    return static_cast<u16>(v / 1000 % 10 << 12 | v / 100 % 10 << 8 | v / 10 % 10 << 4 | v % 10);
}

} // namespace

u64 Pit::ticks(const Counter& c) const
{
    return ticks_in(c.gate ? clock_.nanoseconds() - c.start_ns : c.stopped_ns);
}

// Modes 2 and 3 start again by themselves, the others go on through zero. Mode 3 counts in twos.
u32 Pit::count_of(const Counter& c) const
{
    if (!c.loaded)
        return 0;
    const u64 wrap = c.bcd ? 10000 : 0x10000;
    const u64 gone = ticks(c);
    if (c.mode == 2)
        return static_cast<u32>(c.reload - gone % c.reload);
    if (c.mode == 3)
        return static_cast<u32>((c.reload - 2 * gone % c.reload) & ~u64{1});
    return static_cast<u32>((c.reload + wrap - gone % wrap) % wrap);
}

bool Pit::output_of(const Counter& c) const
{
    switch (c.mode) {
    case 0:
    case 1:
        return c.loaded && ticks(c) >= c.reload;
    case 2:
        return !c.gate || ticks(c) % c.reload != c.reload - 1;
    case 3:
        return !c.gate || ticks(c) % c.reload < (c.reload + 1) / 2;
    default:
        return !c.loaded || ticks(c) != c.reload; // one low tick
    }
}

u8 Pit::status_of(const Counter& c) const
{
    return static_cast<u8>((output_of(c) ? STATUS_OUTPUT : 0) | (c.loaded ? 0 : STATUS_NULL_COUNT) |
                           static_cast<u8>(c.bytes) << 4 | c.mode << 1 | (c.bcd ? 1 : 0));
}

void Pit::latch(Counter& c)
{
    if (c.latched) // until it has been read
        return;
    c.latched = true;
    const u32 count = count_of(c);
    c.latch = c.bcd ? to_bcd(count) : static_cast<u16>(count);
}

void Pit::read_back(u8 value)
{
    for (unsigned i = 0; i < counters_.size(); ++i) {
        Counter& c = counters_[i];
        if (!test(value, i + 1))
            continue;
        if (!test(value, 5))
            latch(c);
        if (!test(value, 4) && !c.status_latched) {
            c.status_latched = true;
            c.status = status_of(c);
        }
    }
}

void Pit::control(u8 value)
{
    const unsigned select = value >> 6;
    if (select == kReadBack)
        return read_back(value);
    Counter& c = counters_[select];
    const auto bytes = static_cast<Bytes>(value >> 4 & 3);
    if (bytes == Bytes::latch)
        return latch(c);
    const unsigned mode = value >> 1 & 7;
    const bool gate = c.gate;
    c = {.mode = static_cast<u8>(mode > 5 ? mode - 4 : mode), .bytes = bytes, .bcd = (value & 1) != 0};
    c.gate = gate;
}

void Pit::load(Counter& c, u16 value)
{
    const u32 count = c.bcd ? from_bcd(value) : value;
    c.reload = count ? count : c.bcd ? 10000 : 0x10000;
    c.loaded = true;
    c.start_ns = clock_.nanoseconds();
    c.stopped_ns = 0;
}

void Pit::write_count(Counter& c, u8 value)
{
    if (c.bytes == Bytes::low)
        return load(c, value);
    if (c.bytes == Bytes::high)
        return load(c, static_cast<u16>(value << 8));
    if (c.high_next)
        load(c, static_cast<u16>(value << 8 | c.low));
    else
        c.low = value;
    c.high_next = !c.high_next;
}

u8 Pit::read_count(Counter& c)
{
    if (c.status_latched) {
        c.status_latched = false;
        return c.status;
    }
    const u32 count = count_of(c);
    const u16 value = c.latched ? c.latch : c.bcd ? to_bcd(count) : static_cast<u16>(count);
    const bool high = c.bytes == Bytes::high || (c.bytes == Bytes::both && c.read_high);
    if (c.bytes == Bytes::both)
        c.read_high = !c.read_high;
    if (c.bytes != Bytes::both || high)
        c.latched = false;
    return static_cast<u8>(high ? value >> 8 : value);
}

// Modes 1 and 5 start with a rising gate, modes 2 and 3 start again; the others hold while it is low.
void Pit::set_gate(bool on)
{
    Counter& c = counters_[2];
    if (c.gate == on)
        return;
    const u64 now = clock_.nanoseconds();
    const bool starts_again = c.mode != 0 && c.mode != 4;
    if (on)
        c.start_ns = starts_again ? now : now - c.stopped_ns;
    else
        c.stopped_ns = now - c.start_ns;
    c.gate = on;
}

void Pit::read(u64 offset, std::span<u8> data)
{
    for (u8& byte : data) {
        byte = offset < kControl ? read_count(counters_[offset]) : u8{0xff}; // the control word is write-only
        ++offset;
    }
}

void Pit::write(u64 offset, std::span<const u8> data)
{
    for (const u8 byte : data) {
        if (offset < kControl)
            write_count(counters_[offset], byte);
        else
            control(byte);
        ++offset;
    }
}

void PortB::read(u64, std::span<u8> data)
{
    for (u8& byte : data)
        byte = static_cast<u8>((pit_.gate() ? B_GATE : 0) | (speaker_ ? B_SPEAKER : 0) |
                               (clock_.nanoseconds() / kRefreshNs % 2 ? B_REFRESH : 0) |
                               (pit_.output() ? B_OUTPUT : 0));
}

void PortB::write(u64, std::span<const u8> data)
{
    for (const u8 byte : data) {
        pit_.set_gate(byte & B_GATE);
        speaker_ = byte & B_SPEAKER;
    }
}

} // namespace seamless::devices
