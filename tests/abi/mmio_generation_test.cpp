// SPDX-License-Identifier: Apache-2.0
// An MMIO SPTE is as old as the memslots in which there was no memory: 19 bits of their generation are in it.
// What a plain VM finds where memory came or went, what a TD does not find, and what happens when the 19 bits
// wrap.
#include "abi/plain_vm.h"
#include "abi/td_robot.h"

namespace seamless::abi {
namespace {

constexpr u64 kGenerations = u64{1} << 19; // that SPTEs can tell apart
constexpr u32 kSlot = 7, kOtherSlot = 8;
constexpr u64 kElsewhere = 0x10000000;

kvm::Vm* made; // the VM whose first vCPU was made last

kvm::x86_ops noting_the_vm()
{
    kvm::x86_ops ops = kvm::vt_x86_ops;
    ops.vcpu_create = [](kvm::Vcpu& vcpu) {
        made = &vcpu.vm();
        return kvm::vt_x86_ops.vcpu_create(vcpu);
    };
    return ops;
}

class PlainGeneration : public testing::Test {
  protected:
    // One store to the device, and one load of it.
    u32 store(u32 value)
    {
        vm.regs.rip = kCode;
        vm.regs.rdi = kDevice;
        vm.regs.rax = value;
        return vm.start({0x89, 0x07});
    }
    void expect_device(u32 value)
    {
        store(value);
        vm.expect_mmio(true, kDevice, 4);
        EXPECT_EQ(vm.data(), value);
        EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    }
    void expect_memory(u32 value)
    {
        EXPECT_EQ(store(value), KVM_EXIT_HLT);
        EXPECT_EQ(memory.get<u32>(0), value);
    }
    // As if the memslots had changed that often: 2 for each change, normal memory and SMM's.
    void age(u64 generations) { made->slots.bump_generation(static_cast<unsigned>(generations)); }
    [[nodiscard]] u64 generation() const { return made->slots.generation() & (kGenerations - 1); }
    [[nodiscard]] std::vector<std::string> verdicts() const
    {
        std::vector<std::string> all;
        for (const auto& r : host.trace.of(Event::handle_mmio_page_fault))
            all.emplace_back(r.values[1].text);
        return all;
    }

