// SPDX-License-Identifier: Apache-2.0
// KVM_MEMORY_ENCRYPT_OP of TDs and of their vCPUs: copying of commands, and who may give which.
#include "kvm/backend_tdx/tdx.h"
#include "uapi/files.h"
#include "uapi/register_ioctls.h"

namespace seamless::uapi {

using namespace spec::kvm;

namespace {

constexpr u32 kMaxCpuidEntries = 256;

IoctlResult td_capabilities(const Call& c, const kvm_tdx_cmd& cmd)
{
    if (cmd.flags)
        return fail(Errno{EINVAL});
    const u32 room = TRY(get_user<u32>(cmd.data + offsetof(kvm_tdx_capabilities, cpuid)));
    const auto caps = TRY(kvm::tdx_get_capabilities(*c.file.vm));
    if (room < caps.cpuid.size())
        return fail(Errno{E2BIG});
    kvm_tdx_capabilities out{};
    out.supported_attrs = caps.supported_attrs;
    out.supported_xfam = caps.supported_xfam;
    out.user_tdvmcallinfo_1_r11 = caps.user_tdvmcallinfo_1_r11;
    out.cpuid.nent = static_cast<u32>(caps.cpuid.size());
    TRY(put_user(cmd.data, out));
    TRY(copy_to_user(cmd.data + sizeof out, caps.cpuid.data(), caps.cpuid.size() * sizeof caps.cpuid[0]));
    return 0;
}

IoctlResult td_init_vm(const Call& c, kvm_tdx_cmd& cmd)
{
    if (c.file.vm->tdx->state != kvm::TdState::UNINITIALIZED || cmd.flags)
        return fail(Errno{EINVAL});
    const auto params = TRY(get_user<kvm_tdx_init_vm>(cmd.data));
    if (params.cpuid.nent > kMaxCpuidEntries)
        return fail(Errno{E2BIG});
    std::vector<kvm_cpuid_entry2> cpuid(params.cpuid.nent);
    TRY(copy_from_user(cpuid.data(), cmd.data + sizeof params, cpuid.size() * sizeof(kvm_cpuid_entry2)));
    TRY(kvm::tdx_init_vm(*c.file.vm, params, cpuid, cmd.hw_error));
    return 0;
}

IoctlResult td_vm_command(const Call& c, kvm_tdx_cmd& cmd)
{
    switch (cmd.id) {
    case KVM_TDX_CAPABILITIES:
        return td_capabilities(c, cmd);
    case KVM_TDX_INIT_VM:
        return td_init_vm(c, cmd);
    default:
        TRY(kvm::tdx_finalize_vm(*c.file.vm, cmd.hw_error));
        return 0;
    }
}

} // namespace

IoctlResult tdx_vm_ioctl(const Call& c)
{
    auto cmd = TRY(get_user<kvm_tdx_cmd>(c.arg));
    if (cmd.hw_error)
        return fail(Errno{EINVAL});
    if (cmd.id != KVM_TDX_CAPABILITIES && cmd.id != KVM_TDX_INIT_VM && cmd.id != KVM_TDX_FINALIZE_VM)
        return fail(Errno{EINVAL});
    const std::lock_guard guard(c.file.vm->lock);
    const IoctlResult result = td_vm_command(c, cmd);
    TRY(put_user(c.arg, cmd)); // success or not, so that hw_error is seen
    return result;
}

namespace {

IoctlResult td_init_mem_region(kvm::Vcpu& vcpu, const kvm_tdx_cmd& cmd)
{
    u64 hw_error = 0; // the vCPU's command is not copied back
    if (!vcpu.tdx->initialized || (cmd.flags & ~KVM_TDX_MEASURE_MEMORY_REGION))
        return fail(Errno{EINVAL});
    auto region = TRY(get_user<kvm_tdx_init_mem_region>(cmd.data));
    const auto result =
        kvm::tdx_init_mem_region(vcpu, region, cmd.flags & KVM_TDX_MEASURE_MEMORY_REGION, hw_error);
    TRY(put_user(cmd.data, region)); // progress, so that the call can be repeated
    TRY(result);
    return 0;
}

IoctlResult td_vcpu_command(kvm::Vcpu& vcpu, const kvm_tdx_cmd& cmd)
{
    u64 hw_error = 0;
    switch (cmd.id) {
    case KVM_TDX_INIT_VCPU:
        if (cmd.flags)
            return fail(Errno{EINVAL});
        TRY(kvm::tdx_init_vcpu(vcpu, cmd.data, hw_error));
        return 0;
    case KVM_TDX_INIT_MEM_REGION:
        return td_init_mem_region(vcpu, cmd);
    case KVM_TDX_GET_CPUID:
        return put_cpuid(cmd.data, TRY(kvm::tdx_get_cpuid(vcpu)));
    default:
        return fail(Errno{EINVAL});
    }
}

} // namespace

IoctlResult tdx_vcpu_ioctl(const Call& c)
{
    kvm::Vcpu& vcpu = *c.file.vcpu;
    kvm::KvmTdx& td = *vcpu.vm().tdx;
    if (!td.has_hkid() || td.state == kvm::TdState::RUNNABLE)
        return fail(Errno{EINVAL});
    const auto cmd = TRY(get_user<kvm_tdx_cmd>(c.arg));
    if (cmd.hw_error)
        return fail(Errno{EINVAL});
    IoctlResult result = 0;
    (void)vcpu.with_processor([&](cpu::LogicalProcessor&) -> kvm::Handled {
        result = td_vcpu_command(vcpu, cmd);
        return 0;
    });
    return result;
}

} // namespace seamless::uapi
