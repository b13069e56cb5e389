// SPDX-License-Identifier: Apache-2.0
// MSR filters with their exits, and writes that are queued for the VMM instead of leaving to it, over a TD.
#include <gtest/gtest.h>

#include "unit/uapi/scripted_td.h"

namespace seamless {
namespace {

using namespace uapi_test;

constexpr u64 kRdmsr = 31, kWrmsr = 32, kMmio = 48, kIo = 30;
constexpr u32 kPat = 0x277, kPowerCtl = 0x1fc;

class TdExits : public testing::Test {
  protected:
    TdExits() { td.build(); }
    // Of one MSR, whose accesses `access` are denied.
    long deny(u32 index, u32 access, u32 flags = 0)
    {
        static const u64 bitmap = 0;
        kvm_msr_filter filter{};
        filter.flags = flags;
        filter.ranges[0] = {
            .flags = access, .nmsrs = 1, .base = index, .pad = 0, .bitmap = reinterpret_cast<u64>(&bitmap)};
        return host.ioctl(td.vm, KVM_X86_SET_MSR_FILTER, &filter);
    }
    kvm_coalesced_mmio_ring& ring()
    {
        return *reinterpret_cast<kvm_coalesced_mmio_ring*>(reinterpret_cast<u8*>(td.run) +
                                                           kPageSize * KVM_COALESCED_MMIO_PAGE_OFFSET);
    }
    kvm_coalesced_mmio* entries() { return reinterpret_cast<kvm_coalesced_mmio*>(&ring() + 1); }
    long zone(u32 request, u64 addr, u32 size, u32 pio)
    {
        kvm_coalesced_mmio_zone z{.addr = addr, .size = size, .pio = pio};
        return host.ioctl(td.vm, request, &z);
    }
    Host host;
    Td td{host};
};

TEST_F(TdExits, AFilteredMsrIsAnInvalidOperand)
{
    ASSERT_EQ(deny(kPat, KVM_MSR_FILTER_WRITE), 0);
    td.tdvmcall(kRdmsr, kPat); // reading is allowed
    td.tdvmcall(kWrmsr, kPat, 0x0606060606060606);
    td.expect_answer(TDVMCALL_STATUS_INVALID_OPERAND, kWrmsr);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

TEST_F(TdExits, UserSpaceMayAnswerWhatIsFiltered)
{
    td.enable(KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_FILTER);
    ASSERT_EQ(deny(kPowerCtl, KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE), 0);
    td.tdvmcall(kRdmsr, kPowerCtl);
    ASSERT_EQ(td.enter(), 0);
    ASSERT_EQ(td.run->exit_reason, KVM_EXIT_X86_RDMSR);
    EXPECT_EQ(td.run->msr.reason, KVM_MSR_EXIT_REASON_FILTER);
    EXPECT_EQ(td.run->msr.index, kPowerCtl);
    td.run->msr.data = 0x1234;
    td.tdvmcall(kWrmsr, kPowerCtl, 0x77);
    ASSERT_EQ(td.enter(), 0);
    ASSERT_EQ(td.run->exit_reason, KVM_EXIT_X86_WRMSR);
    EXPECT_EQ(td.run->msr.data, 0x77u);
    EXPECT_EQ(host.lp().history.back().gpr[static_cast<unsigned>(spec::Gpr::r11)], 0x1234u);
    td.run->msr.error = 1;
    td.expect_answer(TDVMCALL_STATUS_INVALID_OPERAND, kWrmsr);
    ASSERT_EQ(td.enter(), 0);
}

TEST_F(TdExits, AnUnknownMsrOfATdIsInvalidNotUnknown)
{
    td.enable(KVM_CAP_X86_USER_SPACE_MSR, KVM_MSR_EXIT_REASON_INVAL);
    td.tdvmcall(kRdmsr, 0xc0011029);
    ASSERT_EQ(td.enter(), 0);
    ASSERT_EQ(td.run->exit_reason, KVM_EXIT_X86_RDMSR);
    EXPECT_EQ(td.run->msr.reason, KVM_MSR_EXIT_REASON_INVAL);
}

TEST_F(TdExits, TheX2apicIsNeverFiltered)
{
    ASSERT_EQ(deny(0x80f, KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE, KVM_MSR_FILTER_DEFAULT_DENY), 0);
    td.tdvmcall(kWrmsr, 0x80f, 0x1ff);
    td.expect_answer(0, kWrmsr);
    ASSERT_EQ(td.enter(), 0);
}

TEST_F(TdExits, FiltersAreChecked)
{
    EXPECT_EQ(deny(kPat, 0), -EINVAL);
    EXPECT_EQ(deny(kPat, 4), -EINVAL);
    EXPECT_EQ(deny(kPat, KVM_MSR_FILTER_READ, 2), -EINVAL);
    kvm_msr_filter filter{};
    EXPECT_EQ(host.ioctl(td.vm, KVM_X86_SET_MSR_FILTER, &filter), 0); // no filter
    filter.flags = KVM_MSR_FILTER_DEFAULT_DENY;
    EXPECT_EQ(host.ioctl(td.vm, KVM_X86_SET_MSR_FILTER, &filter), -EINVAL); // nothing would be left
    filter.ranges[3] = {.flags = 1, .nmsrs = 0x600 * 8 + 1, .base = 0, .pad = 0, .bitmap = 8};
    EXPECT_EQ(host.ioctl(td.vm, KVM_X86_SET_MSR_FILTER, &filter), -EINVAL);
    filter.ranges[3].nmsrs = 64;
    EXPECT_EQ(host.ioctl(td.vm, KVM_X86_SET_MSR_FILTER, &filter), -EFAULT);
}

TEST_F(TdExits, WritesToAZoneAreQueuedUntilTheRingIsFull)
{
    ASSERT_EQ(zone(KVM_REGISTER_COALESCED_MMIO, kDevice, 0x10, 0), 0);
    ASSERT_EQ(zone(KVM_REGISTER_COALESCED_MMIO, 0x70, 1, 1), 0);
    EXPECT_EQ(zone(KVM_REGISTER_COALESCED_MMIO, 0x70, 1, 2), -EINVAL);
    td.tdvmcall(kMmio, 4, 1, kDevice | kShared | 8, 0x12345678);
    td.tdvmcall(kIo, 1, 1, 0x70, 0x5a);
    td.tdvmcall(kMmio, 4, 1, kDevice | kShared | 0xe, 1); // leaves the zone: an exit
    ASSERT_EQ(td.enter(), 0);
    ASSERT_EQ(td.run->exit_reason, KVM_EXIT_MMIO);
    EXPECT_EQ(td.run->mmio.phys_addr, kDevice + 0xe);
    EXPECT_EQ(ring().first, 0u);
    ASSERT_EQ(ring().last, 2u);
    EXPECT_EQ(entries()[0].phys_addr, kDevice + 8);
    EXPECT_EQ(entries()[0].len, 4u);
    EXPECT_EQ(entries()[0].data[0], 0x78);
    EXPECT_EQ(entries()[1].pio, 1u);
    EXPECT_EQ(entries()[1].phys_addr, 0x70u);
    ring().first = 3; // full: one entry is kept free
    td.tdvmcall(kMmio, 4, 1, kDevice | kShared, 2);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_MMIO);
    ring().first = 2; // the VMM caught up
    td.tdvmcall(kMmio, 4, 1, kDevice | kShared, 3);
    td.tdvmcall(kMmio, 4, 0, kDevice | kShared); // reads are never queued
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->mmio.is_write, 0);
    EXPECT_EQ(ring().last, 3u);
    ring().last = 1000; // nonsense: not followed
    td.tdvmcall(kMmio, 4, 1, kDevice | kShared, 4);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_MMIO);
    ring().last = 2;
    EXPECT_EQ(zone(KVM_UNREGISTER_COALESCED_MMIO, kDevice, 0x10, 0), 0);
    EXPECT_EQ(zone(KVM_UNREGISTER_COALESCED_MMIO, kDevice, 0x10, 0), 0); // none: no error, as in KVM
    td.tdvmcall(kMmio, 4, 1, kDevice | kShared, 5);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(ring().last, 2u);
}

} // namespace
} // namespace seamless
