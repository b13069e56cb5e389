// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a running TD does: TDCALL leaves with any operands, instructions that exit, faulting accesses,
// between TDH.VP.ENTERs and other SEAMCALLs of the host.
#include "fuzz/seam_operands.h"
#include "fuzz/target.h"
#include "tdx/tdg/leaves.h"

namespace seamless::fuzz {
namespace {

using spec::ExitReason;
using spec::Gpr;

constexpr unsigned kMostSteps = 64, kMostEntries = 200;
// What the host does to a running TD.
constexpr spec::TdhLeaf kHostLeaves[] = {spec::TdhLeaf::MEM_RANGE_BLOCK, spec::TdhLeaf::MEM_RANGE_UNBLOCK,
                                         spec::TdhLeaf::MEM_TRACK,       spec::TdhLeaf::MEM_PAGE_AUG,
                                         spec::TdhLeaf::MEM_PAGE_REMOVE, spec::TdhLeaf::MEM_SEPT_ADD,
                                         spec::TdhLeaf::VP_FLUSH,        spec::TdhLeaf::VP_WR,
                                         spec::TdhLeaf::MNG_WR};
constexpr Gpr kOperands[] = {Gpr::rcx, Gpr::rdx, Gpr::r8, Gpr::r9, Gpr::r10, Gpr::r11, Gpr::r12, Gpr::r13};

void add_tdcall(tdx::TdHost& host, Input& in, SeamOperands& operands)
{
    const u8 kind = in.byte();
    const auto rows = tdx::tdg_rows();
    const tdx::TdgRow& row = in.pick(rows);
    const u64 rax = kind >= 250 ? in.number() : row.number | (kind & 1 ? in.below(3) : row.max_version) << 16;
    tdx::TdHost::Regs regs;
    for (const Gpr reg : kOperands)
        regs.emplace_back(reg, operands.operand());
    const bool long_mode = kind % 16 != 15;
    host.lp().then([=](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
        c[Gpr::rax] = rax;
        for (const auto& [reg, value] : regs)
            c[reg] = value;
        tdx::TdHost::exit(vmcs, ExitReason::TDCALL);
        if (!long_mode)
            vmcs.efer &= ~spec::efer::LMA;
    });
}

// Instructions and faults whose exits carry no more than registers and an address.
void add_exit(tdx::TdHost& host, Input& in, SeamOperands& operands)
{
    constexpr ExitReason reasons[] = {ExitReason::CPUID,         ExitReason::HLT,
                                      ExitReason::MSR_READ,      ExitReason::MSR_WRITE,
                                      ExitReason::INVD,          ExitReason::WBINVD,
                                      ExitReason::VMCALL,        ExitReason::MWAIT_INSTRUCTION,
                                      ExitReason::EPT_VIOLATION, ExitReason::XSETBV,
                                      ExitReason::TRIPLE_FAULT,  ExitReason::EXTERNAL_INTERRUPT,
                                      ExitReason::EPT_MISCONFIG};
    const ExitReason reason = in.pick(reasons);
    const u64 gpa = operands.gpa(), rax = in.number(), rcx = in.number(), rdx = in.number();
    const u64 qualification = in.byte() & 0x1bf;
    host.lp().then([=](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
        c[Gpr::rax] = rax;
        c[Gpr::rcx] = rcx;
        c[Gpr::rdx] = rdx;
        vmcs.guest_physical_address = gpa;
        vmcs.guest_linear_address = gpa;
        tdx::TdHost::exit(vmcs, reason, 2, reason == ExitReason::EPT_VIOLATION ? qualification : 0);
    });
}

void run(Input in)
{
    tdx::TdHost host;
    auto params = tdx::TdHost::default_params();
    if (in.flag())
        params.attributes ^=
            in.byte() & 1 ? spec::td_attributes::DEBUG : spec::td_attributes::SEPT_VE_DISABLE;
    host.build(params);
    SeamOperands operands(host, in);
    unsigned entries = 0;
    for (unsigned i = 0; i < kMostSteps && !in.empty(); ++i) {
        const u8 kind = in.byte() % 8;
        if (kind < 4)
            add_tdcall(host, in, operands);
        else if (kind < 6)
            add_exit(host, in, operands);
        else if (kind == 6)
            operands.call(spec::leaf_rax(in.pick(kHostLeaves), 0), 0);
        while (kind != 7 && host.lp().left() > 0 && entries++ < kMostEntries) {
            cpu::SeamRegs regs{};
            for (u64* reg : {&regs.r10, &regs.r11, &regs.r12, &regs.r13})
                *reg = in.flag() ? in.number() : 0;
            (void)host.enter(host.vcpu, regs);
        }
    }
}

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::run({data, size});
    return 0;
}
