// SPDX-License-Identifier: Apache-2.0
// Values of CR0, CR3, CR4 and CR8 that the processor refuses in 64-bit mode.
    .include "isa.inc"
    .macro refuse_cr reg, set, clear, label
    mov %\reg, %rax
    mov $\set, %rcx
    or %rcx, %rax
    mov $\clear, %rcx
    not %rcx
    and %rcx, %rax
    attempt .Lr\@
    mov %rax, %\reg
.Lr\@: check_trap "\label", 13
    .endm
    .globl test_main
test_main:
    refuse_cr cr0, 0, 1, "CR0.PG without PE"
    refuse_cr cr0, 0x20000000, 0, "CR0.NW without CD"
    refuse_cr cr0, 0x100000000, 0, "CR0 bit 32"
    refuse_cr cr0, 0, 0x80000000, "leaving paging in 64-bit code"
    refuse_cr cr4, 0, 0x20, "clearing CR4.PAE in long mode"
    refuse_cr cr4, 0x8000, 0, "CR4 bit 15"
    refuse_cr cr4, 0x100000000, 0, "CR4 bit 32"
    refuse_cr cr4, 0x1000, 0, "changing CR4.LA57 in long mode"
    mov $0x10, %eax
    attempt 1f
    mov %rax, %cr8
1:  check_trap "CR8 of 16", 13
    mov %cr3, %rax
    mov $0x10000000000000, %rcx       // bit 52
    or %rcx, %rax
    attempt 1f
    mov %rax, %cr3
1:  check_trap "CR3 bit 52", 13
    ret
