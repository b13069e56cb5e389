// SPDX-License-Identifier: Apache-2.0
// The #VE handler's decoder against the processor: each instruction runs once on memory, and once on a page
// that is not there, where the page-fault handler does what the #VE handler does for devices. Both must end
// alike.
#include "guest/firmware/mmio_decode.h"
#include "guest/firmware/console.h"
#include "guest/firmware/machine.h"
#include "guest/firmware/x86.h"

extern "C" {
extern const seamless::u8 snippets[];
extern seamless::u64 page_tables[];
void run_snippet(const void* code, seamless::u64* registers);
}

// Each snippet: length, kind of fixup, bytes. The operand is at or near (%rdi); %rbx is 4, %rbp is -8.
// Fixups: 1 = the last 8 bytes are the operand's address; 2 = the displacement of RIP at byte 2; 3 = the same
// at byte 3.
asm(R"(
    .macro snippet fixup, instruction:vararg
    .byte 99f - 98f, \fixup
98: \instruction
99:
    .endm
    .section .rodata
snippets:
    snippet 0, movb %cl, (%rdi)
    snippet 0, movb %ch, (%rdi)
    snippet 0, movb %sil, 1(%rdi)
    snippet 0, movb %r9b, 0x1234(%rdi, %rbx, 8)
    snippet 0, movw %ax, 2(%rdi)
    snippet 0, movl %r8d, (%rdi, %rbx)
    snippet 0, movq %rsp, 8(%rdi)
    snippet 0, movq %r15, 8(%rdi, %rbp)
    snippet 0, movb (%rdi), %al
    snippet 0, movb (%rdi), %bh
    snippet 0, movb 3(%rdi), %bpl
    snippet 0, movw (%rdi), %r10w
    snippet 0, movl (%rdi), %edx
    snippet 0, movl 4(%rdi), %r13d
    snippet 0, movq (%rdi), %rcx
    snippet 0, movq -8(%rdi, %rbx, 2), %r14
    snippet 0, movb $0x9c, (%rdi)
    snippet 0, movw $0x8bcd, (%rdi)
    snippet 0, movl $0x80000001, 0x100(%rdi)
    snippet 0, movq $-3, (%rdi)
    snippet 0, movzbw (%rdi), %ax
    snippet 0, movzbl 7(%rdi), %r12d
    snippet 0, movzbq 7(%rdi), %rsi
    snippet 0, movzwl 6(%rdi), %eax
    snippet 0, movzwq 6(%rdi), %r8
    snippet 0, movsbw 7(%rdi), %cx
    snippet 0, movsbl 7(%rdi), %edx
    snippet 0, movsbq 7(%rdi), %r11
    snippet 0, movswl 6(%rdi), %eax
    snippet 0, movswq 6(%rdi), %rbx
    snippet 0, movl %fs:(%rdi), %eax
    snippet 0, movl (%edi), %eax
    snippet 0, .byte 0x66, 0x66, 0x8b, 0x07
    snippet 0, .byte 0x66, 0x48, 0x8b, 0x07
    snippet 0, .byte 0x48, 0x66, 0x8b, 0x07
    snippet 1, .byte 0xa0, 0, 0, 0, 0, 0, 0, 0, 0
    snippet 1, .byte 0xa1, 0, 0, 0, 0, 0, 0, 0, 0
    snippet 1, .byte 0x48, 0xa1, 0, 0, 0, 0, 0, 0, 0, 0
    snippet 1, .byte 0xa2, 0, 0, 0, 0, 0, 0, 0, 0
    snippet 1, .byte 0x66, 0xa3, 0, 0, 0, 0, 0, 0, 0, 0
    snippet 1, .byte 0x48, 0xa3, 0, 0, 0, 0, 0, 0, 0, 0
    snippet 2, .byte 0x8b, 0x05, 0, 0, 0, 0
    snippet 2, .byte 0x88, 0x2d, 0, 0, 0, 0
    snippet 2, .byte 0xc7, 0x05, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x12
    snippet 3, .byte 0x48, 0xc7, 0x05, 0, 0, 0, 0, 0x78, 0x56, 0x34, 0x82
    snippet 3, .byte 0x0f, 0xbe, 0x05, 0, 0, 0, 0
    .byte 0

    .section .text
run_snippet:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    push %rsi
    push %rdi
    mov %rsi, %rax
    mov 8(%rax), %rcx
    mov 16(%rax), %rdx
    mov 24(%rax), %rbx
    mov 40(%rax), %rbp
    mov 48(%rax), %rsi
    mov 56(%rax), %rdi
    mov 64(%rax), %r8
    mov 72(%rax), %r9
    mov 80(%rax), %r10
    mov 88(%rax), %r11
    mov 96(%rax), %r12
    mov 104(%rax), %r13
    mov 112(%rax), %r14
    mov 120(%rax), %r15
    mov (%rax), %rax
    call *(%rsp)
    mov %rax, (%rsp)
    mov 8(%rsp), %rax
    mov %rcx, 8(%rax)
    mov %rdx, 16(%rax)
    mov %rbx, 24(%rax)
    mov %rbp, 40(%rax)
    mov %rsi, 48(%rax)
    mov %rdi, 56(%rax)
    mov %r8, 64(%rax)
    mov %r9, 72(%rax)
    mov %r10, 80(%rax)
    mov %r11, 88(%rax)
    mov %r12, 96(%rax)
    mov %r13, 104(%rax)
    mov %r14, 112(%rax)
    mov %r15, 120(%rax)
    pop %rcx
    mov %rcx, (%rax)
    pop %rsi
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
)");

