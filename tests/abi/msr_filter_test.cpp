// SPDX-License-Identifier: Apache-2.0
// KVM_X86_SET_MSR_FILTER and KVM_CAP_X86_USER_SPACE_MSR of plain VMs: which RDMSR and WRMSR end in #GP, which
// go to user space, and what it answers.
#include "abi/plain_vm.h"

namespace seamless::abi {
namespace {

constexpr u32 kPat = 0x277, kMiscEnable = 0x1a0, kSysenterCs = 0x174, kDefType = 0x2ff, kUnknown = 0x12345678;
constexpr u64 kPatReset = 0x0007040600070406;
constexpr u32 kRead = KVM_MSR_FILTER_READ, kWrite = KVM_MSR_FILTER_WRITE, kBoth = kRead | kWrite;
constexpr u32 kMostMsrs = KVM_MSR_FILTER_MAX_BITMAP_SIZE * 8;

class MsrFilter : public testing::Test {
  protected:
    // A range whose bitmap is `bitmap`, or all of `fill`.
    kvm_msr_filter_range range(u32 flags, u32 base, u32 count, u64 fill = 0)
    {
        bitmap.assign(bitmap.size(), fill);
        return {.flags = flags,
                .nmsrs = count,
                .base = base,
                .pad = 0,
                .bitmap = reinterpret_cast<u64>(bitmap.data())};
    }
    long set(std::initializer_list<kvm_msr_filter_range> ranges, u32 flags = 0)
    {
        kvm_msr_filter filter{};
        filter.flags = flags;
        std::copy(ranges.begin(), ranges.end(), filter.ranges);
        return host.ioctl(vm.vm, KVM_X86_SET_MSR_FILTER, &filter);
    }
    long enable(u64 reasons, u32 flags = 0)
    {
        kvm_enable_cap cap{};
        cap.cap = KVM_CAP_X86_USER_SPACE_MSR;
        cap.flags = flags;
        cap.args[0] = reasons;
        return host.ioctl(vm.vm, KVM_ENABLE_CAP, &cap);
    }
    u32 rdmsr(u32 index)
    {
        prepare(index, 0xdddddddddddddddd);
        return vm.start({0x0f, 0x32});
    }
    u32 wrmsr(u32 index, u64 value)
    {
        prepare(index, value);
        return vm.start({0x0f, 0x30});
    }
    void prepare(u32 index, u64 value)
    {
        vm.regs.rip = kCode;
        vm.regs.rsp = kStack;
        vm.regs.rcx = index;
        vm.regs.rax = static_cast<u32>(value);
        vm.regs.rdx = value >> 32;
    }
    [[nodiscard]] u64 value() const { return vm.regs.rdx << 32 | vm.regs.rax; }
    void expect_done()
    {
        EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_HLT);
        EXPECT_EQ(vm.regs.rip, kCode + 3); // behind the HLT
    }
    void expect_gp()
    {
        EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_HLT);
        EXPECT_EQ(vm.regs.rip, kHandlers + 16 * 13 + 1);
        EXPECT_EQ(vm.memory.get<u32>(vm.regs.rsp), 0u);        // error code
        EXPECT_EQ(vm.memory.get<u32>(vm.regs.rsp + 4), kCode); // of the instruction itself
    }
    void expect_exit(u32 exit_reason, u32 index, u32 reason, u64 data = 0)
    {
        EXPECT_EQ(vm.run->exit_reason, exit_reason);
        EXPECT_EQ(vm.run->msr.index, index);
        EXPECT_EQ(vm.run->msr.reason, reason);
        EXPECT_EQ(vm.run->msr.data, data);
        EXPECT_EQ(vm.run->msr.error, 0);
        EXPECT_EQ(vm.regs.rip, kCode) << "not retired yet";
    }
    u64 state(u32 index)
    {
        struct {
            kvm_msrs head;
            kvm_msr_entry entry;
        } msrs{};
        msrs.head.nmsrs = 1;
        msrs.entry.index = index;
        EXPECT_EQ(host.ioctl(vm.vcpu, KVM_GET_MSRS, &msrs), 1);
        return msrs.entry.data;
    }

    std::vector<u64> bitmap = std::vector<u64>(KVM_MSR_FILTER_MAX_BITMAP_SIZE / 8 + 1);
    Host host;
    PlainVm vm{host};
};

