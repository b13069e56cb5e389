// SPDX-License-Identifier: Apache-2.0
// MTRRs are state that nothing follows: what a plain VM and its VMM read and write there, what a TD gets from
// the TDX module (#VE) and by TDVMCALL, and which values KVM refuses. SDM: "Memory Type Range Registers".
#include "abi/plain_vm.h"
#include "abi/td_robot.h"
#include "spec/vmx.h"

namespace seamless::abi {
namespace {

constexpr u32 kCap = 0xfe, kBase0 = 0x200, kMask0 = 0x201, kBase7 = 0x20e, kMask7 = 0x20f, kFix64k = 0x250;
constexpr u32 kFix16k = 0x258, kFix4kFirst = 0x268, kFix4kLast = 0x26f, kDefType = 0x2ff;
constexpr u64 kEight = 0x0606060606060606; // write-back, eight times
constexpr unsigned kWidth = 52;            // of addresses, as the CPUID of both kinds of guest says

// All there are. Cap apart, each is 0 in the beginning.
std::vector<u32> all_mtrrs()
{
    std::vector<u32> all;
    for (u32 index = kBase0; index <= kMask7; ++index)
        all.push_back(index);
    for (const u32 index : {kFix64k, kFix16k, kFix16k + 1})
        all.push_back(index);
    for (u32 index = kFix4kFirst; index <= kFix4kLast; ++index)
        all.push_back(index);
    all.push_back(kDefType);
    return all;
}

// Numbers among theirs that are none.
constexpr u32 kHoles[] = {0x210, 0x24f, 0x251, 0x257, 0x25a, 0x267};

// A value that differs from register to register.
u64 legal_value(u32 index)
{
    if (index == kDefType)
        return 0xc06;
    if (index >= kFix64k)
        return kEight ^ u64 { 2 } << (index % 8 * 8); // one WT among them
    return (index & 1 ? 0x800 : 6) | u64{index} << 20;
}

struct Write {
    u32 index;
    u64 value;
    bool allowed;
};
// clang-format off
constexpr Write kWrites[] = {
    {kCap, 0x508, false}, {kCap, 0, false},
    {kDefType, 0xc00, true}, {kDefType, 0xc01, true}, {kDefType, 0xc04, true}, {kDefType, 0xc05, true},
    {kDefType, 0xc06, true}, {kDefType, 0xc02, false}, {kDefType, 0xc03, false}, {kDefType, 0xc07, false},
    {kDefType, 0xc08, false}, {kDefType, 0xc80, false}, {kDefType, bit(8), false}, {kDefType, bit(9), false},
    {kDefType, bit(12), false}, {kDefType, bit(63), false},
    {kBase0, 0x1006, true}, {kBase0, 0, true}, {kBase7, 4, true}, {kBase0, 2, false}, {kBase0, 3, false},
    {kBase7, 7, false}, {kBase0, 8, false}, {kBase0, 0x106, false}, {kBase0, 0x806, false},
    {kBase0, bit(kWidth - 1), true}, {kBase0, bit(kWidth), false}, {kBase7, bit(63), false},
    {kMask0, bits(kWidth - 1, 11), true}, {kMask7, bit(11), true}, {kMask0, 1, false},
    {kMask0, bit(10), false}, {kMask7, bit(kWidth), false}, {kMask0, bit(63), false},
    {kFix64k, 0x0001040506060000, true}, {kFix64k, 2, false}, {kFix16k, 0x0300000000000000, false},
    {kFix4kLast, 0x0000000700000000, false}, {kFix4kFirst, 0x0800000000000000, false},
    {kFix4kFirst, 0x80, false},
};
// clang-format on

class PlainMtrr : public testing::Test {
  protected:
    PlainMtrr()
    {
        struct {
            kvm_cpuid2 header;
            kvm_cpuid_entry2 entries[2];
        } cpuid{};
        cpuid.header.nent = 2;
        cpuid.entries[0] = {.function = 0x80000000, .eax = 0x80000008};
        cpuid.entries[1] = {.function = 0x80000008, .eax = kWidth};
        EXPECT_EQ(host.ioctl(vm.vcpu, KVM_SET_CPUID2, &cpuid), 0);
    }
    // By KVM_SET_MSRS and KVM_GET_MSRS.
    bool set(u32 index, u64 value) { return msr(KVM_SET_MSRS, index, value); }
    bool get(u32 index, u64& value) { return msr(KVM_GET_MSRS, index, value); }
    // By the guest. False: #GP.
    bool wrmsr(u32 index, u64 value) { return execute(0x30, index, value); }
    bool rdmsr(u32 index, u64& value)
    {
        const bool done = execute(0x32, index, 0);
        value = vm.regs.rdx << 32 | vm.regs.rax;
        return done;
    }
    void expect_value(u32 index, u64 expected)
    {
        u64 value = ~expected;
        EXPECT_TRUE(get(index, value));
        EXPECT_EQ(value, expected) << std::hex << index;
        EXPECT_TRUE(rdmsr(index, value));
        EXPECT_EQ(value, expected) << std::hex << index;
    }

