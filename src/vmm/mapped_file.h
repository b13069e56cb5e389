// SPDX-License-Identifier: Apache-2.0
// A file's content, mapped and not copied: kernels and initial RAM disks are large and read once.
#pragma once

#include <span>
#include <string>
#include <utility>

#include "base/bits.h"
#include "base/message.h"
#include "base/result.h"

namespace seamless::vmm {

class MappedFile {
  public:
    MappedFile() = default; // no file
    // Fails unless `path` is a regular file with something in it.
    [[nodiscard]] static Result<MappedFile, Message> open(const std::string& path);
    MappedFile(MappedFile&& other) noexcept
        : address_(std::exchange(other.address_, nullptr)), size_(std::exchange(other.size_, 0))
    {}
    MappedFile& operator=(MappedFile&& other) noexcept
    {
        std::swap(address_, other.address_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~MappedFile();

    // A part of bytes() that has been read is not wanted soon: the process keeps no memory for it.
    void release(std::span<const u8> part) const;

    [[nodiscard]] std::span<const u8> bytes() const { return {static_cast<const u8*>(address_), size_}; }

  private:
    MappedFile(void* address, u64 size) : address_(address), size_(size) {}
    void* address_ = nullptr;
    u64 size_ = 0;
};

} // namespace seamless::vmm
