// SPDX-License-Identifier: Apache-2.0
// The entries of the vectors 0 to 63 and of the software interrupt: all registers into a Frame (exceptions.h),
// then handle_exception(Frame*), then back.
    .section .text, "ax"
    .macro entry vector
    .balign 16
    .if \vector == 8 || (\vector >= 10 && \vector <= 14) || \vector == 17 || \vector == 21 || \vector == 29 || \vector == 30
    .else
    push $0                              // a place for the error code the processor did not push
    .endif
    push $\vector
    jmp save_registers
    .endm

    .balign 16
    .globl exception_entries
exception_entries:
    .set vector, 0
    .rept 65
    entry vector
    .set vector, vector + 1
    .endr

save_registers:
    push %rax
    push %rcx
    push %rdx
    push %rbx
    push %rbp
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    push %r12
    push %r13
    push %r14
    push %r15
    cld
    mov %rsp, %rdi
    mov %rsp, %rbp
    and $-16, %rsp
    call handle_exception
    mov %rbp, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rbp
    pop %rbx
    pop %rdx
    pop %rcx
    pop %rax
    add $16, %rsp
    iretq
