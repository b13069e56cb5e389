// SPDX-License-Identifier: Apache-2.0
// A disk whose sectors are those of a file or block device, as they are ("raw").
#pragma once

#include <memory>
#include <string>

#include "base/message.h"
#include "base/result.h"
#include "devices/virtio/block.h"

namespace seamless::vmm {

class DiskFile : public devices::virtio::Disk {
  public:
    // Fails if the file is in use: another process, or another disk of this one, writes to it, or reads what
    // this one would write.
    [[nodiscard]] static Result<std::unique_ptr<DiskFile>, Message> open(const std::string& path,
                                                                         bool read_only);
    ~DiskFile() override;
    DiskFile(const DiskFile&) = delete;
    DiskFile& operator=(const DiskFile&) = delete;

    u64 size() const override { return size_; }
    bool read_only() const override { return read_only_; }
    bool read(u64 offset, std::span<const std::span<u8>> to) override;
    bool write(u64 offset, std::span<const std::span<u8>> from) override;
    bool flush() override;
    bool zero(u64 offset, u64 size, bool discard) override;

  private:
    DiskFile(int fd, u64 size, bool read_only) : fd_(fd), size_(size), read_only_(read_only) {}

    int fd_;
    u64 size_;
    bool read_only_;
};

} // namespace seamless::vmm
