// SPDX-License-Identifier: Apache-2.0
// Memslots, memory attributes and the discarding of converted memory.
#include "vmm/guest_memory.h"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>

#include "spec/kvm_abi.h"

namespace seamless::vmm {

using namespace spec::kvm;

Result<HostPages, Message> HostPages::make(u64 size)
{
    void* p =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return fail(
            Message{fmt::format("no memory for {} MiB of guest memory: {}", size >> 20, errno_text(errno))});
    return HostPages(p, size);
}

Result<KvmFd, Message> GuestMemory::make_memfd(u64 size) const
{
    if (!private_)
        return KvmFd(vm_.port(), -1);
    kvm_create_guest_memfd create{.size = size};
    return KvmFd(vm_.port(), TRY(vm_.call("KVM_CREATE_GUEST_MEMFD", KVM_CREATE_GUEST_MEMFD, &create)));
}

Result<void, Message> GuestMemory::add(const MemoryRange& range)
{
    HostPages shared = TRY(HostPages::make(range.size));
    KvmFd memfd = TRY(make_memfd(range.size));
    const auto number = static_cast<u32>(slots_.size());
    kvm_userspace_memory_region2 region{};
    region.slot = number;
    region.guest_phys_addr = range.start;
    region.memory_size = range.size;
    region.userspace_addr = reinterpret_cast<u64>(shared.data());
    if (private_) {
        region.flags = KVM_MEM_GUEST_MEMFD;
        region.guest_memfd = static_cast<u32>(memfd.get());
        TRY(vm_.call("KVM_SET_USER_MEMORY_REGION2", KVM_SET_USER_MEMORY_REGION2, &region));
        if (const int error = set_attributes(range, true); error != 0)
            return fail(Message{fmt::format("KVM_SET_MEMORY_ATTRIBUTES: {}", errno_text(error))});
    } else {
        // The first fields of both structures are the same.
        TRY(vm_.call("KVM_SET_USER_MEMORY_REGION", KVM_SET_USER_MEMORY_REGION, &region));
    }
    slots_.push_back({range, std::move(shared), std::move(memfd)});
    return {};
}

u8* GuestMemory::at(const MemoryRange& range) const
{
    const auto slot =
        std::find_if(slots_.begin(), slots_.end(), [&](const Slot& s) { return s.range.contains(range); });
    return slot == slots_.end() ? nullptr : slot->shared.data() + (range.start - slot->range.start);
}

int GuestMemory::set_attributes(const MemoryRange& range, bool to_private) const
{
    kvm_memory_attributes attributes{.address = range.start,
                                     .size = range.size,
                                     .attributes = to_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
                                     .flags = 0};
    return -std::min(vm_.ioctl(KVM_SET_MEMORY_ATTRIBUTES, &attributes), 0);
}

int GuestMemory::discard(const Slot& slot, const MemoryRange& range, bool shared_side) const
{
    const u64 offset = range.start - slot.range.start;
    if (shared_side)
        return ::madvise(slot.shared.data() + offset, range.size, MADV_DONTNEED) == 0 ? 0 : errno;
    return -std::min(vm_.port().fallocate(slot.memfd.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                          offset, range.size),
                     0);
}

int GuestMemory::convert(const MemoryRange& range, bool to_private) const
{
    if (!private_ || range.size == 0 || range.end() < range.start)
        return EINVAL;
    const auto slot =
        std::find_if(slots_.begin(), slots_.end(), [&](const Slot& s) { return s.range.overlaps(range); });
    if (slot == slots_.end())
        return to_private ? EINVAL : 0;
    if (!slot->range.contains(range))
        return EINVAL;
    if (const int error = set_attributes(range, to_private); error != 0)
        return error;
    note(range, to_private);
    return discard(*slot, range, to_private);
}

void GuestMemory::note(const MemoryRange& range, bool to_private) const
{
    const std::lock_guard lock(mutex_);
    u64 start = range.start, end = range.end();
    auto at = shared_.lower_bound(range.start);
    if (at != shared_.begin() && std::prev(at)->second >= range.start)
        --at;
    while (at != shared_.end() && at->first <= range.end()) {
        start = std::min(start, at->first);
        end = std::max(end, at->second);
        at = shared_.erase(at);
    }
    if (!to_private) {
        shared_[start] = end;
        return;
    }
    if (start < range.start)
        shared_[start] = range.start;
    if (end > range.end())
        shared_[range.end()] = end;
}

bool GuestMemory::is_private(const MemoryRange& range) const
{
    if (!private_)
        return false;
    const std::shared_lock lock(mutex_);
    const auto after = shared_.upper_bound(range.start);
    return after == shared_.begin() || std::prev(after)->second < range.end();
}

} // namespace seamless::vmm
