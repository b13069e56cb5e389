// SPDX-License-Identifier: Apache-2.0
// Fuzzes the processor and the TDX module with instruction streams in a TD: any bytes in 64-bit or 32-bit
// code, TDCALLs among them, with a #VE handler that skips what caused it, in both engine modes, through KVM.
#include "fuzz/input.h"
#include "fuzz/kvm_host.h"
#include "fuzz/target.h"
#include "rig/td_boot.h"
#include "rig/td_vm.h"

// The boot page: its start, the handlers, room for the input's code, tables.
asm(R"(
    .section .rodata
    .global fuzz_td_begin, fuzz_td_code, fuzz_td_end
    .balign 4096
    .code32
fuzz_td_begin:
    td_load_tables fuzz_td_begin, fuzz_td_gdtr
    testl %ecx, %ecx        # RCX chooses the mode
    jnz fuzz_td_code
    td_enter_long_mode fuzz_td_begin, fuzz_td_long, 0x40620
    .code64
fuzz_td_long:
    movl $0x104000, %esp
    lidt fuzz_td_idtr(%rip)
    movl $0x102800, %eax    # registers from the input
    movq 0(%rax), %rbx
    movq 8(%rax), %rcx
    movq 16(%rax), %rdx
    movq 24(%rax), %rsi
    movq 32(%rax), %rdi
    movq 40(%rax), %rbp
    movq 48(%rax), %r8
    movq 56(%rax), %r9
    movq 64(%rax), %r10
    movq 72(%rax), %r11
    movq 80(%rax), %r12
    movq 88(%rax), %r13
    movq 96(%rax), %r14
    movq 104(%rax), %r15
    movq 112(%rax), %rax
    jmp fuzz_td_code

fuzz_td_ve:                 # two bytes on, whatever it was
    movl $3, %eax
    .byte 0x66, 0x0f, 0x01, 0xcc
    addq $2, (%rsp)
    iretq

    .balign 8
fuzz_td_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cf9b000000ffff
fuzz_td_gdtr:
    .word 31
    .long 0xfffff000 + (fuzz_td_gdt - fuzz_td_begin)
    .balign 8
fuzz_td_idt:
    .fill 40, 8, 0
    td_gate fuzz_td_begin, fuzz_td_ve
fuzz_td_idtr:
    .word 21 * 16 - 1
    .quad 0xfffff000 + (fuzz_td_idt - fuzz_td_begin)
    .balign 16
fuzz_td_code:
fuzz_td_end:
    .text
)");
extern "C" const seamless::base::u8 fuzz_td_begin[], fuzz_td_end[];

namespace seamless::fuzz {
namespace {

constexpr u64 kRegisters = 0x2800, kSharedRam = 0x200000;
constexpr unsigned kMostExits = 32;

class TdMachine {
  public:
    TdMachine(Input& in, KvmHost& host) : in_(in), host_(host) {}

    void run()
    {
        const u64 mode = in_.below(2);
        fill_memory();
        if (!build(mode))
            return;
        run_bounded(host_, files_, kMostExits, [&](kvm_run& exit) {
            if (in_.flag())
                in_.fill(exit.padding, 64);
        });
    }

  private:
    void fill_memory()
    {
        rig::fill_page_tables(tables_);
        constexpr u64 places[] = {rig::kTdTables,
                                  rig::kTdTables + 0x2000,
                                  0x13eb00000,
                                  rig::kTdSharedView + kSharedRam,
                                  0,
                                  0x110000000,
                                  0x300000};
        for (u64 i = 0; i < 15; ++i)
            tables_.put<u64>(kRegisters + 8 * i,
                             in_.flag() ? in_.pick(places) + in_.below(16) : in_.number());
        rig::fill_boot_page(boot_, fuzz_td_begin, fuzz_td_end);
        u8* code = boot_.at + (fuzz_td_end - fuzz_td_begin);
        code_tail(code, in_.bytes(512));
    }
    // One byte in four that says so is the first of a TDCALL.
    static void code_tail(u8* to, std::span<const u8> bytes)
    {
        constexpr u8 tdcall[] = {0x66, 0x0f, 0x01, 0xcc};
        for (const u8 byte : bytes) {
            if (byte == 0xcc) {
                std::memcpy(to, tdcall, sizeof tdcall);
                to += sizeof tdcall;
            } else {
                *to++ = byte;
            }
        }
    }

    bool build(u64 mode)
    {
        td_.vm = files_.vm;
        const u64 attributes = in_.flag() ? spec::td_attributes::SEPT_VE_DISABLE : 0;
        if (td_.enable_apics() != 0 || td_.init(attributes) != 0)
            return false;
        files_.adopt_vcpu(td_.create_vcpu());
        if (files_.run == nullptr || td_.init_vcpu(files_.vcpu, mode) != 0)
            return false;
        files_.add_slot(2, kSharedRam, shared_);
        return add_image(0, rig::kTdBoot, boot_) && add_image(1, rig::kTdTables, tables_) &&
               td_.finalize() == 0;
    }
    bool add_image(u32 slot, u64 gpa, const Memory& content)
    {
        const long gmem = td_.add_private(slot, gpa, content);
        if (gmem < 0)
            return false;
        files_.others.push_back(static_cast<int>(gmem));
        return td_.load(files_.vcpu, gpa, content, content.bytes / kPageSize) == 0;
    }

    Input& in_;
    KvmHost& host_;
    Memory boot_{kPageSize}, tables_{4 * kPageSize}, shared_{kPageSize};
    VmFiles files_{host_, KVM_X86_TDX_VM};
    rig::TdVm td_{host_.device()};
};

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace seamless;
    fuzz::Input in(data, size);
    fuzz::TdMachine(in, fuzz::KvmHost::with(in.flag() ? cpu::EngineMode::step : cpu::EngineMode::full)).run();
    return 0;
}
