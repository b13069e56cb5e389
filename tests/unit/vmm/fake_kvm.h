// SPDX-License-Identifier: Apache-2.0
// A KVM device that follows a script: it records every call and plays one step of the script for each
// KVM_RUN.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unistd.h>
#include <vector>

#include "spec/kvm_abi.h"
#include "spec/kvm_abi_irq.h"
#include "vmm/ioctl_port.h"

namespace seamless::vmm::test {

using namespace spec::kvm;

class FakeKvm : public IoctlPort {
  public:
    static constexpr int kSystem = 100, kVm = 101, kVcpu0 = 200, kMemfd0 = 300;

    // One KVM_RUN: fills kvm_run, returns 0 or -errno.
    using Step = std::function<int(kvm_run&)>;

    std::deque<Step> script;        // vCPU 0; when it is empty, KVM_RUN waits for immediate_exit
    std::map<u32, int> refuse;      // request -> errno
    std::vector<std::string> calls; // in order, with what matters of the arguments
    std::vector<kvm_memory_attributes> attributes;
    std::vector<std::pair<u64, u64>> punched;
    std::vector<std::pair<u32, u32>> messages;              // KVM_SIGNAL_MSI: address, data
    std::vector<std::vector<kvm_irq_routing_entry>> routes; // each KVM_SET_GSI_ROUTING
    std::map<u64, u8*> slots;                               // guest-physical address to the VMM's mapping
    std::map<u32, kvm_regs> regs;
    std::map<u32, kvm_sregs> sregs;
    std::map<u32, u32> mp_state;
    kvm_tdx_init_vm init_vm{};
    std::vector<kvm_cpuid_entry2> init_cpuid;
    int open_fds = 0;
    bool offers_td = true;
    std::function<void()> on_memory_region; // inspects a region while its source is there
    kvm_tdx_init_mem_region region{};

    int open_kvm() override { return opened("open", kSystem); }

    int ioctl(int fd, unsigned long request, void* arg) override
    {
        if (request == KVM_RUN)
            return run(fd);
        const std::lock_guard lock(mutex_);
        if (const auto found = refuse.find(static_cast<u32>(request)); found != refuse.end())
            return -found->second;
        return answer(fd, static_cast<u32>(request), arg);
    }

    void* mmap(int fd, u64 size) override { return pages_[fd] = std::calloc(1, size); }
    void munmap(void* address, u64) override { std::free(address); }
    int fallocate(int, int mode, u64 offset, u64 bytes) override
    {
        EXPECT_EQ(mode, 3); // PUNCH_HOLE with KEEP_SIZE
        punched.emplace_back(offset, bytes);
        return 0;
    }
    void close(int) override { --open_fds; }
    void signal_arrived() override { ++signals; }

    std::atomic<int> signals{0};

  private:
    int opened(std::string call, int fd)
    {
        calls.push_back(std::move(call));
        ++open_fds;
        return fd;
    }

    int run(int fd)
    {
        auto& run = *static_cast<kvm_run*>(pages_[fd]);
        Step step;
        {
            const std::lock_guard lock(mutex_);
            if (fd == kVcpu0 && !script.empty()) {
                step = std::move(script.front());
                script.pop_front();
            }
        }
        if (step)
            return step(run);
        while (__atomic_load_n(&run.immediate_exit, __ATOMIC_SEQ_CST) == 0)
            usleep(1000);
        return -EINTR;
    }

