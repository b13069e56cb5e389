// SPDX-License-Identifier: Apache-2.0
// CPL 3 and back: SYSRET, SYSCALL, SWAPGS, INT, faults from user mode, an IST stack; and x87, SSE and AVX
// state.
#include "guest/firmware/console.h"
#include "guest/firmware/exceptions.h"
#include "guest/firmware/machine.h"
#include "guest/firmware/x86.h"
#include "guest/tests/vector_state.h"

extern "C" {
extern seamless::u64 page_tables[];
void enter_user(seamless::u64 entry, seamless::u64 stack, seamless::u64 flags);
void syscall_entry();
void user_program();
void on_syscall(seamless::u64 number, seamless::u64 value, seamless::u64 user_rip, seamless::u64 user_flags,
                seamless::u64 kernel_flags);
extern seamless::u64 kernel_area[2]; // at GS:0 in the kernel: its stack, then the user's
extern const char user_syscall_return[];
}

// The user program reports with SYSCALL (number in RDI, value in RSI); number 0 ends it.
asm(R"(
    .text
enter_user:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, kernel_area
    mov %rdi, %rcx
    mov %rdx, %r11
    mov %rsi, %rsp
    swapgs
    sysretq

syscall_entry:
    swapgs
    mov %rsp, %gs:8
    mov %gs:0, %rsp
    pushfq
    pop %r8
    test %edi, %edi
    jz 1f
    push %rcx
    push %r11
    mov %rcx, %rdx
    mov %r11, %rcx
    cld
    mov %rsp, %rbx
    and $-16, %rsp
    call on_syscall
    mov %rbx, %rsp
    pop %r11
    pop %rcx
    mov %gs:8, %rsp
    swapgs
    sysretq
1:  cld
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .macro report number
    mov $\number, %edi
    syscall
    .endm

user_program:
    mov %cs, %esi
    report 1
    mov %ss, %esi
    report 2
    std
    stc
    mov $3, %edi
    syscall                        # its flags and return address are checked
    .globl user_syscall_return
user_syscall_return:
    pushfq
    pop %rsi
    cld
    report 4
    mov $0x1111, %eax
    int $0x80                      # answers in RAX
    mov %rax, %rsi
    report 5
    ud2                            # on the IST stack
    hlt
    inb $0x60, %al
    mov %cr0, %rax
    mov 0x400000, %al              # a page of the kernel
    lea user_data(%rip), %rax
    mov $0x77, %ebx
    xchg %rbx, (%rax)
    mov (%rax), %rsi
    report 6
    mov %gs:0, %rsi                # the user's own GS
    report 7
    xor %edi, %edi
    syscall

    .data
user_data:
    .quad 0x123
    .globl kernel_area
    .balign 16
kernel_area:
    .quad 0, 0
    .text
)");

