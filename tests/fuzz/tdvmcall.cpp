// SPDX-License-Identifier: Apache-2.0
// Fuzzes TDG.VP.VMCALL through the TDX module and KVM: any registers from the guest, any answers from the
// VMM, with devices, memory attributes and mappings that change in between. The guest is a script.
#include "fuzz/budget.h"
#include "fuzz/depth.h"
#include "fuzz/input.h"
#include "fuzz/target.h"
#include "spec/tdx_ghci.h"
#include "unit/uapi/scripted_td.h"

namespace seamless::fuzz {
namespace {

using namespace spec::kvm;
using spec::Gpr;
using spec::Tdvmcall;

constexpr unsigned kMostSteps = 32, kMostEntries = 12;
constexpr Gpr kArguments[] = {Gpr::r10, Gpr::r11, Gpr::r12, Gpr::r13, Gpr::r14, Gpr::r15,
                              Gpr::rbx, Gpr::rdx, Gpr::rsi, Gpr::rdi, Gpr::r8,  Gpr::r9};

class Session {
  public:
    explicit Session(Input& in) : in_(in) { td_.build(); }
    ~Session()
    {
        for (const trace::Record& record : host_.sink.records)
            Depth::reached(record);
        (void)host_.device->munmap(td_.run, kVcpuMmapSize);
        for (const int fd : {td_.vcpu, td_.vm, td_.gmem, td_.sys})
            (void)host_.device->close(fd);
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void step()
    {
        switch (in_.below(8)) {
        case 0:
            td_.touch_shared(address(), in_.flag() ? 2 : 1);
            break;
        case 1:
            change_host();
            return;
        case 2:
            add_device();
            return;
        default:
            add_call();
        }
        run();
    }

  private:
    // Shared and private, at and around what is mapped.
    u64 address()
    {
        constexpr u64 bases[] = {uapi_test::kDevice, uapi_test::kRam, uapi_test::kRam + uapi_test::kRamBytes,
                                 0};
        const u64 at = in_.flag() ? in_.number() : in_.pick(bases) + in_.below(3) * 0xff8 + in_.below(8);
        return in_.flag() ? at | uapi_test::kShared : at;
    }
    u64 argument()
    {
        switch (in_.below(4)) {
        case 0:
            return in_.below(10);
        case 1:
            return in_.number();
        default:
            return address();
        }
    }
    void add_call()
    {
        constexpr Tdvmcall leaves[] = {Tdvmcall::INSTRUCTION_CPUID,   Tdvmcall::INSTRUCTION_HLT,
                                       Tdvmcall::INSTRUCTION_IO,      Tdvmcall::INSTRUCTION_RDMSR,
                                       Tdvmcall::INSTRUCTION_WRMSR,   Tdvmcall::VE_REQUEST_MMIO,
                                       Tdvmcall::INSTRUCTION_IO,      Tdvmcall::INSTRUCTION_WBINVD,
                                       Tdvmcall::GET_TD_VM_CALL_INFO, Tdvmcall::MAP_GPA,
                                       Tdvmcall::GET_QUOTE,           Tdvmcall::REPORT_FATAL_ERROR,
                                       Tdvmcall::VE_REQUEST_MMIO,     Tdvmcall::SETUP_EVENT_NOTIFY_INTERRUPT};
        const u8 kind = in_.byte();
        std::vector<u64> values;
        for (unsigned i = 0; i < std::size(kArguments); ++i)
            values.push_back(i == 0 || i > 6 ? (kind & 1 ? in_.number() : 0) : argument());
        values[1] = kind & 2 ? in_.number() : static_cast<u64>(in_.pick(leaves));
        const u64 mask = kind & 4 ? in_.number() : spec::tdvmcall_mask::kLinux;
        host_.lp().then([=](cpu::Vmcs& v, cpu::GuestContext& c) {
            v.exit_reason = static_cast<u32>(spec::ExitReason::TDCALL);
            v.exit_instruction_len = 4;
            v.efer |= spec::efer::LMA;
            v.seg[static_cast<unsigned>(spec::Seg::cs)].ar |= spec::segment_ar::L;
            c[Gpr::rax] = 0;
            c[Gpr::rcx] = mask;
            for (unsigned i = 0; i < std::size(kArguments); ++i)
                c[kArguments[i]] = values[i];
        });
    }
    // Enters until the script is at its end, answering exits with what the input says.
    void run()
    {
        host_.lp().then([this](cpu::Vmcs& v, cpu::GuestContext&) {
            v.exit_reason = static_cast<u32>(spec::ExitReason::EXTERNAL_INTERRUPT);
            host_.device->signal_arrived();
        });
        // A guest that halts sleeps until a signal comes.
        const Budget budget([](void* d) { static_cast<uapi::Device*>(d)->signal_arrived(); },
                            host_.device.get());
        for (unsigned i = 0; i < kMostEntries && host_.lp().left() > 0; ++i) {
            if (in_.below(16) == 15)
                td_.run->immediate_exit = 1;
            if (td_.enter() == 0 && in_.flag())
                in_.fill(td_.run->padding, 64);
            td_.run->immediate_exit = 0;
        }
    }
    void change_host()
    {
        kvm_memory_attributes attributes{.address = uapi_test::kRam + in_.below(20) * kPageSize,
                                         .size = in_.below(4) * kPageSize,
                                         .attributes = in_.flag() ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
                                         .flags = 0};
        (void)host_.ioctl(td_.vm, KVM_SET_MEMORY_ATTRIBUTES, &attributes);
        (void)!host_.device->fallocate(td_.gmem, in_.flag() ? 3 : 1, in_.below(16) * kPageSize,
                                       in_.below(4) * kPageSize);
        kvm_pre_fault_memory range{.gpa = address(), .size = in_.number(), .flags = 0, .padding = {}};
        range.size %= 64 * kPageSize;
        if (in_.flag())
            (void)host_.ioctl(td_.vcpu, KVM_PRE_FAULT_MEMORY, &range);
    }
    void add_device()
    {
        kvm_coalesced_mmio_zone zone{.addr = uapi_test::kDevice + in_.below(0x1000),
                                     .size = static_cast<u32>(in_.number()),
                                     .pio = static_cast<u32>(in_.below(3))};
        (void)host_.ioctl(td_.vm, in_.flag() ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO,
                          &zone);
    }

    Input& in_;
    uapi_test::Host host_;
    uapi_test::Td td_{host_};
};

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::Input in(data, size);
    seamless::fuzz::Session session(in);
    for (unsigned i = 0; i < seamless::fuzz::kMostSteps && !in.empty(); ++i)
        session.step();
    return 0;
}
