// SPDX-License-Identifier: Apache-2.0
// Creation of a vCPU and access to its pages.
#include "vmm/vcpu.h"

#include <fmt/format.h>

namespace seamless::vmm {

using namespace spec::kvm;

Result<Vcpu, Message> Vcpu::create(const KvmFd& vm, unsigned index, u64 mapped)
{
    KvmFd fd(vm.port(), TRY(vm.call("KVM_CREATE_VCPU", KVM_CREATE_VCPU, u64{index})));
    if (mapped < sizeof(kvm_run))
        return fail(Message{fmt::format("KVM_GET_VCPU_MMAP_SIZE: {} bytes cannot hold kvm_run", mapped)});
    void* pages = vm.port().mmap(fd.get(), mapped);
    if (pages == nullptr)
        return fail(Message{fmt::format("mapping the pages of vCPU {} failed", index)});
    return Vcpu(std::move(fd), static_cast<kvm_run*>(pages), mapped, index);
}

Vcpu::~Vcpu()
{
    if (run_ != nullptr)
        fd_.port().munmap(run_, mapped_);
}

std::span<u8> Vcpu::io_data() const
{
    const u64 offset = run_->io.data_offset;
    const u64 bytes = u64{run_->io.size} * run_->io.count;
    if (offset > mapped_ || bytes > mapped_ - offset)
        return {};
    return {reinterpret_cast<u8*>(run_) + offset, bytes};
}

} // namespace seamless::vmm
