// SPDX-License-Identifier: Apache-2.0
// Split virtqueues: the available ring is read, chains are followed, the used ring is written.
#include "devices/virtio/queue.h"

#include <algorithm>

#include "devices/virtio/registers.h"

namespace seamless::devices::virtio {
namespace {

// Both rings: flags, index, entries; then the index at which the other side wants to be told.
constexpr u64 kIndex = 2, kEntries = 4, kAvailableEntry = 2, kUsedEntry = 8, kDescriptor = 16;

// Sequentially consistent: each side writes its own index and then looks at the other's, so that at least one
// sees the other and neither sleeps on work or on an interrupt. ThreadSanitizer knows no fences.
u16 load_index(const u8* at) { return __atomic_load_n(reinterpret_cast<const u16*>(at), __ATOMIC_SEQ_CST); }

void store_index(u8* at, u16 value) { __atomic_store_n(reinterpret_cast<u16*>(at), value, __ATOMIC_SEQ_CST); }

// A copy that the compiler cannot replace by a second look at what the guest may have changed meanwhile.
template <typename T>
T load_once(const u8* at)
{
    T value;
    std::memcpy(&value, at, sizeof(value));
    asm volatile("" : "+m"(value) : : "memory");
    return value;
}

constexpr bool power_of_two(u32 n) { return n != 0 && (n & (n - 1)) == 0; }

} // namespace

void Chain::clear()
{
    readable.clear();
    writable.clear();
}

std::size_t Chain::read(std::span<u8> to)
{
    std::size_t done = 0, emptied = 0;
    for (std::span<u8>& piece : readable) {
        const std::size_t count = std::min(piece.size(), to.size() - done);
        std::copy_n(piece.begin(), count, to.begin() + static_cast<std::ptrdiff_t>(done));
        piece = piece.subspan(count);
        done += count;
        if (!piece.empty())
            break;
        ++emptied;
    }
    readable.erase(readable.begin(), readable.begin() + static_cast<std::ptrdiff_t>(emptied));
    return done;
}

u64 total_size(std::span<const std::span<u8>> pieces)
{
    u64 size = 0;
    for (const std::span<u8> piece : pieces)
        size += piece.size();
    return size;
}

std::size_t copy_to(std::span<const std::span<u8>> pieces, u64 offset, std::span<const u8> from)
{
    std::size_t done = 0;
    for (const std::span<u8> piece : pieces) {
        if (offset >= piece.size()) {
            offset -= piece.size();
            continue;
        }
        const std::span<u8> to = piece.subspan(offset);
        const std::size_t count = std::min(to.size(), from.size() - done);
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(done), count, to.begin());
        done += count;
        offset = 0;
    }
    return done;
}

bool Queue::enable(DmaMemory& memory, const Layout& layout)
{
    disable();
    if (!power_of_two(layout.size) || layout.size > kMaxSize)
        return false;
    if (layout.descriptors % kDescriptor != 0 || layout.driver % 2 != 0 || layout.device % 4 != 0)
        return false;
    // The event index behind each ring is there only with its feature.
    const u64 event = layout.event_index ? 2 : 0;
    descriptors_ = memory.map(layout.descriptors, kDescriptor * layout.size);
    available_ = memory.map(layout.driver, kEntries + kAvailableEntry * layout.size + event);
    used_ = memory.map(layout.device, kEntries + kUsedEntry * layout.size + event);
    if (descriptors_ == nullptr || available_ == nullptr || used_ == nullptr)
        return false;
    memory_ = &memory;
    size_ = static_cast<u16>(layout.size);
    event_index_ = layout.event_index;
    next_available_ = 0;
    next_used_ = 0;
    return true;
}

// Without an event index the driver always tells. With it, we say from which index on, and then look again:
// what came before it saw our word must not be missed.
bool Queue::has_more()
{
    if (load_index(available_ + kIndex) != next_available_)
        return true;
    if (!event_index_)
        return false;
    store_index(used_ + kEntries + kUsedEntry * size_, next_available_);
    return load_index(available_ + kIndex) != next_available_;
}

Queue::Pop Queue::pop(Chain& chain)
{
    if (!enabled() || !has_more())
        return Pop::empty;
    const auto waiting = static_cast<u16>(load_index(available_ + kIndex) - next_available_);
    if (waiting > size_)
        return Pop::broken;
    chain.clear();
    chain.head = load_index(available_ + kEntries + kAvailableEntry * (next_available_ % size_));
    if (!follow(chain))
        return Pop::broken;
    ++next_available_;
    return Pop::chain;
}

bool Queue::add(Chain& chain, const Descriptor& descriptor) const
{
    if (descriptor.length == 0)
        return true;
    u8* start = memory_->map(descriptor.address, descriptor.length);
    const bool write = (descriptor.flags & ring::DESC_WRITE) != 0;
    if (start == nullptr || (!write && !chain.writable.empty()))
        return false;
    (write ? chain.writable : chain.readable).emplace_back(start, descriptor.length);
    return true;
}

bool Queue::enter_indirect(Table& table, const Descriptor& descriptor) const
{
    const bool nested = table.start != descriptors_;
    if (nested || (descriptor.flags & ring::DESC_NEXT) != 0 || descriptor.length == 0 ||
        descriptor.length % kDescriptor != 0)
        return false;
    table = {memory_->map(descriptor.address, descriptor.length),
             static_cast<u32>(descriptor.length / kDescriptor)};
    return table.start != nullptr;
}

// A chain has at most kMaxSize descriptors, whatever way they lead: loops end there.
bool Queue::follow(Chain& chain) const
{
    Table table{descriptors_, size_};
    u32 index = chain.head;
    for (unsigned steps = 0; steps < kMaxSize + 1u; ++steps) {
        if (index >= table.count)
            return false;
        const auto descriptor = load_once<Descriptor>(table.start + kDescriptor * index);
        if ((descriptor.flags & ring::DESC_INDIRECT) != 0) {
            if (!enter_indirect(table, descriptor))
                return false;
            index = 0;
            continue;
        }
        if (!add(chain, descriptor))
            return false;
        if ((descriptor.flags & ring::DESC_NEXT) == 0)
            return true;
        index = descriptor.next;
    }
    return false;
}

bool Queue::push(u16 head, u32 written)
{
    if (!enabled())
        return false;
    const u32 entry[] = {head, written};
    std::memcpy(used_ + kEntries + kUsedEntry * (next_used_ % size_), entry, sizeof(entry));
    const u16 before = next_used_++;
    store_index(used_ + kIndex, next_used_);
    // The driver writes its wish and then looks at the used ring; we the other way round.
    if (!event_index_)
        return (load_index(available_) & ring::AVAIL_NO_INTERRUPT) == 0;
    const u16 wanted = load_index(available_ + kEntries + kAvailableEntry * size_);
    // Wanted is the entry that has just been written.
    return static_cast<u16>(next_used_ - wanted - 1) < static_cast<u16>(next_used_ - before);
}

} // namespace seamless::devices::virtio
