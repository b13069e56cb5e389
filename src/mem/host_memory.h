// SPDX-License-Identifier: Apache-2.0
// The simulated host's memory. A host physical address *is* a host virtual address of this process, in its
// own type: bits 46:0 are the address, bits 51:47 a key id (HKID) that the memory ignores
// (docs/architecture.md).
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "base/address.h"
#include "base/errno.h"
#include "base/message.h"
#include "base/result.h"

namespace seamless::mem {

inline constexpr unsigned kHkidShift = 47;
inline constexpr unsigned kHkidBits = 5;
inline constexpr unsigned kMaxPhysicalAddress = 52;
inline constexpr u64 kHkidMask = bits(kHkidShift + kHkidBits - 1, kHkidShift);

[[nodiscard]] constexpr unsigned hkid_of(Hpa hpa)
{
    return static_cast<unsigned>((hpa.value() & kHkidMask) >> kHkidShift);
}
[[nodiscard]] constexpr Hpa without_hkid(Hpa hpa) { return Hpa(hpa.value() & ~kHkidMask); }
[[nodiscard]] constexpr Hpa with_hkid(Hpa hpa, unsigned hkid)
{
    return Hpa(without_hkid(hpa).value() | u64{hkid} << kHkidShift);
}

// The memory behind `hpa`, key id ignored.
template <typename T = void>
[[nodiscard]] T* host_ptr(Hpa hpa)
{
    return reinterpret_cast<T*>(without_hkid(hpa).value());
}

[[nodiscard]] inline Hpa hpa_of_ptr(const void* p) { return Hpa(reinterpret_cast<u64>(p)); }

// The one convertible memory range: an arena of address space in which control pages and guest_memfds live.
// Its base is aligned to 1 GiB and its size is a multiple of 1 GiB, so that TDMRs can cover it. Thread-safe.
class HostMemory {
  public:
    static constexpr u64 kDefaultSize = u64{1} << 40;

    [[nodiscard]] static Result<std::unique_ptr<HostMemory>, Message> create(u64 size = kDefaultSize);
    ~HostMemory();
    HostMemory(const HostMemory&) = delete;
    HostMemory& operator=(const HostMemory&) = delete;

    [[nodiscard]] Hpa base() const { return base_; }
    [[nodiscard]] u64 size() const { return size_; }
    // True if the page at `hpa` (key id ignored) lies in the arena.
    [[nodiscard]] bool contains(Hpa hpa) const { return without_hkid(hpa) - base_ < size_; }

    // A zeroed page; ENOMEM when the arena or the host is out of memory.
    [[nodiscard]] Result<Hpa, Errno> alloc_page();
    void free_page(Hpa page);

    // Address space for `bytes` (a multiple of 4 KiB), aligned to 2 MiB where it is that large. Nothing is
    // mapped behind it for the caller to count on: map a file over it, or use it as fresh anonymous memory.
    [[nodiscard]] Result<Hpa, Errno> alloc_range(u64 bytes);
    // Unmaps what is there and takes the addresses back.
    void free_range(Hpa start, u64 bytes);

    // Who has mapped fresh memory over a range may say so, if nobody writes to it but through a TD. Whole
    // pages.
    void declare_untouched(Hpa start, u64 bytes);
    // Whether all of these pages are as declared, and so read as zero. From now on none of them is.
    [[nodiscard]] bool take_untouched(Hpa start, u64 bytes);

  private:
    HostMemory(Hpa base, u64 size, u64* untouched)
        : base_(base),
          size_(size),
          untouched_(untouched),
          next_(base),
          page_chunk_(base),
          page_chunk_end_(base)
    {}
    [[nodiscard]] static u64 map_bytes(u64 size) { return size / kPageSize / 8; }
    // Applies `op(word, mask)` to the bits of these pages.
    void for_words(Hpa start, u64 bytes, const auto& op);

    struct Range {
        Hpa start;
        u64 bytes;
    };

    Hpa base_;
    u64 size_;
    u64* untouched_; // a bit for each page
    std::mutex mutex_;
    Hpa next_;       // start of the address space never handed out
    Hpa page_chunk_; // next fresh page of the current chunk of single pages
    Hpa page_chunk_end_;
    std::vector<Hpa> free_pages_;
    std::vector<Range> free_ranges_;
};

} // namespace seamless::mem
