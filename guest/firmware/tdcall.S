// SPDX-License-Identifier: Apache-2.0
// u64 tdcall(u64 leaf, TdcallRegisters* registers): TDCALL with the registers loaded from and stored to the structure
// of tdx.h; returns RAX.
    .section .text, "ax"
    .globl tdcall
tdcall:
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    push %rsi
    mov %rdi, %rax
    mov %rsi, %r10
    mov 0(%r10), %rcx
    mov 8(%r10), %rdx
    mov 16(%r10), %rbx
    mov 24(%r10), %rsi
    mov 32(%r10), %rdi
    mov 40(%r10), %r8
    mov 48(%r10), %r9
    mov 64(%r10), %r11
    mov 72(%r10), %r12
    mov 80(%r10), %r13
    mov 88(%r10), %r14
    mov 96(%r10), %r15
    mov 56(%r10), %r10
    .byte 0x66, 0x0f, 0x01, 0xcc
    xchg %rax, (%rsp)                    // the status for the pointer
    mov %rcx, 0(%rax)
    mov %rdx, 8(%rax)
    mov %rbx, 16(%rax)
    mov %rsi, 24(%rax)
    mov %rdi, 32(%rax)
    mov %r8, 40(%rax)
    mov %r9, 48(%rax)
    mov %r10, 56(%rax)
    mov %r11, 64(%rax)
    mov %r12, 72(%rax)
    mov %r13, 80(%rax)
    mov %r14, 88(%rax)
    mov %r15, 96(%rax)
    pop %rax
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    ret
