// SPDX-License-Identifier: Apache-2.0
// From the reset vector, in a PC's real mode or in the protected mode in which Seamless starts an image, to 64-bit mode
// with the first 4 GiB mapped one to one; then the test; then the debug-exit port.
    .include "isa.inc"

    .section .reset, "ax"
    .code32                           // these bytes mean the same in both modes
    .globl reset_vector
reset_vector:
    mov %cr0, %eax
    test $1, %al
    jz 1f
    jmp start32
1:  .byte 0xe9
    .short start16 - . - 2
    .balign 16

    .section .boot, "ax"
    .code16
start16:
    cli
    lgdtl %cs:boot_gdt_pointer - 0xffff0000
    mov %cr0, %eax
    and $~0x60000000, %eax            // caches on
    or $1, %eax
    mov %eax, %cr0
    ljmpl $CODE32, $flat32
    .code32
start32:
    lgdt boot_gdt_pointer
    ljmp $CODE32, $flat32
flat32:
    mov $DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov %eax, %fs
    mov %eax, %gs
    mov $payload_source, %esi
    mov $ram_base, %edi
    mov $payload_size, %ecx
    cld
    rep movsb
    mov $bss_end, %ecx
    sub %edi, %ecx
    xor %eax, %eax
    rep stosb
    mov $page_tables, %edi
    mov $page_tables_size, %ecx
    rep stosb
    movl $page_tables + 0x1007, page_tables
    mov $page_tables + 0x2007, %eax
    xor %edi, %edi
1:  mov %eax, page_tables + 0x1000(, %edi, 8)
    add $0x1000, %eax
    inc %edi
    cmp $4, %edi
    jne 1b
    mov $0x83, %eax                   // 2 MiB pages of the supervisor
    xor %edi, %edi
1:  mov %eax, page_tables + 0x2000(, %edi, 8)
    add $0x200000, %eax
    inc %edi
    cmp $2048, %edi
    jne 1b
    movl $window_table + 7, page_tables + 0x2000 + 8 * 8
    mov $WINDOW + 7, %eax
    xor %edi, %edi
1:  mov %eax, window_table(, %edi, 8)
    add $0x1000, %eax
    inc %edi
    cmp $512, %edi
    jne 1b
    mov %cr4, %eax
    or $0x620, %eax                   // PAE, OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $page_tables, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x901, %eax                   // SCE, LME, NXE
    wrmsr
    mov $0x80010033, %eax             // PG, WP, NE, ET, MP, PE
    mov %eax, %cr0
    ljmp $CODE64, $boot64
    .code64
boot64:
    mov $start64, %eax
    jmp *%rax
    .balign 8
boot_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
boot_gdt_pointer:
    .short 31
    .long boot_gdt

    .text
start64:
    mov $stack_top, %esp
    lgdt gdt_pointer
    mov $DATA, %eax
    mov %eax, %ss
    mov $trap_entries, %eax           // the IDT
    mov $idt, %edi
    mov $256, %ecx
1:  mov %ax, (%rdi)
    movw $CODE64, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    mov %eax, %edx
    shr $16, %edx
    mov %dx, 6(%rdi)
    movq $0, 8(%rdi)
    add $16, %eax
    add $16, %rdi
    dec %ecx
    jnz 1b
    movw $0xee00, idt + 16 * 3 + 4    // INT3 and INT 0x80 from user mode
    movw $0xee00, idt + 16 * 4 + 4    // and INTO
    movw $0xee00, idt + 16 * 0x80 + 4
    lidt idt_pointer
    mov $tss, %eax                    // its descriptor
    movw $0x67, gdt + TSS
    mov %ax, gdt + TSS + 2
    shr $16, %eax
    mov %al, gdt + TSS + 4
    movb $0x89, gdt + TSS + 5
    mov %ah, gdt + TSS + 7
    movq $stack_top - 0x2000, tss + 4 // RSP0
    movq $stack_top - 0x2800, tss + 36 // IST1, for tests that want it
    movw $0x68, tss + 102
    mov $TSS, %eax
    ltr %ax
    call test_main
    movq $0, trap_resume
    mov $message_done, %esi
    call print
    mov checks, %rax
    call print_hex
    mov $10, %al
    call put
    mov checks_failed, %eax
    test %eax, %eax
    setnz %al
    movzbl %al, %eax
finish:
    out %al, $0xf4