TEST_F(MsrFilter, ADeniedAccessIsAProtectionFault)
{
    ASSERT_EQ(set({range(kWrite, kPat, 1)}), 0);
    rdmsr(kPat); // the range says nothing of reads
    expect_done();
    EXPECT_EQ(value(), kPatReset);
    wrmsr(kPat, 0x0606060606060606);
    expect_gp();
    EXPECT_EQ(state(kPat), kPatReset) << "user space is not filtered, and the guest wrote nothing";
    ASSERT_EQ(set({range(kRead, kPat, 1)}), 0);
    rdmsr(kPat);
    expect_gp();
    EXPECT_EQ(vm.regs.rax, 0xddddddddu);
    wrmsr(kPat, 0x0606060606060606);
    expect_done();
    ASSERT_EQ(set({}), 0); // no filter at all
    rdmsr(kPat);
    expect_done();
    EXPECT_EQ(value(), 0x0606060606060606u);
}

TEST_F(MsrFilter, ABitOfOneAllowsAndTheFirstRangeDecides)
{
    auto odd = range(kBoth, kSysenterCs, 3);
    bitmap[0] = 0b101; // CS and EIP, not ESP
    ASSERT_EQ(set({odd}), 0);
    for (const u32 i : {0u, 1u, 2u}) {
        rdmsr(kSysenterCs + i);
        i == 1 ? expect_gp() : expect_done();
    }
    std::vector<u64> all(1, ~u64{0});
    kvm_msr_filter_range allowed = odd;
    allowed.bitmap = reinterpret_cast<u64>(all.data());
    ASSERT_EQ(set({allowed, odd}), 0);
    rdmsr(kSysenterCs + 1);
    expect_done();
    allowed.flags = kWrite; // says nothing of reads: the second decides
    ASSERT_EQ(set({allowed, odd}), 0);
    rdmsr(kSysenterCs + 1);
    expect_gp();
    wrmsr(kSysenterCs + 1, 0x1234);
    expect_done();
}

TEST_F(MsrFilter, WhatNoRangeNamesIsAllowedOrDenied)
{
    const auto one = range(kBoth, kPat, 1, ~u64{0});
    ASSERT_EQ(set({one}, KVM_MSR_FILTER_DEFAULT_DENY), 0);
    rdmsr(kPat);
    expect_done();
    for (const u32 index : {kPat - 1, kPat + 1, kSysenterCs, kDefType}) {
        rdmsr(index);
        expect_gp();
        wrmsr(index, 0);
        expect_gp();
    }
    ASSERT_EQ(set({one}), 0);
    rdmsr(kSysenterCs);
    expect_done();
}

TEST_F(MsrFilter, MsrsThatTakeNoExitAreFilteredToo)
{
    wrmsr(kSysenterCs, 8); // processor state: the guest accesses it itself
    expect_done();
    EXPECT_EQ(host.trace.exits("MSR_WRITE"), 0u);
    ASSERT_EQ(set({range(kBoth, kSysenterCs, 1)}), 0);
    wrmsr(kSysenterCs, 16);
    expect_gp();
    EXPECT_EQ(state(kSysenterCs), 8u);
    ASSERT_EQ(set({}), 0);
    wrmsr(kSysenterCs, 16);
    expect_done();
    EXPECT_EQ(host.trace.exits("MSR_WRITE"), 0u) << "and no exit again";
}

TEST_F(MsrFilter, RangesHaveLimits)
{
    EXPECT_EQ(set({range(kBoth, 0, kMostMsrs)}), 0);
    EXPECT_EQ(set({range(kBoth, 0, kMostMsrs + 1)}), -EINVAL);
    EXPECT_EQ(set({range(0, kPat, 1)}), -EINVAL);
    EXPECT_EQ(set({range(kBoth | 4, kPat, 1)}), -EINVAL);
    EXPECT_EQ(set({range(kBoth, kPat, 1)}, 2), -EINVAL);
    EXPECT_EQ(set({}, KVM_MSR_FILTER_DEFAULT_DENY), -EINVAL); // nothing would be left
    auto unreadable = range(kBoth, kPat, 1);
    unreadable.bitmap = 8;
    EXPECT_EQ(set({unreadable}), -EFAULT);
    EXPECT_EQ(set({unreadable}, 2), -EINVAL); // that is looked at first
    EXPECT_EQ(host.ioctl(vm.vm, KVM_X86_SET_MSR_FILTER, u64{8}), -EFAULT);
    auto unused = range(0x77, kPat, 0); // nothing of it counts
    unused.bitmap = 8;
    EXPECT_EQ(set({unused, range(kRead, kPat, 1)}), 0);
    rdmsr(kPat);
    expect_gp();
    EXPECT_EQ(set({range(kBoth, kPat, 1)}, 2), -EINVAL);
    rdmsr(kPat);
    expect_gp(); // what was refused changed nothing
}