    Host host;
    PlainVm vm{host};

  private:
    bool msr(u32 request, u32 index, u64& value)
    {
        struct {
            kvm_msrs head;
            kvm_msr_entry entry;
        } msrs{};
        msrs.head.nmsrs = 1;
        msrs.entry.index = index;
        msrs.entry.data = value;
        const bool done = host.ioctl(vm.vcpu, request, &msrs) == 1;
        value = msrs.entry.data;
        return done;
    }
    bool execute(u8 opcode, u32 index, u64 value)
    {
        vm.regs.rip = kCode;
        vm.regs.rsp = kStack;
        vm.regs.rcx = index;
        vm.regs.rax = static_cast<u32>(value);
        vm.regs.rdx = value >> 32;
        EXPECT_EQ(vm.start({0x0f, opcode}), KVM_EXIT_HLT);
        return vm.regs.rip == kCode + 3;
    }
};

TEST_F(PlainMtrr, BeginAsZeroAndTheCapabilitiesSayWhichThereAre)
{
    expect_value(kCap, 0x508); // eight variable, fixed, write-combining
    for (const u32 index : all_mtrrs())
        expect_value(index, 0);
}

TEST_F(PlainMtrr, KeepWhatTheGuestOrUserSpaceWrites)
{
    for (const u32 index : all_mtrrs())
        EXPECT_TRUE(wrmsr(index, legal_value(index))) << std::hex << index;
    for (const u32 index : all_mtrrs())
        expect_value(index, legal_value(index));
    for (const u32 index : all_mtrrs())
        EXPECT_TRUE(set(index, 0));
    expect_value(kFix4kLast, 0);
    for (const u32 index : all_mtrrs())
        EXPECT_TRUE(set(index, legal_value(index)));
    for (const u32 index : all_mtrrs())
        expect_value(index, legal_value(index));
}

TEST_F(PlainMtrr, TakeNoReservedTypesNorBits)
{
    for (const Write& w : kWrites) {
        SCOPED_TRACE(testing::Message() << std::hex << w.index << " " << w.value);
        u64 before = 0, after = 0;
        EXPECT_TRUE(get(w.index, before));
        EXPECT_EQ(wrmsr(w.index, w.value), w.allowed);
        EXPECT_TRUE(get(w.index, after));
        EXPECT_EQ(after, w.allowed ? w.value : before);
        EXPECT_EQ(set(w.index, w.value), w.allowed) << "user space may no more";
        EXPECT_TRUE(get(w.index, after));
        EXPECT_EQ(after, w.allowed ? w.value : before);
    }
}

TEST_F(PlainMtrr, HaveAddressesAsWideAsTheGuests)
{
    kvm_cpuid2 none{};
    EXPECT_EQ(host.ioctl(vm.vcpu, KVM_SET_CPUID2, &none), 0); // 36 bits
    EXPECT_TRUE(set(kBase0, bit(35)));
    EXPECT_FALSE(set(kBase0, bit(36)));
    EXPECT_FALSE(wrmsr(kMask7, bit(36)));
}

TEST_F(PlainMtrr, HaveHolesThatAreInvalidRatherThanUnknown)
{
    kvm_enable_cap cap{};
    cap.cap = KVM_CAP_X86_USER_SPACE_MSR;
    cap.args[0] = KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN;
    u64 value = 0;
    for (const u32 index : kHoles) {
        EXPECT_FALSE(rdmsr(index, value)) << std::hex << index;
        EXPECT_FALSE(wrmsr(index, 0));
        EXPECT_FALSE(get(index, value));
        EXPECT_FALSE(set(index, 0));
    }
    ASSERT_EQ(host.ioctl(vm.vm, KVM_ENABLE_CAP, &cap), 0);
    vm.regs.rip = kCode;
    vm.regs.rcx = kHoles[0];
    EXPECT_EQ(vm.start({0x0f, 0x32}), KVM_EXIT_X86_RDMSR);
    EXPECT_EQ(vm.run->msr.reason, KVM_MSR_EXIT_REASON_INVAL);
}

class TdMtrr : public testing::Test {
  protected:
    static constexpr u64 kRdmsr = 31, kWrmsr = 32;
    volatile Mailbox& execute(Mailbox::Order what, u32 index, u64 value = 0)
    {
        Mailbox order{};
        order.order = what;
        order.rcx = index;
        order.rax = static_cast<u32>(value);
        order.rdx = value >> 32;
        td.carry_out(0, order);
        return td.mailbox();
    }
    void expect_ve(Mailbox::Order what, u32 index, spec::ExitReason reason)
    {
        const volatile Mailbox& m = execute(what, index);
        EXPECT_EQ(m.ve_count, 1u) << std::hex << index;
        EXPECT_EQ(m.ve_reason, static_cast<u64>(reason));
        EXPECT_EQ(m.gp_count, 0u);
    }
    bool set(u32 index, u64 value) { return td.vmcall(kWrmsr, index, value).r10 == 0; }
    bool get(u32 index, u64& value)
    {
        const Mailbox m = td.vmcall(kRdmsr, index);
        value = m.r11;
        return m.r10 == 0;
    }
    Host host;
    TdRobot td{host};
};

TEST_F(TdMtrr, AreTheHostsToVirtualize)
{
    expect_ve(Mailbox::rdmsr, kCap, spec::ExitReason::MSR_READ);
    EXPECT_EQ(execute(Mailbox::wrmsr, kCap).gp_count, 1u) << "read-only, says the TDX module itself";
    EXPECT_EQ(td.mailbox().gp_error, 0u);
    EXPECT_EQ(td.mailbox().ve_count, 0u);
    for (const u32 index : {kBase0, kMask7, kFix64k, kFix4kLast, kDefType, kHoles[0]}) {
        expect_ve(Mailbox::rdmsr, index, spec::ExitReason::MSR_READ);
        expect_ve(Mailbox::wrmsr, index, spec::ExitReason::MSR_WRITE);
    }
}

TEST_F(TdMtrr, AreStateOfKvmsByTdvmcall)
{
    u64 value = 0;
    EXPECT_TRUE(get(kCap, value));
    EXPECT_EQ(value, 0x508u);
    for (const u32 index : all_mtrrs()) {
        EXPECT_TRUE(get(index, value));
        EXPECT_EQ(value, 0u);
        EXPECT_TRUE(set(index, legal_value(index))) << std::hex << index;
    }
    for (const u32 index : all_mtrrs()) {
        EXPECT_TRUE(get(index, value));
        EXPECT_EQ(value, legal_value(index));
    }
}

TEST_F(TdMtrr, TakeNoReservedTypesNorBits)
{
    for (const Write& w : kWrites) {
        u64 before = 0, after = 0;
        EXPECT_TRUE(get(w.index, before));
        EXPECT_EQ(set(w.index, w.value), w.allowed) << std::hex << w.index << " " << w.value;
        EXPECT_TRUE(get(w.index, after));
        EXPECT_EQ(after, w.allowed ? w.value : before);
    }
    u64 value = 0;
    for (const u32 index : kHoles) {
        EXPECT_FALSE(set(index, 0)) << std::hex << index;
        EXPECT_FALSE(get(index, value));
    }
}

} // namespace
} // namespace seamless::abi
