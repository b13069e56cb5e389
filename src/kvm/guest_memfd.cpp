// SPDX-License-Identifier: Apache-2.0
// KVM API: "KVM_CREATE_GUEST_MEMFD". Punching a hole first takes the pages away from the TD, then from the
// file.
#include "kvm/guest_memfd.h"

#include <algorithm>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/memslots.h"
#include "kvm/vm.h"

namespace seamless::kvm {

Result<std::unique_ptr<GuestMemfd>, Errno> GuestMemfd::create(std::shared_ptr<Vm> vm, u64 size, u64 flags)
{
    if (flags != 0)
        return fail(Errno{EINVAL});
    if (static_cast<i64>(size) <= 0 || !aligned(size, kPageSize))
        return fail(Errno{EINVAL});
    mem::HostMemory& memory = vm->memory();
    const Hpa base = TRY(memory.alloc_range(size));
    const int fd = memfd_create("[kvm-gmem]", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) != 0 ||
        ::mmap(mem::host_ptr(base), size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd,
               0) == MAP_FAILED) {
        const int why = errno;
        if (fd >= 0)
            close(fd);
        memory.free_range(base, size);
        return fail(Errno{why});
    }
    memory.declare_untouched(base, size);
    return std::unique_ptr<GuestMemfd>(new GuestMemfd(std::move(vm), fd, base, size));
}

GuestMemfd::GuestMemfd(std::shared_ptr<Vm> vm, int fd, Hpa base, u64 size)
    : vm_(std::move(vm)), fd_(fd), base_(base), size_(size), prepared_(size >> kPageShift)
{}

GuestMemfd::~GuestMemfd()
{
    {
        const std::unique_lock lock(vm_->slots_lock);
        zap(0, size_);
        for (Memslot* slot : bound_)
            slot->gmem = nullptr;
    }
    vm_->memory().free_range(base_, size_);
    close(fd_);
}

Result<void, Errno> GuestMemfd::fallocate(int mode, u64 offset, u64 bytes)
{
    if (!(mode & FALLOC_FL_KEEP_SIZE) || (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE)))
        return fail(Errno{EOPNOTSUPP});
    if (bytes == 0 || !aligned(offset, kPageSize) || !aligned(bytes, kPageSize) || offset + bytes < offset)
        return fail(Errno{EINVAL});
    if (mode & FALLOC_FL_PUNCH_HOLE)
        return offset >= size_ ? Result<void, Errno>{} : punch_hole(offset, std::min(bytes, size_ - offset));
    if (offset + bytes > size_)
        return fail(Errno{EINVAL});
    return allocate(mode, offset, bytes);
}

Result<void, Errno> GuestMemfd::allocate(int mode, u64 offset, u64 bytes)
{
    if (::fallocate(fd_, mode, static_cast<off_t>(offset), static_cast<off_t>(bytes)) != 0)
        return fail(Errno{errno});
    return {};
}

Result<void, Errno> GuestMemfd::punch_hole(u64 offset, u64 bytes)
{
    // Until the end: a page that a guest maps and writes meanwhile would lose what it wrote.
    const std::unique_lock lock(vm_->slots_lock);
    zap(offset, bytes);
    for (u64 page = offset; page < offset + bytes; page += kPageSize)
        prepared_[page >> kPageShift] = false;
    return allocate(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, offset, bytes);
}

Result<void, Errno> GuestMemfd::bind(Memslot& slot, u64 offset)
{
    const u64 bytes = slot.npages << kPageShift;
    if (offset + bytes < offset || offset + bytes > size_)
        return fail(Errno{EINVAL});
    for (const Memslot* other : bound_) {
        const u64 other_bytes = other->npages << kPageShift;
        if (offset < other->gmem_offset + other_bytes && other->gmem_offset < offset + bytes)
            return fail(Errno{EINVAL});
    }
    slot.gmem = this;
    slot.gmem_offset = offset;
    bound_.push_back(&slot);
    return {};
}

void GuestMemfd::unbind(Memslot& slot)
{
    std::erase(bound_, &slot);
    slot.gmem = nullptr;
}

void GuestMemfd::zap(u64 offset, u64 bytes)
{
    for (Memslot* slot : bound_) {
        const u64 slot_bytes = slot->npages << kPageShift;
        const u64 from = std::max(offset, slot->gmem_offset),
                  to = std::min(offset + bytes, slot->gmem_offset + slot_bytes);
        if (from < to)
            vm_->zap_range(slot->base + ((from - slot->gmem_offset) >> kPageShift),
                           slot->base + ((to - slot->gmem_offset) >> kPageShift), Roots::private_only);
    }
}

} // namespace seamless::kvm
