// SPDX-License-Identifier: Apache-2.0
// Page faults and their error codes, access rights, accessed and dirty bits, in 4-level paging.
    .include "isa.inc"
    .globl test_main
test_main:
    set_page_a PAGE_A + 6
    attempt 1f
    mov PAGE_A + 8, %eax
1:  check_trap "read of a page that is not present", 14, 0
    check_mem "CR2 is the address", trap_cr2, PAGE_A + 8
    attempt 1f
    movl $1, PAGE_A + 12
1:  check_trap "write of a page that is not present", 14, 2
    attempt 1f
    mov $PAGE_A, %eax
    jmp *%rax
1:  check_trap "fetch from a page that is not present", 14, 0x10
    check_mem "the RIP of a failed fetch", trap_rip, PAGE_A
    in_user 10f, 11f
    check_trap "user read of a page that is not present", 14, 4
    in_user 11f, 12f
    check_trap "user write of a page that is not present", 14, 6

    set_page_a PAGE_A + 5             // read-only
    attempt 1f
    mov PAGE_A, %eax
1:  check_trap "read of a read-only page", NO_TRAP
    attempt 1f
    movl $1, PAGE_A
1:  check_trap "write of a read-only page with CR0.WP", 14, 3
    mov %cr0, %rax
    and $~0x10000, %rax
    mov %rax, %cr0
    attempt 1f
    movl $1, PAGE_A
1:  check_trap "write of a read-only page without CR0.WP", NO_TRAP
    in_user 11f, 12f
    check_trap "user write of a read-only page without CR0.WP", 14, 7
    mov %cr0, %rax
    or $0x10000, %rax
    mov %rax, %cr0
    attempt 1f
    movl $1, PAGE_A
1:  check_trap "CR0.WP is set again", 14, 3
    in_user 11f, 12f
    check_trap "user write of a read-only page", 14, 7

    set_page_a PAGE_A + 3             // the supervisor's
    in_user 10f, 11f
    check_trap "user read of the supervisor's page", 14, 5
    in_user 11f, 12f
    check_trap "user write of the supervisor's page", 14, 7
    attempt 1f
    mov PAGE_A, %eax
1:  check_trap "the supervisor's own read", NO_TRAP

    reset_page_a
    movb $0xc3, PAGE_A                // RET
    set_page_a PAGE_A + 7, NX_HIGH
    attempt 1f
    mov $PAGE_A, %eax
    call *%rax
1:  check_trap "fetch from a page with NX", 14, 0x11
    attempt 1f
    mov PAGE_A, %eax
1:  check_trap "read of a page with NX", NO_TRAP
    reset_page_a
    attempt 1f
    mov $PAGE_A, %eax
    call *%rax
1:  check_trap "fetch without NX", NO_TRAP
    mov $0xc0000080, %ecx             // without EFER.NXE bit 63 is reserved
    rdmsr
    and $~0x800, %eax
    wrmsr
    set_page_a PAGE_A + 7, NX_HIGH
    attempt 1f
    mov PAGE_A, %eax
1:  check_trap "NX is reserved without EFER.NXE", 14, 9
    set_page_a PAGE_A + 6
    attempt 1f
    mov $PAGE_A, %eax
    jmp *%rax
1:  check_trap "without EFER.NXE no bit for a fetch", 14, 0
    mov $0xc0000080, %ecx
    rdmsr
    or $0x800, %eax
    wrmsr

    mov $0x80000008, %eax             // bit 51 is an address where addresses have 52 bits
    cpuid
    cmp $52, %al
    jb 2f
    skip "an address beyond the physical width"
    skip "and its write"
    jmp 3f
2:  set_page_a PAGE_A + 7, 0x00080000
    attempt 1f
    mov PAGE_A, %eax
1:  check_trap "an address beyond the physical width", 14, 9
    attempt 1f
    movl $0, PAGE_A
1:  check_trap "and its write", 14, 0xb
3:
    movl $0x1a00083 | 0x2000, page_tables + 0x2000 + 13 * 8
    invlpg 0x1a00000
    attempt 1f
    mov 0x1a00000, %eax
1:  check_trap "a 2 MiB page's reserved address bits", 14, 9
    movl $0x1a00083, page_tables + 0x2000 + 13 * 8
    invlpg 0x1a00000

    reset_page_a
    mov PAGE_A, %eax
    mov PTE_A, %eax
    and $0x60, %eax
    check "a read sets A", %rax, 0x20
    movl $1, PAGE_A
    mov PTE_A, %eax
    and $0x60, %eax
    check "a write sets A and D", %rax, 0x60
    set_page_a PAGE_A + 5
    attempt 1f
    movl $1, PAGE_A
1:  mov PTE_A, %eax
    and $0x40, %eax
    check "a write that faults sets no D", %rax, 0
    reset_page_a
    attempt 1f
    lock cmpxchg %ebx, PAGE_A
1:  mov PTE_A, %eax
    and $0x40, %eax
    check "CMPXCHG sets D", %rax, 0x40
    movl $0x1a00083, page_tables + 0x2000 + 13 * 8
    invlpg 0x1a00000
    movl $1, 0x1a00000
    mov page_tables + 0x2000 + 13 * 8, %eax
    and $0x60, %eax
    check "A and D of a 2 MiB page", %rax, 0x60
    mov page_tables + 0x2000 + 8 * 8, %eax
    and $0x60, %eax
    check "a table's entry has A and no D", %rax, 0x20

    movl $0x11111111, PAGE_A          // INVLPG makes a change visible
    movl $0x22222222, PAGE_B
    set_page_a PAGE_B + 7
    mov PAGE_A, %eax
    check "INVLPG", %rax, 0x22222222
    movl $PAGE_A + 7, PTE_A
    mov %cr3, %rax
    mov %rax, %cr3
    mov PAGE_A, %eax
    check "MOV to CR3", %rax, 0x11111111

    set_page_a PAGE_A + 0x107         // global
    mov %cr4, %rax
    or $0x80, %rax
    mov %rax, %cr4
    mov PAGE_A, %eax
    movl $PAGE_B + 7, PTE_A
    invlpg PAGE_A
    mov PAGE_A, %eax
    check "INVLPG of a global page", %rax, 0x22222222
    set_page_a PAGE_A + 0x107
    mov PAGE_A, %eax
    movl $PAGE_B + 7, PTE_A
    mov %cr4, %rax
    and $~0x80, %rax
    mov %rax, %cr4
    mov PAGE_A, %eax
    check "clearing CR4.PGE drops global pages", %rax, 0x22222222
    reset_page_a

    movl $PAGE_B + 6, PTE_B           // an access across a page
    invlpg PAGE_B
    movl $0x55555555, PAGE_B - 4
    attempt 1f
    movq $-1, PAGE_B - 4
1:  check_trap "a write across into a page that is not present", 14, 2
    check_mem "CR2 is in the second page", trap_cr2, PAGE_B
    mov PAGE_B - 4, %eax
    check "the first page is unchanged", %rax, 0x55555555
    attempt 1f
    mov PAGE_B - 4, %rax
1:  check_mem "CR2 of a read across", trap_cr2, PAGE_B
    ret
10: mov PAGE_A, %eax
    int $0x80
11: movl $1, PAGE_A
    int $0x80
12:
