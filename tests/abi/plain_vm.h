// SPDX-License-Identifier: Apache-2.0
// A plain VM of one vCPU in flat 32-bit protected mode without paging: 64 KiB of memory at 0, code at 1000H.
#pragma once

#include <initializer_list>

#include "abi/host.h"

namespace seamless::abi {

constexpr u64 kCode = 0x1000, kStack = 0x8000, kGdt = 0x9000, kIdt = 0xa000, kHandlers = 0xb000;
constexpr u64 kRam = 0x10000, kDevice = 0xfeb00000;

class PlainVm {
  public:
    explicit PlainVm(Host& h) : host(h)
    {
        vm = static_cast<int>(host.ioctl(host.sys, KVM_CREATE_VM, KVM_X86_DEFAULT_VM));
        add_slot(0, 0, memory);
        vcpu = static_cast<int>(host.ioctl(vm, KVM_CREATE_VCPU));
        run = static_cast<kvm_run*>(host.device->mmap(vcpu, kVcpuMmapSize));
        tables();
        EXPECT_EQ(host.ioctl(vcpu, KVM_GET_SREGS, &sregs), 0);
        sregs.cs = flat(8, 11, 0);
        for (kvm_segment* s : {&sregs.ds, &sregs.es, &sregs.fs, &sregs.gs, &sregs.ss})
            *s = flat(16, 3, 0);
        sregs.gdt = {.base = kGdt, .limit = 23, .padding = {}};
        sregs.idt = {.base = kIdt, .limit = 0xff, .padding = {}};
        sregs.cr0 = 0x31;
        regs.rip = kCode;
        regs.rsp = kStack;
        regs.rflags = 2;
    }

    static kvm_segment flat(u16 selector, u8 type, u8 dpl)
    {
        kvm_segment s{};
        s.limit = 0xffffffff;
        s.selector = selector;
        s.type = type;
        s.present = s.db = s.s = s.g = 1;
        s.dpl = dpl;
        return s;
    }
    void add_slot(u32 slot, u64 gpa, const Memory& backing, u32 flags = 0)
    {
        kvm_userspace_memory_region region{.slot = slot,
                                           .flags = flags,
                                           .guest_phys_addr = gpa,
                                           .memory_size = backing.bytes,
                                           .userspace_addr = reinterpret_cast<u64>(backing.at)};
        EXPECT_EQ(host.ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
    }
    // Puts `code` and a HLT, sets the registers, and runs until the first exit to user space.
    u32 start(std::initializer_list<u8> code)
    {
        std::copy(code.begin(), code.end(), memory.at + kCode);
        memory.at[kCode + code.size()] = 0xf4;
        EXPECT_EQ(host.ioctl(vcpu, KVM_SET_SREGS, &sregs), 0);
        EXPECT_EQ(host.ioctl(vcpu, KVM_SET_REGS, &regs), 0);
        host.trace.records.clear();
        return go_on();
    }
    u32 go_on()
    {
        EXPECT_EQ(host.ioctl(vcpu, KVM_RUN), 0);
        EXPECT_EQ(host.ioctl(vcpu, KVM_GET_REGS, &regs), 0);
        return run->exit_reason;
    }
    void answer(u64 value) { std::memcpy(run->mmio.data, &value, sizeof value); }
    [[nodiscard]] u64 data() const
    {
        u64 value = 0;
        std::memcpy(&value, run->mmio.data, std::min<std::size_t>(run->mmio.len, sizeof value));
        return value;
    }
    // Checks the exit that an access makes.
    void expect_mmio(bool write, u64 gpa, u32 len)
    {
        EXPECT_EQ(run->exit_reason, KVM_EXIT_MMIO);
        EXPECT_EQ(run->mmio.is_write != 0, write);
        EXPECT_EQ(run->mmio.phys_addr, gpa);
        EXPECT_EQ(run->mmio.len, len);
    }

    Host& host;
    Memory memory{kRam};
    int vm = -1, vcpu = -1;
    kvm_run* run = nullptr;
    kvm_sregs sregs{};
    kvm_regs regs{};

  private:
    // Each vector's handler is a HLT of its own.
    void tables()
    {
        memory.put<u64>(kGdt + 8, 0x00cf9b000000ffff);
        memory.put<u64>(kGdt + 16, 0x00cf93000000ffff);
        for (u64 v = 0; v < 32; ++v) {
            const u64 handler = kHandlers + 16 * v;
            memory.put<u64>(kIdt + 8 * v, (handler & 0xffff) | u64{8} << 16 | u64{0x8e00} << 32);
            memory.at[handler] = 0xf4;
        }
    }
};

} // namespace seamless::abi
