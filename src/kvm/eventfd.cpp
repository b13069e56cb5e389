// SPDX-License-Identifier: Apache-2.0
// An eventfd is recognised by its name in /proc, the only place where the kernel tells.
#include "kvm/eventfd.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string_view>
#include <unistd.h>

namespace seamless::kvm {

Result<int, Errno> duplicate_eventfd(int fd)
{
    const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return fail(Errno{EBADF});
    char path[64], target[64] = {};
    snprintf(path, sizeof path, "/proc/self/fd/%d", copy);
    const ssize_t n = readlink(path, target, sizeof target - 1);
    if (n > 0 && std::string_view(target).find("[eventfd]") != std::string_view::npos)
        return copy;
    close(copy);
    return fail(Errno{EINVAL});
}

u64 eventfd_identity(int fd)
{
    char path[64], text[512] = {};
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    const int info = open(path, O_RDONLY | O_CLOEXEC);
    if (info < 0)
        return 0;
    const ssize_t n = read(info, text, sizeof text - 1);
    close(info);
    constexpr const char* kKey = "eventfd-id:";
    const char* found = n > 0 ? std::strstr(text, kKey) : nullptr;
    return found ? std::strtoull(found + std::strlen(kKey), nullptr, 10) + 1 : 0;
}

} // namespace seamless::kvm
