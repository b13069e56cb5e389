// SPDX-License-Identifier: Apache-2.0
// GDT, TSS and IDT of the guest, and the dispatch of exceptions.
#include "guest/firmware/exceptions.h"

#include "guest/firmware/console.h"
#include "guest/firmware/machine.h"
#include "guest/firmware/ve.h"

extern "C" {
extern const char exception_entries[];
void handle_exception(seamless::guest::Frame* frame);
}

namespace seamless::guest {
namespace {

constexpr u64 kEntrySize = 16;       // .balign in exception_entries.S
constexpr u64 kInterruptGate = 0x8e; // present, DPL 0, 64-bit interrupt gate
constexpr u64 kUserGate = 0xee;      // the same with DPL 3

struct Gate {
    u64 low, high;
};

struct [[gnu::packed]] TaskState {
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3;
    u16 io_map;
};
static_assert(sizeof(TaskState) == 104);

struct [[gnu::packed]] TablePointer {
    u16 limit;
    const void* base;
};

alignas(16) Gate idt[256];
alignas(16) u64 gdt[7];
alignas(16) TaskState task_state;
Handler handlers[kEntries];

void set_gate(unsigned place, unsigned entry, u64 type)
{
    const u64 target = reinterpret_cast<u64>(exception_entries) + entry * kEntrySize;
    idt[place] = {.low = field(target, 15, 0) | (u64{kKernelCode} << 16) | (type << 40) |
                         (field(target, 31, 16) << 48),
                  .high = target >> 32};
}

void make_segments()
{
    const u64 tss = reinterpret_cast<u64>(&task_state);
    gdt[1] = 0x00af9b000000ffff; // kernel code, 64-bit
    gdt[2] = 0x00cf93000000ffff; // kernel data
    gdt[3] = 0x00cff3000000ffff; // user data
    gdt[4] = 0x00affb000000ffff; // user code, 64-bit
    gdt[5] =
        (sizeof(TaskState) - 1) | (field(tss, 23, 0) << 16) | (u64{0x89} << 40) | (field(tss, 31, 24) << 56);
    gdt[6] = tss >> 32;
    task_state.io_map = sizeof(TaskState); // none: user mode may use no port
}

[[noreturn]] void report(const Frame& frame)
{
    print("unexpected exception ", Dec{frame.vector}, " at ", Hex{frame.rip}, ", error code ",
          Hex{frame.error_code}, ", rsp ", Hex{frame.rsp});
    if (frame.vector == kPageFault) {
        u64 cr2;
        asm volatile("mov %%cr2, %0" : "=r"(cr2));
        print(", cr2 ", Hex{cr2});
    }
    print("\n");
    end_guest(false);
}

} // namespace

void install_exceptions()
{
    make_segments();
    for (unsigned vector = 0; vector < kSoftwareInterrupt; ++vector)
        set_gate(vector, vector, kInterruptGate);
    set_gate(kSoftwareVector, kSoftwareInterrupt, kUserGate);
    handlers[kVirtualizationException] = handle_ve;
    load_exceptions();
    asm volatile("ltr %w0" : : "r"(u32{kTaskState}));
}

void load_exceptions()
{
    const TablePointer segments{sizeof(gdt) - 1, gdt};
    const TablePointer gates{sizeof(idt) - 1, idt};
    asm volatile("lgdt %0\n\t"
                 "pushq %1\n\t"
                 "leaq 1f(%%rip), %%rax\n\t"
                 "pushq %%rax\n\t"
                 "lretq\n"
                 "1:\tmov %w2, %%ds\n\t"
                 "mov %w2, %%es\n\t"
                 "mov %w2, %%ss\n\t"
                 "lidt %3"
                 :
                 : "m"(segments), "i"(kKernelCode), "r"(u32{kKernelData}), "m"(gates)
                 : "rax", "memory");
}

void set_handler(unsigned vector, Handler handler) { handlers[vector] = handler; }

void set_kernel_stack(u64 top) { task_state.rsp[0] = top; }

void use_interrupt_stack(unsigned vector, u64 top)
{
    task_state.ist[0] = top;
    idt[vector].low = with_field(idt[vector].low, 34, 32, 1);
}

} // namespace seamless::guest

void handle_exception(seamless::guest::Frame* frame)
{
    using namespace seamless::guest;
    const Handler handler = handlers[frame->vector];
    if (handler == nullptr || !handler(*frame))
        report(*frame);
}
