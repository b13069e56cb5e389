// SPDX-License-Identifier: Apache-2.0
// A simulated host with the real processor, TDX module and KVM for the fuzz targets that speak ioctl. A host
// lives as long as the process, since to build one takes longer than most inputs; what an input makes (VMs,
// guest_memfds) goes away with its descriptors.
#pragma once

#include <memory>
#include <vector>

#include "cpu/processor.h"
#include "fuzz/budget.h"
#include "fuzz/depth.h"
#include "platform/platform.h"
#include "rig/memory.h"
#include "spec/kvm_abi.h"
#include "uapi/device.h"

namespace seamless::fuzz {

using namespace spec::kvm;

class KvmHost {
  public:
    explicit KvmHost(cpu::LpFactory make_lp)
    {
        platform::Parameters p;
        p.make_lp = std::move(make_lp);
        p.logical_processors = 2;
        p.memory_bytes = u64{2} << 30;
        p.trace_sink = &depth_;
        platform_ = std::move(platform::Platform::create(p)).value();
        device_ = std::make_unique<uapi::Device>(*platform_);
        sys_ = device_->open();
    }
    // The host of this process whose processors have this engine.
    static KvmHost& with(cpu::EngineMode mode)
    {
        static KvmHost full(cpu::make_processor(cpu::EngineMode::full));
        static KvmHost step(cpu::make_processor(cpu::EngineMode::step));
        return mode == cpu::EngineMode::full ? full : step;
    }

    long ioctl(int fd, unsigned long request, const void* arg)
    {
        return device_->ioctl(fd, request, const_cast<void*>(arg));
    }
    long ioctl(int fd, unsigned long request, u64 arg = 0)
    {
        return device_->ioctl(fd, request, reinterpret_cast<void*>(arg));
    }
    [[nodiscard]] int sys() const { return sys_; }
    [[nodiscard]] uapi::Device& device() { return *device_; }
    [[nodiscard]] platform::Platform& platform() { return *platform_; }

  private:
    DepthSink depth_;
    std::unique_ptr<platform::Platform> platform_;
    std::unique_ptr<uapi::Device> device_;
    int sys_ = -1;
};

using rig::Memory;

// The descriptors of one VM with one vCPU; closes them.
class VmFiles {
  public:
    VmFiles(KvmHost& host, u64 type) : host_(host)
    {
        vm = static_cast<int>(host.ioctl(host.sys(), KVM_CREATE_VM, type));
    }
    ~VmFiles()
    {
        if (run != nullptr)
            (void)host_.device().munmap(run, kVcpuMmapSize);
        for (const int fd : {vcpu, vm})
            if (fd >= 0)
                (void)host_.device().close(fd);
        for (const int fd : others)
            (void)host_.device().close(fd);
    }
    VmFiles(const VmFiles&) = delete;
    VmFiles& operator=(const VmFiles&) = delete;

    void add_vcpu() { adopt_vcpu(host_.ioctl(vm, KVM_CREATE_VCPU)); }
    void adopt_vcpu(long file)
    {
        vcpu = static_cast<int>(file);
        void* pages = host_.device().mmap(vcpu, kVcpuMmapSize);
        run = uapi::Device::failed(pages) ? nullptr : static_cast<kvm_run*>(pages);
    }
    void add_slot(u32 slot, u64 gpa, Memory& memory, u32 flags = 0)
    {
        kvm_userspace_memory_region region{.slot = slot,
                                           .flags = flags,
                                           .guest_phys_addr = gpa,
                                           .memory_size = memory.bytes,
                                           .userspace_addr = memory.address()};
        (void)host_.ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
    }

    int vm = -1, vcpu = -1;
    kvm_run* run = nullptr;
    std::vector<int> others;

  private:
    KvmHost& host_;
};

// KVM_RUN, at most `entries` times and only for so many signals, with `answer` before each next one.
template <typename Answer>
void run_bounded(KvmHost& host, VmFiles& files, unsigned entries, Answer answer)
{
    const Budget budget([](void* device) { static_cast<uapi::Device*>(device)->signal_arrived(); },
                        &host.device());
    unsigned interrupted = 0;
    for (unsigned i = 0; i < entries && files.run != nullptr; ++i) {
        const long r = host.ioctl(files.vcpu, KVM_RUN);
        if (r == -EINTR && ++interrupted == 4)
            return;
        if (r < 0 && r != -EINTR && r != -EFAULT)
            return;
        if (r == 0)
            answer(*files.run);
    }
}

} // namespace seamless::fuzz
