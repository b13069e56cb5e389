// SPDX-License-Identifier: Apache-2.0
// Builds a TD as a VMM does, ioctl by ioctl. Each call answers what its ioctl did: 0 or a descriptor, or a
// negative errno. Descriptors are the caller's to close.
#pragma once

#include "rig/memory.h"
#include "spec/kvm_abi.h"
#include "spec/tdx_abi.h"
#include "uapi/device.h"

namespace seamless::rig {

using namespace spec::kvm;

class TdVm {
  public:
    explicit TdVm(uapi::Device& device) : device_(device) {}

    long create(int sys)
    {
        vm = static_cast<int>(call(sys, KVM_CREATE_VM, KVM_X86_TDX_VM));
        return vm;
    }
    long enable(u32 cap, u64 arg)
    {
        kvm_enable_cap c{};
        c.cap = cap;
        c.args[0] = arg;
        return give(vm, KVM_ENABLE_CAP, c);
    }
    // What every VMM of a TD asks for.
    long enable_apics()
    {
        const long r = enable(KVM_CAP_SPLIT_IRQCHIP, 24);
        return r != 0 ? r : enable(KVM_CAP_X2APIC_API, 3);
    }
    // `width`: of guest-physical addresses, the shared bit included.
    long init(u64 attributes = spec::td_attributes::SEPT_VE_DISABLE, u32 width = 48)
    {
        struct {
            kvm_tdx_init_vm params;
            kvm_cpuid_entry2 entry;
        } arg{};
        arg.params.attributes = attributes;
        arg.params.xfam = 3;
        arg.params.cpuid.nent = 1;
        arg.entry.function = 0x80000008;
        arg.entry.eax = width << 16;
        return command(vm, KVM_TDX_INIT_VM, &arg);
    }
    // A vCPU with its CPUID, not yet known to the module.
    long create_vcpu(u64 id = 0)
    {
        struct {
            kvm_cpuid2 header;
            kvm_cpuid_entry2 entries[4];
        } cpuid{};
        cpuid.header.nent = 4;
        cpuid.entries[0] = {.function = 0, .eax = 1, .ebx = 0x12345678};
        cpuid.entries[1] = {.function = 1, .ecx = 1u << 21 | 1u << 24}; // x2APIC, TSC deadline
        cpuid.entries[2] = {.function = 0x80000000, .eax = 0x80000008};
        cpuid.entries[3] = {.function = 0x80000008, .eax = 52};
        const long vcpu = call(vm, KVM_CREATE_VCPU, id);
        if (vcpu < 0)
            return vcpu;
        const long r = give(static_cast<int>(vcpu), KVM_SET_CPUID2, cpuid);
        return r != 0 ? r : vcpu;
    }
    // `rcx`: what its guest starts with.
    long init_vcpu(int vcpu, u64 rcx)
    {
        return command(vcpu, KVM_TDX_INIT_VCPU, reinterpret_cast<const void*>(rcx));
    }
    // A memslot with a guest_memfd, private throughout. The descriptor of the file.
    long add_private(u32 slot, u64 gpa, const MappedBytes& shared)
    {
        kvm_create_guest_memfd create{.size = shared.bytes, .flags = 0, .reserved = {}};
        const long file = give(vm, KVM_CREATE_GUEST_MEMFD, create);
        if (file < 0)
            return file;
        kvm_userspace_memory_region2 region{};
        region.slot = slot;
        region.flags = KVM_MEM_GUEST_MEMFD;
        region.guest_phys_addr = gpa;
        region.memory_size = shared.bytes;
        region.userspace_addr = shared.address();
        region.guest_memfd = static_cast<u32>(file);
        long r = give(vm, KVM_SET_USER_MEMORY_REGION2, region);
        if (r == 0)
            r = set_attributes(gpa, shared.bytes, KVM_MEMORY_ATTRIBUTE_PRIVATE);
        return r != 0 ? r : file;
    }
    // Copies `content` into private memory, before the TD is finalized.
    long load(int vcpu, u64 gpa, const MappedBytes& content, u64 pages, u32 flags = 0)
    {
        kvm_tdx_init_mem_region add{.source_addr = content.address(), .gpa = gpa, .nr_pages = pages};
        return command(vcpu, KVM_TDX_INIT_MEM_REGION, &add, flags);
    }
    long set_slot(u32 slot, u64 gpa, u64 bytes, const void* at, u32 flags = 0)
    {
        kvm_userspace_memory_region region{.slot = slot,
                                           .flags = flags,
                                           .guest_phys_addr = gpa,
                                           .memory_size = bytes,
                                           .userspace_addr = reinterpret_cast<u64>(at)};
        return give(vm, KVM_SET_USER_MEMORY_REGION, region);
    }
    long set_attributes(u64 gpa, u64 bytes, u64 attributes)
    {
        kvm_memory_attributes a{.address = gpa, .size = bytes, .attributes = attributes, .flags = 0};
        return give(vm, KVM_SET_MEMORY_ATTRIBUTES, a);
    }
    long finalize() { return command(vm, KVM_TDX_FINALIZE_VM, nullptr); }
    long command(int fd, u32 id, const void* data, u32 flags = 0)
    {
        kvm_tdx_cmd cmd{.id = id, .flags = flags, .data = reinterpret_cast<u64>(data), .hw_error = 0};
        return give(fd, KVM_MEMORY_ENCRYPT_OP, cmd);
    }

    int vm = -1;

  private:
    template <typename T>
    long give(int fd, unsigned long request, T& arg)
    {
        return device_.ioctl(fd, request, &arg);
    }
    long call(int fd, unsigned long request, u64 arg)
    {
        return device_.ioctl(fd, request, reinterpret_cast<void*>(arg));
    }
    uapi::Device& device_;
};

} // namespace seamless::rig
