// SPDX-License-Identifier: Apache-2.0
// Where a processor comes back to that the operating system has taken offline: in long mode, on a page table of
// the operating system's that maps this one to one. It returns to the firmware's tables and waits again.
    .set CR4_LA57, 1 << 12
    .set PRESENT_WRITABLE, 3
    .set CODE64, 0x18
    .set DATA, 0x10
    .set SECONDARIES, 7                  // machine.cpp
    .set SECONDARY_STACK_SHIFT, 13

    .section .text, "ax"
    .code64
    .globl offline_entry
offline_entry:
    cli
    // Five levels need one more table above ours. All processors write the same.
    mov $page_tables, %eax
    mov %cr4, %rcx
    test $CR4_LA57, %ecx
    jz 1f
    lea PRESENT_WRITABLE(%rax), %ecx
    mov %rcx, page_tables + 0x7000
    mov $page_tables + 0x7000, %eax
1:  mov %rax, %cr3
    mov $1, %eax                         // the initial APIC id, which needs no #VE handler
    cpuid
    shr $24, %ebx
    cmp $SECONDARIES, %ebx
    ja 3f                                // it never had a stack: it was never woken
    mov %ebx, %edi
    shl $SECONDARY_STACK_SHIFT, %ebx
    lea secondary_stacks(%rbx), %rsp
    lgdt offline_gdt_pointer
    pushq $CODE64
    pushq $2f
    lretq
2:  mov $DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    call secondary_start
3:  ud2

    .balign 8
offline_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00af9b000000ffff
offline_gdt_pointer:
    .short offline_gdt_pointer - offline_gdt - 1
    .quad offline_gdt
