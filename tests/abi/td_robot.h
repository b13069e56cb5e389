// SPDX-License-Identifier: Apache-2.0
// A TD that does what a test asks for: each vCPU waits for an order in its mailbox, a page of shared memory,
// carries it out (a TDCALL, an access, many accesses), puts its registers there and reports by a port write.
#pragma once

#include <functional>

#include "abi/host.h"
#include "rig/td_boot.h"
#include "rig/td_vm.h"

namespace seamless::abi {

extern "C" const u8 td_robot_begin[], td_robot_end[];

// The layout is the guest's too.
struct Mailbox {
    enum Order : u64 {
        nothing = 0,
        tdcall = 1,     // with these registers
        store = 2,      // RBX to (RDI)
        load = 3,       // RBX from (RDI)
        hammer = 4,     // store 1, 2, 3... to (RDI) until `stop`
        halt_awake = 5, // as tdcall, with interrupts enabled
        copy = 6,       // load RBX from (RDI), store it to (RSI), until `stop`
        cpuid = 7,      // with RAX and RCX
        rdtsc = 8,      // into RAX, all of it
        rdmsr = 9,      // of RCX
        wrmsr = 10,     // to RCX
        // At CPL 3, by vCPU 0 only.
        user_tdcall = 11,
        user_cpuid = 12,
    };
    enum Pause : u64 { in_ve = 1, in_nmi = 2 };
    u64 order;
    u64 rax, rcx, rdx, rbx, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
    u64 stop;       // 120
    u64 interrupts; // 128: taken on vector 40H
    u64 ve_count;   // 136
    u64 ve_gpa;     // 144
    u64 ve_status;  // 152: what the host answered the access, or the module TDG.MEM.PAGE.ACCEPT
    u64 rounds;     // 160: of hammer and copy
    u64 ve_reason, ve_qualification, ve_gla, ve_instruction; // 168: the rest of VE_INFO
    u64 pause;          // 200: handlers that write to kPausePort: before TDG.VP.VEINFO.GET, before IRET
    u64 nmis;           // 208: taken
    u64 nmis_in_nmi;    // 216: of them, while another was being handled
    u64 nmi_depth;      // 224
    u64 nmis_before_ve; // 232: taken when the handler of #VE calls TDG.VP.VEINFO.GET
    u64 nmis_after_ve;  // 240: and when it is back
    u64 gp_count;       // 248: of #GP, which ends the order
    u64 gp_error, gp_cs, gp_rip;
};

class TdRobot {
  public:
    static constexpr u64 kShared = rig::kTdShared;
    static constexpr u64 kMailboxes = 0x200000; // shared memory
    static constexpr u64 kPrivate = 0x400000;   // 64 pages of guest_memfd that nobody has touched
    static constexpr u64 kPrivatePages = 64;
    static constexpr u64 kSharedView = rig::kTdSharedView; // where the guest sees the first GiB as shared
    static constexpr u64 kHighView = rig::kTdHighView;     // and the top GiB of the first 4
    static constexpr u64 kDevice = 0xfeb00000;
    static constexpr u16 kReportPort = 0xf4, kPausePort = 0xf6;
    static constexpr u64 kUserCode = 0x23;
    static constexpr u64 kMask = 0xfc00; // R10 to R15 go to the host and come back
    static constexpr u8 kVector = 0x40;

    // `width`: of guest-physical addresses, the shared bit included. `tsc_khz`: 0 leaves it as it comes.
    explicit TdRobot(Host& host, unsigned vcpus = 1, bool map_gpa = true,
                     u64 attributes = spec::td_attributes::SEPT_VE_DISABLE, u32 width = 48, u64 tsc_khz = 0);
    // Runs until the order is done, and `on_exit` (exits but the report) says to go on. The registers are
    // in the mailbox.
    using OnExit = std::function<bool(kvm_run&)>;
    void carry_out(unsigned n, const Mailbox& order, const OnExit& on_exit = {});
    // TDG.VP.VMCALL.
    Mailbox vmcall(u64 r11, u64 r12 = 0, u64 r13 = 0, u64 r14 = 0, u64 r15 = 0, const OnExit& on_exit = {});
    // TDG.MEM.PAGE.ACCEPT of a 4 KiB page; RAX.
    u64 accept(u64 gpa, unsigned n = 0);
    u64 load(u64 address, unsigned n = 0);
    void store(u64 address, u64 value, unsigned n = 0);
    // One KVM_RUN: the exit reason, or the negative errno.
    long run_once(unsigned n = 0);
    void give(unsigned n, const Mailbox& order);
    [[nodiscard]] volatile Mailbox& mailbox(unsigned n = 0)
    {
        return *reinterpret_cast<volatile Mailbox*>(mailboxes.at + n * kPageSize);
    }
    [[nodiscard]] bool reported(unsigned n = 0) const;
    long set_attributes(u64 gpa, u64 bytes, u64 attributes);
    // KVM_SET_USER_MEMORY_REGION of plain memory.
    long set_slot(u32 slot, u64 gpa, u64 bytes, const void* at, u32 flags = 0);

    Host& host;
    int vm = -1, gmem = -1;
    std::vector<int> vcpus;
    std::vector<kvm_run*> runs;
    Memory mailboxes{8 * kPageSize}, shared{kPrivatePages * kPageSize};

  private:
    void add_vcpu(unsigned n);
    [[nodiscard]] int add_private(u32 slot, u64 gpa, const Memory& backing);
    void load_image(u64 gpa, const Memory& content);
    rig::TdVm td_{*host.device};
    Memory boot_{kPageSize}, tables_{10 * kPageSize};
};

} // namespace seamless::abi
