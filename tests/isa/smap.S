// SPDX-License-Identifier: Apache-2.0
// SMEP and SMAP, with AC and without.
    .include "isa.inc"
    .globl test_main
test_main:
    movb $0xc3, PAGE_A
    has_cpuid 7, %ebx, 7
    jz 2f
    mov %cr4, %rax
    or $0x100000, %rax
    mov %rax, %cr4
    attempt 1f
    mov $PAGE_A, %eax
    call *%rax
1:  check_trap "SMEP: fetch from a user page", 14, 0x11
    attempt 1f
    mov PAGE_A, %eax
1:  check_trap "SMEP: read of a user page", NO_TRAP
    set_page_a PAGE_A + 3
    attempt 1f
    mov $PAGE_A, %eax
    call *%rax
1:  check_trap "SMEP: fetch from the supervisor's page", NO_TRAP
    reset_page_a
    mov %cr4, %rax
    and $~0x100000, %rax
    mov %rax, %cr4
    attempt 1f
    mov $PAGE_A, %eax
    call *%rax
1:  check_trap "fetch from a user page without SMEP", NO_TRAP
    jmp 3f
2:  skip "SMEP"
3:  has_cpuid 7, %ebx, 20
    jz 4f
    attempt 1f
    stac
    clac
1:  check_trap "STAC without CR4.SMAP", NO_TRAP
    mov %cr4, %rax
    or $0x200000, %rax
    mov %rax, %cr4
    attempt 1f
    mov PAGE_A, %eax
1:  check_trap "SMAP: read of a user page", 14, 1
    attempt 1f
    movl $0, PAGE_A
1:  check_trap "SMAP: write of a user page", 14, 3
    attempt 1f
    stac
    mov PAGE_A, %eax
    clac
1:  check_trap "SMAP: read with AC", NO_TRAP
    attempt 1f
    mov PAGE_A, %eax
1:  check_trap "SMAP: CLAC", 14, 1
    set_page_a PAGE_A + 3
    attempt 1f
    mov PAGE_A, %eax
1:  check_trap "SMAP: the supervisor's page", NO_TRAP
    reset_page_a
    attempt 1f
    stac
    movl $PAGE_A + 0x100, idt_limit_test + 2
    mov PAGE_A + 8, %eax
    clac
1:  check_trap "SMAP: AC lasts", NO_TRAP
    mov %cr4, %rax
    and $~0x200000, %rax
    mov %rax, %cr4
    attempt 1f
    mov PAGE_A, %eax
1:  check_trap "read of a user page without SMAP", NO_TRAP
    in_user 10f, 11f
    check_trap "STAC at CPL 3", 6
    ret
4:  skip "SMAP"
    ret
10: stac
11:
    .bss
idt_limit_test: .skip 16
