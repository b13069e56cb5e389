// SPDX-License-Identifier: Apache-2.0
// What MOV to control registers, LMSW, SMSW, and WRMSR of EFER and others let through and refuse.
    .include "isa.inc"
    .macro refuse_msr msr, value, label
    attempt .Lr\@
    write_msr \msr, \value
.Lr\@: check_trap "\label", 13
    .endm
    .globl test_main
test_main:
    mov $5, %eax
    mov %rax, %cr8
    mov %cr8, %rax
    check "CR8", %rax, 5
    xor %eax, %eax
    mov %rax, %cr8
    attempt 1f
    .byte 0x0f, 0x20, 0xc8            // CR1
1:  check_trap "#UD of MOV from CR1", 6
    attempt 1f
    .byte 0x0f, 0x22, 0xe8            // CR5
1:  check_trap "#UD of MOV to CR5", 6
    mov $0x123456789abcdef0, %rax
    mov %rax, %cr2
    xor %eax, %eax
    mov %cr2, %rax
    check "CR2 holds any value", %rax, 0x123456789abcdef0
    mov %cr0, %rbx
    mov %rbx, %rax
    and $~0x10, %rax
    mov %rax, %cr0
    mov %cr0, %rax
    and $0x10, %eax
    check "CR0.ET stays set", %rax, 0x10
    smsw %eax
    mov %cr0, %rcx
    sub %rcx, %rax
    check "SMSW gives CR0", %rax, 0
    xor %eax, %eax
    lmsw %ax
    mov %cr0, %rax
    and $0xf, %eax
    check "LMSW leaves PE set", %rax, 1
    mov $0xf, %eax
    lmsw %ax
    mov %cr0, %rax
    and $0xf, %eax
    check "LMSW sets MP, EM, TS", %rax, 0xf
    mov %rbx, %cr0

    refuse_msr 0xc0000080, 0xd21, "a reserved bit of EFER"
    refuse_msr 0xc0000080, 0x801, "clearing EFER.LME under paging"
    write_msr 0xc0000080, 0x901
    read_msr 0xc0000080
    check "EFER.LMA is not written", %rax, 0xd01
    refuse_msr 0x277, 0x0002040600070406, "PAT with type 2"
    read_msr 0x277
    mov %rax, %rbx
    write_msr 0x277, 0x0007040600070401
    read_msr 0x277
    check "PAT", %rax, 0x0007040600070401
    write_msr 0x277, 0x0007040600070406
    refuse_msr 0xc0000082, 0x800000000000, "a non-canonical LSTAR"
    refuse_msr 0xc0000100, 0x800000000000, "a non-canonical FS base"
    refuse_msr 0xc0000102, 0x8000000000000000, "a non-canonical KERNEL_GS_BASE"
    refuse_msr 0x12345678, 0, "WRMSR of no MSR"
    attempt 1f
    read_msr 0x12345678
1:  check_trap "RDMSR of no MSR", 13
    write_msr 0xc0000100, 0xffff800000001000
    mov $0xc0000100, %ecx
    rdmsr
    check "RDMSR clears the upper half of RAX", %rax, 0x1000
    check "and of RDX", %rdx, 0xffff8000
    write_msr 0xc0000101, PAGE_A
    write_msr 0xc0000102, PAGE_B
    movl $0xaaaa, PAGE_A
    movl $0xbbbb, PAGE_B
    mov %gs:0, %eax
    check "GS base", %rax, 0xaaaa
    swapgs
    mov %gs:0, %eax
    check "SWAPGS", %rax, 0xbbbb
    read_msr 0xc0000102
    check "SWAPGS exchanges", %rax, PAGE_A
    write_msr 0xc0000103, 0x89abcdef  // TSC_AUX
    rdtscp
    check "RDTSCP gives TSC_AUX", %rcx, 0x89abcdef
    mov %cr4, %rax
    or $4, %rax
    mov %rax, %cr4                    // TSD
    attempt 1f
    rdtsc
1:  check_trap "RDTSC with CR4.TSD at CPL 0", NO_TRAP
    in_user 10f, 11f
    check_trap "RDTSC with CR4.TSD at CPL 3", 13
    mov %cr4, %rax
    and $~4, %rax
    mov %rax, %cr4
    in_user 10f, 11f
    check_trap "RDTSC at CPL 3", 0x80
    in_user 11f, 12f
    check_trap "RDMSR at CPL 3", 13
    in_user 12f, 13f
    check_trap "SWAPGS at CPL 3", 13
    in_user 13f, 14f
    check_trap "SMSW at CPL 3", 0x80
    in_user 14f, 15f
    check_trap "INVLPG at CPL 3", 13

    has_cpuid 7, %ecx, 2              // UMIP
    jz 2f
    mov %cr4, %rax
    or $0x800, %rax
    mov %rax, %cr4
    in_user 13f, 14f
    check_trap "SMSW under UMIP", 13
    in_user 15f, 16f
    check_trap "SGDT under UMIP", 13
    attempt 1f
    sgdt PAGE_A
1:  check_trap "SGDT under UMIP at CPL 0", NO_TRAP
    mov %cr4, %rax
    and $~0x800, %rax
    mov %rax, %cr4
    in_user 15f, 16f
    check_trap "SGDT without UMIP", 0x80
    ret
2:  skip "UMIP"
    ret
10: rdtsc
    int $0x80
11: rdmsr
12: swapgs
13: smsw %eax
    int $0x80
14: invlpg PAGE_A
15: sgdt PAGE_A
    int $0x80
16:
