// SPDX-License-Identifier: Apache-2.0
// What CPUID a machine's processors get: from what KVM supports, with each vCPU's own topology.
#pragma once

#include <vector>

#include "spec/kvm_abi.h"
#include "vmm/kvm_fd.h"

namespace seamless::vmm {

using CpuidTable = std::vector<spec::kvm::kvm_cpuid_entry2>;

// KVM_GET_SUPPORTED_CPUID of the system descriptor.
[[nodiscard]] Result<CpuidTable, Message> supported_cpuid(const KvmFd& kvm);

// The table of vCPU `index` of `cpus`: APIC id and topology leaves filled in.
[[nodiscard]] CpuidTable cpuid_of_vcpu(const CpuidTable& supported, unsigned index, unsigned cpus);

// The same for a vCPU of a TD: it must not be told of clocks in memory that the host writes.
[[nodiscard]] CpuidTable without_kvmclock(CpuidTable table);

[[nodiscard]] Result<void, Message> set_cpuid(const KvmFd& vcpu, const CpuidTable& table);

// What KVM_TDX_INIT_VM is given: `supported` under the module's masks of configurable bits, entry by entry,
// for guest-physical addresses of `gpaw` bits.
[[nodiscard]] CpuidTable cpuid_of_td(const CpuidTable& masks, const CpuidTable& supported, unsigned cpus,
                                     unsigned gpaw);

// A header and entries in one buffer, as the ioctls that take struct kvm_cpuid2 at the end of `Header` want
// it.
template <typename Header>
class WithCpuid {
  public:
    explicit WithCpuid(std::size_t entries)
        : words_((sizeof(Header) + entries * sizeof(spec::kvm::kvm_cpuid_entry2) + 7) / 8)
    {}
    [[nodiscard]] Header* get() { return reinterpret_cast<Header*>(words_.data()); }

  private:
    std::vector<u64> words_;
};

} // namespace seamless::vmm
