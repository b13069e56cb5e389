// SPDX-License-Identifier: Apache-2.0
// Which host pages hold translated code, on which logical processors. A page in here has no write tag in any
// TLB: the first write to it comes through page_written() and drops the code. Shared by the processors of a
// package.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <unordered_map>

#include "base/bits.h"

namespace seamless::cpu {

class CodePages {
  public:
    // Processor `lp` is about to translate code of `page`. True: nobody had code there, so the caller must
    // take the write tags away from all TLBs and then call settled(). False: wait until settled.
    [[nodiscard]] bool add(u64 page, unsigned lp)
    {
        Shard& shard = shard_of(page);
        const std::lock_guard lock(shard.mutex);
        const auto [it, is_new] = shard.pages.try_emplace(page);
        if (is_new)
            count_of(page).fetch_add(1, std::memory_order_relaxed);
        Entry& entry = it->second;
        const bool first = entry.processors == 0;
        entry.processors |= bit(lp);
        return first;
    }
    void settle(u64 page)
    {
        Shard& shard = shard_of(page);
        const std::lock_guard lock(shard.mutex);
        const auto it = shard.pages.find(page);
        if (it != shard.pages.end())
            it->second.settled = true;
    }
    // Also true where the page has no code any more.
    [[nodiscard]] bool settled(u64 page)
    {
        Shard& shard = shard_of(page);
        const std::lock_guard lock(shard.mutex);
        const auto it = shard.pages.find(page);
        return it == shard.pages.end() || it->second.settled;
    }
    // The processors that have code there; none of them counts as having it afterwards.
    [[nodiscard]] u64 take(u64 page)
    {
        // Who adds the page waits then until this processor has polled: what it did before is enough to see.
        if (!may_have(page)) [[likely]]
            return 0;
        Shard& shard = shard_of(page);
        const std::lock_guard lock(shard.mutex);
        const auto it = shard.pages.find(page);
        if (it == shard.pages.end())
            return 0;
        const u64 processors = it->second.processors;
        shard.pages.erase(it);
        count_of(page).fetch_sub(1, std::memory_order_relaxed);
        return processors;
    }
    [[nodiscard]] bool has(u64 page, unsigned lp)
    {
        Shard& shard = shard_of(page);
        const std::lock_guard lock(shard.mutex);
        const auto it = shard.pages.find(page);
        return it != shard.pages.end() && test(it->second.processors, lp);
    }

    // Whether a write to the page needs take().
    [[nodiscard]] bool may_have(u64 page) const
    {
        return counts_[index(page)].load(std::memory_order_relaxed) != 0;
    }

  private:
    struct Entry {
        u64 processors = 0;
        bool settled = false;
    };
    struct Shard {
        std::mutex mutex;
        std::unordered_map<u64, Entry> pages;
    };
    Shard& shard_of(u64 page) { return shards_[(page >> 12) % shards_.size()]; }

    [[nodiscard]] static std::size_t index(u64 page) { return (page >> 12) % kCounts; }
    std::atomic<u32>& count_of(u64 page) { return counts_[index(page)]; }

    std::array<Shard, 64> shards_;
    static constexpr std::size_t kCounts = 1 << 16;
    std::array<std::atomic<u32>, kCounts> counts_{}; // of the entries whose pages share these bits
};

} // namespace seamless::cpu
