// SPDX-License-Identifier: Apache-2.0
// Disks in files.
#include "vmm/disk_file.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

namespace seamless::vmm {
namespace {

using Pieces = std::span<const std::span<u8>>;
using VectorIo = ssize_t (*)(int, const iovec*, int, off_t);

// Open file descriptor locks belong to the descriptor, not to the process: a second disk with the same file
// meets them too, and they end with the process however it ends.
bool lock_file(int fd, bool read_only)
{
    struct flock lock {};
    lock.l_type = static_cast<short>(read_only ? F_RDLCK : F_WRLCK);
    lock.l_whence = SEEK_SET; // the whole file
    return ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

// Why the open file cannot be a disk; empty if it can.
std::string check_disk(int fd, bool read_only, u64& size)
{
    struct stat status {};
    if (::fstat(fd, &status) != 0)
        return std::strerror(errno);
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
        return "neither a file nor a block device";
    const off_t end = ::lseek(fd, 0, SEEK_END);
    if (end < 0)
        return std::strerror(errno);
    size = static_cast<u64>(end);
    if (size == 0 || size % devices::virtio::Block::kSector != 0)
        return fmt::format("its size of {} bytes is no positive multiple of {}", size,
                           devices::virtio::Block::kSector);
    if (!lock_file(fd, read_only))
        return errno == EAGAIN || errno == EACCES ? "in use by another disk, instance or program"
                                                  : fmt::format("cannot lock it: {}", std::strerror(errno));
    return {};
}

// All of it, although a call may do less. A file that ends before its disk does is an error.
bool transfer(VectorIo call, int fd, u64 offset, Pieces pieces)
{
    std::vector<iovec> left;
    left.reserve(pieces.size());
    for (const std::span<u8> piece : pieces)
        left.push_back({piece.data(), piece.size()});
    for (std::size_t first = 0; first < left.size();) {
        const auto count = static_cast<int>(std::min<std::size_t>(left.size() - first, IOV_MAX));
        const ssize_t result = call(fd, &left[first], count, static_cast<off_t>(offset));
        if (result < 0 && errno == EINTR)
            continue;
        if (result <= 0)
            return false;
        auto done = static_cast<std::size_t>(result);
        offset += done;
        for (; first < left.size() && done >= left[first].iov_len; ++first)
            done -= left[first].iov_len;
        if (done != 0) {
            left[first].iov_base = static_cast<u8*>(left[first].iov_base) + done;
            left[first].iov_len -= done;
        }
    }
    return true;
}

} // namespace

Result<std::unique_ptr<DiskFile>, Message> DiskFile::open(const std::string& path, bool read_only)
{
    // O_NONBLOCK: a FIFO is refused below, it must not make us wait for a writer.
    const int fd = ::open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail(Message{fmt::format("--disk {}: {}", path, std::strerror(errno))});
    u64 size = 0;
    const std::string problem = check_disk(fd, read_only, size);
    if (!problem.empty()) {
        ::close(fd);
        return fail(Message{fmt::format("--disk {}: {}", path, problem)});
    }
    return std::unique_ptr<DiskFile>(new DiskFile(fd, size, read_only));
}

DiskFile::~DiskFile() { ::close(fd_); }

bool DiskFile::read(u64 offset, Pieces to) { return transfer(::preadv, fd_, offset, to); }
bool DiskFile::write(u64 offset, Pieces from) { return transfer(::pwritev, fd_, offset, from); }
bool DiskFile::flush() { return ::fdatasync(fd_) == 0; }

// Not every file system can punch holes or zero ranges; zeros can be written to all of them.
bool DiskFile::zero(u64 offset, u64 size, bool discard)
{
    const int mode = FALLOC_FL_KEEP_SIZE | (discard ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
    if (size == 0 || ::fallocate(fd_, mode, static_cast<off_t>(offset), static_cast<off_t>(size)) == 0)
        return true;
    std::array<u8, 65536> zeros{};
    for (u64 done = 0; done < size;) {
        const std::span<u8> part = std::span(zeros).first(std::min<u64>(zeros.size(), size - done));
        if (!write(offset + done, {&part, 1}))
            return false;
        done += part.size();
    }
    return true;
}

} // namespace seamless::vmm
