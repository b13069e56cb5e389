// SPDX-License-Identifier: Apache-2.0
// A TD of a few instructions on the real KVM and TDX module, driven by ioctls: what a TDCALL costs that stays
// in the module, a TDVMCALL that KVM answers, one that user space answers, and an instruction that the module
// turns into #VE.
#include <benchmark/benchmark.h>

#include <vector>

#include "cpu/processor.h"
#include "platform/platform.h"
#include "rig/td_boot.h"
#include "rig/td_vm.h"
#include "uapi/device.h"

// RCX is what KVM_TDX_INIT_VCPU gave: what to repeat 1000 times between two reports to user space.
asm(R"(
    .section .rodata
    .global bench_td_begin, bench_td_end
    .balign 16
    .code32
bench_td_begin:
    td_load_tables bench_td_begin, bench_gdtr
    td_enter_long_mode bench_td_begin, bench_long_mode, 0x20
    .code64
bench_long_mode:
    movl %ecx, %ebp
    movl $0x103000, %esp
    lidt bench_idtr(%rip)
bench_report:
    movl $30, %r11d             # 4 bytes to port 0xf4
    movl $4, %r12d
    movl $1, %r13d
    movl $0xf4, %r14d
    xorl %r15d, %r15d
    call bench_vmcall
    movl $1000, %ebx
bench_next:
    testl %ebp, %ebp
    jz bench_report
    cmpl $1, %ebp
    je bench_info
    cmpl $2, %ebp
    je bench_capabilities
    movl $0x40000000, %eax      # a leaf that the module leaves to the guest
    movl %ebx, %esi
    cpuid
    movl %esi, %ebx
    jmp bench_again
bench_info:
    movl $1, %eax               # TDG.VP.INFO
    .byte 0x66, 0x0f, 0x01, 0xcc
    testq %rax, %rax
    jnz bench_wrong
    jmp bench_again
bench_capabilities:
    movl $0x10000, %r11d        # GetTdVmCallInfo
    xorl %r12d, %r12d
    call bench_vmcall
    testq %r10, %r10
    jnz bench_wrong
bench_again:
    decl %ebx
    jnz bench_next
    jmp bench_report
bench_wrong:
    ud2

bench_vmcall:
    xorl %r10d, %r10d
    movl $0xfc00, %ecx
    xorl %eax, %eax
    .byte 0x66, 0x0f, 0x01, 0xcc
    ret

bench_ve:
    movl $3, %eax               # TDG.VP.VEINFO.GET
    .byte 0x66, 0x0f, 0x01, 0xcc
    addq $2, (%rsp)
    iretq

    .balign 8
bench_gdt:
    .quad 0, 0x00af9b000000ffff
bench_gdtr:
    .word 15
    .long 0xfffff000 + (bench_gdt - bench_td_begin)
    .balign 8
bench_idt:
    .fill 40, 8, 0
    td_gate bench_td_begin, bench_ve
bench_idtr:
    .word 21 * 16 - 1
    .quad 0xfffff000 + (bench_idt - bench_td_begin)
bench_td_end:
    .text
)");
extern "C" const seamless::base::u8 bench_td_begin[], bench_td_end[];

namespace seamless {
namespace {

using namespace spec::kvm;

enum class Work : u64 { report_only, tdg_vp_info, td_vm_call_info, cpuid_ve };

class Td {
  public:
    explicit Td(Work work)
    {
        platform::Parameters p;
        p.make_lp = cpu::make_processor(cpu::EngineMode::full);
        p.logical_processors = 2;
        p.memory_bytes = u64{1} << 30;
        platform_ = std::move(platform::Platform::create(p)).value();
        device_ = std::make_unique<uapi::Device>(*platform_);
        ready_ = build(*device_, work);
    }
    ~Td()
    {
        if (run_ != nullptr)
            (void)device_->munmap(run_, kVcpuMmapSize);
        for (const int fd : files_)
            (void)device_->close(fd);
    }
    Td(const Td&) = delete;
    Td& operator=(const Td&) = delete;

    // From one report to the next.
    bool go()
    {
        return ready_ && device_->ioctl(vcpu_, KVM_RUN, nullptr) == 0 && run_->exit_reason == KVM_EXIT_IO;
    }

  private:
    bool build(uapi::Device& device, Work work)
    {
        rig::TdVm td(device);
        const int sys = keep(device.open());
        if (keep(td.create(sys)) < 0 || td.enable_apics() != 0 || td.init() != 0)
            return false;
        vcpu_ = keep(td.create_vcpu());
        void* pages = device.mmap(vcpu_, kVcpuMmapSize);
        if (uapi::Device::failed(pages) || td.init_vcpu(vcpu_, static_cast<u64>(work)) != 0)
            return false;
        run_ = static_cast<kvm_run*>(pages);
        rig::fill_boot_page(boot_, bench_td_begin, bench_td_end);
        rig::fill_page_tables(tables_);
        return add_image(td, 0, rig::kTdBoot, boot_) && add_image(td, 1, rig::kTdTables, tables_) &&
               td.finalize() == 0;
    }
    bool add_image(rig::TdVm& td, u32 slot, u64 gpa, const rig::Memory& content)
    {
        return keep(td.add_private(slot, gpa, content)) >= 0 &&
               td.load(vcpu_, gpa, content, content.bytes / kPageSize) == 0;
    }
    int keep(long file)
    {
        if (file >= 0)
            files_.insert(files_.begin(), static_cast<int>(file)); // the last is closed first
        return static_cast<int>(file);
    }

    rig::Memory boot_{kPageSize}, tables_{4 * kPageSize};
    std::unique_ptr<platform::Platform> platform_;
    std::unique_ptr<uapi::Device> device_;
    std::vector<int> files_;
    kvm_run* run_ = nullptr;
    int vcpu_ = -1;
    bool ready_ = false;
};

void measure(benchmark::State& state, Work work, double items)
{
    Td td(work);
    bool right = td.go();
    for ([[maybe_unused]] auto _ : state)
        right &= td.go();
    if (!right)
        state.SkipWithError("the TD did not report");
    state.counters["each"] = benchmark::Counter(items, benchmark::Counter::kIsIterationInvariantRate |
                                                           benchmark::Counter::kInvert);
}

BENCHMARK_CAPTURE(measure, td_exit_to_user_space, Work::report_only, 1);
BENCHMARK_CAPTURE(measure, tdg_vp_info, Work::tdg_vp_info, 1000);
BENCHMARK_CAPTURE(measure, td_exit_to_kvm, Work::td_vm_call_info, 1000);
BENCHMARK_CAPTURE(measure, cpuid_ve_and_iret, Work::cpuid_ve, 1000);

} // namespace
} // namespace seamless

BENCHMARK_MAIN();
