// SPDX-License-Identifier: Apache-2.0
// Builds the TD. Its guest handles #VE as a guest must: VEINFO.GET, then the access by TDG.VP.VMCALL.
#include "abi/td_guest.h"

#include "rig/td_boot.h"

// The stack is behind the page tables.
asm(R"(
    .section .rodata
    .global td_guest_begin, td_guest_end
    .balign 16
    .code32
td_guest_begin:
    td_load_tables td_guest_begin, td_gdtr
    td_enter_long_mode td_guest_begin, td_long_mode, 0x20
    .code64
td_long_mode:
    movl $0x104000, %esp
    lidt td_idtr(%rip)
    movabsq $0x13eb00010, %rdi
    testl %ecx, %ecx
    jz 1f
    movabsq $0x140200000, %rdi
1:  movl $0x11223344, %ebx
    movl %ebx, (%rdi)
    xorl %ebx, %ebx
    movl (%rdi), %ebx
    xorl %r10d, %r10d       # report it: a port write of 4 bytes
    movl $30, %r11d
    movl $4, %r12d
    movl $1, %r13d
    movl $0xf4, %r14d
    movq %rbx, %r15
    call td_vmcall
2:  jmp 2b

td_vmcall:
    movl $0xfc00, %ecx
    xorl %eax, %eax
    .byte 0x66, 0x0f, 0x01, 0xcc
    ret

td_ve:                      # the access is 2 bytes of code, its value in EBX
    movl $3, %eax
    .byte 0x66, 0x0f, 0x01, 0xcc
    movq %r9, %r14
    shrl %edx
    andl $1, %edx
    movl %edx, %r13d
    xorl %r10d, %r10d
    movl $48, %r11d
    movl $4, %r12d
    movq %rbx, %r15
    call td_vmcall
    testl %r13d, %r13d
    jnz 3f
    movl %r11d, %ebx
3:  addq $2, (%rsp)
    iretq

    .balign 8
td_gdt:
    .quad 0, 0x00af9b000000ffff
td_gdtr:
    .word 15
    .long 0xfffff000 + (td_gdt - td_guest_begin)
    .balign 8
td_idt:
    .fill 40, 8, 0
    td_gate td_guest_begin, td_ve
td_idtr:
    .word 21 * 16 - 1
    .quad 0xfffff000 + (td_idt - td_guest_begin)
td_guest_end:
    .text
)");

namespace seamless::abi {

TdGuest::TdGuest(Host& h, Target target) : host(h)
{
    rig::fill_boot_page(boot_, td_guest_begin, td_guest_end);
    rig::fill_page_tables(tables_);
    EXPECT_GE(td_.create(host.sys), 0);
    EXPECT_EQ(td_.enable_apics(), 0);
    EXPECT_EQ(td_.init(), 0);
    vm = td_.vm;
    vcpu = static_cast<int>(td_.create_vcpu());
    run = static_cast<kvm_run*>(host.device->mmap(vcpu, kVcpuMmapSize));
    EXPECT_EQ(td_.init_vcpu(vcpu, target), 0);
    EXPECT_GE(td_.add_private(0, rig::kTdBoot, boot_), 0);
    EXPECT_EQ(td_.load(vcpu, rig::kTdBoot, boot_, 1), 0);
    EXPECT_GE(td_.add_private(1, rig::kTdTables, tables_), 0);
    EXPECT_EQ(td_.load(vcpu, rig::kTdTables, tables_, tables_.bytes / kPageSize), 0);
    EXPECT_EQ(td_.set_slot(2, kMemory, shared.bytes, shared.at), 0);
    EXPECT_EQ(td_.finalize(), 0);
    host.trace.records.clear();
}

long TdGuest::run_once()
{
    const long r = host.ioctl(vcpu, KVM_RUN);
    return r < 0 ? r : static_cast<long>(run->exit_reason);
}

} // namespace seamless::abi
