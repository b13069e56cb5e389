// SPDX-License-Identifier: Apache-2.0
// SYSCALL and SYSRET, IRET to other modes and privileges, compatibility mode.
    .include "isa.inc"
    .globl test_main
test_main:
    write_msr 0xc0000081, 0x001b001800000000
    write_msr 0xc0000082, entry
    write_msr 0xc0000084, 0x4         // PF is cleared
    in_user 10f, 11f
    check_trap "SYSCALL and SYSRET", 0x80
    check "SYSCALL saves RFLAGS", %r12, 0x6
    check "FMASK", %r13, 0x2
    check "SYSCALL's CS", %r14, CODE64
    check "SYSCALL's SS", %r15, CODE64 + 8
    check "RCX is the return address", %rbx, USER_CODE + 6
    check_mem "SYSRET's CS", trap_cs, USER_CODE64
    check_mem "SYSRET's SS", trap_ss, USER_DATA
    mov trap_rflags, %rax
    and $0x44, %eax
    check "SYSRET's RFLAGS", %rax, 0x44
    in_user 11f, 12f
    check_trap "SYSRET at CPL 3", 13
    mov $0xc0000080, %ecx
    rdmsr
    and $~1, %eax
    wrmsr
    attempt 1f
    syscall
1:  check_trap "SYSCALL without EFER.SCE", 6
    attempt 1f
    sysretq
1:  check_trap "SYSRET without EFER.SCE", 6
    mov $0xc0000080, %ecx
    rdmsr
    or $1, %eax
    wrmsr

    attempt 1f                        // IRET
    pushq $DATA
    pushq $stack_top - 0x1000
    pushq $0x44d7
    pushq $CODE64
    pushq $2f
    iretq
2:  pushfq
    pop %rbx
    mov trap_rsp, %rsp
1:  check_trap "IRETQ", NO_TRAP
    check "IRETQ's RFLAGS", %rbx, 0x44d7
    attempt 1f                        // NT is set now
    iretq
1:  check_trap "IRETQ with NT in 64-bit mode", 13
    pushq $2
    popfq
    attempt 1f
    pushq $DATA
    pushq $stack_top - 0x1000
    pushq $2
    pushq $DATA
    pushq $1f
    iretq
1:  check_trap "IRETQ to a data segment", 13, DATA
    attempt 1f
    pushq $USER_DATA
    pushq $USER_STACK
    pushq $2
    pushq $CODE64
    pushq $1f
    iretq
1:  check_trap "IRETQ with an SS of another privilege", 13, USER_DATA-3
    mov $0x800000000000, %rbx
    attempt 1f
    pushq $DATA
    pushq $stack_top - 0x1000
    pushq $2
    pushq $CODE64
    push %rbx
    iretq
1:  check_trap "IRETQ to a non-canonical address", 13

    in_user 20f, 21f, USER_CODE32
    check_trap "INTO in compatibility mode", 4
    check_mem "compatibility mode's CS", trap_cs, USER_CODE32
    in_user 21f, 22f, USER_CODE32
    check_trap "#BR of BOUND", 5
    in_user 22f, 23f, USER_CODE32
    check_trap "#DE of AAM 0", 0
    in_user 23f, 24f, USER_CODE32
    check_trap "no REX in compatibility mode", 0x80
    check "48H is DEC EAX there", %rax, 0xffffffff
    in_user 24f, 25f, USER_CODE32
    check_trap "SYSENTER without its CS", 13
    in_user 25f, 26f, USER_CODE32
    check_trap "a null descriptor in compatibility mode", 13, GDT_FREE
    in_user 26f, 27f, USER_CODE32
    check_trap "addresses wrap at 4 GiB", 0x80
    check "and reach what is there", %rbx, 0x77
    ret

entry:
    mov %r11, %r12
    pushfq
    pop %r13
    mov %cs, %r14d
    mov %ss, %r15d
    mov %rcx, %rbx
    mov $0x46, %r11d
    sysretq
10: pushq $6
    popfq
    nop
    syscall                           // ends at byte 6
    int $0x80
11: sysretq
12:
    .code32
20: mov $0x7fffffff, %eax
    inc %eax
    into
21: movl $1, USER_STACK - 16
    movl $2, USER_STACK - 12
    xor %eax, %eax
    bound %eax, USER_STACK - 16
22: .byte 0xd4, 0
23: xor %eax, %eax
    .byte 0x48
    int $0x80
24: sysenter
25: mov $GDT_FREE + 3, %eax           // no such segment: the load faults
    mov %eax, %ds
26: movl $0x77, USER_STACK - 16
    mov $0xffffffff, %ecx
    mov USER_STACK - 15(%ecx), %ebx
    int $0x80
27:
    .code64
