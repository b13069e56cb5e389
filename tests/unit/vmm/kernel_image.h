// SPDX-License-Identifier: Apache-2.0
// Makes bzImages for tests: a setup header that is right, which a test may spoil, and a body of known bytes.
#pragma once

#include <cstdio>
#include <cstring>
#include <gtest/gtest.h>
#include <string>
#include <unistd.h>
#include <vector>

#include "base/bits.h"

namespace seamless::vmm::test {

struct KernelBuilder {
    static constexpr u64 kSetup = 3 * 512, kBody = 4096;

    std::vector<u8> bytes = std::vector<u8>(kSetup + kBody);

    KernelBuilder()
    {
        for (u64 i = 0; i < bytes.size(); ++i)
            bytes[i] = static_cast<u8>(i * 5 + (i >> 9));
        bytes[0x1f1] = 2;
        put(0x1f4, static_cast<u32>(kBody / 16));
        put(0x1fe, u16{0xaa55});
        put(0x202, u32{0x53726448});
        put(0x206, u16{0x020f});
        put(0x236, u16{1});
        put(0x238, u32{255});
        put(0x260, u32{1} << 20);
    }

    template <typename T>
    void put(u64 offset, T value)
    {
        std::memcpy(bytes.data() + offset, &value, sizeof(T));
    }
};

// A file that is gone when the test is.
class TemporaryFile {
  public:
    explicit TemporaryFile(const std::vector<u8>& content) : path_(testing::TempDir() + "seamless-XXXXXX")
    {
        const int fd = ::mkstemp(path_.data());
        EXPECT_EQ(::write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
        ::close(fd);
    }
    ~TemporaryFile() { ::unlink(path_.c_str()); }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;

    [[nodiscard]] const std::string& path() const { return path_; }

  private:
    std::string path_;
};

} // namespace seamless::vmm::test
