// SPDX-License-Identifier: Apache-2.0
// Disks in files: what may be one, who may have it, what a file that fails makes of a request.
#include "vmm/disk_file.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace seamless::vmm {
namespace {

constexpr u64 kSector = devices::virtio::Block::kSector;

using Bytes = std::vector<u8>;

struct DiskFileTest : testing::Test {
    std::filesystem::path folder;

    DiskFileTest()
    {
        std::string name = testing::TempDir() + "disk_file_XXXXXX";
        folder = ::mkdtemp(name.data());
    }
    ~DiskFileTest() override { std::filesystem::remove_all(folder); }

    std::string file(u64 size, const char* name = "disk") const
    {
        const std::string path = folder / name;
        Bytes bytes(size);
        for (u64 i = 0; i < size; ++i)
            bytes[i] = static_cast<u8>(i / kSector + 1);
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(size));
        return path;
    }
    static Bytes content(const std::string& path)
    {
        std::ifstream stream(path, std::ios::binary);
        return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
    }
    static std::unique_ptr<DiskFile> open(const std::string& path, bool read_only = false)
    {
        auto disk = DiskFile::open(path, read_only);
        EXPECT_TRUE(disk.ok()) << (disk.ok() ? "" : disk.error().text);
        return std::move(disk).value();
    }
    static std::string refusal(const std::string& path, bool read_only = false)
    {
        const auto disk = DiskFile::open(path, read_only);
        return disk.ok() ? "opened" : disk.error().text;
    }
    static bool read(DiskFile& disk, u64 offset, Bytes& to)
    {
        const std::span<u8> piece(to);
        return disk.read(offset, {&piece, 1});
    }
    static bool write(DiskFile& disk, u64 offset, Bytes from)
    {
        const std::span<u8> piece(from);
        return disk.write(offset, {&piece, 1});
    }
    static u64 blocks(const std::string& path)
    {
        struct stat status {};
        EXPECT_EQ(::stat(path.c_str(), &status), 0);
        return static_cast<u64>(status.st_blocks);
    }
};

// For as long as it lives, files of this process cannot be written beyond `bytes`.
class FileLimit {
  public:
    explicit FileLimit(u64 bytes)
    {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        handler_ = std::signal(SIGXFSZ, SIG_IGN);
        const rlimit now{bytes, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &now);
    }
    ~FileLimit()
    {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }
    FileLimit(const FileLimit&) = delete;
    FileLimit& operator=(const FileLimit&) = delete;

  private:
    rlimit before_{};
    void (*handler_)(int) = nullptr;
};

TEST_F(DiskFileTest, WhatIsWrittenIsInTheFileAndCanBeRead)
{
    const std::string path = file(8 * kSector);
    const auto disk = open(path);
    EXPECT_EQ(disk->size(), 8 * kSector);
    EXPECT_FALSE(disk->read_only());
    Bytes sectors(2 * kSector);
    ASSERT_TRUE(read(*disk, 3 * kSector, sectors));
    EXPECT_EQ(sectors[0], 4);
    EXPECT_EQ(sectors[kSector], 5);
    ASSERT_TRUE(write(*disk, 7 * kSector, Bytes(kSector, 0xaa)));
    ASSERT_TRUE(disk->flush());
    const Bytes now = content(path);
    EXPECT_EQ(now.size(), 8 * kSector);
    EXPECT_EQ(now[7 * kSector - 1], 7);
    EXPECT_EQ(now[7 * kSector], 0xaa);
    EXPECT_EQ(now.back(), 0xaa);
}

// More pieces than the host takes in one call, none of the same size as its neighbour.
TEST_F(DiskFileTest, AnyNumberOfPiecesIsOneRequest)
{
    constexpr u64 kPieces = 3000;
    const std::string path = file(kPieces * 8 * kSector / 512 * 512);
    const auto disk = open(path);
    Bytes memory(disk->size());
    std::vector<std::span<u8>> pieces;
    u64 at = 0;
    for (u64 i = 0; i < kPieces; ++i) {
        const u64 size = 1 + i * 37 % 700;
        pieces.emplace_back(&memory[at], size);
        at += size;
    }
    ASSERT_TRUE(disk->read(kSector, pieces));
    const Bytes whole = content(path);
    EXPECT_TRUE(std::equal(memory.begin(), memory.begin() + static_cast<long>(at), whole.begin() + kSector));
    std::fill(memory.begin(), memory.end(), u8{0x77});
    ASSERT_TRUE(disk->write(kSector, pieces));
    const Bytes now = content(path);
    EXPECT_EQ(now[kSector - 1], 1);
    EXPECT_EQ(now[kSector], 0x77);
    EXPECT_EQ(now[kSector + at - 1], 0x77);
    EXPECT_EQ(now[kSector + at], whole[kSector + at]);
}

