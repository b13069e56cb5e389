// SPDX-License-Identifier: Apache-2.0
// Maps files.
#include "vmm/mapped_file.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/address.h"

namespace seamless::vmm {
namespace {

struct Descriptor {
    int number;
    ~Descriptor()
    {
        if (number >= 0)
            ::close(number);
    }
};

} // namespace

Result<MappedFile, Message> MappedFile::open(const std::string& path)
{
    const auto refuse = [&](std::string_view why) { return fail(Message{fmt::format("{}: {}", path, why)}); };
    // O_NONBLOCK: a FIFO is refused below, it must not make us wait for a writer.
    const Descriptor fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    struct stat status {};
    if (fd.number < 0 || ::fstat(fd.number, &status) != 0)
        return refuse(std::strerror(errno));
    if (!S_ISREG(status.st_mode))
        return refuse("not a regular file");
    if (status.st_size == 0)
        return refuse("the file is empty");
    const auto size = static_cast<u64>(status.st_size);
    void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.number, 0);
    if (address == MAP_FAILED)
        return refuse(std::strerror(errno));
    return MappedFile(address, size);
}

MappedFile::~MappedFile()
{
    if (address_ != nullptr)
        ::munmap(address_, size_);
}

// Whole pages only; one that two parts share stays.
void MappedFile::release(std::span<const u8> part) const
{
    const u64 begin = align_up(reinterpret_cast<u64>(part.data()), kPageSize);
    const u64 end = align_down(reinterpret_cast<u64>(part.data() + part.size()), kPageSize);
    if (begin < end)
        ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

} // namespace seamless::vmm
