// SPDX-License-Identifier: Apache-2.0
// The I/O APIC's registers, edges and levels.
#include "devices/ioapic.h"

#include <algorithm>

#include "devices/little_endian.h"

namespace seamless::devices {
namespace {

constexpr u64 IOREGSEL = 0x00, IOWIN = 0x10, EOIR = 0x40;
constexpr u8 IOAPICID = 0, IOAPICVER = 1, IOAPICARB = 2, IOREDTBL = 0x10;
constexpr u32 kVersion = 0x20 | (Ioapic::kPins - 1) << 16;

// A redirection entry.
constexpr unsigned kDestinationMode = 11, kRemoteIrr = 14, kLevel = 15, kMask = 16;
constexpr u64 kReadOnly = bit(12) | bit(kRemoteIrr);
constexpr u64 kWritable = bits(63, 56) | (bits(16, 0) & ~kReadOnly);
constexpr u64 kDeliveryExtInt = 7;

constexpr u32 kMsiAddress = 0xfee00000;
constexpr u32 kMsiAssert = u32{1} << 14, kMsiLevel = u32{1} << 15;

} // namespace

Ioapic::Ioapic(IoapicBackend& backend) : backend_(backend)
{
    entries_.fill(bit(kMask));
    for (unsigned pin = 0; pin < kPins; ++pin) {
        lines_[pin].ioapic = this;
        lines_[pin].pin = pin;
    }
}

bool Ioapic::level_triggered(unsigned pin) const { return test(entries_[pin], kLevel); }

MsiMessage Ioapic::message(unsigned pin) const
{
    const u64 entry = entries_[pin];
    const auto destination = static_cast<u32>(field(entry, 63, 56) << 12);
    const auto logical = static_cast<u32>(field(entry, kDestinationMode, kDestinationMode) << 2);
    const auto vector_and_mode = static_cast<u32>(field(entry, 10, 0));
    return {.address = kMsiAddress | destination | logical,
            .data = vector_and_mode | (level_triggered(pin) ? kMsiLevel | kMsiAssert : 0)};
}

void Ioapic::deliver(unsigned pin)
{
    // The machine has no 8259 whose vector an ExtINT entry could fetch.
    if (field(entries_[pin], 10, 8) != kDeliveryExtInt)
        backend_.send(message(pin));
}

// Edges that come while the pin is masked are lost, as in the chip.
void Ioapic::set_line(unsigned pin, bool asserted)
{
    const bool was = test(asserted_, pin);
    asserted_ = static_cast<u32>(with_field(asserted_, pin, pin, asserted));
    if (level_triggered(pin))
        send_if_level_pending(pin);
    else if (asserted && !was && test(entries_[pin], kMask))
        lost_ |= u32{1} << pin;
    else if (asserted && !was) {
        lost_ &= ~(u32{1} << pin);
        deliver(pin);
    }
}

Ioapic::Pin Ioapic::pin(unsigned number) const
{
    const u64 entry = entries_[number];
    return {.vector = static_cast<u8>(entry),
            .masked = test(entry, kMask),
            .level = test(entry, kLevel),
            .remote_irr = test(entry, kRemoteIrr),
            .asserted = test(asserted_, number),
            .lost = test(lost_, number)};
}

void Ioapic::send_if_level_pending(unsigned pin)
{
    u64& entry = entries_[pin];
    if (!test(entry, kLevel) || test(entry, kMask) || test(entry, kRemoteIrr) || !test(asserted_, pin))
        return;
    entry |= bit(kRemoteIrr);
    deliver(pin);
}

void Ioapic::end_of_interrupt(u8 vector)
{
    for (unsigned pin = 0; pin < kPins; ++pin) {
        if (!test(entries_[pin], kRemoteIrr) || field(entries_[pin], 7, 0) != vector)
            continue;
        entries_[pin] &= ~bit(kRemoteIrr);
        send_if_level_pending(pin);
    }
}

u32 Ioapic::read_register() const
{
    if (selected_ == IOAPICID || selected_ == IOAPICARB)
        return u32{id_} << 24;
    if (selected_ == IOAPICVER)
        return kVersion;
    const unsigned index = selected_ - unsigned{IOREDTBL};
    if (selected_ < IOREDTBL || index / 2 >= kPins)
        return 0;
    return static_cast<u32>(entries_[index / 2] >> (index % 2 * 32));
}

void Ioapic::write_register(u32 value)
{
    if (selected_ == IOAPICID)
        id_ = static_cast<u8>(field(value, 27, 24));
    const unsigned index = selected_ - unsigned{IOREDTBL};
    if (selected_ >= IOREDTBL && index / 2 < kPins)
        write_entry(index / 2, index % 2 != 0, value);
}

void Ioapic::write_entry(unsigned pin, bool high, u32 value)
{
    const u64 old = entries_[pin];
    const MsiMessage old_message = message(pin);
    const u64 written = high ? with_field(old, 63, 32, value) : with_field(old, 31, 0, value);
    u64 entry = (written & kWritable) | (old & kReadOnly);
    if (!test(entry, kLevel))
        entry &= ~bit(kRemoteIrr); // edges know no EOI
    entries_[pin] = entry;
    const bool level = test(entry, kLevel) || test(old, kLevel);
    if (level && message(pin) != old_message)
        backend_.routes_changed();
    send_if_level_pending(pin);
}

// The registers are 32 bits wide; the index register alone also takes narrower accesses.
void Ioapic::read(u64 offset, std::span<u8> data)
{
    std::fill(data.begin(), data.end(), u8{0});
    if (offset == IOREGSEL)
        store_le(data, selected_);
    else if (offset == IOWIN && data.size() == 4)
        store_le(data, read_register());
}

void Ioapic::write(u64 offset, std::span<const u8> data)
{
    if (offset == IOREGSEL)
        selected_ = static_cast<u8>(load_le(data));
    else if (offset == IOWIN && data.size() == 4)
        write_register(static_cast<u32>(load_le(data)));
    else if (offset == EOIR && data.size() <= 4)
        end_of_interrupt(static_cast<u8>(load_le(data)));
}

} // namespace seamless::devices