    int answer(int fd, u32 request, void* arg)
    {
        const u64 number = reinterpret_cast<u64>(arg);
        switch (request) {
        case KVM_GET_API_VERSION:
            return 12;
        case KVM_CHECK_EXTENSION:
            return number == KVM_CAP_VM_TYPES && offers_td ? 0x21 : 0;
        case KVM_CREATE_VM:
            return opened("CREATE_VM " + std::to_string(number), kVm);
        case KVM_GET_VCPU_MMAP_SIZE:
            return 12288;
        case KVM_GET_SUPPORTED_CPUID:
            return supported(*static_cast<kvm_cpuid2*>(arg));
        case KVM_ENABLE_CAP:
            return noted("ENABLE_CAP " + std::to_string(static_cast<kvm_enable_cap*>(arg)->cap));
        case KVM_CREATE_VCPU:
            return opened("CREATE_VCPU " + std::to_string(number), kVcpu0 + static_cast<int>(number));
        case KVM_SET_CPUID2:
            return noted("SET_CPUID2");
        case KVM_CREATE_GUEST_MEMFD:
            return opened("CREATE_GUEST_MEMFD", kMemfd0 + memfds_++);
        case KVM_SET_USER_MEMORY_REGION:
        case KVM_SET_USER_MEMORY_REGION2: {
            const auto& slot = *static_cast<kvm_userspace_memory_region2*>(arg);
            slots[slot.guest_phys_addr] = reinterpret_cast<u8*>(slot.userspace_addr);
            return noted("MEMORY_REGION");
        }
        case KVM_SIGNAL_MSI:
            messages.emplace_back(static_cast<kvm_msi*>(arg)->address_lo, static_cast<kvm_msi*>(arg)->data);
            return 1;
        case KVM_SET_GSI_ROUTING: {
            const auto* first =
                reinterpret_cast<kvm_irq_routing_entry*>(static_cast<kvm_irq_routing*>(arg) + 1);
            routes.emplace_back(first, first + static_cast<kvm_irq_routing*>(arg)->nr);
            return 0;
        }
        case KVM_SET_MEMORY_ATTRIBUTES:
            attributes.push_back(*static_cast<kvm_memory_attributes*>(arg));
            return noted("ATTRIBUTES");
        case KVM_MEMORY_ENCRYPT_OP:
            return tdx(fd, *static_cast<kvm_tdx_cmd*>(arg));
        case KVM_GET_REGS:
            return copy(arg, regs[static_cast<u32>(fd)]);
        case KVM_GET_SREGS:
            return copy(arg, sregs[static_cast<u32>(fd)]);
        case KVM_SET_REGS:
            std::memcpy(&regs[static_cast<u32>(fd)], arg, sizeof(kvm_regs));
            return noted("SET_REGS");
        case KVM_SET_SREGS:
            std::memcpy(&sregs[static_cast<u32>(fd)], arg, sizeof(kvm_sregs));
            return noted("SET_SREGS");
        case KVM_SET_MP_STATE:
            mp_state[static_cast<u32>(fd)] = static_cast<kvm_mp_state*>(arg)->mp_state;
            return noted("SET_MP_STATE");
        default:
            return -ENOTTY;
        }
    }

    template <typename T>
    static int copy(void* to, const T& from)
    {
        std::memcpy(to, &from, sizeof(T));
        return 0;
    }

    int noted(std::string call)
    {
        calls.push_back(std::move(call));
        return 0;
    }

    static int supported(kvm_cpuid2& cpuid)
    {
        const kvm_cpuid_entry2 table[] = {
            {.function = 0, .eax = 0x1f},
            {.function = 1, .eax = 0x806f8, .ebx = 0xff000000, .ecx = 0xffffffff, .edx = 0x0fffffff},
            {.function = 7, .flags = 1, .ebx = 0xf0f0f0f0},
            {.function = 0xb, .flags = 1, .eax = 99},
            {.function = 0x80000008, .eax = 0x3034},
        };
        cpuid.nent = std::size(table);
        std::copy(std::begin(table), std::end(table), cpuid.entries());
        return 0;
    }

    int tdx(int fd, kvm_tdx_cmd& command)
    {
        calls.push_back("TDX " + std::to_string(command.id) +
                        (command.id == KVM_TDX_INIT_VCPU ? " vcpu " + std::to_string(fd - kVcpu0) : ""));
        if (command.id == KVM_TDX_CAPABILITIES)
            return capabilities(*reinterpret_cast<kvm_tdx_capabilities*>(command.data));
        if (command.id == KVM_TDX_INIT_VM) {
            if (again_ > 0)
                return --again_, -EAGAIN;
            const auto& init = *reinterpret_cast<kvm_tdx_init_vm*>(command.data);
            init_vm = init;
            init_cpuid.assign(init.cpuid.entries(), init.cpuid.entries() + init.cpuid.nent);
        }
        if (command.id == KVM_TDX_INIT_MEM_REGION) {
            region = *reinterpret_cast<kvm_tdx_init_mem_region*>(command.data);
            flags = command.flags;
            if (on_memory_region)
                on_memory_region();
        }
        return 0;
    }

    static int capabilities(kvm_tdx_capabilities& caps)
    {
        if (caps.cpuid.nent < 40)
            return -E2BIG;
        caps.supported_attrs = bit(28) | bit(63);
        caps.supported_xfam = 0xe7;
        caps.cpuid.nent = 3;
        caps.cpuid.entries()[0] = {
            .function = 1, .eax = 0x0fff3fff, .ebx = 0x00ff0000, .ecx = 0x31044d88, .edx = 0xb8445080};
        caps.cpuid.entries()[1] = {.function = 7, .flags = 1, .ebx = 0x00ff00ff};
        caps.cpuid.entries()[2] = {.function = 0x80000008, .eax = 0x00ff00ff};
        return 0;
    }

  public:
    u32 flags = 0;  // of the last KVM_TDX_INIT_MEM_REGION
    int again_ = 2; // -EAGAINs that KVM_TDX_INIT_VM gives

  private:
    std::mutex mutex_;
    std::map<int, void*> pages_;
    int memfds_ = 0;
};

} // namespace seamless::vmm::test
