// SPDX-License-Identifier: Apache-2.0
// String instructions: counts and pointers after a fault half way, both directions, the comparing ones' ends.
    .include "isa.inc"
    .globl test_main
test_main:
    movl $PAGE_B + 6, PTE_B
    invlpg PAGE_B
    attempt 1f
    mov $PAGE_B - 24, %edi
    mov $0x7777, %eax
    mov $10, %ecx
2:  rep stosq
1:  check_trap "REP STOSQ into a page that is not present", 14, 2
    check "RCX counts what is left", %rcx, 7
    check "RDI is at the fault", %rdi, PAGE_B
    check_mem "RIP stays", trap_rip, 2b
    check_mem "what came before is written", PAGE_B-8, 0x7777
    check_mem "CR2", trap_cr2, PAGE_B
    attempt 1f
    mov $PAGE_B - 5, %esi
    mov $PAGE_A, %edi
    mov $100, %ecx
    rep movsb
1:  check_trap "REP MOVSB from a page that is not present", 14, 0
    check "RCX", %rcx, 95
    check "RSI", %rsi, PAGE_B
    check "RDI", %rdi, PAGE_A + 5
    attempt 1f
    mov $PAGE_B - 4, %esi
    mov $PAGE_A, %edi
    movsq
1:  check_trap "MOVSQ across the end", 14, 0
    check "RSI of an element across the end", %rsi, PAGE_B-4
    attempt 1f
    mov $PAGE_B, %edi
    xor %ecx, %ecx
    rep stosb
1:  check_trap "no fault with a count of zero", NO_TRAP
    attempt 1f
    mov $PAGE_B, %edi
    mov $1, %ecx
    movabs $0x100000000, %rcx
    .byte 0x67                        // ECX counts
    rep stosb
1:  check_trap "ECX counts with 32-bit addresses", NO_TRAP
    movl $PAGE_B + 7, PTE_B
    invlpg PAGE_B

    mov $PAGE_A, %edi
    mov $0x41, %eax
    mov $16, %ecx
    rep stosb
    movb $0x42, PAGE_A + 9
    mov $PAGE_A, %edi
    mov $16, %ecx
    repe scasb
    check "REPE SCASB stops behind what differs", %rdi, PAGE_A + 10
    check "and has counted it", %rcx, 6
    mov $0x42, %eax
    mov $PAGE_A, %edi
    mov $16, %ecx
    repne scasb
    check "REPNE SCASB", %rcx, 6
    mov $0x43, %eax
    mov $PAGE_A, %edi
    mov $16, %ecx
    repne scasb
    setz %al
    movzbl %al, %eax
    check "REPNE SCASB that finds nothing", %rax, 0
    check "its count", %rcx, 0
    mov $PAGE_A, %esi
    mov $PAGE_A + 1, %edi
    mov $12, %ecx
    repe cmpsb
    check "REPE CMPSB", %rcx, 3
    std
    mov $PAGE_A + 15, %esi
    mov $PAGE_A + 31, %edi
    mov $16, %ecx
    rep movsb
    cld
    check "RDI going down", %rdi, PAGE_A + 15
    check_mem "the bytes arrived", PAGE_A + 24, 0x4141414141414241
    mov $PAGE_A + 8, %esi
    xor %eax, %eax
    lodsw
    check "LODSW", %rax, 0x4241
    check "its RSI", %rsi, PAGE_A + 10
    movl $0x44434241, PAGE_A          // overlapping: a pattern spreads
    mov $PAGE_A, %esi
    mov $PAGE_A + 1, %edi
    mov $7, %ecx
    rep movsb
    check_mem "overlapping bytes are copied one by one", PAGE_A, 0x4141414141414141
    mov $0xfe, %ebx
    mov $PAGE_A, %eax
    movb $0x99, PAGE_A + 0xfe
    mov %rax, %rcx
    mov %rcx, %rbx
    mov $0xfe, %al
    xlatb
    movzbl %al, %eax
    check "XLATB", %rax, 0x99
    movabs $0x800000000000 - 8, %rdi
    attempt 1f
    mov $2, %ecx
    rep stosq
1:  check_trap "a string into addresses that are not mapped", 14, 2
    ret
