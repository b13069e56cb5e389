// SPDX-License-Identifier: Apache-2.0
// The guest of TdRobot, and the ioctls that build its TD.
#include "abi/td_robot.h"

#include "rig/td_boot.h"

// Behind the page tables each vCPU has a page of stack.
// RBP is the mailbox, always. Every access of a test is three bytes of code that move RBX: the handler of #VE
// relies on it.
asm(R"(
    .section .rodata
    .global td_robot_begin, td_robot_end
    .balign 16
    .code32
td_robot_begin:
    td_load_tables td_robot_begin, robot_gdtr
    td_enter_long_mode td_robot_begin, robot_long_mode, 0x20
    .code64
robot_long_mode:
    movl %ecx, %ebp             # the number of the vCPU, from KVM_TDX_INIT_VCPU
    testl %ecx, %ecx
    jnz 1f
    movl $0x28, %eax
    ltr %ax
1:
    shll $12, %ebp
    leal 0x103000(%rbp), %esp
    movabsq $0x140200000, %rax
    addq %rax, %rbp
    lidt robot_idtr(%rip)
robot_next:
    movq 16(%rbp), %rcx
    movq 24(%rbp), %rdx
    movq 32(%rbp), %rbx
    movq 40(%rbp), %rsi
    movq 48(%rbp), %rdi
    movq 56(%rbp), %r8
    movq 64(%rbp), %r9
    movq 72(%rbp), %r10
    movq 80(%rbp), %r11
    movq 88(%rbp), %r12
    movq 96(%rbp), %r13
    movq 104(%rbp), %r14
    movq 112(%rbp), %r15
    movq (%rbp), %rax
    cmpl $1, %eax
    je robot_tdcall
    cmpl $2, %eax
    je robot_store
    cmpl $3, %eax
    je robot_load
    cmpl $4, %eax
    je robot_hammer
    cmpl $5, %eax
    je robot_halt_awake
    cmpl $6, %eax
    je robot_copy
    cmpl $7, %eax
    je robot_cpuid
    cmpl $8, %eax
    je robot_rdtsc
    cmpl $9, %eax
    je robot_rdmsr
    cmpl $10, %eax
    je robot_wrmsr
    cmpl $11, %eax
    je robot_user
    cmpl $12, %eax
    je robot_user
robot_done:
    movq %rax, 8(%rbp)
    movq %rcx, 16(%rbp)
    movq %rdx, 24(%rbp)
    movq %rbx, 32(%rbp)
    movq %rsi, 40(%rbp)
    movq %rdi, 48(%rbp)
    movq %r8, 56(%rbp)
    movq %r9, 64(%rbp)
    movq %r10, 72(%rbp)
    movq %r11, 80(%rbp)
    movq %r12, 88(%rbp)
    movq %r13, 96(%rbp)
    movq %r14, 104(%rbp)
    movq %r15, 112(%rbp)
    movl $30, %r11d             # the report: 4 bytes to port 0xf4
    movl $4, %r12d
    movl $1, %r13d
    movl $0xf4, %r14d
    xorl %r15d, %r15d
    call robot_vmcall
    jmp robot_next

robot_tdcall:
    movq 8(%rbp), %rax
    .byte 0x66, 0x0f, 0x01, 0xcc
    jmp robot_done
robot_store:
    movq %rbx, (%rdi)
    jmp robot_done
robot_load:
    movq (%rdi), %rbx
    jmp robot_done
robot_hammer:
    incq %rbx
    movq %rbx, (%rdi)
    incq 160(%rbp)
    cmpq $0, 120(%rbp)
    je robot_hammer
    jmp robot_done
robot_copy:
    movq (%rdi), %rbx
    movq %rbx, (%rsi)
    incq 160(%rbp)
    cmpq $0, 120(%rbp)
    je robot_copy
    jmp robot_done
robot_cpuid:
    movq 8(%rbp), %rax
    cpuid
    jmp robot_done
robot_rdtsc:
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    jmp robot_done
robot_rdmsr:
    movq 8(%rbp), %rax
    rdmsr
    jmp robot_done
robot_wrmsr:
    movq 8(%rbp), %rax
    wrmsr
    jmp robot_done

robot_user:                     # on no stack: it comes back by INT 41H or by a fault
    pushq $0x1b
    pushq $0
    pushq $2
    pushq $0x23
    pushq $0
    cmpl $11, %eax
    leaq robot_user_tdcall(%rip), %rax
    je 1f
    leaq robot_user_cpuid(%rip), %rax
1:  movq %rax, (%rsp)
    movq 8(%rbp), %rax
    iretq
robot_user_tdcall:
    .byte 0x66, 0x0f, 0x01, 0xcc
    int $0x41
robot_user_cpuid:
    cpuid
    int $0x41
robot_user_done:
    addq $40, %rsp
    jmp robot_done

robot_halt_awake:
    movq 8(%rbp), %rax
    sti
    .byte 0x66, 0x0f, 0x01, 0xcc
    nop
    cli
    jmp robot_done

robot_pause:                    # RAX, RCX and R10 to R15 are its own
    movl $30, %r11d
    movl $1, %r12d
    movl $1, %r13d
    movl $0xf6, %r14d
    xorl %r15d, %r15d
robot_vmcall:
    xorl %r10d, %r10d
    movl $0xfc00, %ecx
    xorl %eax, %eax
    .byte 0x66, 0x0f, 0x01, 0xcc
    ret

robot_ve:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    testb $1, 200(%rbp)
    jz 1f
    call robot_pause
1:  movq 208(%rbp), %rax
    movq %rax, 232(%rbp)
    movl $3, %eax
    .byte 0x66, 0x0f, 0x01, 0xcc
    movq 208(%rbp), %rax
    movq %rax, 240(%rbp)
    incq 136(%rbp)
    movq %r9, 144(%rbp)
    movq %rcx, 168(%rbp)
    movq %rdx, 176(%rbp)
    movq %r8, 184(%rbp)
    movq %r10, 192(%rbp)
    cmpl $48, %ecx
    je 1f
    movl %r10d, %r10d           # an instruction: left out
    addq %r10, 88(%rsp)
    jmp 3f
1:  btq $47, %r9                # the shared bit of either width
    jc 2f
    btq $51, %r9
    jc 2f
    movq %r9, %rcx              # private memory: accept the page, and again
    andq $-4096, %rcx
    movl $6, %eax
    .byte 0x66, 0x0f, 0x01, 0xcc
    movq %rax, 152(%rbp)
    testq %rax, %rax
    jz 3f
    addq $3, 88(%rsp)           # not its page: the access is left out
    jmp 3f
2:  addq $3, 88(%rsp)
    movq %r9, %r14
    shrl %edx
    andl $1, %edx
    movl %edx, %r13d
    movl $48, %r11d
    movl $8, %r12d
    movq %rbx, %r15
    call robot_vmcall
    movq %r10, 152(%rbp)
    testl %r13d, %r13d
    jnz 3f
    movq %r11, %rbx
3:  popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdx
    popq %rcx
    popq %rax
    iretq

robot_nmi:
    incq 208(%rbp)
    cmpq $0, 224(%rbp)
    je 1f
    incq 216(%rbp)
1:  incq 224(%rbp)
    testb $2, 200(%rbp)
    jz 2f
    pushq %rax
    pushq %rcx
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    call robot_pause
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %rcx
    popq %rax
2:  decq 224(%rbp)
    iretq

robot_gp:
    incq 248(%rbp)
    popq 256(%rbp)
    popq 272(%rbp)
    popq 264(%rbp)
    addq $24, %rsp
    jmp robot_done

robot_interrupt:
    pushq %rax
    pushq %rcx
    pushq %rdx
    incq 128(%rbp)
    movl $0x80b, %ecx           # end of interrupt
    xorl %eax, %eax
    xorl %edx, %edx
    wrmsr
    popq %rdx
    popq %rcx
    popq %rax
    iretq

    .balign 8
robot_gdt:                      # code 8; data and code of CPL 3, 18H and 20H; TSS 28H
    .quad 0, 0x00af9b000000ffff, 0, 0x00cff3000000ffff, 0x00affb000000ffff
    .word 0x67, 0xf000 + (robot_tss - td_robot_begin)
    .byte 0xff, 0x89, 0, 0xff
    .quad 0
robot_tss:                      # RSP0: the stack of vCPU 0
    .long 0
    .quad 0x103000
    .fill 90, 1, 0
    .word 0x68
robot_gdtr:
    .word 55
    .long 0xfffff000 + (robot_gdt - td_robot_begin)
    .balign 8
robot_idt:
    .fill 4, 8, 0
    td_gate td_robot_begin, robot_nmi
    .fill 20, 8, 0
    td_gate td_robot_begin, robot_gp
    .fill 12, 8, 0
    td_gate td_robot_begin, robot_ve
    .fill 86, 8, 0
    td_gate td_robot_begin, robot_interrupt
    .word (robot_user_done - td_robot_begin) + 0xf000, 8, 0xee00, 0xffff
    .quad 0
robot_idtr:
    .word 66 * 16 - 1
    .quad 0xfffff000 + (robot_idt - td_robot_begin)
td_robot_end:
    .text
)");

