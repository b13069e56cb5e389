// SPDX-License-Identifier: Apache-2.0
// The edges of the address space, shadows, and what else fits nowhere.
    .include "isa.inc"
    .globl test_main
test_main:
    mov %cr4, %rax
    shr $12, %rax
    and $1, %eax
    check "4-level paging", %rax, 0
    xor %eax, %eax
    mov $0x7fffffffffff, %rbx
    inc %rbx
    attempt 1f
    invlpg (%rbx)
1:  check_trap "INVLPG of a non-canonical address", NO_TRAP
    attempt 1f
    movabs $0x7ffffffff000, %rbx
    mov (%rbx), %al
1:  check_trap "the highest canonical page of the lower half", 14, 0
    check_mem "its CR2", trap_cr2, 0x7ffffffff000
    movabs $0xffff800000000000, %rbx
    attempt 1f
    mov (%rbx), %al
1:  check_trap "the lowest of the upper half", 14, 0
    attempt 1f
    movabs $0x7ffffffffffc, %rbx
    mov (%rbx), %rax
1:  mov trap_vector, %rcx
    mov trap_vector, %rax
    cmp $13, %rax
    sete %al
    cmp $14, %rcx
    sete %cl
    or %cl, %al
    movzbl %al, %eax
    check "an access across the end of the lower half faults", %rax, 1
    attempt 1f
    pushq $2
    popfq
    cli
    mov %ss, %eax
    mov %eax, %ss
    ud2
1:  check_trap "an exception behind MOV SS", 6
    pushfq
    pop %rax
    and $0x200, %eax
    check "IF is clear", %rax, 0
    movl $0, PAGE_A
    mov $PAGE_A, %eax
    movb $0x66, PAGE_A
    movb $0x90, PAGE_A + 1
    movb $0xc3, PAGE_A + 2
    call *%rax
    check "66 NOP", %rax, PAGE_A
    enter $16, $0
    mov %rbp, %rax
    sub %rsp, %rax
    leave
    check "ENTER", %rax, 16
    movl $0x80000000, PAGE_A
    mov $PAGE_A + 4, %ebx
    mov $-1, %ecx
    bt %ecx, (%rbx)
    setc %al
    movzbl %al, %eax
    check "BT with a negative bit offset", %rax, 1
    ret
