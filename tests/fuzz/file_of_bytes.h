// SPDX-License-Identifier: Apache-2.0
// Bytes as a file with a name, for what reads files by name. It is gone with the object.
#pragma once

#include <cstdlib>
#include <span>
#include <string>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"

namespace seamless::fuzz {

class FileOfBytes {
  public:
    explicit FileOfBytes(std::span<const u8> bytes) : fd_(::memfd_create("input", MFD_CLOEXEC))
    {
        if (::write(fd_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
            std::abort();
    }
    ~FileOfBytes() { ::close(fd_); }
    FileOfBytes(const FileOfBytes&) = delete;
    FileOfBytes& operator=(const FileOfBytes&) = delete;

    [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

  private:
    int fd_;
};

} // namespace seamless::fuzz