namespace seamless::guest {
namespace {

constexpr u64 kAbsent = 0x40000000; // this 2 MiB page is taken out of the page tables
constexpr unsigned kMemory = 0x2000;
constexpr unsigned kRegisters = 16;
constexpr unsigned kRdi = 7;

alignas(4096) u8 memory[kMemory]; // what the absent page would hold
alignas(4096) u8 direct[kMemory];
alignas(16) u8 code[32];
unsigned traps;
bool decoded;

u64 faulting_address()
{
    u64 cr2;
    asm volatile("mov %%cr2, %0" : "=r"(cr2));
    return cr2;
}

bool emulate(Frame& frame)
{
    const u64 offset = faulting_address() - kAbsent;
    MmioInstruction instruction;
    ++traps;
    decoded = offset < kMemory - 8 && decode_mmio(reinterpret_cast<const u8*>(frame.rip), instruction);
    if (!decoded)
        return false;
    if (instruction.write) {
        const u64 value = stored_value(instruction, frame);
        for (unsigned i = 0; i < instruction.access; ++i)
            memory[offset + i] = static_cast<u8>(value >> (8 * i));
    } else {
        u64 value = 0;
        for (unsigned i = 0; i < 8; ++i) // more than asked for: the handler must cut it
            value |= u64{memory[offset + i]} << (8 * i);
        take_loaded_value(instruction, frame, value);
    }
    frame.rip += instruction.length;
    return true;
}

void fill(u64* registers, u8* bytes)
{
    for (unsigned i = 0; i < kMemory; ++i)
        bytes[i] = static_cast<u8>(0x81 + 37 * i);
    for (unsigned i = 0; i < kRegisters; ++i)
        registers[i] = 0x9182736455463728 * (i + 1);
    registers[3] = 4;
    registers[5] = ~u64{7};
}

void put(u8* at, u64 value, unsigned size)
{
    for (unsigned i = 0; i < size; ++i)
        at[i] = static_cast<u8>(value >> (8 * i));
}

void run(const u8* bytes, unsigned length, unsigned fixup, u64 operand, u64* registers)
{
    for (unsigned i = 0; i < length; ++i)
        code[i] = bytes[i];
    code[length] = 0xc3; // ret
    if (fixup == 1)
        put(code + length - 8, operand, 8);
    else if (fixup != 0)
        put(code + fixup, operand - (reinterpret_cast<u64>(code) + length), 4);
    registers[kRdi] = operand;
    run_snippet(code, registers);
}

void compare(unsigned index, const u8* bytes, unsigned length, unsigned fixup)
{
    constexpr unsigned kOffset = 0x40;
    u64 expected[kRegisters], got[kRegisters];
    fill(expected, direct);
    run(bytes, length, fixup, reinterpret_cast<u64>(direct) + kOffset, expected);
    fill(got, memory);
    traps = 0;
    run(bytes, length, fixup, kAbsent + kOffset, got);
    bool same = traps == 1;
    for (unsigned i = 0; i < kRegisters; ++i)
        same &= i == kRdi || expected[i] == got[i];
    for (unsigned i = 0; i < kMemory; ++i)
        same &= direct[i] == memory[i];
    print("instruction ", Dec{index}, " ", Bytes{bytes, length}, ": ");
    check(same, "as the processor does it");
}

void check_refusals()
{
    // ADD, MOV between registers, LOCK MOV, REP MOVS, MOV with /1, XCHG, VMOVDQU, MOVZX between registers
    static constexpr u8 kRefused[][4] = {
        {0x01, 0x07}, {0x89, 0xc1}, {0xf0, 0x89, 0x07},       {0xf3, 0xa4},
        {0xc7, 0x0f}, {0x87, 0x07}, {0xc5, 0xfa, 0x6f, 0x07}, {0x0f, 0xb6, 0xc1}};
    for (const u8(&bytes)[4] : kRefused) {
        MmioInstruction instruction;
        print("instruction ", Bytes{bytes, 4}, ": ");
        check(!decode_mmio(bytes, instruction), "refused");
    }
}

} // namespace

bool guest_main(const Machine&)
{
    constexpr unsigned kDirectoryOffset = 2 * 512; // in entries: PML4 and the pointer table come first
    page_tables[kDirectoryOffset + (kAbsent >> 21)] = 0;
    invlpg(kAbsent);
    set_handler(kPageFault, emulate);
    unsigned index = 0;
    for (const u8* at = snippets; at[0] != 0; at += 2 + at[0])
        compare(++index, at + 2, at[0], at[1]);
    check_refusals();
    return failures() == 0;
}

} // namespace seamless::guest
