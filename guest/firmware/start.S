// SPDX-License-Identifier: Apache-2.0
// The first instructions of a guest: from the reset vector, in a TD's 32-bit protected mode or in a PC's real mode,
// to 64-bit C++ code with the first 4 GiB mapped one to one.

    .set CODE32, 0x08
    .set DATA, 0x10
    .set CODE64, 0x18
    .set IA32_EFER, 0xc0000080
    .set EFER_LME, 1 << 8
    .set CR0_PE, 1 << 0
    .set CR0_WP, 1 << 16
    .set CR0_CACHE_OFF, 3 << 29          // NW, CD
    .set CR0_PG, 1 << 31
    .set CR4_PAE, 1 << 5
    .set PRESENT_WRITABLE, 3
    .set LARGE_PAGE, 0x83
    .set VMCALL_MASK, 0x1c00             // R10, R11, R12
    .set REASON_HLT, 12
    .set SECONDARIES, 7                  // machine.cpp
    .set SECONDARY_STACK_SHIFT, 13

    .weak secondary_main

    // The bytes up to the first jump mean the same in both modes.
    .section .reset, "ax"
    .code32
    .globl reset_vector
reset_vector:
    mov %cr0, %eax
    test $CR0_PE, %al
    jz 1f
    jmp start32
1:  .byte 0xe9                           // jmp with a 16-bit displacement: .code16 would not give the short form
    .short start16 - . - 2
    .balign 16                           // the image ends here

    .section .boot, "ax"
    .code16
start16:
    cli
    xor %ebx, %ebx                       // no GPAW, HOB list or vCPU index here
    xor %ecx, %ecx
    xor %esi, %esi
    lgdtl %cs:gdt_pointer - 0xffff0000
    mov %cr0, %eax
    and $~CR0_CACHE_OFF, %eax
    or $CR0_PE, %eax
    mov %eax, %cr0
    ljmpl $CODE32, $segments32

    // A TD (and a plain VM that starts as one): EBX = GPAW, ECX = HOB list, ESI = vCPU index.
    .code32
start32:
    lgdt gdt_pointer
    ljmp $CODE32, $segments32

segments32:
    mov $DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %eax, %fs
    mov %eax, %gs
    test %esi, %esi
    jz build_page_tables
1:  pause                                // the other vCPUs use the first one's page tables
    cmpl $0, secondary_gate
    je 1b
    jmp enter_long_mode

build_page_tables:
    movl $page_tables + 0x1000 + PRESENT_WRITABLE, page_tables
    mov $page_tables + 0x2000 + PRESENT_WRITABLE, %eax
    xor %edi, %edi
1:  mov %eax, page_tables + 0x1000(, %edi, 8)
    add $0x1000, %eax
    inc %edi
    cmp $4, %edi
    jne 1b
    mov $LARGE_PAGE, %eax
    xor %edi, %edi
1:  mov %eax, page_tables + 0x2000(, %edi, 8)
    movl $0, page_tables + 0x2004(, %edi, 8)
    add $0x200000, %eax
    inc %edi
    cmp $4 * 512, %edi
    jne 1b

enter_long_mode:
    mov %ecx, %ebp                       // RDMSR and WRMSR need ECX
    mov %cr4, %eax
    or $CR4_PAE, %eax                    // MCE stays as it is: a TD may not clear it
    mov %eax, %cr4
    mov $page_tables, %eax
    mov %eax, %cr3
    mov $IA32_EFER, %ecx
    rdmsr
    test $EFER_LME, %eax
    jnz 1f                               // a TD has it set, and would get #VE for changing it
    or $EFER_LME, %eax
    wrmsr
1:  mov %cr0, %eax
    or $CR0_PG | CR0_WP, %eax
    mov %eax, %cr0
    ljmp $CODE64, $start64

    .code64
start64:
    test %esi, %esi
    jnz secondary

    // The payload, then its zeroed data. Sizes are multiples of 16.
    mov $payload_source, %eax
    mov $ram_base, %edi
    mov $payload_size, %ecx
1:  mov (%rax), %rdx
    mov %rdx, (%rdi)
    add $8, %rax
    add $8, %rdi
    sub $8, %ecx
    jnz 1b
    mov $bss_begin, %edi
2:  cmp $bss_end, %edi
    jae 3f
    movq $0, (%rdi)
    add $8, %rdi
    jmp 2b
3:  mov $stack_top, %esp
    mov %ebp, %edi
    movzbl %bl, %esi
    and $0x3f, %esi
    mov $guest_start, %eax
    call *%rax
    ud2

    // A program that has secondary_main() gets the other vCPUs; else they sleep for good, in the way their kind of VM
    // can: gate 1 = plain VM, 2 = TD.
secondary:
    cli
    mov $secondary_main, %eax
    test %eax, %eax
    jz 1f
    cmp $SECONDARIES, %esi
    ja 1f
    mov %esi, %ecx
    shl $SECONDARY_STACK_SHIFT, %ecx
    lea secondary_stacks(%ecx), %esp
    mov %esi, %edi
    mov $secondary_start, %eax
    call *%rax
1:  cmpl $2, secondary_gate
    je 3f
2:  hlt
    jmp 2b
3:  xor %eax, %eax
    mov $VMCALL_MASK, %ecx
    xor %r10d, %r10d
    mov $REASON_HLT, %r11d
    mov $1, %r12d                        // interrupts are blocked
    .byte 0x66, 0x0f, 0x01, 0xcc         // tdcall
    jmp 3b

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff             // 32-bit code; the accessed bits are set, for a GDT in ROM
    .quad 0x00cf93000000ffff             // data
    .quad 0x00af9b000000ffff             // 64-bit code
gdt_pointer:
    .short gdt_pointer - gdt - 1
    .long gdt