1:  hlt
    jmp 1b

// Each entry leaves vector and error code on the stack.
    .balign 16
trap_entries:
    .set vector, 0
    .rept 256
    .balign 16
    .if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:
    mov %rax, trap_rax
    pop %rax
    movzbl %al, %eax                  // from 128 on, the push was sign-extended
    mov %rax, trap_vector
    popq trap_error
    popq trap_rip
    popq trap_cs
    popq trap_rflags
    popq trap_user_rsp
    popq trap_ss
    mov %cr2, %rax
    mov %rax, trap_cr2
    cmpq $0, trap_resume
    je unexpected
    mov $DATA, %eax
    mov %eax, %ss
    mov trap_rsp, %rsp
    pushq $2
    popfq
    mov trap_rax, %rax
    jmp *trap_resume
unexpected:
    mov $stack_top - 0x1000, %esp
    mov $message_unexpected, %esi
    call print
    mov trap_vector, %rax
    call print_hex
    mov trap_rip, %rax
    call print_hex
    mov trap_error, %rax
    call print_hex
    mov $10, %al
    call put
    mov $2, %al
    jmp finish

// A line for the check; everything is as before, flags included.
    .globl check_report, skip_report
check_report:
    pushfq
    push %rax
    push %rdx
    push %rsi
    incq checks
    mov check_got, %rax
    cmp check_want, %rax
    mov $message_ok, %esi
    je 1f
    incl checks_failed
    mov $message_fail, %esi
1:  pushfq
    call print
    mov check_label, %rsi
    call print
    popfq
    je 2f
    mov check_got, %rax
    call print_hex
    mov check_want, %rax
    call print_hex
2:  mov $10, %al
    call put
    pop %rsi
    pop %rdx
    pop %rax
    popfq
    ret
skip_report:
    pushfq
    push %rax
    push %rdx
    push %rsi
    mov $message_skip, %esi
    call print
    mov check_label, %rsi
    call print
    mov $10, %al
    call put
    pop %rsi
    pop %rdx
    pop %rax
    popfq
    ret

print:                                // RSI
    mov (%rsi), %al
    test %al, %al
    jz 1f
    call put
    inc %rsi
    jmp print
1:  ret
print_hex:                            // RAX, with a space before it
    push %rcx
    push %rbx
    mov %rax, %rbx
    mov $32, %al
    call put
    mov $16, %ecx
1:  rol $4, %rbx
    mov %bl, %al
    and $15, %al
    add $48, %al
    cmp $57, %al
    jbe 2f
    add $39, %al
2:  call put
    dec %ecx
    jnz 1b
    pop %rbx
    pop %rcx
    ret
put:                                  // AL, to the first serial port
    push %rdx
    push %rax
    mov $0x3fd, %edx
1:  in %dx, %al
    test $0x20, %al
    jz 1b
    pop %rax
    mov $0x3f8, %edx
    out %al, %dx
    pop %rdx
    ret

    .section .rodata
message_ok: .asciz "ok "
message_fail: .asciz "FAIL "
message_skip: .asciz "skip "
message_done: .asciz "done"
message_unexpected: .asciz "UNEXPECTED"

    .data
    .globl gdt, gdt_pointer, idt, idt_pointer, tss
    .globl check_got, check_want, check_label
    .globl trap_vector, trap_error, trap_rip, trap_cs, trap_rflags, trap_user_rsp, trap_ss, trap_cr2, trap_resume, trap_rsp
    .balign 16
gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
    .quad 0x00cff3000000ffff, 0x00affb000000ffff, 0, 0
    .quad 0x00009b000000ffff, 0x00cffb000000ffff
    .fill 14, 8, 0
gdt_end:
gdt_pointer:
    .short gdt_end - gdt - 1
    .quad gdt
idt_pointer:
    .short 16 * 256 - 1
    .quad idt

    .bss
    .balign 16
idt: .skip 16 * 256
tss: .skip 104
checks: .skip 8
checks_failed: .skip 8
check_got: .skip 8
check_want: .skip 8
check_label: .skip 8
trap_rax: .skip 8
trap_vector: .skip 8
trap_error: .skip 8
trap_rip: .skip 8
trap_cs: .skip 8
trap_rflags: .skip 8
trap_user_rsp: .skip 8
trap_ss: .skip 8
trap_cr2: .skip 8
trap_resume: .skip 8
trap_rsp: .skip 8
