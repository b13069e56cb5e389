// SPDX-License-Identifier: Apache-2.0
// What a report can say on a KVM that has no inspection port: registers of plain VMs, none of TDs.
#include "vmm/report/gather.h"

#include <gmock/gmock.h>

#include "unit/vmm/machine_bench.h"
#include "vmm/report/report.h"

namespace seamless::vmm::report {
namespace {

using test::FakeKvm;
using testing::HasSubstr;
using testing::Not;

struct Gathered {
    Facts facts;
    std::string text, json;
};

Gathered gather_from(VmKind kind)
{
    FakeKvm kvm;
    test::Collect serial;
    kvm.script = {test::exit(spec::kvm::KVM_EXIT_SHUTDOWN)};
    auto machine = Machine::build(kvm, test::plan(kind), serial, test::kClock);
    EXPECT_TRUE(machine.ok());
    const Outcome outcome = machine.value()->run({.timeout_ms = 20000});
    const Tools tools{.decode = [](u64 rip, std::span<const u8>,
                                   unsigned) { return Instruction{.rip = rip, .bytes = {}, .text = {}}; },
                      .symbol = [](u64) { return std::string(); }};
    Gathered g{.facts = gather(*machine.value(), outcome, nullptr, tools), .text = {}, .json = {}};
    const auto causes = diagnose(g.facts);
    g.text = as_text(g.facts, causes);
    g.json = as_json(g.facts, causes);
    return g;
}

TEST(Gather, APlainVmsRegistersAreKvms)
{
    const Gathered g = gather_from(VmKind::plain);
    EXPECT_EQ(g.facts.outcome.death, Death::triple_fault);
    ASSERT_EQ(g.facts.vcpus.size(), 1u);
    EXPECT_TRUE(g.facts.vcpus[0].registers.has_value());
    EXPECT_THAT(g.text, HasSubstr("  rip 0"));
    EXPECT_THAT(g.json, HasSubstr("\"death\":\"triple_fault\""));
}

TEST(Gather, ATdsAreHidden)
{
    const Gathered g = gather_from(VmKind::td);
    EXPECT_FALSE(g.facts.vcpus[0].registers.has_value());
    EXPECT_THAT(g.text, HasSubstr("vCPU 0 is in a state that this KVM does not show\n"));
    EXPECT_THAT(g.text, HasSubstr("registers: this KVM does not show them"));
    EXPECT_THAT(g.json, Not(HasSubstr("\"registers\"")));
}

} // namespace
} // namespace seamless::vmm::report
