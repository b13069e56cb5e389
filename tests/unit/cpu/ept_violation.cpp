// SPDX-License-Identifier: Apache-2.0
// EPT violation, misconfiguration or #VE: decided by the entry that ends the walk and the VMCS alone. The
// tables are written by hand; no KVM, no memslots, no kinds of VM are near.
#include <gtest/gtest.h>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;
namespace ept = spec::ept;

constexpr u64 kPage = GuestMachine::kData;

class EptViolation : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    EptViolation()
    {
        machine.vmcs.proc_based2 |= spec::proc2::EPT_VIOLATION_VE;
        machine.gpr(Gpr::rbx) = kPage + 8;
    }
    spec::VeInfo& ve_info() { return *mem::host_ptr<spec::VeInfo>(machine.ve_info); }

    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, EptViolation, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(EptViolation, ExitsWhereBit63IsSet)
{
    machine.set_entry(Gpa(kPage), ept::SUPPRESS_VE);
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::EPT_VIOLATION); // mov rax, [rbx]
    EXPECT_EQ(machine.vmcs.exit_qualification,
              ept::qual::READ | ept::qual::GLA_VALID | ept::qual::GLA_TRANSLATED);
    EXPECT_EQ(machine.vmcs.guest_physical_address, kPage + 8);
    EXPECT_EQ(machine.vmcs.guest_linear_address, kPage + 8);
    EXPECT_EQ(machine.vmcs.rip, GuestMachine::kCode);
    EXPECT_EQ(machine.vmcs.exit_instruction_len, 3u);
    EXPECT_EQ(ve_info().valid, 0u);
    EXPECT_EQ(machine.sink.count(trace::Event::ve_inject), 0u);
}

TEST_P(EptViolation, IsAVirtualizationExceptionWhereBit63IsClear)
{
    machine.set_entry(Gpa(kPage), 0);
    EXPECT_EQ(machine.run({0x48, 0x89, 0x03}), ExitReason::VMCALL); // mov [rbx], rax
    EXPECT_EQ(machine.handled_vector(), 20);
    EXPECT_EQ(machine.get<u64>(machine.vmcs.rsp), GuestMachine::kCode); // no error code; RIP of the store
    EXPECT_TRUE(machine.get<u64>(machine.vmcs.rsp + 16) & spec::rflags::RF);
    EXPECT_EQ(ve_info().valid, spec::kVeInfoValid);
    EXPECT_EQ(ve_info().exit_reason, static_cast<u32>(ExitReason::EPT_VIOLATION));
    EXPECT_EQ(ve_info().exit_qualification,
              ept::qual::WRITE | ept::qual::GLA_VALID | ept::qual::GLA_TRANSLATED);
    EXPECT_EQ(ve_info().gpa, kPage + 8);
    EXPECT_EQ(ve_info().gla, kPage + 8);
}

TEST_P(EptViolation, TracesWhatHappened)
{
    machine.set_entry(Gpa(kPage), 0);
    machine.run({0x48, 0x89, 0x03});
    ASSERT_EQ(machine.sink.count(trace::Event::ept_violation), 1u);
    ASSERT_EQ(machine.sink.count(trace::Event::ve_inject), 1u);
    const trace::Record& ve = machine.sink.records.back();
    EXPECT_EQ(ve.values[4].number, GuestMachine::kCode);
    EXPECT_EQ(ve.values[5].bytes.size, 3);
    EXPECT_EQ(ve.values[5].bytes.data[1], 0x89);
}

TEST_P(EptViolation, ExitsWhileInformationIsUnread)
{
    machine.set_entry(Gpa(kPage), 0);
    ve_info().valid = spec::kVeInfoValid;
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::EPT_VIOLATION);
}

TEST_P(EptViolation, ExitsWithoutTheControl)
{
    machine.vmcs.proc_based2 &= ~spec::proc2::EPT_VIOLATION_VE;
    machine.set_entry(Gpa(kPage), 0);
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::EPT_VIOLATION);
}

TEST_P(EptViolation, ExitsDuringEventDelivery)
{
    // The exception's own stack is what is missing.
    machine.set_entry(Gpa(kPage), 0);
    machine.vmcs.rsp = kPage + 0x800;
    EXPECT_EQ(machine.run({0x0f, 0x0b}), ExitReason::EPT_VIOLATION); // ud2
    EXPECT_EQ(machine.vmcs.idt_vectoring_info,
              spec::intr_info::VALID | spec::intr_info::HARDWARE_EXCEPTION | 6u);
    EXPECT_EQ(machine.vmcs.rip, GuestMachine::kCode);
    EXPECT_EQ(machine.vmcs.rsp, kPage + 0x800);
}