namespace seamless::guest {
namespace {

enum Msr : u32 {
    IA32_EFER = 0xc0000080,
    IA32_STAR = 0xc0000081,
    IA32_LSTAR = 0xc0000082,
    IA32_FMASK = 0xc0000084,
    IA32_GS_BASE = 0xc0000101,
    IA32_KERNEL_GS_BASE = 0xc0000102,
};
enum Flag : u64 { CF = bit(0), ALWAYS = bit(1), IF = bit(9), DF = bit(10) };

constexpr unsigned kInvalidOpcode = 6;
constexpr unsigned kGeneralProtection = 13;
constexpr unsigned kStackSize = 4096;
constexpr u64 kUserBit = 4;
constexpr u64 kKernelPage = 0x400000;
constexpr u64 kUserValue = 0x5566778899aabbcc;

alignas(16) u8 user_stack[kStackSize];
alignas(16) u8 exception_stack[kStackSize];
alignas(16) u8 interrupt_stack[kStackSize];
u64 user_gs[1] = {kUserValue};
unsigned protection_faults;

u64 end_of(const u8 (&stack)[kStackSize]) { return reinterpret_cast<u64>(stack) + kStackSize; }

bool inside(const void* object, const u8 (&stack)[kStackSize])
{
    const u64 address = reinterpret_cast<u64>(object);
    return address >= reinterpret_cast<u64>(stack) && address < end_of(stack);
}

// INT 0x80 from CPL 3.
bool on_interrupt(Frame& frame)
{
    check_equal(frame.cs, kUserCode, "INT: the frame has the user's CS");
    check_equal(frame.ss, kUserData, "INT: the frame has the user's SS");
    check(inside(&frame, exception_stack), "INT: runs on the stack of the TSS");
    check_equal(frame.gpr(0), 0x1111, "INT: gets the user's RAX");
    frame.gpr(0) = 0x2222;
    return true;
}

bool on_invalid_opcode(Frame& frame)
{
    check(inside(&frame, interrupt_stack), "#UD: runs on its IST stack");
    check_equal(frame.cs, kUserCode, "#UD: came from CPL 3");
    frame.rip += 2;
    return true;
}

// HLT, IN and MOV from CR0 at CPL 3, in this order.
bool on_protection_fault(Frame& frame)
{
    struct Row {
        const char* name;
        unsigned length;
    };
    static constexpr Row kRows[] = {
        {"#GP: HLT at CPL 3", 1}, {"#GP: IN at CPL 3", 2}, {"#GP: MOV from CR0 at CPL 3", 3}};
    if (protection_faults == sizeof(kRows) / sizeof(kRows[0]))
        return false;
    const Row& row = kRows[protection_faults++];
    check(frame.error_code == 0 && frame.cs == kUserCode, row.name);
    frame.rip += row.length;
    return true;
}

bool on_page_fault(Frame& frame)
{
    constexpr u64 kUserReadOfPresentPage = 5;
    u64 cr2;
    asm volatile("mov %%cr2, %0" : "=r"(cr2));
    check_equal(frame.error_code, kUserReadOfPresentPage, "#PF: its error code says user, read, protection");
    check_equal(cr2, kKernelPage, "#PF: CR2 has the address");
    frame.rip += 7;
    return true;
}

void allow_user_pages()
{
    constexpr u64 kPayloadPages = 0x800000 >> 21; // the 2 MiB that hold code, data and stacks
    page_tables[0] |= kUserBit;
    page_tables[512] |= kUserBit;
    page_tables[2 * 512 + kPayloadPages] |= kUserBit;
    asm volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" : : : "rax", "memory");
}

void set_up_syscall()
{
    if ((rdmsr(IA32_EFER) & 1) == 0)
        wrmsr(IA32_EFER, rdmsr(IA32_EFER) | 1);
    wrmsr(IA32_STAR, (u64{kKernelData} << 48) | (u64{kKernelCode} << 32));
    wrmsr(IA32_LSTAR, reinterpret_cast<u64>(syscall_entry));
    wrmsr(IA32_FMASK, DF | IF);
    wrmsr(IA32_GS_BASE, reinterpret_cast<u64>(kernel_area));
    wrmsr(IA32_KERNEL_GS_BASE, reinterpret_cast<u64>(user_gs));
    check_equal(rdmsr(IA32_LSTAR), reinterpret_cast<u64>(syscall_entry), "LSTAR reads back");
}

} // namespace

bool guest_main(const Machine&)
{
    allow_user_pages();
    set_up_syscall();
    set_kernel_stack(end_of(exception_stack));
    use_interrupt_stack(kInvalidOpcode, end_of(interrupt_stack));
    set_handler(kSoftwareInterrupt, on_interrupt);
    set_handler(kInvalidOpcode, on_invalid_opcode);
    set_handler(kGeneralProtection, on_protection_fault);
    set_handler(kPageFault, on_page_fault);
    enter_user(reinterpret_cast<u64>(user_program), end_of(user_stack), ALWAYS);
    check(true, "back from CPL 3");
    check_equal(protection_faults, 3, "three #GP were taken");
    check_equal(rdmsr(IA32_GS_BASE), reinterpret_cast<u64>(kernel_area), "SWAPGS: the kernel's base");
    check_equal(rdmsr(IA32_KERNEL_GS_BASE), reinterpret_cast<u64>(user_gs), "SWAPGS: the user's base");
    check_vector_state();
    return failures() == 0;
}

} // namespace seamless::guest

void on_syscall(seamless::u64 number, seamless::u64 value, seamless::u64 user_rip, seamless::u64 user_flags,
                seamless::u64 kernel_flags)
{
    using namespace seamless;
    using namespace seamless::guest;
    switch (number) {
    case 1:
        check_equal(value, kUserCode, "CS at CPL 3");
        break;
    case 2:
        check_equal(value, kUserData, "SS at CPL 3");
        break;
    case 3:
        check_equal(user_rip, reinterpret_cast<u64>(user_syscall_return),
                    "SYSCALL: RCX is the next instruction");
        check_equal(user_flags & (DF | CF | ALWAYS), DF | CF | ALWAYS, "SYSCALL: R11 has the user's flags");
        check_equal(kernel_flags & (DF | CF | IF), CF, "SYSCALL: FMASK clears DF, and keeps CF");
        break;
    case 4:
        check_equal(value & (DF | CF), DF | CF, "SYSRET: the flags are back");
        break;
    case 5:
        check_equal(value, 0x2222, "INT: the answer is in RAX");
        break;
    case 6:
        check_equal(value, 0x77, "XCHG on user memory");
        break;
    case 7:
        check_equal(value, kUserValue, "SWAPGS: the user's GS has its own base");
        break;
    default:
        check(false, "a known system call");
        break;
    }
}
