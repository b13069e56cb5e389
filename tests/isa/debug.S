// SPDX-License-Identifier: Apache-2.0
// Single steps, breakpoints and the debug registers: which address, which bits of DR6, and RF.
    .include "isa.inc"
    .macro clear_dr6
    mov $0xffff0ff0, %eax
    mov %rax, %dr6
    .endm
    .macro check_dr6 label, want
    mov %dr6, %rax
    and $0xe00f, %eax
    check "\label", %rax, \want
    clear_dr6
    .endm
    .globl test_main
test_main:
    clear_dr6
    attempt 1f
    pushfq
    orl $0x100, (%rsp)
    popfq
    nop
2:  nop
1:  check_trap "TF: #DB", 1
    check_mem "the trap comes behind the instruction after POPF", trap_rip, 2b
    check_dr6 "DR6.BS", 0x4000
    mov trap_rflags, %rax
    and $0x100, %eax
    check "the saved RFLAGS has TF", %rax, 0x100

    attempt 1f                        // MOV SS holds the trap back by one instruction
    mov %ss, %ecx
    pushfq
    orl $0x100, (%rsp)
    popfq
    mov %ecx, %ss
    nop
3:  nop
1:  check_mem "TF after MOV SS", trap_rip, 3b
    clear_dr6

    attempt 1f
    .byte 0xf1
4:  nop
1:  check_trap "INT1", 1
    check_mem "INT1 is a trap", trap_rip, 4b

    mov $5f, %eax                     // execution
    mov %rax, %dr0
    mov $0x402, %eax
    mov %rax, %dr7
    attempt 1f
    mov $1f, %rbx
    jmp 5f
5:  nop                               // the breakpoint
    jmp *%rbx
1:  check_trap "an instruction breakpoint", 1
    check_mem "it is a fault", trap_rip, 5b
    check_dr6 "DR6.B0", 1
    mov trap_rflags, %rax
    and $0x10000, %eax
    check "a breakpoint saves no RF", %rax, 0
    mov $0x400, %eax
    mov %rax, %dr7
    attempt 1f
    ud2
1:  mov trap_rflags, %rax
    and $0x10000, %eax
    check "another fault saves RF", %rax, 0x10000
    mov $0x402, %eax
    mov %rax, %dr7
    attempt 1f
    mov $6f, %rbx
    pushq $DATA
    pushq $stack_top - 0x1000
    pushq $0x10002
    pushq $CODE64
    pushq $5b
    iretq
6:  mov trap_rsp, %rsp
1:  check_trap "RF passes the breakpoint", NO_TRAP
    attempt 1f
    mov $6f, %rbx
    jmp 5b
6:
1:  check_trap "and the breakpoint is still there", 1
    clear_dr6

    mov $PAGE_A + 4, %eax             // four bytes, writes
    mov %rax, %dr1
    mov $0xd00408, %eax
    mov %rax, %dr7
    attempt 1f
    movl $1, PAGE_A
    mov PAGE_A + 4, %eax
1:  check_trap "no breakpoint beside it, nor for a read", NO_TRAP
    attempt 1f
    movb $1, PAGE_A + 7
8:  nop
1:  check_trap "a write breakpoint", 1
    check_mem "a data breakpoint is a trap", trap_rip, 8b
    check_dr6 "DR6.B1", 2
    mov $0xf00408, %eax               // reads and writes
    mov %rax, %dr7
    attempt 1f
    mov PAGE_A + 4, %eax
9:  nop
1:  check_mem "a read breakpoint", trap_rip, 9b
    check_dr6 "DR6.B1 of a read", 2
    mov $0x400, %eax
    mov %rax, %dr7

    attempt 1f
    mov $0x100000400, %rax
    mov %rax, %dr7
1:  check_trap "DR7 bit 32", 13
    attempt 1f
    mov $0x100000000, %rax
    mov %rax, %dr6
1:  check_trap "DR6 bit 32", 13
    mov %cr4, %rax
    or $8, %rax
    mov %rax, %cr4                    // DE
    attempt 1f
    mov %dr4, %rax
1:  check_trap "DR4 with CR4.DE", 6
    mov %cr4, %rax
    and $~8, %rax
    mov %rax, %cr4
    attempt 1f
    mov %dr4, %rax
1:  check_trap "DR4 without CR4.DE", NO_TRAP
    clear_dr6
    mov $0x2400, %eax                 // GD
    mov %rax, %dr7
    attempt 1f
10: mov %dr0, %rax
1:  check_trap "DR7.GD", 1
    check_mem "it is a fault too", trap_rip, 10b
    check_dr6 "DR6.BD", 0x2000
    mov %dr7, %rax
    check "the exception has cleared GD", %rax, 0x400
    mov %dr6, %rax
    check "DR6's fixed bits", %rax, 0xffff0ff0
    in_user 11f, 12f
    check_trap "MOV from DR0 at CPL 3", 13
    ret
11: mov %dr0, %rax
12:
