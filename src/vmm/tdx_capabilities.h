// SPDX-License-Identifier: Apache-2.0
// What a KVM device offers: KVM_TDX_CAPABILITIES, and the capabilities that `seamless caps` prints.
#pragma once

#include <optional>

#include "vmm/cpuid.h"

namespace seamless::vmm {

struct TdxCapabilities {
    u64 attributes = 0;
    u64 xfam = 0;
    CpuidTable masks; // the bits of CPUID that the VMM may choose
};

[[nodiscard]] Result<TdxCapabilities, Message> tdx_capabilities(const KvmFd& vm);

struct Capability {
    std::string_view name;
    u32 number;
    int value; // of KVM_CHECK_EXTENSION
};

struct KvmOffer {
    int api_version = 0;
    std::vector<Capability> capabilities;
    std::optional<TdxCapabilities> tdx; // nothing: the device has no TDs
};

[[nodiscard]] Result<KvmOffer, Message> read_offer(IoctlPort& port);

} // namespace seamless::vmm
