// SPDX-License-Identifier: Apache-2.0
// Reads a fuzzer's bytes as values. What is missing is zero, so every input means something, and an input
// that loses its end still means the same up to there.
#pragma once

#include <cstddef>
#include <cstring>
#include <iterator>
#include <span>

#include "base/bits.h"

namespace seamless::fuzz {

class Input {
  public:
    Input(const u8* data, std::size_t size) : rest_(data, size) {}

    [[nodiscard]] bool empty() const { return rest_.empty(); }
    [[nodiscard]] std::span<const u8> rest() const { return rest_; }

    // Up to `count` bytes; fewer at the end.
    std::span<const u8> bytes(std::size_t count)
    {
        const std::span<const u8> taken = rest_.first(count < rest_.size() ? count : rest_.size());
        rest_ = rest_.subspan(taken.size());
        return taken;
    }
    template <typename T>
    T take()
    {
        T value{};
        const std::span<const u8> from = bytes(sizeof value);
        if (!from.empty())
            std::memcpy(&value, from.data(), from.size());
        return value;
    }
    u8 byte() { return take<u8>(); }
    bool flag() { return (byte() & 1) != 0; }
    // A number below `end`, which is at least 1.
    u64 below(u64 end) { return (end <= 256 ? byte() : take<u32>()) % end; }
    template <typename List>
    const auto& pick(const List& list)
    {
        return std::data(list)[below(std::size(list))];
    }
    // A number of one to eight bytes: small ones are as likely as large ones.
    u64 number()
    {
        const std::span<const u8> from = bytes(1 + byte() % 8);
        u64 value = 0;
        if (!from.empty())
            std::memcpy(&value, from.data(), from.size());
        return value;
    }
    // Overwrites the start of `to` with what is left, at most `count` bytes.
    void fill(void* to, std::size_t count)
    {
        const std::span<const u8> from = bytes(count);
        if (!from.empty())
            std::memcpy(to, from.data(), from.size());
    }

  private:
    std::span<const u8> rest_;
};

} // namespace seamless::fuzz
