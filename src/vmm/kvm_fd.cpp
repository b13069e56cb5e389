// SPDX-License-Identifier: Apache-2.0
// ioctls with readable failures.
#include "vmm/kvm_fd.h"

#include <cstring>
#include <fmt/format.h>

#include "spec/kvm_abi.h"

namespace seamless::vmm {

std::string errno_text(int error)
{
    const char* name = strerrorname_np(error);
    const char* words = strerrordesc_np(error);
    return name != nullptr ? fmt::format("{} ({})", name, words) : fmt::format("errno {}", error);
}

Result<int, Message> KvmFd::call(std::string_view name, u32 request, void* arg) const
{
    const int result = ioctl(request, arg);
    if (result < 0)
        return fail(Message{fmt::format("{}: {}", name, errno_text(-result))});
    return result;
}

Result<int, Message> KvmFd::call(std::string_view name, u32 request, u64 arg) const
{
    return call(name, request, reinterpret_cast<void*>(arg));
}

Result<int, Message> KvmFd::enable(std::string_view name, u32 cap, u64 arg) const
{
    spec::kvm::kvm_enable_cap enable{.cap = cap, .args = {arg}};
    return call(name, spec::kvm::KVM_ENABLE_CAP, &enable);
}

} // namespace seamless::vmm
