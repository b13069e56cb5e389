// SPDX-License-Identifier: Apache-2.0
// Exceptions: vector, error code and the RIP that is saved, at CPL 0 and 3.
    .include "isa.inc"
    .globl test_main
test_main:
    attempt 1f
    xor %edx, %edx
    xor %ecx, %ecx
de: div %ecx
1:  check_trap "#DE of DIV by zero", 0
    check_mem "#DE is a fault", trap_rip, de

    attempt 1f
    mov $0x8000000000000000, %rax
    cqo
    mov $-1, %rcx
    idiv %rcx
1:  check_trap "#DE of IDIV overflow", 0

    attempt 1f
bp: int3
1:  check_trap "#BP of INT3", 3
    check_mem "#BP is a trap", trap_rip, bp + 1

    attempt 1f
    ud2
1:  check_trap "#UD of UD2", 6
    attempt 1f
    .byte 0xf0, 0x90                  // LOCK NOP
1:  check_trap "#UD of LOCK without a memory operand", 6
    attempt 1f
    .byte 0x06                        // PUSH ES
1:  check_trap "#UD of PUSH ES in 64-bit mode", 6
    attempt 1f
    .byte 0x0f, 0x24, 0xc0
1:  check_trap "#UD of the 386 test registers", 6

    mov $0x800000000000, %rbx
    attempt 1f
    mov (%rbx), %al
1:  check_trap "#GP of a non-canonical address", 13
    movb $1, idt + 16 * 13 + 4
    movb $1, idt + 16 * 12 + 4        // IST1: there is no other stack then
    attempt 1f
    mov %rbx, %rsp
    pop %rax
1:  check_trap "#SS of a non-canonical stack", 12
    check_mem "the RSP that is saved", trap_user_rsp, 0x800000000000
    movb $0, idt + 16 * 12 + 4
    movb $0, idt + 16 * 13 + 4
    attempt 1f
    mov %rbx, %rcx
    xor %edx, %edx
    mov (%rcx, %rdx), %al
1:  check_trap "#GP with an index", 13
    mov %rbx, %rbp
    attempt 1f
    mov (%rbp), %al
1:  check_trap "#SS through RBP", 12
    attempt 1f
    .byte 0x3e
    mov (%rbp), %al
1:  check_trap "#SS through RBP under a DS prefix", 12
    attempt 1f
    jmp *%rbx
1:  check_trap "#GP of a jump to a non-canonical address", 13
    attempt 1f
    int $0x40
1:  check_trap "INT n", 0x40
    attempt 1f
    .rept 16
    .byte 0x66
    .endr
    nop
1:  check_trap "#GP of an instruction of more than 15 bytes", 13

    attempt 1f
    movaps 0x810001, %xmm0
1:  check_trap "#GP of MOVAPS unaligned", 13
    movl $0x1d80, PAGE_A              // divide by zero unmasked
    ldmxcsr PAGE_A
    xorps %xmm0, %xmm0
    movaps %xmm0, %xmm1
    mov $0x3f800000, %eax
    movd %eax, %xmm0
    attempt 1f
xm: divss %xmm1, %xmm0
1:  check_trap "#XM of DIVSS", 19
    check_mem "#XM is a fault", trap_rip, xm
    movl $0x1f80, PAGE_A
    ldmxcsr PAGE_A
    movl $0xffff1f80, PAGE_A
    attempt 1f
    ldmxcsr PAGE_A
1:  check_trap "#GP of reserved bits of MXCSR", 13

    fninit
    movw $0x37b, PAGE_A               // x87 divide by zero unmasked
    fldcw PAGE_A
    fld1
    fldz
    fdivrp
    attempt 1f
    fwait
1:  check_trap "#MF at the next x87 instruction", 16
    fninit

    mov %cr0, %rax
    or $8, %rax
    mov %rax, %cr0                    // TS
    attempt 1f
    fninit
1:  check_trap "#NM of x87 with CR0.TS", 7
    attempt 1f
    movaps %xmm0, %xmm0
1:  check_trap "#NM of SSE with CR0.TS", 7
    clts
    mov %cr0, %rax
    or $4, %rax
    mov %rax, %cr0                    // EM
    attempt 1f
    movaps %xmm0, %xmm0
1:  check_trap "#UD of SSE with CR0.EM", 6
    attempt 1f
    fninit
1:  check_trap "#NM of x87 with CR0.EM", 7
    mov %cr0, %rax
    and $~4, %rax
    mov %rax, %cr0

    in_user 10f, 11f
    check_trap "HLT at CPL 3", 13
    check_mem "the user's CS is saved", trap_cs, USER_CODE64
    check_mem "the user's SS is saved", trap_ss, USER_DATA
    check_mem "the user's RSP is saved", trap_user_rsp, USER_STACK
    in_user 11f, 12f
    check_trap "INT n of a gate with DPL 0", 13, 0x202
    in_user 12f, 13f
    check_trap "INT 0x80 with DPL 3", 0x80
    check_mem "INT n saves the RIP behind it", trap_rip, USER_CODE + 2
    in_user 13f, 14f
    check_trap "CLI at CPL 3", 13
    in_user 14f, 15f
    check_trap "IN at CPL 3", 13
    in_user 15f, 16f
    check_trap "MOV from CR0 at CPL 3", 13

    mov %cr0, %rax
    or $0x40000, %rax
    mov %rax, %cr0                    // AM
    in_user 16f, 17f
    check_trap "#AC at CPL 3", 17
    mov %cr0, %rax
    and $~0x40000, %rax
    mov %rax, %cr0
    in_user 16f, 17f
    check_trap "no #AC without CR0.AM", 0x80
    ret
10: hlt
11: int $0x40
12: int $0x80
13: cli
14: in $0x80, %al
15: mov %cr0, %rax
16: pushfq
    orl $0x40000, (%rsp)
    popfq
    mov %rsp, %rax
    mov -7(%rax), %ebx
    int $0x80
17:
