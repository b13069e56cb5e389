// SPDX-License-Identifier: Apache-2.0
// RDFSBASE and its like, CMPXCHG16B, and other instructions with conditions of their own.
    .include "isa.inc"
    .globl test_main
test_main:
    has_cpuid 7, %ebx, 0
    jz 2f
    attempt 1f
    rdfsbase %rax
1:  check_trap "RDFSBASE without CR4.FSGSBASE", 6
    mov %cr4, %rax
    or $0x10000, %rax
    mov %rax, %cr4
    mov $PAGE_A, %eax
    wrfsbase %rax
    rdfsbase %rbx
    check "WRFSBASE and RDFSBASE", %rbx, PAGE_A
    read_msr 0xc0000100
    check "the MSR shows it", %rax, PAGE_A
    movl $0x1234, PAGE_A + 8
    mov %fs:8, %eax
    check "an access through FS", %rax, 0x1234
    movabs $0xffffffff00001000, %rax
    wrgsbase %eax
    rdgsbase %rbx
    check "WRGSBASE of 32 bits", %rbx, 0x1000
    movabs $0x800000000000, %rax
    attempt 1f
    wrgsbase %rax
1:  check_trap "a non-canonical base", 13
    in_user 10f, 11f
    check_trap "RDFSBASE at CPL 3", 0x80
    mov %cr4, %rax
    and $~0x10000, %rax
    mov %rax, %cr4
    jmp 3f
2:  skip "FSGSBASE"
3:  movl $1, PAGE_A
    movl $0, PAGE_A + 4
    movl $2, PAGE_A + 8
    movl $0, PAGE_A + 12
    mov $1, %eax
    mov $2, %edx
    mov $3, %ebx
    mov $4, %ecx
    lock cmpxchg16b PAGE_A
    setz %al
    movzbl %al, %eax
    check "CMPXCHG16B", %rax, 1
    check_mem "its lower half", PAGE_A, 3
    check_mem "its upper half", PAGE_A + 8, 4
    attempt 1f
    cmpxchg16b PAGE_A + 8
1:  check_trap "CMPXCHG16B unaligned", 13
    attempt 1f
    .byte 0xf0, 0x0f, 0xc7, 0xc8      // LOCK CMPXCHG8B of a register
1:  check_trap "CMPXCHG8B of a register", 6
    attempt 1f
    .byte 0xf0, 0x8b, 0x00            // LOCK MOV
1:  check_trap "LOCK MOV", 6
    movl $7, PAGE_B - 2               // a locked access across two pages
    lock addl $1, PAGE_B - 2
    mov PAGE_B - 2, %eax
    check "a locked access across two pages", %rax, 8
    mov $0xffffffffffffffff, %rax
    mov $1, %eax
    check "a 32-bit result clears the upper half", %rax, 1
    mov $0x1122334455667788, %rax
    mov $0xff, %al
    mov $0xee, %ah
    check "8-bit results keep the rest", %rax, 0x112233445566eeff
    pushq $2
    popfq
    mov $0x80, %al
    add $0x80, %al
    pushfq
    pop %rax
    and $0x8d5, %eax
    check "the flags of ADD", %rax, 0x845
    attempt 1f
    pushq $0x3f7fd7
    popfq
    pushfq
    pop %rbx
    pushq $2
    popfq
1:  and $0x3fffff, %ebx
    mov trap_vector, %rcx
    ret
10: rdfsbase %rax
    int $0x80
11:
