// SPDX-License-Identifier: Apache-2.0
// The arena: one reservation of address space, handed out as single pages and as ranges.
#include "mem/host_memory.h"

#include <algorithm>
#include <cstring>
#include <sys/mman.h>

namespace seamless::mem {
namespace {

constexpr u64 kGiB = u64{1} << 30;
constexpr u64 kPageChunk = u64{2} << 20;

// Fresh anonymous memory that the host pays for when it is touched.
bool map_anonymous(Hpa start, u64 bytes)
{
    void* at = host_ptr(start);
    return mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                -1, 0) == at;
}

} // namespace

Result<std::unique_ptr<HostMemory>, Message> HostMemory::create(u64 size)
{
    size = align_up(size, kGiB);
    void* at = mmap(nullptr, size + kGiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
    if (at == MAP_FAILED)
        return fail(Message{
            "host memory: cannot reserve address space (is there an address-space limit, ulimit -v?)"});
    const u64 start = reinterpret_cast<u64>(at);
    const u64 base = align_up(start, kGiB);
    if (base > start)
        munmap(at, base - start);
    if (start + kGiB > base)
        munmap(reinterpret_cast<void*>(base + size), start + kGiB - base);
    void* map = mmap(nullptr, map_bytes(size), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        munmap(reinterpret_cast<void*>(base), size);
        return fail(Message{"host memory: cannot reserve address space for its map"});
    }
    return std::unique_ptr<HostMemory>(new HostMemory(Hpa(base), size, static_cast<u64*>(map)));
}

HostMemory::~HostMemory()
{
    munmap(host_ptr(base_), size_);
    munmap(untouched_, map_bytes(size_));
}

Result<Hpa, Errno> HostMemory::alloc_page()
{
    const std::lock_guard lock(mutex_);
    if (!free_pages_.empty()) {
        const Hpa page = free_pages_.back();
        free_pages_.pop_back();
        std::memset(host_ptr(page), 0, kPageSize);
        return page;
    }
    if (page_chunk_ == page_chunk_end_) {
        if (next_ - base_ + kPageChunk > size_)
            return fail(Errno{ENOMEM});
        page_chunk_ = next_;
        next_ += kPageChunk;
        page_chunk_end_ = next_;
    }
    const Hpa page = page_chunk_; // never used, so still zero
    page_chunk_ += kPageSize;
    return page;
}

void HostMemory::free_page(Hpa page)
{
    DCHECK(contains(page) && page.page_aligned());
    const std::lock_guard lock(mutex_);
    free_pages_.push_back(without_hkid(page));
}

Result<Hpa, Errno> HostMemory::alloc_range(u64 bytes)
{
    const std::lock_guard lock(mutex_);
    const auto fits = std::find_if(free_ranges_.begin(), free_ranges_.end(),
                                   [&](const Range& r) { return r.bytes >= bytes; });
    if (fits != free_ranges_.end()) {
        const Hpa start = fits->start;
        fits->start += bytes;
        fits->bytes -= bytes;
        if (fits->bytes == 0)
            free_ranges_.erase(fits);
        return start;
    }
    const Hpa start(align_up(next_.value(), kPageChunk));
    const u64 padded = align_up(bytes, kPageChunk);
    if (padded < bytes || padded > size_ || start - base_ > size_ - padded)
        return fail(Errno{ENOMEM});
    next_ = start + padded;
    return start;
}

void HostMemory::free_range(Hpa start, u64 bytes)
{
    CHECK(contains(start) && map_anonymous(start, bytes));
    (void)take_untouched(start, bytes);
    const std::lock_guard lock(mutex_);
    free_ranges_.push_back({start, bytes});
}

void HostMemory::for_words(Hpa start, u64 bytes, const auto& op)
{
    u64 page = (without_hkid(start) - base_) / kPageSize;
    for (u64 left = bytes / kPageSize; left != 0;) {
        const u64 here = std::min(left, 64 - page % 64);
        op(untouched_[page / 64], (here == 64 ? ~u64{0} : bit(static_cast<unsigned>(here)) - 1) << page % 64);
        page += here;
        left -= here;
    }
}

void HostMemory::declare_untouched(Hpa start, u64 bytes)
{
    for_words(start, bytes, [](u64& word, u64 mask) { __atomic_fetch_or(&word, mask, __ATOMIC_RELAXED); });
}

bool HostMemory::take_untouched(Hpa start, u64 bytes)
{
    bool all = true;
    for_words(start, bytes, [&](u64& word, u64 mask) {
        all &= (__atomic_fetch_and(&word, ~mask, __ATOMIC_RELAXED) & mask) == mask;
    });
    return all;
}

} // namespace seamless::mem
