// SPDX-License-Identifier: Apache-2.0
// PCIDs and INVPCID: what is refused, and that what is flushed is seen afresh.
    .include "isa.inc"
    .set DESCRIPTOR, PAGE_B + 0x100
    .macro invpcid_type type, label, vector
    attempt .Li\@
    mov $\type, %eax
    invpcid DESCRIPTOR, %rax
.Li\@: check_trap "\label", \vector
    .endm
    .globl test_main
test_main:
    movl $0x11111111, PAGE_A
    movl $0x22222222, PAGE_B
    movq $0, DESCRIPTOR
    movq $PAGE_A, DESCRIPTOR + 8
    has_cpuid 1, %ecx, 17
    jz 5f
    mov %cr3, %rbx
    lea 3(%rbx), %rax
    mov %rax, %cr3                    // bits 4:3 are PWT and PCD without PCIDs; 2:0 are ignored
    mov %cr4, %rax
    or $0x20000, %rax
    attempt 1f
    mov %rax, %cr4
1:  check_trap "CR4.PCIDE while CR3 has low bits", 13
    mov %rbx, %cr3
    mov %cr4, %rax
    or $0x20000, %rax
    attempt 1f
    mov %rax, %cr4
1:  check_trap "CR4.PCIDE", NO_TRAP
    lea 5(%rbx), %rax
    mov %rax, %cr3
    mov %cr3, %rax
    sub %rbx, %rax
    check "CR3 holds the PCID", %rax, 5
    mov %rbx, %rax
    bts $63, %rax
    attempt 1f
    mov %rax, %cr3
1:  check_trap "CR3 bit 63 with PCIDs", NO_TRAP
    mov %cr3, %rax
    sub %rbx, %rax
    check "it does not stay", %rax, 0
    mov PAGE_A, %eax                  // PCID 0 has the translation; a write with bit 63 clear flushes it
    movl $PAGE_B + 7, PTE_A
    mov %rbx, %cr3
    mov PAGE_A, %eax
    check "MOV to CR3 flushes its PCID", %rax, 0x22222222
    reset_page_a
    mov %cr4, %rax
    and $~0x20000, %rax
    mov %rax, %cr4
    mov %rbx, %rax
    bts $63, %rax
    attempt 1f
    mov %rax, %cr3
1:  check_trap "CR3 bit 63 without PCIDs", 13
    jmp 6f
5:  skip "PCID"
6:  has_cpuid 7, %ebx, 10
    jz 7f
    invpcid_type 4, "INVPCID type 4", 13
    movq $0x1000, DESCRIPTOR
    invpcid_type 0, "a reserved bit of the descriptor", 13
    movq $0, DESCRIPTOR
    movabs $0x800000000000, %rax
    mov %rax, DESCRIPTOR + 8
    invpcid_type 0, "a non-canonical address", 13
    invpcid_type 2, "type 2 does not look at the address", NO_TRAP
    movq $PAGE_A, DESCRIPTOR + 8
    .irp type, 0, 1, 2, 3
    reset_page_a
    mov PAGE_A, %eax
    movl $PAGE_B + 7, PTE_A
    mov $\type, %eax
    invpcid DESCRIPTOR, %rax
    mov PAGE_A, %eax
    check "INVPCID type \type flushes", %rax, 0x22222222
    .endr
    reset_page_a
    set_page_a PAGE_A + 0x107         // global
    mov %cr4, %rax
    or $0x80, %rax
    mov %rax, %cr4
    mov PAGE_A, %eax
    movl $PAGE_B + 7, PTE_A
    mov $2, %eax
    invpcid DESCRIPTOR, %rax
    mov PAGE_A, %eax
    check "INVPCID type 2 flushes global pages", %rax, 0x22222222
    in_user 10f, 11f
    check_trap "INVPCID at CPL 3", 13
    ret
7:  skip "INVPCID"
    ret
10: mov $2, %eax
    invpcid DESCRIPTOR, %rax
11:
