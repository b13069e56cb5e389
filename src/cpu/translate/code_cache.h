// SPDX-License-Identifier: Apache-2.0
// Executable memory for translated blocks, mapped twice: written through one mapping, run through the other.
// The first half holds what blocks run, the second the ways out and the slow paths, so that the code that
// runs lies close together.
#pragma once

#include <array>
#include <bitset>
#include <memory>
#include <span>
#include <unordered_map>

#include "base/message.h"
#include "base/result.h"
#include "cpu/translate/block.h"

namespace seamless::cpu {

class CodeCache {
  public:
    [[nodiscard]] static Result<std::unique_ptr<CodeCache>, Message> create(u32 size);
    ~CodeCache();
    CodeCache(const CodeCache&) = delete;
    CodeCache& operator=(const CodeCache&) = delete;

    // All of it, to write, and where it executes. The room that is left is never less than `kMinimum` bytes
    // in each half: the caller drops all blocks first when full() says so.
    [[nodiscard]] std::span<u8> memory() { return {writable_, size_}; }
    [[nodiscard]] u64 address(u32 offset = 0) const { return reinterpret_cast<u64>(executable_) + offset; }
    [[nodiscard]] CodeRange room() const { return {used_, half()}; }
    [[nodiscard]] CodeRange cold_room() const { return {cold_used_, size_}; }
    [[nodiscard]] bool full() const { return half() - used_ < kMinimum || size_ - cold_used_ < kMinimum; }
    // No room even for the ways out of dropped blocks, for which full() leaves a reserve.
    [[nodiscard]] bool exhausted() const { return size_ - cold_used_ < kReserve; }
    // What is before here stays through drop_blocks(): the stubs.
    void reserve(u32 bytes) { used_ = reserved_ = bytes; }

    // Takes the block whose code was written at room() and cold_room().
    Block& add(std::unique_ptr<Block> block);
    [[nodiscard]] Block* find(Hpa start, u32 key)
    {
        const Recent& recent = recent_of({start.value(), key});
        if (recent.block && recent.start == start.value() && recent.key == key) [[likely]]
            return recent.block;
        return find_older(start, key);
    }
    // The block that executes at host address `at`, or nullptr.
    [[nodiscard]] const Block* containing(u64 at);
    [[nodiscard]] bool contains(u64 at) const { return at - address() < size_; }
    void remove(Block& block);
    // Nothing of this cache is executing: what was removed goes, but for its code's place.
    void free_removed();
    [[nodiscard]] bool has_removed() const { return !removed_.empty(); }
    void drop_blocks();
    template <typename F>
    void for_each(const F& f)
    {
        for (const auto& [key, block] : blocks_)
            f(*block);
    }
    // The blocks that have bytes in `page` (a host page). Valid until one is added or removed.
    [[nodiscard]] std::span<Block* const> blocks_of(u64 page) const;
    // Whether `page` has code that has not been compared since the count of suspicions became this, or for
    // which that does not count (`always`). It will have been.
    [[nodiscard]] bool must_verify(u64 page, u64 suspicions, bool always);
    [[nodiscard]] u8* writable(u32 offset) { return writable_ + offset; }
    // Takes cold room, up to `end`, for code that belongs to no block.
    void take_cold(u32 end) { cold_used_ = end; }

    static constexpr u32 kMinimum = 64 << 10;
    static constexpr u32 kReserve = 4 << 10;

  private:
    CodeCache(u8* writable, u8* executable, u32 size)
        : writable_(writable), executable_(executable), size_(size), cold_used_(half())
    {}
    [[nodiscard]] u32 half() const { return size_ / 2; }

    static constexpr unsigned kRecentBits = 14;
    static constexpr unsigned kPageBits = 1 << 16;
    [[nodiscard]] static unsigned page_bit(u64 page)
    {
        return static_cast<unsigned>((page >> kPageShift) * 0x9e3779b97f4a7c15 >> 48);
    }

    struct Key {
        u64 start;
        u32 key;
        friend bool operator==(const Key&, const Key&) = default;
    };
    struct Hash {
        std::size_t operator()(const Key& k) const
        {
            return (k.start ^ u64{k.key} << 48) * 0x9e3779b97f4a7c15;
        }
    };

    [[nodiscard]] Block* find_older(Hpa start, u32 key);
    void add_to_page(u64 page, Block& block);

    struct Recent {
        u64 start = 0;
        u32 key = 0;
        Block* block = nullptr;
    };
    [[nodiscard]] Recent& recent_of(const Key& key) { return recent_[Hash()(key) >> (64 - kRecentBits)]; }
    struct Placed {
        CodeRange range;
        Block* block; // nullptr: removed and freed
    };
    [[nodiscard]] Placed* placed_at(u32 offset);

    u8* writable_;
    u8* executable_;
    u32 size_;
    u32 used_ = 0;
    u32 reserved_ = 0;
    u32 cold_used_;
    std::unordered_map<Key, std::unique_ptr<Block>, Hash> blocks_;
    std::array<Recent, 1u << kRecentBits> recent_; // by the upper bits of the hash
    std::vector<Placed> placed_;                   // ascending, as memory is filled
    std::vector<Placed> cold_placed_;
    std::array<u32, 1u << kRecentBits> placed_recently_{}; // an index in these lists, by where code is
    std::bitset<kPageBits> may_have_blocks_;               // by page_bit(): most pages have none
    struct Page {
        std::vector<Block*> blocks;
        u64 verified = 0;
    };
    std::unordered_map<u64, Page> by_page_;
    std::vector<std::unique_ptr<Block>> removed_; // may still be executing
};

} // namespace seamless::cpu