TEST_P(EptViolation, WriteToAReadOnlyPageTellsItsRights)
{
    machine.map(Gpa(kPage), machine.memory + kPage, ept::R | ept::X);
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03, 0x48, 0x89, 0x03}),
              ExitReason::EPT_VIOLATION); // the load is fine
    EXPECT_EQ(machine.vmcs.rip, GuestMachine::kCode + 3);
    EXPECT_EQ(machine.vmcs.exit_qualification, ept::qual::WRITE | ept::qual::WAS_R | ept::qual::WAS_X |
                                                   ept::qual::GLA_VALID | ept::qual::GLA_TRANSLATED);
}

TEST_P(EptViolation, WriteWithoutReadIsMisconfigured)
{
    machine.set_entry(Gpa(kPage), ept::W | ept::X);
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::EPT_MISCONFIG);
    EXPECT_EQ(machine.vmcs.guest_physical_address, kPage + 8);
    EXPECT_EQ(machine.sink.count(trace::Event::ept_misconfig), 1u);
}

TEST_P(EptViolation, FetchFromAPageWithoutX)
{
    machine.map(Gpa(0x20000), machine.memory + 0x20000, ept::R | ept::W);
    machine.gpr(Gpr::rbx) = 0x20000;
    EXPECT_EQ(machine.run({0xff, 0xe3}), ExitReason::EPT_VIOLATION); // jmp rbx
    EXPECT_EQ(machine.vmcs.exit_qualification & 7, ept::qual::FETCH);
    EXPECT_EQ(machine.vmcs.rip, 0x20000u);
}

TEST_P(EptViolation, AGuestPageTableThatIsMissing)
{
    machine.set_entry(Gpa(GuestMachine::kPml4 + 0x1000), ept::SUPPRESS_VE);
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::EPT_VIOLATION);
    EXPECT_FALSE(machine.vmcs.exit_qualification & ept::qual::GLA_TRANSLATED);
    EXPECT_EQ(machine.vmcs.guest_physical_address, GuestMachine::kPml4 + 0x1000);
}

// What a TLB holds stays usable until something architectural drops it.
TEST_P(EptViolation, StaleTranslationsLastUntilInvept)
{
    machine.put<u64>(kPage + 8, 77);
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::VMCALL);
    machine.set_entry(Gpa(kPage), ept::SUPPRESS_VE);
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::VMCALL);
    EXPECT_EQ(machine.gpr(Gpr::rax), 77u);
    machine.lp.invept_single(machine.vmcs.ept_pointer);
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::EPT_VIOLATION);
}

// In a TD, the shared bit of the GPA selects the shared root; everything else is as before.
TEST_P(EptViolation, TheSharedBitSelectsTheSharedRoot)
{
    constexpr u64 kShared = bit(47);
    constexpr u64 kMmio = 0x600000;
    machine.vmcs.td_shared_bit = kShared;
    const Hpa shared_root = machine.host->alloc_page().value();
    for (u64 i = 0; i < 512; ++i)
        mem::store<u64>(shared_root + 8 * i, ept::SUPPRESS_VE);
    machine.vmcs.shared_ept_pointer = shared_root.value();
    // The guest maps kMmio to the shared GPA.
    const u64 table = GuestMachine::kMemory - 4 * kPageSize; // the page table of 6 to 8 MiB
    machine.put<u64>(table + 8 * ((kMmio >> 12) & 511), kShared | kMmio | 3);
    machine.gpr(Gpr::rbx) = kMmio;
    EXPECT_EQ(machine.run({0x8b, 0x03}), ExitReason::EPT_VIOLATION);
    EXPECT_EQ(machine.vmcs.guest_physical_address, kShared | kMmio);
    mem::store<u64>(machine.entry_at(Gpa(kShared | kMmio), shared_root), 0); // no access, #VE not suppressed
    EXPECT_EQ(machine.run({0x8b, 0x03}), ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), 20);
    EXPECT_EQ(ve_info().gpa, kShared | kMmio);
}

} // namespace
} // namespace seamless
