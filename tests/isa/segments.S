// SPDX-License-Identifier: Apache-2.0
// Loads of segment registers, LAR, LSL, VERR, VERW, LLDT, LTR, far transfers, and the tables' registers.
    .include "isa.inc"

    .set NOT_PRESENT, GDT_FREE        // data, not present
    .set READ_ONLY, GDT_FREE + 8
    .set EXECUTE_ONLY, GDT_FREE + 16
    .set CONFORMING, GDT_FREE + 24
    .set LDT, GDT_FREE + 32           // two slots
    .set CALL_GATE, GDT_FREE + 48     // two slots
    .set EXPAND_DOWN, GDT_FREE + 64
    .macro descriptor selector, value
    movabs $\value, %rax
    mov %rax, gdt + \selector
    .endm
    .macro flag_of instruction, selector
    mov $\selector, %edx
    \instruction %dx
    setz %al
    movzbl %al, %eax
    .endm
    .globl test_main
test_main:
    descriptor NOT_PRESENT, 0x00cf13000000ffff
    descriptor READ_ONLY, 0x00cf91000000ffff
    descriptor EXECUTE_ONLY, 0x00af99000000ffff
    descriptor CONFORMING, 0x00af9f000000ffff
    descriptor LDT, 0x0000820000000fff
    descriptor EXPAND_DOWN, 0x0040970000000fff

    mov $0xffff, %eax
    attempt 1f
    mov %eax, %ds
1:  check_trap "DS beyond the table", 13, 0xfffc
    mov $NOT_PRESENT, %eax
    attempt 1f
    mov %eax, %ds
1:  check_trap "#NP of DS", 11, NOT_PRESENT
    mov $EXECUTE_ONLY, %eax
    attempt 1f
    mov %eax, %ds
1:  check_trap "DS with execute-only code", 13, EXECUTE_ONLY
    mov $TSS, %eax
    attempt 1f
    mov %eax, %es
1:  check_trap "ES with a TSS", 13, TSS
    mov $READ_ONLY, %eax
    attempt 1f
    mov %eax, %ss
1:  check_trap "SS with read-only data", 13, READ_ONLY
    mov $NOT_PRESENT, %eax
    attempt 1f
    mov %eax, %ss
1:  check_trap "#SS of SS not present", 12, NOT_PRESENT
    mov $USER_DATA, %eax
    attempt 1f
    mov %eax, %ss
1:  check_trap "SS with another privilege", 13, USER_DATA-3
    xor %eax, %eax
    attempt 1f
    mov %eax, %ss
1:  check_trap "a null SS at CPL 0", NO_TRAP
    mov $3, %eax
    attempt 1f
    mov %eax, %ss
1:  check_trap "a null SS with RPL 3", 13
    mov $DATA, %eax
    mov %eax, %ss
    xor %eax, %eax
    attempt 1f
    mov %eax, %ds
    mov PAGE_A, %eax
1:  check_trap "a null DS can be used in 64-bit mode", NO_TRAP
    mov $DATA, %eax
    mov %eax, %ds
    attempt 1f
    .byte 0x8e, 0xc8                  // MOV to CS
