// SPDX-License-Identifier: Apache-2.0
// A simulated host with the real TDX module and processors whose guests are scripts, and a TD of one vCPU on
// it, built through ioctls.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <sys/mman.h>
#include <vector>

#include "fakes/scripted_lp.h"
#include "platform/platform.h"
#include "rig/td_vm.h"
#include "spec/kvm_abi.h"
#include "spec/tdx_abi.h"
#include "uapi/device.h"

namespace seamless::uapi_test {

using namespace spec::kvm;
using trace::Event;

inline constexpr u64 kShared = bit(47), kDevice = 0xfeb00000, kRam = 0x100000;
inline constexpr u64 kRamBytes = 0x10000;

struct Host {
    explicit Host(const kvm::x86_ops& ops = kvm::vt_x86_ops)
    {
        platform::Parameters p;
        p.make_lp = [](cpu::Package& package, unsigned id) {
            return std::make_unique<fakes::ScriptedLp>(package, id);
        };
        p.logical_processors = 4;
        p.memory_bytes = u64{2} << 30;
        p.trace_sink = &sink;
        p.ops = ops;
        platform = std::move(platform::Platform::create(p)).value();
        device = std::make_unique<uapi::Device>(*platform);
    }

    long ioctl(int fd, unsigned long request, const void* arg = nullptr)
    {
        return device->ioctl(fd, request, const_cast<void*>(arg));
    }
    long ioctl(int fd, unsigned long request, u64 arg)
    {
        return device->ioctl(fd, request, reinterpret_cast<void*>(arg));
    }
    fakes::ScriptedLp& lp(unsigned id = 0)
    {
        return static_cast<fakes::ScriptedLp&>(platform->package().lp(id));
    }

    // Names of the events of `vcpu` 0 that concern the flow, in order.
    std::vector<Event> events()
    {
        std::vector<Event> all;
        for (const auto& r : sink.records)
            if (r.event != Event::tdx_seamcall && r.event != Event::tdx_tdcall)
                all.push_back(r.event);
        return all;
    }

    fakes::RecordingSink sink;
    std::unique_ptr<platform::Platform> platform;
    std::unique_ptr<uapi::Device> device;
};

// A TD of one vCPU with a page of private memory, ready to run.
struct Td {
    explicit Td(Host& h) : host(h)
    {
        sys = host.device->open();
        EXPECT_GE(rig_.create(sys), 0);
        vm = rig_.vm;
        EXPECT_EQ(rig_.enable_apics(), 0);
        enable(KVM_CAP_EXIT_HYPERCALL, bit(KVM_HC_MAP_GPA_RANGE));
    }

    void enable(u32 cap, u64 arg) { EXPECT_EQ(rig_.enable(cap, arg), 0); }
    long command(int fd, u32 id, const void* data, u32 flags = 0)
    {
        return rig_.command(fd, id, data, flags);
    }
    long init_vm(u32 width = 48) { return rig_.init(spec::td_attributes::SEPT_VE_DISABLE, width); }
    void add_vcpu()
    {
        vcpu = static_cast<int>(rig_.create_vcpu());
        ASSERT_GE(vcpu, 0);
        run = static_cast<kvm_run*>(host.device->mmap(vcpu, kVcpuMmapSize));
    }
    void add_memory()
    {
        gmem = static_cast<int>(rig_.add_private(0, kRam, shared));
        ASSERT_GE(gmem, 0);
    }
    long init_region(u64 gpa, u64 pages)
    {
        return rig_.load(vcpu, gpa, source, pages, KVM_TDX_MEASURE_MEMORY_REGION);
    }
    void build()
    {
        ASSERT_EQ(init_vm(), 0);
        add_vcpu();
        add_memory();
        ASSERT_EQ(rig_.init_vcpu(vcpu, 0), 0);
        ASSERT_EQ(init_region(kRam, 2), 0);
        ASSERT_EQ(rig_.finalize(), 0);
        host.sink.records.clear();
    }
    long enter() { return host.ioctl(vcpu, KVM_RUN, u64{0}); }

    void touch_shared(u64 gpa, u64 qualification)
    {
        host.lp().then([=](cpu::Vmcs& v, cpu::GuestContext&) {
            v.exit_reason = static_cast<u32>(spec::ExitReason::EPT_VIOLATION);
            v.exit_qualification = qualification;
            v.guest_physical_address = gpa | kShared;
        });
    }
    void tdvmcall(u64 r11, u64 r12, u64 r13 = 0, u64 r14 = 0, u64 r15 = 0)
    {
        host.lp().then([=](cpu::Vmcs& v, cpu::GuestContext& c) {
            v.exit_reason = static_cast<u32>(spec::ExitReason::TDCALL);
            v.exit_instruction_len = 4;
            v.efer |= spec::efer::LMA; // TDCALL is for 64-bit mode
            v.seg[static_cast<unsigned>(spec::Seg::cs)].ar |= spec::segment_ar::L;
            c[spec::Gpr::rax] = 0;
            c[spec::Gpr::rcx] = spec::tdvmcall_mask::kLinux;
            c[spec::Gpr::r10] = 0;
            c[spec::Gpr::r11] = r11;
            c[spec::Gpr::r12] = r12;
            c[spec::Gpr::r13] = r13;
            c[spec::Gpr::r14] = r14;
            c[spec::Gpr::r15] = r15;
        });
    }
    // What the guest finds in its registers at the next entry, which then ends the run with a triple fault.
    void expect_answer(u64 r10, u64 r11)
    {
        host.lp().then([=](cpu::Vmcs& v, cpu::GuestContext& c) {
            EXPECT_EQ(c[spec::Gpr::r10], r10);
            EXPECT_EQ(c[spec::Gpr::r11], r11);
            v.exit_reason = static_cast<u32>(spec::ExitReason::TRIPLE_FAULT);
        });
    }

    Host& host;
    int sys = -1, vm = -1, vcpu = -1, gmem = -1;
    kvm_run* run = nullptr;
    rig::Memory shared{kRamBytes}, source{kRamBytes};

  private:
    rig::TdVm rig_{*host.device};
};

} // namespace seamless::uapi_test