TEST_F(MsrFilter, TheLastMsrOfARangeIsInIt)
{
    ASSERT_EQ(set({range(kBoth, kPat - 63, 64)}), 0);
    rdmsr(kPat);
    expect_gp();
    ASSERT_EQ(set({range(kBoth, kPat - 64, 64)}), 0);
    rdmsr(kPat);
    expect_done();
    ASSERT_EQ(set({range(kBoth, 0xc0000080, 1)}), 0);
    rdmsr(kPat);
    expect_done();
    // The end wraps to 0: KVM finds nothing in such a range.
    ASSERT_EQ(enable(KVM_MSR_EXIT_REASON_FILTER | KVM_MSR_EXIT_REASON_UNKNOWN), 0);
    ASSERT_EQ(set({range(kBoth, 0xffffffc0, 64)}), 0);
    rdmsr(0xffffffc0);
    expect_exit(KVM_EXIT_X86_RDMSR, 0xffffffc0, KVM_MSR_EXIT_REASON_UNKNOWN);
}

TEST_F(MsrFilter, UserSpaceAnswersWhatIsFiltered)
{
    ASSERT_EQ(enable(KVM_MSR_EXIT_REASON_FILTER), 0);
    ASSERT_EQ(set({range(kBoth, kPat, 1)}), 0);
    vm.run->msr.error = 1; // of an older exit
    rdmsr(kPat);
    expect_exit(KVM_EXIT_X86_RDMSR, kPat, KVM_MSR_EXIT_REASON_FILTER);
    vm.run->msr.data = 0x1122334455667788;
    vm.go_on();
    expect_done();
    EXPECT_EQ(vm.regs.rax, 0x55667788u);
    EXPECT_EQ(vm.regs.rdx, 0x11223344u);
    wrmsr(kPat, 0x99aabbccddeeff00);
    expect_exit(KVM_EXIT_X86_WRMSR, kPat, KVM_MSR_EXIT_REASON_FILTER, 0x99aabbccddeeff00);
    vm.go_on();
    expect_done();
    EXPECT_EQ(state(kPat), kPatReset) << "KVM itself writes nothing";
}

TEST_F(MsrFilter, UserSpaceMayRefuse)
{
    ASSERT_EQ(enable(KVM_MSR_EXIT_REASON_FILTER), 0);
    ASSERT_EQ(set({range(kBoth, kPat, 1)}), 0);
    rdmsr(kPat);
    vm.run->msr.data = 0x1234;
    vm.run->msr.error = 1;
    vm.go_on();
    expect_gp();
    EXPECT_EQ(value(), 0xdddddddddddddddd) << "the data of a refused access is nothing";
    wrmsr(kPat, 0);
    vm.run->msr.error = 0xff;
    vm.go_on();
    expect_gp();
}

TEST_F(MsrFilter, EachReasonIsAskedForByItself)
{
    struct Row {
        u32 reason, index;
    };
    ASSERT_EQ(set({range(kBoth, kMiscEnable, 1)}), 0);
    constexpr Row kRows[] = {{KVM_MSR_EXIT_REASON_INVAL, kPat}, // by a value that is no memory type
                             {KVM_MSR_EXIT_REASON_UNKNOWN, kUnknown},
                             {KVM_MSR_EXIT_REASON_FILTER, kMiscEnable}};
    constexpr u64 kWrong = 0x0202020202020202;
    for (const Row& enabled : kRows) {
        ASSERT_EQ(enable(enabled.reason), 0);
        for (const Row& row : kRows) {
            SCOPED_TRACE(testing::Message() << enabled.reason << " " << row.reason);
            wrmsr(row.index, kWrong);
            if (row.reason != enabled.reason) {
                expect_gp();
                continue;
            }
            expect_exit(KVM_EXIT_X86_WRMSR, row.index, row.reason, kWrong);
            vm.go_on();
            expect_done();
        }
    }
    ASSERT_EQ(enable(7), 0);
    rdmsr(kUnknown);
    expect_exit(KVM_EXIT_X86_RDMSR, kUnknown, KVM_MSR_EXIT_REASON_UNKNOWN);
    vm.go_on();
    ASSERT_EQ(enable(0), 0);
    rdmsr(kUnknown);
    expect_gp();
}

TEST_F(MsrFilter, OnlyKnownReasonsCanBeEnabled)
{
    EXPECT_EQ(enable(8), -EINVAL);
    EXPECT_EQ(enable(~u64{0}), -EINVAL);
    EXPECT_EQ(enable(7, 1), -EINVAL);
    EXPECT_EQ(enable(7), 0);
    EXPECT_EQ(host.ioctl(vm.vm, KVM_CHECK_EXTENSION, u64{KVM_CAP_X86_USER_SPACE_MSR}), 1);
    EXPECT_EQ(host.ioctl(vm.vm, KVM_CHECK_EXTENSION, u64{KVM_CAP_X86_MSR_FILTER}), 1);
}

} // namespace
} // namespace seamless::abi