    Host host{noting_the_vm()};
    PlainVm vm{host};
    Memory memory{kPageSize}, other{kPageSize};
};

TEST_F(PlainGeneration, IsInTheSpteAndCurrentUntilASlotChanges)
{
    using Verdicts = std::vector<std::string>;
    expect_device(1);
    EXPECT_EQ(verdicts(), Verdicts{}); // a violation: nothing was there
    const auto mark = host.trace.of(Event::mark_mmio_spte);
    ASSERT_EQ(mark.size(), 1u);
    EXPECT_EQ(mark[0].values[3].number, generation());
    expect_device(2);
    EXPECT_EQ(verdicts(), Verdicts{"RET_PF_EMULATE"});
    vm.add_slot(kOtherSlot, kElsewhere, other);
    expect_device(3);
    EXPECT_EQ(verdicts(), Verdicts{"RET_PF_INVALID"}); // out of date: made again
    ASSERT_EQ(host.trace.of(Event::mark_mmio_spte).size(), 1u);
    EXPECT_EQ(host.trace.of(Event::mark_mmio_spte)[0].values[3].number, generation());
    expect_device(4);
    EXPECT_EQ(verdicts(), Verdicts{"RET_PF_EMULATE"});
}

TEST_F(PlainGeneration, MemoryThatComesIsFoundAndItsLossToo)
{
    expect_device(1);
    vm.add_slot(kSlot, kDevice, memory);
    expect_memory(2);
    kvm_userspace_memory_region gone{};
    gone.slot = kSlot;
    EXPECT_EQ(host.ioctl(vm.vm, KVM_SET_USER_MEMORY_REGION, &gone), 0);
    expect_device(3);
    EXPECT_EQ(memory.get<u32>(0), 2u);
}

TEST_F(PlainGeneration, IsNotMistakenForAnEqualOneAfterTheWrap)
{
    age(10);
    expect_device(1);
    const u64 then = generation();
    age(kGenerations - 2 - then);
    ASSERT_EQ(generation(), kGenerations - 2);
    vm.add_slot(kOtherSlot, kElsewhere, other); // wraps: everything is dropped
    ASSERT_EQ(generation(), 0u);
    age(then - 2);
    vm.add_slot(kSlot, kDevice, memory);
    ASSERT_EQ(generation(), then) << "the one in the SPTE, were it still there";
    expect_memory(2);
    EXPECT_EQ(verdicts(), std::vector<std::string>{});
}

TEST_F(PlainGeneration, WithoutTheWrapTheTablesStay)
{
    expect_device(1);
    EXPECT_EQ(store(0), KVM_EXIT_MMIO);
    EXPECT_EQ(host.trace.exits("EPT_VIOLATION"), 0u);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    vm.add_slot(kOtherSlot, kElsewhere, other);
    EXPECT_EQ(store(0), KVM_EXIT_MMIO);
    EXPECT_EQ(host.trace.exits("EPT_VIOLATION"), 0u);
    EXPECT_EQ(host.trace.exits("EPT_MISCONFIG"), 1u);
    EXPECT_EQ(vm.go_on(), KVM_EXIT_HLT);
    age(kGenerations - 2 - generation());
    vm.add_slot(kSlot, kElsewhere + kPageSize, other); // wraps
    EXPECT_EQ(store(0), KVM_EXIT_MMIO);
    EXPECT_EQ(host.trace.exits("EPT_VIOLATION"), 2u) << "code and device, from empty tables";
    EXPECT_EQ(host.trace.exits("EPT_MISCONFIG"), 0u);
}

// A TD's entry is no misconfiguration: nobody compares generations, and it stays what it is while its root
// lives.
class TdGeneration : public testing::Test {
  protected:
    void expect_device(u64 value)
    {
        unsigned asked = 0;
        Mailbox order{};
        order.order = Mailbox::store;
        order.rdi = kView;
        order.rbx = value;
        td.carry_out(0, order, [&](kvm_run& run) {
            ++asked;
            EXPECT_EQ(run.exit_reason, KVM_EXIT_MMIO);
            EXPECT_EQ(run.mmio.phys_addr, TdRobot::kDevice);
            return true;
        });
        EXPECT_EQ(asked, 1u);
        EXPECT_EQ(td.mailbox().ve_count, 1u);
    }
    static constexpr u64 kView = TdRobot::kHighView + (TdRobot::kDevice & 0x3fffffff);

    Host host{noting_the_vm()};
    TdRobot td{host};
    Memory memory{kPageSize}, other{kPageSize};
};

TEST_F(TdGeneration, HidesMemoryThatComesLaterUntilTheWrap)
{
    expect_device(1);
    ASSERT_EQ(td.set_slot(kSlot, TdRobot::kDevice, kPageSize, memory.at), 0);
    expect_device(2); // still #VE, and a TDVMCALL does not look at slots
    EXPECT_EQ(memory.get<u64>(0), 0u);
    const u64 now = made->slots.generation() & (kGenerations - 1);
    made->slots.bump_generation(static_cast<unsigned>(kGenerations - 1 - now));
    ASSERT_EQ(td.set_slot(kOtherSlot, kElsewhere, kPageSize, other.at), 0); // one step for a TD: wraps
    ASSERT_EQ(made->slots.generation() & (kGenerations - 1), 0u);
    td.store(kView, 3);
    EXPECT_EQ(td.mailbox().ve_count, 0u);
    EXPECT_EQ(memory.get<u64>(0), 3u);
}

TEST_F(TdGeneration, TheWrapLeavesPrivateMemory)
{
    ASSERT_EQ(td.accept(TdRobot::kPrivate), 0u);
    td.store(TdRobot::kPrivate, 77);
    const u64 now = made->slots.generation() & (kGenerations - 1);
    made->slots.bump_generation(static_cast<unsigned>(kGenerations - 1 - now));
    ASSERT_EQ(td.set_slot(kOtherSlot, kElsewhere, kPageSize, other.at), 0);
    EXPECT_EQ(td.load(TdRobot::kPrivate), 77u);
    EXPECT_EQ(td.mailbox().ve_count, 0u);
}

} // namespace
} // namespace seamless::abi