1:  check_trap "#UD of MOV to CS", 6
    andb $~1, gdt + READ_ONLY + 5
    mov $READ_ONLY, %eax
    mov %eax, %gs
    movzbl gdt + READ_ONLY + 5, %eax
    check "a load sets the accessed bit", %rax, 0x91
    mov $DATA, %eax
    mov %eax, %gs

    mov $0x1234, %ecx
    mov $DATA, %edx
    lar %edx, %ecx
    and $0xf0ff00, %ecx               // bits 19:16 are undefined
    check "LAR of data", %rcx, 0xc09300
    mov $CODE64, %edx
    lsl %edx, %ecx
    check "LSL of code", %rcx, 0xffffffff
    mov $0x1234, %ecx
    mov $0x7ff8, %edx
    lar %edx, %ecx
    setz %al
    movzbl %al, %eax
    check "LAR beyond the table", %rax, 0
    check "LAR that fails leaves its register", %rcx, 0x1234
    xor %edx, %edx
    lsl %edx, %ecx
    setz %al
    movzbl %al, %eax
    check "LSL of null", %rax, 0
    mov $TSS, %edx
    lsl %edx, %ecx
    check "LSL of a TSS", %rcx, 0x67
    lar %edx, %ecx
    and $0xf0ff00, %ecx
    check "LAR of a busy TSS", %rcx, 0x8b00
    mov $LDT, %edx
    lar %edx, %ecx
    and $0xf0ff00, %ecx
    check "LAR of an LDT", %rcx, 0x8200
    flag_of verr, DATA
    check "VERR of data", %rax, 1
    flag_of verr, READ_ONLY
    check "VERR of read_only", %rax, 1
    flag_of verr, CODE64
    check "VERR of code64", %rax, 1
    flag_of verr, EXECUTE_ONLY
    check "VERR of execute_only", %rax, 0
    flag_of verr, TSS
    check "VERR of tss", %rax, 0
    flag_of verr, 0
    check "VERR of null", %rax, 0
    flag_of verw, DATA
    check "VERW of data", %rax, 1
    flag_of verw, READ_ONLY
    check "VERW of read_only", %rax, 0
    flag_of verw, CODE64
    check "VERW of code64", %rax, 0
    flag_of verw, EXECUTE_ONLY
    check "VERW of execute_only", %rax, 0
    flag_of verw, TSS
    check "VERW of tss", %rax, 0
    flag_of verw, 0
    check "VERW of null", %rax, 0

    sldt %eax
    check "SLDT", %rax, 0
    mov $LDT, %eax
    attempt 1f
    lldt %ax
1:  check_trap "LLDT", NO_TRAP
    sldt %eax
    check "SLDT after LLDT", %rax, LDT
    mov $DATA, %eax
    attempt 1f
    lldt %ax
1:  check_trap "LLDT of data", 13, DATA
    xor %eax, %eax
    lldt %ax
    mov $0xc, %eax
    attempt 1f
    mov %eax, %gs
1:  check_trap "a selector of a null LDT", 13, 0xc
    str %eax
    check "STR", %rax, TSS
    mov $TSS, %eax
    attempt 1f
    ltr %ax
1:  check_trap "LTR of a busy TSS", 13, TSS
    xor %eax, %eax
    attempt 1f
    ltr %ax
1:  check_trap "LTR of null", 13

    sgdt PAGE_A
    movzwl PAGE_A, %eax
    check "SGDT's limit", %rax, GDT_FREE+14*8-1
    check_mem "SGDT's base", PAGE_A + 2, gdt
    sidt PAGE_A
    movzwl PAGE_A, %eax
    check "SIDT's limit", %rax, 0xfff
    movabs $0x800000000000, %rax
    mov %rax, PAGE_A + 2
    attempt 1f
    lgdt PAGE_A
1:  check_trap "LGDT of a non-canonical base", 13
    lgdt gdt_pointer

    attempt 1f
    pushq $DATA
    pushq $1f
    lretq
1:  check_trap "far return to data", 13, DATA
    attempt 1f
    pushq $0
    pushq $1f
    lretq
1:  check_trap "far return to null", 13
    attempt 1f
    pushq $CONFORMING
    pushq $2f
    lretq
2:  mov %cs, %eax
    check "CS of conforming code", %rax, CONFORMING
    pushq $CODE64
    pushq $1f
    lretq
1:  check_trap "far return to conforming code", NO_TRAP
    mov $3f, %eax                     // a call gate
    mov %ax, gdt + CALL_GATE
    movw $CODE64, gdt + CALL_GATE + 2
    movw $0x8c00, gdt + CALL_GATE + 4
    shr $16, %eax
    mov %ax, gdt + CALL_GATE + 6
    movl $0, PAGE_A
    movw $CALL_GATE, PAGE_A + 4
    xor %ebx, %ebx
    attempt 1f
    lcall *PAGE_A
1:  check_trap "a far call through a gate", NO_TRAP
    check "it came to the gate's target", %rbx, 1
    movw $0x8400, gdt + CALL_GATE + 4
    attempt 1f
    lcall *PAGE_A
1:  check_trap "a 286 gate in 64-bit mode", 13, CALL_GATE
    movw $0x0c00, gdt + CALL_GATE + 4
    attempt 1f
    lcall *PAGE_A
1:  check_trap "a gate that is not present", 11, CALL_GATE
    ret
3:  mov $1, %ebx
    lretq
