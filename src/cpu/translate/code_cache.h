// SPDX-License-Identifier: Apache-2.0
// Executable memory for translated blocks, mapped twice: written through one mapping, run through the other.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <unordered_map>

#include "base/message.h"
#include "base/result.h"
#include "cpu/translate/block.h"

namespace seamless::cpu {

class CodeCache {
  public:
    [[nodiscard]] static Result<std::unique_ptr<CodeCache>, Message> create(u64 size);
    ~CodeCache();
    CodeCache(const CodeCache&) = delete;
    CodeCache& operator=(const CodeCache&) = delete;

    // Room to write, and where it will execute. Never less than `kMinimum` bytes: the caller drops all blocks
    // first when full() says so.
    [[nodiscard]] std::span<u8> room() { return {writable_ + used_, size_ - used_}; }
    [[nodiscard]] u64 room_address() const { return reinterpret_cast<u64>(executable_) + used_; }
    [[nodiscard]] bool full() const { return size_ - used_ < kMinimum; }
    // No room even for the ways out of dropped blocks, for which full() leaves a reserve.
    [[nodiscard]] bool exhausted() const { return size_ - used_ < kReserve; }
    // What is before here stays through drop_blocks(): the stubs.
    void reserve(u32 bytes) { used_ = reserved_ = bytes; }

    // Takes the block whose code was written at room().
    Block& add(std::unique_ptr<Block> block);
    [[nodiscard]] Block* find(Hpa start, u32 key) const;
    // The block that executes at host address `at`, or nullptr.
    [[nodiscard]] const Block* containing(u64 at) const;
    [[nodiscard]] bool contains(u64 at) const { return at - reinterpret_cast<u64>(executable_) < size_; }
    void remove(Block& block);
    void drop_blocks();
    // The blocks that have bytes in `page` (a host page).
    [[nodiscard]] std::vector<Block*> blocks_of(u64 page) const;
    // The writable view of host code at executable address `at`.
    [[nodiscard]] u8* writable(u64 at) { return writable_ + (at - reinterpret_cast<u64>(executable_)); }
    // Takes room for `bytes` of code that belongs to no block.
    void take(u32 bytes) { used_ += align_up<u64>(bytes, 16); }

    static constexpr u64 kMinimum = 64 << 10;
    static constexpr u64 kReserve = 4 << 10;

  private:
    CodeCache(u8* writable, u8* executable, u64 size)
        : writable_(writable), executable_(executable), size_(size)
    {}

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

    u8* writable_;
    u8* executable_;
    u64 size_;
    u64 used_ = 0;
    u64 reserved_ = 0;
    std::unordered_map<Key, std::unique_ptr<Block>, Hash> blocks_;
    std::map<u64, Block*> by_host_;
    std::unordered_map<u64, std::vector<Block*>> by_page_;
    std::vector<std::unique_ptr<Block>> removed_; // may still be executing: freed with the next drop
};

} // namespace seamless::cpu
