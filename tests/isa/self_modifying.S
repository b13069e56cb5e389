// SPDX-License-Identifier: Apache-2.0
// Code that is changed and run again, by itself, through another address, and across pages.
    .include "isa.inc"
    .globl test_main
test_main:
    movl $0x90c3c031, PAGE_A          // xor eax, eax; ret
    mov $PAGE_A, %ebx
    mov $5, %eax
    call *%rbx
    check "code as it was", %rax, 0
    movl $0x90c3c0ff, PAGE_A          // inc eax; ret
    mov $5, %eax
    call *%rbx
    check "code that was changed", %rax, 6

    mov $100, %ecx                    // a loop that changes its own next instruction
    xor %eax, %eax
    mov $PAGE_B, %edi
    mov $20f, %esi
    mov $21f - 20f, %edx
    push %rcx
    mov %edx, %ecx
    rep movsb
    pop %rcx
    mov $PAGE_B, %ebx
    call *%rbx
    check "a loop that changes itself", %rax, 4950

    movl $PAGE_A + 7, PTE_B           // PAGE_B shows PAGE_A's memory
    invlpg PAGE_B
    movl $0x90c3c031, PAGE_A
    mov $PAGE_A, %ebx
    mov $5, %eax
    call *%rbx
    movl $0x90c3c0ff, PAGE_B
    mov $5, %eax
    call *%rbx
    check "a change through another address", %rax, 6
    movl $PAGE_B + 7, PTE_B
    invlpg PAGE_B

    movb $0xb8, PAGE_B - 2            // mov eax, imm32; ret: across two pages
    movl $0x11, PAGE_B - 1
    movb $0xc3, PAGE_B + 3
    mov $PAGE_B - 2, %ebx
    call *%rbx
    check "code across two pages", %rax, 0x11
    movl $0x2200, PAGE_B - 1
    call *%rbx
    check "whose second page is changed", %rax, 0x2200
    movl $0xc3c3c3c3, PAGE_A          // the same address, another page
    movl $0x90c3c031, PAGE_A
    movl $0x90c3c0ff, PAGE_B
    mov $PAGE_A, %ebx
    mov $5, %eax
    call *%rbx
    set_page_a PAGE_B + 7
    mov $5, %eax
    call *%rbx
    check "other memory at the code's address", %rax, 6
    reset_page_a
    mov $PAGE_A + 0xff0, %edi         // a REP STOSB over code that was run
    movl $0x90c3c031, PAGE_A + 0xff0
    mov $PAGE_A + 0xff0, %ebx
    call *%rbx
    mov $0xc3, %eax
    mov $4, %ecx
    rep stosb
    mov $9, %eax
    call *%rbx
    check "code that a string instruction wrote", %rax, 9
    ret

// Adds RCX's countdown into EAX by rewriting the immediate of its own ADD.
20: dec %ecx
    mov %ecx, 22f - 20b + PAGE_B + 1
22: .byte 0x05                        // add eax, imm32
    .long 0
    test %ecx, %ecx
    .byte 0x75, 20b - (. + 1)
    ret
21:
