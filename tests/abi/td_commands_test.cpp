// SPDX-License-Identifier: Apache-2.0
// The commands of a TD before it runs, KVM_MEMORY_ENCRYPT_OP: what each answers, and all that it refuses.
#include "abi/host.h"
#include "rig/td_vm.h"

namespace seamless::abi {
namespace {

using spec::TdxStatus;

constexpr u32 kTooMany = 257;

struct Capabilities {
    kvm_tdx_capabilities head;
    kvm_cpuid_entry2 entries[kTooMany];
};
struct InitVm {
    kvm_tdx_init_vm head;
    kvm_cpuid_entry2 entries[kTooMany];
};
struct Cpuid {
    kvm_cpuid2 head;
    kvm_cpuid_entry2 entries[kTooMany];
};

template <typename Table>
kvm_cpuid_entry2* find(Table& table, u32 nent, u32 leaf, u32 subleaf = 0)
{
    const auto end = table.entries + nent;
    const auto found = std::find_if(table.entries, end, [&](const kvm_cpuid_entry2& e) {
        return e.function == leaf && e.index == subleaf;
    });
    return found == end ? nullptr : found;
}

class TdCommandsFixture : public testing::Test {
  protected:
    TdCommandsFixture()
    {
        EXPECT_GE(td.create(host.sys), 0);
        good.head.attributes = spec::td_attributes::SEPT_VE_DISABLE;
        good.head.xfam = 3;
        good.head.cpuid.nent = 1;
        good.entries[0] = {.function = 0x80000008, .eax = 48u << 16};
    }
    // With hw_error as it comes back.
    long command(int fd, u32 id, const void* data, u32 flags = 0, u64 error_in = 0)
    {
        kvm_tdx_cmd cmd{.id = id, .flags = flags, .data = reinterpret_cast<u64>(data), .hw_error = error_in};
        const long r = host.ioctl(fd, KVM_MEMORY_ENCRYPT_OP, &cmd);
        hw_error = cmd.hw_error;
        return r;
    }
    // KVM_TDX_INIT_VM with something else than what is good.
    template <typename Change>
    long init_with(Change change)
    {
        auto arg = std::make_unique<InitVm>(good);
        change(*arg);
        return command(td.vm, KVM_TDX_INIT_VM, arg.get());
    }
    void init_vm()
    {
        ASSERT_EQ(td.enable_apics(), 0);
        ASSERT_EQ(command(td.vm, KVM_TDX_INIT_VM, &good), 0);
    }
    void expect_hw_error(spec::TdxOperand operand)
    {
        EXPECT_EQ(spec::status_of(hw_error), TdxStatus::OPERAND_INVALID);
        EXPECT_EQ(static_cast<u32>(hw_error), static_cast<u32>(operand));
    }
    Host host;
    rig::TdVm td{*host.device};
    InitVm good{};
    u64 hw_error = 0;
};

using TdCapabilities = TdCommandsFixture;

TEST_F(TdCapabilities, SayWhatATdMayHave)
{
    Capabilities caps{};
    caps.head.cpuid.nent = kTooMany;
    caps.head.reserved[3] = 99;
    ASSERT_EQ(command(td.vm, KVM_TDX_CAPABILITIES, &caps), 0);
    EXPECT_EQ(caps.head.supported_attrs, spec::td_attributes::SEPT_VE_DISABLE);
    EXPECT_EQ(caps.head.supported_xfam & 3, 3u);
    EXPECT_EQ(caps.head.user_tdvmcallinfo_1_r11, 2u); // SetupEventNotifyInterrupt
    EXPECT_EQ(caps.head.kernel_tdvmcallinfo_1_r11, 0u);
    EXPECT_EQ(caps.head.kernel_tdvmcallinfo_1_r12, 0u);
    EXPECT_EQ(caps.head.user_tdvmcallinfo_1_r12, 0u);
    EXPECT_EQ(caps.head.reserved[3], 0u);
    const u32 nent = caps.head.cpuid.nent;
    const kvm_cpuid_entry2* width = find(caps, nent, 0x80000008);
    ASSERT_TRUE(width);
    EXPECT_EQ(width->flags, 0u); // no subleaf, shown as 0
    EXPECT_EQ(width->eax >> 16, 0xffu);
    const kvm_cpuid_entry2* features = find(caps, nent, 7);
    ASSERT_TRUE(features);
    EXPECT_EQ(features->flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
    EXPECT_EQ(features->ebx & (1u << 4 | 1u << 11), 0u); // HLE, RTM
    EXPECT_EQ(features->ecx & 1u << 5, 0u);              // WAITPKG
    ASSERT_TRUE(find(caps, nent, 4, 3));
}

TEST_F(TdCapabilities, NeedRoomForEachLeaf)
{
    Capabilities caps{};
    caps.head.cpuid.nent = kTooMany;
    ASSERT_EQ(command(td.vm, KVM_TDX_CAPABILITIES, &caps), 0);
    const u32 needed = caps.head.cpuid.nent;
    ASSERT_GT(needed, 1u);
    ASSERT_LT(needed, kTooMany);
    caps = {};
    caps.head.cpuid.nent = needed - 1;
    EXPECT_EQ(command(td.vm, KVM_TDX_CAPABILITIES, &caps), -E2BIG);
    EXPECT_EQ(caps.head.cpuid.nent, needed - 1); // nothing is written, not even the number
    EXPECT_EQ(caps.head.supported_attrs, 0u);
    caps.head.cpuid.nent = needed;
    EXPECT_EQ(command(td.vm, KVM_TDX_CAPABILITIES, &caps), 0);
    EXPECT_NE(caps.entries[needed - 1].function, 0u);
    EXPECT_EQ(caps.entries[needed].function, 0u);
}

TEST_F(TdCapabilities, AreRefusedForOtherReasonsAndAllowedInAnyState)
{
    Capabilities caps{};
    caps.head.cpuid.nent = kTooMany;
    EXPECT_EQ(command(td.vm, KVM_TDX_CAPABILITIES, &caps, 1), -EINVAL);
    EXPECT_EQ(command(td.vm, KVM_TDX_CAPABILITIES, &caps, 0, 1), -EINVAL);
    EXPECT_EQ(command(td.vm, KVM_TDX_CAPABILITIES, nullptr), -EFAULT);
    init_vm();
    EXPECT_EQ(command(td.vm, KVM_TDX_CAPABILITIES, &caps), 0);
    ASSERT_EQ(td.finalize(), 0);
    caps.head.cpuid.nent = kTooMany;
    EXPECT_EQ(command(td.vm, KVM_TDX_CAPABILITIES, &caps), 0);
}

using TdInitVm = TdCommandsFixture;

TEST_F(TdInitVm, RefusesEachWrongParameter)
{
    EXPECT_EQ(command(td.vm, KVM_TDX_INIT_VM, &good, 1), -EINVAL); // flags
    EXPECT_EQ(command(td.vm, KVM_TDX_INIT_VM, &good, 0, 1), -EINVAL);
    EXPECT_EQ(hw_error, 1u);
    EXPECT_EQ(command(td.vm, KVM_TDX_INIT_VM, nullptr), -EFAULT);
    EXPECT_EQ(init_with([](InitVm& p) { p.head.cpuid.nent = kTooMany; }), -E2BIG);
    for (const unsigned word : {0u, 11u})
        EXPECT_EQ(init_with([&](InitVm& p) { p.head.reserved[word] = 1; }), -EINVAL);
    EXPECT_EQ(init_with([](InitVm& p) { p.head.cpuid.padding = 1; }), -EINVAL);
    EXPECT_EQ(init_with([](InitVm& p) { p.head.attributes |= spec::td_attributes::DEBUG; }), -EINVAL);
    EXPECT_EQ(init_with([](InitVm& p) { p.head.attributes |= bit(63); }), -EINVAL);
    EXPECT_EQ(init_with([](InitVm& p) { p.head.xfam |= bit(63); }), -EINVAL);
    EXPECT_EQ(init_with([](InitVm& p) { p.head.cpuid.nent = 0; }), -EINVAL); // no width
    EXPECT_EQ(hw_error, 0u);                                                 // the module was never asked
    // What follows is not the first TD that fails: nothing is left of the others.
    EXPECT_EQ(init_with([](InitVm&) {}), 0);
    EXPECT_EQ(init_with([](InitVm&) {}), -EINVAL); // once only
}

TEST_F(TdInitVm, KnowsTwoWidths)
{
    for (const u32 width : {0u, 47u, 49u, 51u, 53u, 255u})
        EXPECT_EQ(init_with([&](InitVm& p) { p.entries[0].eax = width << 16; }), -EINVAL) << width;
    EXPECT_EQ(init_with([](InitVm& p) { p.entries[0].eax = 52u << 16; }), 0);
}

TEST_F(TdInitVm, EachCpuidEntryNeedsAConfigurableLeaf)
{
    const auto with = [&](const kvm_cpuid_entry2& entry) {
        return init_with([&](InitVm& p) { p.entries[p.head.cpuid.nent++] = entry; });
    };
    constexpr u32 kSubleaf = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
    EXPECT_EQ(with({.function = 0x40000000}), -EINVAL);
    EXPECT_EQ(with({.function = 0}), -EINVAL);                                     // the module's own
    EXPECT_EQ(with({.function = 7}), -EINVAL);                                     // without its subleaf
    EXPECT_EQ(with({.function = 1, .flags = kSubleaf}), -EINVAL);                  // with one
    EXPECT_EQ(with({.function = 4, .index = 9, .flags = kSubleaf}), -EINVAL);      // no such
    EXPECT_EQ(with({.function = 0x80000008, .eax = 48u << 16}), -EINVAL);          // twice
    EXPECT_EQ(with({.function = 7, .flags = kSubleaf, .ebx = 1u << 4}), -EINVAL);  // HLE
    EXPECT_EQ(with({.function = 7, .flags = kSubleaf, .ebx = 1u << 11}), -EINVAL); // RTM
    EXPECT_EQ(with({.function = 7, .flags = kSubleaf, .ecx = 1u << 5}), -EINVAL);  // WAITPKG
    EXPECT_EQ(hw_error, 0u);
    EXPECT_EQ(with({.function = 7, .flags = kSubleaf}), 0);
}

TEST_F(TdInitVm, AStatusOfTheModuleComesBackAndTheTdCanBeTriedAgain)
{
    // A bit of leaf 80000008H that is nobody's to choose.
    EXPECT_EQ(init_with([](InitVm& p) { p.entries[0].ecx = 1; }), -EINVAL);
    expect_hw_error(spec::TdxOperand::CPUID_CONFIG);
    ASSERT_EQ(host.ioctl(td.vm, KVM_SET_TSC_KHZ, 50'000), 0); // below the module's 100 MHz
    EXPECT_EQ(init_with([](InitVm&) {}), -EINVAL);
    expect_hw_error(spec::TdxOperand::TSC_FREQUENCY);
    ASSERT_EQ(host.ioctl(td.vm, KVM_SET_TSC_KHZ, 100'000), 0);
    EXPECT_EQ(init_with([](InitVm&) {}), 0);
    EXPECT_EQ(hw_error, 0u);
}

TEST_F(TdInitVm, AFailureKeepsNoKey)
{
    for (int i = 0; i < 40; ++i) // more than there are keys
        ASSERT_EQ(init_with([](InitVm& p) { p.entries[0].ecx = 1; }), -EINVAL);
    EXPECT_EQ(init_with([](InitVm&) {}), 0);
}

using TdFinalize = TdCommandsFixture;

TEST_F(TdFinalize, IsOnceAndAfterInitVm)
{
    EXPECT_EQ(command(td.vm, KVM_TDX_FINALIZE_VM, nullptr), -EINVAL);
    init_vm();
    EXPECT_EQ(command(td.vm, KVM_TDX_FINALIZE_VM, nullptr, 0, 1), -EINVAL);
    EXPECT_EQ(command(td.vm, KVM_TDX_GET_CPUID, nullptr), -EINVAL); // a vCPU's
    EXPECT_EQ(command(td.vm, KVM_TDX_FINALIZE_VM, nullptr, 1), 0);  // flags are not looked at
    EXPECT_EQ(command(td.vm, KVM_TDX_FINALIZE_VM, nullptr), -EINVAL);
}

using TdCreateVcpu = TdCommandsFixture;

TEST_F(TdCreateVcpu, NeedsASplitIrqchip)
{
    ASSERT_EQ(command(td.vm, KVM_TDX_INIT_VM, &good), 0);
    EXPECT_EQ(host.ioctl(td.vm, KVM_CREATE_VCPU), -EINVAL);
    ASSERT_EQ(td.enable_apics(), 0);
    EXPECT_GE(host.ioctl(td.vm, KVM_CREATE_VCPU), 0);
    EXPECT_EQ(host.ioctl(td.vm, KVM_CREATE_VCPU), -EEXIST);
}

TEST_F(TdCreateVcpu, IsNeitherBeforeInitVmNorAfterFinalize)
{
    ASSERT_EQ(td.enable_apics(), 0);
    EXPECT_EQ(host.ioctl(td.vm, KVM_CREATE_VCPU), -EIO);
    ASSERT_EQ(command(td.vm, KVM_TDX_INIT_VM, &good), 0);
    ASSERT_EQ(td.finalize(), 0);
    EXPECT_EQ(host.ioctl(td.vm, KVM_CREATE_VCPU), -EIO);
}

TEST_F(TdCreateVcpu, ATdHasAsManyAsTheHostHasProcessors)
{
    init_vm();
    for (u64 id = 0; id < 6; ++id)
        ASSERT_GE(host.ioctl(td.vm, KVM_CREATE_VCPU, id), 0);
    EXPECT_EQ(host.ioctl(td.vm, KVM_CREATE_VCPU, 6), -EINVAL);
}

// A TD with a vCPU that the module does not know yet.
class TdVcpuCommands : public TdCommandsFixture {
  protected:
    static constexpr u64 kRam = 0x400000;

    TdVcpuCommands()
    {
        init_vm();
        vcpu = static_cast<int>(td.create_vcpu());
        EXPECT_GE(vcpu, 0);
    }
    // And then one that is, with a slot of private memory.
    void init()
    {
        ASSERT_EQ(td.init_vcpu(vcpu, 0), 0);
        gmem = static_cast<int>(td.add_private(1, kRam, shared));
        ASSERT_GE(gmem, 0);
    }
    long add(kvm_tdx_init_mem_region& region, u32 flags = 0)
    {
        return command(vcpu, KVM_TDX_INIT_MEM_REGION, &region, flags);
    }
    // A region that must be refused without moving.
    long refused(u64 source, u64 gpa, u64 pages, u32 flags = 0)
    {
        kvm_tdx_init_mem_region region{.source_addr = source, .gpa = gpa, .nr_pages = pages};
        const long r = add(region, flags);
        EXPECT_EQ(region.source_addr, source);
        EXPECT_EQ(region.gpa, gpa);
        EXPECT_EQ(region.nr_pages, pages);
        return r;
    }
    int vcpu = -1, gmem = -1;
    Memory shared{8 * kPageSize}, content{8 * kPageSize};
};

TEST_F(TdVcpuCommands, RefuseAWrongCommand)
{
    EXPECT_EQ(host.ioctl(vcpu, KVM_MEMORY_ENCRYPT_OP, u64{8}), -EFAULT);
    EXPECT_EQ(command(vcpu, 99, nullptr), -EINVAL);
    EXPECT_EQ(command(vcpu, KVM_TDX_CAPABILITIES, nullptr), -EINVAL); // a VM's
    EXPECT_EQ(command(vcpu, KVM_TDX_INIT_VCPU, nullptr, 0, 1), -EINVAL);
    EXPECT_EQ(command(vcpu, KVM_TDX_INIT_VCPU, nullptr, 1), -EINVAL);
    EXPECT_EQ(command(vcpu, KVM_TDX_INIT_VCPU, nullptr), 0);
    EXPECT_EQ(command(vcpu, KVM_TDX_INIT_VCPU, nullptr), -EINVAL);
}

TEST_F(TdVcpuCommands, InitVcpuNeedsAnX2apicInItsCpuid)
{
    const int other = static_cast<int>(host.ioctl(td.vm, KVM_CREATE_VCPU, 1));
    ASSERT_GE(other, 0);
    EXPECT_EQ(td.init_vcpu(other, 0), -EINVAL); // no CPUID at all
    Cpuid cpuid{};
    cpuid.head.nent = 2;
    cpuid.entries[0] = {.function = 0, .eax = 1};
    cpuid.entries[1] = {.function = 1, .ecx = 1u << 24};
    ASSERT_EQ(host.ioctl(other, KVM_SET_CPUID2, &cpuid), 0);
    EXPECT_EQ(td.init_vcpu(other, 0), -EINVAL);
    cpuid.entries[1].ecx |= 1u << 21;
    ASSERT_EQ(host.ioctl(other, KVM_SET_CPUID2, &cpuid), 0);
    EXPECT_EQ(td.init_vcpu(other, 0), 0);
}

TEST_F(TdVcpuCommands, GetCpuidShowsWhatTheModuleMadeOfIt)
{
    Cpuid cpuid{};
    EXPECT_EQ(command(vcpu, KVM_TDX_GET_CPUID, &cpuid), -E2BIG);
    const u32 needed = cpuid.head.nent;
    ASSERT_GT(needed, 10u);
    ASSERT_LT(needed, kTooMany);
    cpuid.head.nent = needed - 1;
    EXPECT_EQ(command(vcpu, KVM_TDX_GET_CPUID, &cpuid), -E2BIG);
    EXPECT_EQ(cpuid.head.nent, needed);
    EXPECT_EQ(cpuid.entries[0].ebx, 0u);                       // nothing but the number
    ASSERT_EQ(command(vcpu, KVM_TDX_GET_CPUID, &cpuid, 1), 0); // flags are not looked at
    EXPECT_EQ(cpuid.head.nent, needed);
    EXPECT_EQ(cpuid.entries[0].function, 0u);
    EXPECT_EQ(cpuid.entries[0].ebx, 0x756e6547u); // "Genu"
    const kvm_cpuid_entry2* width = find(cpuid, needed, 0x80000008);
    ASSERT_TRUE(width);
    EXPECT_EQ(field(width->eax, 23, 16), 48u);
    EXPECT_EQ(width->eax & 0xff, 52u);
    const kvm_cpuid_entry2* features = find(cpuid, needed, 7);
    ASSERT_TRUE(features);
    EXPECT_EQ(features->flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
    const kvm_cpuid_entry2* tdx = find(cpuid, needed, 0x21);
    ASSERT_TRUE(tdx);
    EXPECT_EQ(tdx->ebx, 0x65746e49u); // "Inte"
    ASSERT_TRUE(find(cpuid, needed, 0x80000000));
}

TEST_F(TdVcpuCommands, GetCpuidIsRefusedForAWrongPointerAndOnceTheTdIsFinal)
{
    Cpuid cpuid{};
    cpuid.head.nent = kTooMany;
    EXPECT_EQ(command(vcpu, KVM_TDX_GET_CPUID, nullptr), -EFAULT);
    EXPECT_EQ(command(vcpu, KVM_TDX_GET_CPUID, &cpuid, 0, 1), -EINVAL);
    ASSERT_EQ(td.finalize(), 0);
    EXPECT_EQ(command(vcpu, KVM_TDX_GET_CPUID, &cpuid), -EINVAL);
    EXPECT_EQ(cpuid.head.nent, kTooMany);
}

TEST_F(TdVcpuCommands, InitMemRegionRefusesEachWrongRange)
{
    const u64 source = content.address();
    EXPECT_EQ(refused(source, kRam, 1), -EINVAL); // the module does not know the vCPU
    init();
    EXPECT_EQ(refused(source + 1, kRam, 1), -EINVAL);
    EXPECT_EQ(refused(source, kRam + 1, 1), -EINVAL);
    EXPECT_EQ(refused(source, kRam, 0), -EINVAL);
    EXPECT_EQ(refused(source, kRam, bit(52)), -EINVAL);                  // the size wraps
    EXPECT_EQ(refused(source, kRam, (bit(63) >> 11) - 1), -EINVAL);      // the end wraps
    EXPECT_EQ(refused(source, kRam | bit(47), 1), -EINVAL);              // shared
    EXPECT_EQ(refused(source, bit(47) - kPageSize, 2), -EINVAL);         // its end is
    EXPECT_EQ(refused(source, kRam, 1, 2), -EINVAL);                     // no such flag
    EXPECT_EQ(command(vcpu, KVM_TDX_INIT_MEM_REGION, nullptr), -EFAULT); // no range
    EXPECT_EQ(refused(source, kRam + shared.bytes, 1), -EINVAL);         // no slot
    ASSERT_EQ(td.set_slot(2, 0x800000, kPageSize, content.at), 0);
    ASSERT_EQ(td.set_attributes(0x800000, kPageSize, KVM_MEMORY_ATTRIBUTE_PRIVATE), 0);
    EXPECT_EQ(refused(source, 0x800000, 1), -EINVAL); // a slot without a file
    ASSERT_EQ(td.set_attributes(kRam, kPageSize, 0), 0);
    EXPECT_EQ(refused(source, kRam, 1), -EINVAL); // the frame is shared
    ASSERT_EQ(td.set_attributes(kRam, kPageSize, KVM_MEMORY_ATTRIBUTE_PRIVATE), 0);
    EXPECT_EQ(refused(8 * kPageSize, kRam, 1), -EFAULT); // nothing is there
    EXPECT_EQ(td.load(vcpu, kRam, content, 1), 0);       // with nothing wrong
}

TEST_F(TdVcpuCommands, InitMemRegionTellsHowFarItCame)
{
    init();
    kvm_tdx_init_mem_region region{.source_addr = content.address(), .gpa = kRam, .nr_pages = 2};
    ASSERT_EQ(add(region, KVM_TDX_MEASURE_MEMORY_REGION), 0);
    EXPECT_EQ(region.source_addr, content.address() + 2 * kPageSize);
    EXPECT_EQ(region.gpa, kRam + 2 * kPageSize);
    EXPECT_EQ(region.nr_pages, 0u);
    // Three pages ahead lies one that is there already; the pages before it are added.
    kvm_tdx_init_mem_region fourth{
        .source_addr = content.address(), .gpa = kRam + 4 * kPageSize, .nr_pages = 1};
    ASSERT_EQ(add(fourth), 0);
    region.nr_pages = 4;
    EXPECT_EQ(add(region), -EEXIST);
    EXPECT_EQ(region.source_addr, content.address() + 4 * kPageSize);
    EXPECT_EQ(region.gpa, kRam + 4 * kPageSize);
    EXPECT_EQ(region.nr_pages, 2u);
    EXPECT_EQ(td.finalize(), 0);
}

TEST_F(TdVcpuCommands, InitMemRegionStopsForASignalAndGoesOnWhereItWas)
{
    init();
    unsigned added = 0;
    host.trace.watch = [&](const trace::Record& r) {
        if (r.event == Event::tdx_seamcall && std::string_view(r.values[0].text) == "TDH.MEM.PAGE.ADD" &&
            ++added == 3)
            host.device->signal_arrived();
    };
    kvm_tdx_init_mem_region region{.source_addr = content.address(), .gpa = kRam, .nr_pages = 8};
    EXPECT_EQ(add(region), -EINTR);
    EXPECT_EQ(region.source_addr, content.address() + 3 * kPageSize);
    EXPECT_EQ(region.gpa, kRam + 3 * kPageSize);
    EXPECT_EQ(region.nr_pages, 5u);
    EXPECT_EQ(add(region), 0);
    EXPECT_EQ(region.nr_pages, 0u);
    EXPECT_EQ(added, 8u);
    EXPECT_EQ(td.finalize(), 0);
}

TEST_F(TdVcpuCommands, InitMemRegionNeedsTheFileOpen)
{
    init();
    ASSERT_EQ(host.device->close(gmem), 0);
    EXPECT_EQ(refused(content.address(), kRam, 1), -EFAULT);
}

} // namespace
} // namespace seamless::abi
