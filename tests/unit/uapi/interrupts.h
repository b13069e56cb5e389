// SPDX-License-Identifier: Apache-2.0
// A plain VM with a split irqchip and a vCPU in x2APIC mode, whose guests are scripts.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "fakes/scripted_lp.h"
#include "platform/platform.h"
#include "spec/apic.h"
#include "spec/kvm_abi.h"
#include "uapi/device.h"

namespace seamless::uapi_test {

using namespace spec::kvm;
namespace apic = spec::apic;
namespace intr = spec::intr_info;
using spec::ExitReason;

constexpr u64 kIf = spec::rflags::IF | spec::rflags::FIXED1;
constexpr u32 kX2apicMsrs = 0x800;

class Interrupts : public testing::Test {
  protected:
    Interrupts()
    {
        platform::Parameters p;
        p.make_lp = [](cpu::Package& package, unsigned id) {
            return std::make_unique<fakes::ScriptedLp>(package, id);
        };
        p.logical_processors = 4;
        p.memory_bytes = u64{2} << 30;
        p.tdx = false;
        platform = std::move(platform::Platform::create(p)).value();
        device = std::make_unique<uapi::Device>(*platform);
        sys = device->open();
        vm = static_cast<int>(call(sys, KVM_CREATE_VM, KVM_X86_DEFAULT_VM));
        EXPECT_EQ(enable(KVM_CAP_SPLIT_IRQCHIP, 24), 0);
        EXPECT_EQ(enable(KVM_CAP_X2APIC_API, 3), 0);
        vcpu = add_vcpu(0);
        run = static_cast<kvm_run*>(device->mmap(vcpu, kVcpuMmapSize));
    }
    long call(int fd, unsigned long request, const void* arg)
    {
        return device->ioctl(fd, request, const_cast<void*>(arg));
    }
    long call(int fd, unsigned long request, u64 arg = 0)
    {
        return device->ioctl(fd, request, reinterpret_cast<void*>(arg));
    }
    long enable(u32 cap, u64 arg)
    {
        kvm_enable_cap c{};
        c.cap = cap;
        c.args[0] = arg;
        return call(vm, KVM_ENABLE_CAP, &c);
    }
    // With x2APIC in CPUID, its APIC in x2APIC mode and enabled.
    int add_vcpu(u64 id)
    {
        const int fd = static_cast<int>(call(vm, KVM_CREATE_VCPU, id));
        struct {
            kvm_cpuid2 header;
            kvm_cpuid_entry2 entry;
        } cpuid{};
        cpuid.header.nent = 1;
        cpuid.entry.function = 1;
        cpuid.entry.ecx = 1u << 21 | 1u << 24;
        EXPECT_EQ(call(fd, KVM_SET_CPUID2, &cpuid), 0);
        const u64 bsp = id == 0 ? apic::BASE_BSP : 0;
        EXPECT_EQ(set_msr(fd, 0x1b, apic::kPageBase | apic::BASE_ENABLE | apic::BASE_X2APIC | bsp), 1);
        EXPECT_EQ(set_msr(fd, x2apic(apic::SPIV), 0x1ff), 1);
        return fd;
    }
    static constexpr u32 x2apic(u32 offset) { return kX2apicMsrs + (offset >> 4); }
    long set_msr(int fd, u32 index, u64 data)
    {
        struct {
            kvm_msrs header;
            kvm_msr_entry entry;
        } msrs{};
        msrs.header.nmsrs = 1;
        msrs.entry = {.index = index, .reserved = 0, .data = data};
        return call(fd, KVM_SET_MSRS, &msrs);
    }
    void set_rflags(int fd, u64 rflags)
    {
        kvm_regs regs{};
        regs.rflags = rflags;
        regs.rip = 0x1000;
        ASSERT_EQ(call(fd, KVM_SET_REGS, &regs), 0);
    }
    long msi(u32 dest, u8 vector, u32 extra_data = 0)
    {
        kvm_msi m{};
        m.address_lo = 0xfee00000 | (dest & 0xff) << 12;
        m.address_hi = dest & 0xffffff00;
        m.data = vector | extra_data;
        return call(vm, KVM_SIGNAL_MSI, &m);
    }
    long route(u32 gsi, u32 dest, u32 data)
    {
        struct {
            kvm_irq_routing header;
            kvm_irq_routing_entry entry;
        } r{};
        r.header.nr = 1;
        r.entry.gsi = gsi;
        r.entry.type = KVM_IRQ_ROUTING_MSI;
        r.entry.u.msi = {.address_lo = 0xfee00000 | dest << 12, .address_hi = 0, .data = data, .devid = 0};
        return call(vm, KVM_SET_GSI_ROUTING, &r);
    }

    fakes::ScriptedLp& lp(unsigned id = 0)
    {
        return static_cast<fakes::ScriptedLp&>(platform->package().lp(id));
    }
    void exit(ExitReason reason, unsigned on = 0)
    {
        lp(on).then([=](cpu::Vmcs& v, cpu::GuestContext&) {
            v.exit_reason = static_cast<u32>(reason);
            v.exit_instruction_len = 1;
        });
    }
    void wrmsr(u32 index, u64 value, unsigned on = 0)
    {
        lp(on).then([=](cpu::Vmcs& v, cpu::GuestContext& c) {
            v.exit_reason = static_cast<u32>(ExitReason::MSR_WRITE);
            v.exit_instruction_len = 2;
            c[spec::Gpr::rcx] = index;
            c[spec::Gpr::rax] = static_cast<u32>(value);
            c[spec::Gpr::rdx] = value >> 32;
        });
    }
    // Ends a run: an exit to user space.
    void stop(unsigned on = 0) { exit(ExitReason::TRIPLE_FAULT, on); }
    u32 injected(std::size_t entry) { return lp().history.at(entry).vmcs.entry_intr_info; }
    static constexpr u32 external(u8 vector) { return intr::VALID | intr::EXTERNAL | vector; }
    u32 mp_state(int fd)
    {
        kvm_mp_state state{};
        EXPECT_EQ(call(fd, KVM_GET_MP_STATE, &state), 0);
        return state.mp_state;
    }
    template <typename Action>
    static std::thread later(Action action)
    {
        return std::thread([action] {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            action();
        });
    }

    std::unique_ptr<platform::Platform> platform;
    std::unique_ptr<uapi::Device> device;
    int sys = -1, vm = -1, vcpu = -1;
    kvm_run* run = nullptr;
};

} // namespace seamless::uapi_test