TEST_F(DiskFileTest, WhatIsNoDiskIsRefused)
{
    EXPECT_NE(refusal(folder / "none").find("No such file"), std::string::npos);
    EXPECT_NE(refusal(folder, true).find("neither a file nor a block device"), std::string::npos);
    EXPECT_NE(refusal(file(0)).find("0 bytes"), std::string::npos);
    EXPECT_NE(refusal(file(kSector + 1)).find("513 bytes"), std::string::npos);
    EXPECT_NE(refusal("/dev/null").find("neither"), std::string::npos);
}

TEST_F(DiskFileTest, AWriterHasItAloneAndReadersShareIt)
{
    const std::string path = file(kSector);
    {
        const auto writer = open(path);
        EXPECT_NE(refusal(path).find("in use"), std::string::npos);
        EXPECT_NE(refusal(path, true).find("in use"), std::string::npos);
    }
    const auto reader = open(path, true), another = open(path, true);
    EXPECT_NE(refusal(path).find("in use"), std::string::npos);
    // A link is the same file.
    std::filesystem::create_hard_link(path, folder / "link");
    EXPECT_NE(refusal(folder / "link").find("in use"), std::string::npos);
}

TEST_F(DiskFileTest, AReadOnlyDiskNeedsNoRightToWrite)
{
    const std::string path = file(2 * kSector);
    std::filesystem::permissions(path, std::filesystem::perms::owner_read);
    const auto disk = open(path, true);
    EXPECT_TRUE(disk->read_only());
    Bytes sector(kSector);
    EXPECT_TRUE(read(*disk, kSector, sector));
    EXPECT_FALSE(write(*disk, 0, sector)); // the host refuses, should the device ever ask
    EXPECT_FALSE(disk->zero(0, kSector, true));
    EXPECT_FALSE(disk->zero(0, kSector, false));
    EXPECT_EQ(content(path)[0], 1);
}

TEST_F(DiskFileTest, AFileThatHasBecomeShorterIsAnError)
{
    const std::string path = file(4 * kSector);
    const auto disk = open(path);
    std::filesystem::resize_file(path, 2 * kSector + 100);
    Bytes sectors(2 * kSector);
    EXPECT_TRUE(read(*disk, 0, sectors));
    EXPECT_FALSE(read(*disk, kSector, sectors)); // ends half way
    EXPECT_FALSE(read(*disk, 3 * kSector, sectors));
}

// The host writes what it can, then fails.
TEST_F(DiskFileTest, AFullHostIsAnError)
{
    const std::string path = file(8 * kSector);
    const auto disk = open(path);
    {
        const FileLimit limit(3 * kSector + 100);
        EXPECT_TRUE(write(*disk, 0, Bytes(3 * kSector, 0xaa)));
        EXPECT_FALSE(write(*disk, 2 * kSector, Bytes(2 * kSector, 0xbb)));
        EXPECT_FALSE(write(*disk, 5 * kSector, Bytes(kSector, 0xcc)));
    }
    const Bytes now = content(path);
    EXPECT_EQ(now[2 * kSector], 0xbb);
    EXPECT_EQ(now[3 * kSector + 99], 0xbb);
    EXPECT_EQ(now[3 * kSector + 100], 4);
    EXPECT_EQ(now[5 * kSector], 6);
    EXPECT_TRUE(write(*disk, 5 * kSector, Bytes(kSector, 0xcc))); // and works when there is room
}

TEST_F(DiskFileTest, ADiscardedRangeIsZeroAndGivesItsStorageBack)
{
    constexpr u64 kMiB = 1 << 20;
    const std::string path = file(4 * kMiB);
    const auto disk = open(path);
    ASSERT_TRUE(disk->flush());
    const u64 before = blocks(path);
    ASSERT_TRUE(disk->zero(kMiB, 2 * kMiB, true));
    const Bytes now = content(path);
    ASSERT_EQ(now.size(), 4 * kMiB);
    EXPECT_EQ(std::count(now.begin() + kMiB, now.begin() + 3 * kMiB, u8{0}), static_cast<long>(2 * kMiB));
    EXPECT_EQ(now[kMiB - 1], static_cast<u8>(kMiB / kSector));
    EXPECT_EQ(now[3 * kMiB], static_cast<u8>(3 * kMiB / kSector + 1));
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    const bool holes = ::fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 4096) == 0;
    ::close(fd);
    if (holes) { // not every file system has them
        EXPECT_LT(blocks(path), before);
    }
}

TEST_F(DiskFileTest, AZeroedRangeIsZeroFromTheFirstByteToTheLast)
{
    const std::string path = file(1024 * kSector);
    const auto disk = open(path);
    ASSERT_TRUE(disk->zero(3 * kSector, 300 * kSector, false));
    ASSERT_TRUE(disk->zero(1024 * kSector, 0, false));
    const Bytes now = content(path);
    ASSERT_EQ(now.size(), 1024 * kSector);
    EXPECT_EQ(now[3 * kSector - 1], 3);
    EXPECT_EQ(std::count(now.begin() + 3 * kSector, now.begin() + 303 * kSector, u8{0}),
              static_cast<long>(300 * kSector));
    EXPECT_EQ(now[303 * kSector], static_cast<u8>(304));
}

} // namespace
} // namespace seamless::vmm
