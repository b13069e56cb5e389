// SPDX-License-Identifier: Apache-2.0
// The rules of a TD's MMIO, each taken away: what goes wrong then shows what it is for.
#include "abi/plain_vm.h"
#include "abi/td_guest.h"
#include "spec/tdx_abi.h"

namespace seamless::abi {
namespace {

void expect_report(TdGuest& td, u32 value)
{
    ASSERT_EQ(td.run_once(), KVM_EXIT_IO);
    EXPECT_EQ(td.run->io.port, TdGuest::kReportPort);
    u32 reported = 0;
    std::memcpy(&reported, reinterpret_cast<u8*>(td.run) + td.run->io.data_offset, sizeof reported);
    EXPECT_EQ(reported, value);
}

TEST(TdRules, WithAllOfThemAnAccessTakesOneExitAndThenVeOnly)
{
    Host host;
    TdGuest td(host, TdGuest::device);
    ASSERT_EQ(td.run_once(), KVM_EXIT_MMIO);
    EXPECT_TRUE(td.run->mmio.is_write);
    EXPECT_EQ(td.run->mmio.phys_addr, TdGuest::kDevice);
    EXPECT_EQ(td.run->mmio.len, 4u);
    u32 written = 0;
    std::memcpy(&written, td.run->mmio.data, sizeof written);
    EXPECT_EQ(written, TdGuest::kWritten);
    ASSERT_EQ(td.run_once(), KVM_EXIT_MMIO);
    EXPECT_FALSE(td.run->mmio.is_write);
    const u32 answer = 0xcafe;
    std::memcpy(td.run->mmio.data, &answer, sizeof answer);
    expect_report(td, answer);
    EXPECT_EQ(host.trace.of(Event::mark_mmio_spte).size(), 1u);
    EXPECT_EQ(host.trace.of(Event::ve_inject).size(), 2u);
    EXPECT_EQ(host.trace.of(Event::kvm_check_emulate).size(), 1u);
    EXPECT_TRUE(host.trace.of(Event::kvm_emulate_insn).empty());
}

TEST(TdRules, WithAllOfThemSharedMemoryIsMappedWithoutVe)
{
    Host host;
    TdGuest td(host, TdGuest::memory);
    expect_report(td, TdGuest::kWritten);
    EXPECT_EQ(td.shared.get<u32>(0), TdGuest::kWritten);
    EXPECT_TRUE(host.trace.of(Event::ve_inject).empty());
}

TEST(TdRules, AnMmioEntryThatSuppressesVeExitsForEver)
{
    constexpr std::size_t kBound = 100;
    kvm::x86_ops ops = kvm::vt_x86_ops;
    ops.shadow_mmio_value_tdx = spec::ept::SUPPRESS_VE;
    Host host(ops);
    TdGuest td(host, TdGuest::device);
    std::size_t exits = 0;
    host.trace.watch = [&](const trace::Record& r) {
        exits += r.event == Event::kvm_exit;
        if (exits == kBound)
            host.device->signal_arrived();
    };
    EXPECT_EQ(td.run_once(), -EINTR); // no instruction retired: only the signal ends it
    EXPECT_GE(host.trace.exits("EPT_VIOLATION"), kBound - 10); // a few are for private memory
    EXPECT_GE(host.trace.of(Event::mark_mmio_spte).size(), kBound - 10);
    EXPECT_TRUE(host.trace.of(Event::ve_inject).empty());
    EXPECT_TRUE(host.trace.of(Event::kvm_mmio).empty());
}

TEST(TdRules, WithoutRetryTheEmulatorIsReachedAndFindsNoInstruction)
{
    kvm::x86_ops ops = kvm::vt_x86_ops;
    ops.check_emulate_instruction = [](kvm::Vcpu&, int, std::span<const u8>) {
        return kvm::X86EMUL_CONTINUE;
    };
    Host host(ops);
    TdGuest td(host, TdGuest::device);
    ASSERT_EQ(td.run_once(), KVM_EXIT_INTERNAL_ERROR);
    EXPECT_EQ(td.run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
    EXPECT_EQ(td.run->internal.data[0], 0u); // no bytes: the TD's memory is not KVM's to read
    const auto insn = host.trace.of(Event::kvm_emulate_insn);
    ASSERT_EQ(insn.size(), 1u);
    EXPECT_EQ(insn[0].values[2].number, 1u);
    EXPECT_TRUE(host.trace.of(Event::kvm_mmio).empty());
}

TEST(TdRules, EmptyEntriesThatAllowVeGiveItForMemoryToo)
{
    kvm::x86_ops ops = kvm::vt_x86_ops;
    ops.shadow_nonpresent_value = 0;
    Host host(ops);
    TdGuest td(host, TdGuest::memory);
    // The guest takes it for a device: its memslot is never mapped.
    ASSERT_EQ(td.run_once(), KVM_EXIT_MMIO);
    EXPECT_EQ(td.run->mmio.phys_addr, TdGuest::kMemory);
    EXPECT_EQ(td.shared.get<u32>(0), 0u);
    const auto ve = host.trace.of(Event::ve_inject);
    ASSERT_EQ(ve.size(), 1u);
    EXPECT_EQ(ve[0].values[3].number, TdGuest::kMemory | TdGuest::kShared);
    EXPECT_TRUE(host.trace.of(Event::mark_mmio_spte).empty());
}

// A vCPU that claims to run a nested guest, and counts how often KVM asks whom an instruction belongs to.
unsigned points_reached;

kvm::x86_ops pretend_nested()
{
    points_reached = 0;
    kvm::x86_ops ops = kvm::vt_x86_ops;
    ops.vcpu_create = [](kvm::Vcpu& vcpu) {
        vcpu.guest_mode = true;
        return kvm::vt_x86_ops.vcpu_create(vcpu);
    };
    ops.check_intercept = [](kvm::Vcpu& vcpu, const emul::Intercept& intercept) {
        EXPECT_EQ(static_cast<unsigned>(intercept.stage), points_reached % 3);
        ++points_reached;
        return kvm::vt_x86_ops.check_intercept(vcpu, intercept);
    };
    return ops;
}

TEST(CheckIntercept, IsAskedAtThreePointsForAPlainVm)
{
    Host host(pretend_nested());
    PlainVm vm(host);
    vm.regs.rdi = kDevice;
    vm.start({0x89, 0x07});
    vm.expect_mmio(true, kDevice, 4);
    EXPECT_EQ(points_reached, 3u);
}

TEST(CheckIntercept, IsNeverReachedForATd)
{
    Host host(pretend_nested());
    TdGuest td(host, TdGuest::device);
    ASSERT_EQ(td.run_once(), KVM_EXIT_MMIO);
    ASSERT_EQ(td.run_once(), KVM_EXIT_MMIO);
    EXPECT_EQ(points_reached, 0u);
    EXPECT_EQ(host.trace.of(Event::kvm_check_emulate).size(), 1u);
}

} // namespace
} // namespace seamless::abi
