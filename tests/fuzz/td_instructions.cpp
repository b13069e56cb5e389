// SPDX-License-Identifier: Apache-2.0
// Fuzzes the processor and the TDX module with instruction streams in a TD: any bytes in 64-bit or 32-bit
// code, TDCALLs among them, with a #VE handler that skips what caused it, in both engine modes, through KVM.
#include "fuzz/input.h"
#include "fuzz/kvm_host.h"
#include "fuzz/target.h"
#include "spec/tdx_abi.h"
#include "spec/tdx_ghci.h"

// The boot page, the last below 4 GiB: its start, the handlers, room for the input's code, tables.
asm(R"(
    .section .rodata
    .global fuzz_td_begin, fuzz_td_code, fuzz_td_end
    .balign 4096
    .code32
fuzz_td_begin:
    lgdtl 0xfffff000 + (fuzz_td_gdtr - fuzz_td_begin)
    movl $0x100000, %eax
    movl %eax, %cr3
    testl %ecx, %ecx        # RCX chooses the mode
    jnz fuzz_td_code
    movl %cr4, %eax
    orl $0x40620, %eax
    movl %eax, %cr4
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ljmpl $8, $0xfffff000 + (fuzz_td_long - fuzz_td_begin)
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
    .word (fuzz_td_ve - fuzz_td_begin) + 0xf000, 8, 0x8e00, 0xffff
    .quad 0
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

constexpr u64 kBoot = 0xfffff000, kTables = 0x100000, kRegisters = 0x2800, kShared = bit(47),
              kSharedRam = 0x200000;
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
        constexpr u64 kGib = 0x83;
        tables_.put<u64>(0, (kTables + 0x1000) | 3);
        for (u64 i = 0; i < 4; ++i)
            tables_.put<u64>(0x1000 + 8 * i, i << 30 | kGib);
        tables_.put<u64>(0x1000 + 8 * 4, kShared | u64{3} << 30 | kGib);
        tables_.put<u64>(0x1000 + 8 * 5, kShared | kGib);
        constexpr u64 places[] = {kTables, kTables + 0x2000, 0x13eb00000, 0x140000000 + kSharedRam,
                                  0,       0x110000000,      0x300000};
        for (u64 i = 0; i < 15; ++i)
            tables_.put<u64>(kRegisters + 8 * i,
                             in_.flag() ? in_.pick(places) + in_.below(16) : in_.number());
        std::memcpy(boot_.at(), fuzz_td_begin, static_cast<std::size_t>(fuzz_td_end - fuzz_td_begin));
        boot_.at()[0xff0] = 0xe9; // the reset vector
        boot_.put<u32>(0xff1, static_cast<u32>(0x1000 - 0xff5) - 0x1000);
        u8* code = boot_.at(static_cast<u64>(fuzz_td_end - fuzz_td_begin));
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
        for (const u32 cap : {KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_X2APIC_API}) {
            kvm_enable_cap c{};
            c.cap = cap;
            c.args[0] = cap == KVM_CAP_SPLIT_IRQCHIP ? 24 : 3;
            if (host_.ioctl(files_.vm, KVM_ENABLE_CAP, &c) != 0)
                return false;
        }
        struct {
            kvm_tdx_init_vm params;
            kvm_cpuid_entry2 entry;
        } init{};
        init.params.attributes = in_.flag() ? spec::td_attributes::SEPT_VE_DISABLE : 0;
        init.params.xfam = 3;
        init.params.cpuid.nent = 1;
        init.entry.function = 0x80000008;
        init.entry.eax = 48 << 16;
        if (command(files_.vm, KVM_TDX_INIT_VM, &init) != 0)
            return false;
        files_.add_vcpu();
        struct {
            kvm_cpuid2 header;
            kvm_cpuid_entry2 entry;
        } cpuid{};
        cpuid.header.nent = 1;
        cpuid.entry.function = 1;
        cpuid.entry.ecx = 1u << 21;
        if (host_.ioctl(files_.vcpu, KVM_SET_CPUID2, &cpuid) != 0 ||
            command(files_.vcpu, KVM_TDX_INIT_VCPU, reinterpret_cast<const void*>(mode)) != 0)
            return false;
        files_.add_slot(2, kSharedRam, shared_);
        return add_private(0, kBoot, boot_) && add_private(1, kTables, tables_) &&
               command(files_.vm, KVM_TDX_FINALIZE_VM, nullptr) == 0;
    }
    long command(int fd, u32 id, const void* data)
    {
        kvm_tdx_cmd cmd{.id = id, .flags = 0, .data = reinterpret_cast<u64>(data), .hw_error = 0};
        return host_.ioctl(fd, KVM_MEMORY_ENCRYPT_OP, &cmd);
    }
    bool add_private(u32 slot, u64 gpa, Memory& content)
    {
        kvm_create_guest_memfd create{.size = content.size(), .flags = 0, .reserved = {}};
        const int gmem = static_cast<int>(host_.ioctl(files_.vm, KVM_CREATE_GUEST_MEMFD, &create));
        if (gmem < 0)
            return false;
        files_.others.push_back(gmem);
        kvm_userspace_memory_region2 region{};
        region.slot = slot;
        region.flags = KVM_MEM_GUEST_MEMFD;
        region.guest_phys_addr = gpa;
        region.memory_size = content.size();
        region.userspace_addr = content.address();
        region.guest_memfd = static_cast<u32>(gmem);
        kvm_memory_attributes attributes{
            .address = gpa, .size = content.size(), .attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE, .flags = 0};
        kvm_tdx_init_mem_region add{
            .source_addr = content.address(), .gpa = gpa, .nr_pages = content.size() / base::kPageSize};
        return host_.ioctl(files_.vm, KVM_SET_USER_MEMORY_REGION2, &region) == 0 &&
               host_.ioctl(files_.vm, KVM_SET_MEMORY_ATTRIBUTES, &attributes) == 0 &&
               command(files_.vcpu, KVM_TDX_INIT_MEM_REGION, &add) == 0;
    }

    Input& in_;
    KvmHost& host_;
    Memory boot_{base::kPageSize}, tables_{4 * base::kPageSize}, shared_{base::kPageSize};
    VmFiles files_{host_, KVM_X86_TDX_VM};
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