namespace seamless::abi {

static_assert(offsetof(Mailbox, stop) == 120 && offsetof(Mailbox, rounds) == 160 &&
              offsetof(Mailbox, ve_gla) == 184 && offsetof(Mailbox, pause) == 200 &&
              offsetof(Mailbox, gp_rip) == 272);

TdRobot::TdRobot(Host& h, unsigned count, bool map_gpa, u64 attributes, u32 width, u64 tsc_khz) : host(h)
{
    rig::fill_boot_page(boot_, td_robot_begin, td_robot_end);
    rig::fill_page_tables(tables_, bit(width - 1));
    constexpr u64 kUser = 4, kBootGib = 0x1000 + 8 * 3; // code of CPL 3 is in the boot page, too
    tables_.put(0, tables_.get<u64>(0) | kUser);
    tables_.put(kBootGib, tables_.get<u64>(kBootGib) | kUser);
    EXPECT_GE(td_.create(host.sys), 0);
    vm = td_.vm;
    EXPECT_EQ(td_.enable_apics(), 0);
    if (map_gpa) {
        EXPECT_EQ(td_.enable(KVM_CAP_EXIT_HYPERCALL, bit(KVM_HC_MAP_GPA_RANGE)), 0);
    }
    if (tsc_khz) {
        EXPECT_EQ(host.ioctl(vm, KVM_SET_TSC_KHZ, tsc_khz), 0);
    }
    EXPECT_EQ(td_.init(attributes, width), 0);
    for (unsigned n = 0; n < count; ++n)
        add_vcpu(n);
    (void)add_private(0, rig::kTdBoot, boot_);
    load_image(rig::kTdBoot, boot_);
    (void)add_private(1, rig::kTdTables, tables_);
    load_image(rig::kTdTables, tables_);
    EXPECT_EQ(set_slot(2, kMailboxes, mailboxes.bytes, mailboxes.at), 0);
    gmem = add_private(3, kPrivate, shared);
    EXPECT_EQ(td_.finalize(), 0);
    for (unsigned n = 0; n < count; ++n)
        carry_out(n, {});
    host.trace.records.clear();
}

void TdRobot::add_vcpu(unsigned n)
{
    vcpus.push_back(static_cast<int>(td_.create_vcpu(n)));
    runs.push_back(static_cast<kvm_run*>(host.device->mmap(vcpus[n], kVcpuMmapSize)));
    EXPECT_EQ(td_.init_vcpu(vcpus[n], n), 0);
}

int TdRobot::add_private(u32 slot, u64 gpa, const Memory& backing)
{
    const long file = td_.add_private(slot, gpa, backing);
    EXPECT_GE(file, 0);
    return static_cast<int>(file);
}

void TdRobot::load_image(u64 gpa, const Memory& content)
{
    EXPECT_EQ(td_.load(vcpus[0], gpa, content, content.bytes / kPageSize), 0);
}

long TdRobot::set_slot(u32 slot, u64 gpa, u64 bytes, const void* at, u32 flags)
{
    return td_.set_slot(slot, gpa, bytes, at, flags);
}

long TdRobot::set_attributes(u64 gpa, u64 bytes, u64 attributes)
{
    return td_.set_attributes(gpa, bytes, attributes);
}

long TdRobot::run_once(unsigned n)
{
    const long r = host.ioctl(vcpus[n], KVM_RUN);
    return r < 0 ? r : static_cast<long>(runs[n]->exit_reason);
}

bool TdRobot::reported(unsigned n) const
{
    return runs[n]->exit_reason == KVM_EXIT_IO && runs[n]->io.port == kReportPort;
}

void TdRobot::give(unsigned n, const Mailbox& order)
{
    std::memcpy(mailboxes.at + n * kPageSize, &order, sizeof order);
}

void TdRobot::carry_out(unsigned n, const Mailbox& order, const OnExit& on_exit)
{
    give(n, order);
    for (;;) {
        const long r = run_once(n);
        if (r == KVM_EXIT_IO && reported(n))
            return;
        ASSERT_TRUE(on_exit) << "KVM_RUN " << r;
        if (!on_exit(*runs[n]))
            return;
    }
}

Mailbox TdRobot::vmcall(u64 r11, u64 r12, u64 r13, u64 r14, u64 r15, const OnExit& on_exit)
{
    Mailbox order{};
    order.order = Mailbox::tdcall;
    order.rcx = kMask;
    order.r11 = r11;
    order.r12 = r12;
    order.r13 = r13;
    order.r14 = r14;
    order.r15 = r15;
    carry_out(0, order, on_exit);
    return mailboxes.get<Mailbox>(0);
}

u64 TdRobot::accept(u64 gpa, unsigned n)
{
    Mailbox order{};
    order.order = Mailbox::tdcall;
    order.rax = 6;
    order.rcx = gpa;
    carry_out(n, order);
    return mailbox(n).rax;
}

u64 TdRobot::load(u64 address, unsigned n)
{
    Mailbox order{};
    order.order = Mailbox::load;
    order.rdi = address;
    carry_out(n, order);
    return mailbox(n).rbx;
}

void TdRobot::store(u64 address, u64 value, unsigned n)
{
    Mailbox order{};
    order.order = Mailbox::store;
    order.rdi = address;
    order.rbx = value;
    carry_out(n, order);
}

} // namespace seamless::abi
