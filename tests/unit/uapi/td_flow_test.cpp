// SPDX-License-Identifier: Apache-2.0
// TDs and plain VMs built through ioctls, over the real TDX module and processors whose guests are scripts:
// the flow of an MMIO access from the first touch to the VMM's answer, and what breaks when one of its rules
// is taken away.
#include <gtest/gtest.h>

#include <cstring>
#include <sys/mman.h>
#include <thread>
#include <vector>

#include "fakes/scripted_lp.h"
#include "platform/platform.h"
#include "spec/kvm_abi.h"
#include "spec/tdx_abi.h"
#include "uapi/device.h"

namespace seamless {
namespace {

using namespace spec::kvm;
using trace::Event;

constexpr u64 kShared = bit(47), kDevice = 0xfeb00000, kRam = 0x100000;
constexpr u64 kRamBytes = 0x10000;

struct Host {
    explicit Host(const kvm::x86_ops& ops = kvm::vt_x86_ops)
    {
        platform::Parameters p;
        p.make_lp = [](cpu::Package& package, unsigned id) {
            return std::make_unique<fakes::ScriptedLp>(package, id);
        };
        p.logical_processors = 4;
        p.memory_bytes = u64{2} << 30;
        p.trace_sink = &sink;
        p.ops = ops;
        platform = std::move(platform::Platform::create(p)).value();
        device = std::make_unique<uapi::Device>(*platform);
    }

    long ioctl(int fd, unsigned long request, const void* arg = nullptr)
    {
        return device->ioctl(fd, request, const_cast<void*>(arg));
    }
    long ioctl(int fd, unsigned long request, u64 arg)
    {
        return device->ioctl(fd, request, reinterpret_cast<void*>(arg));
    }
    fakes::ScriptedLp& lp(unsigned id = 0)
    {
        return static_cast<fakes::ScriptedLp&>(platform->package().lp(id));
    }

    // Names of the events of `vcpu` 0 that concern the flow, in order.
    std::vector<Event> events()
    {
        std::vector<Event> all;
        for (const auto& r : sink.records)
            if (r.event != Event::tdx_seamcall && r.event != Event::tdx_tdcall)
                all.push_back(r.event);
        return all;
    }

    fakes::RecordingSink sink;
    std::unique_ptr<platform::Platform> platform;
    std::unique_ptr<uapi::Device> device;
};

struct Page {
    explicit Page(u64 n)
        : bytes(n), at(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    {}
    ~Page() { ::munmap(at, bytes); }
    u64 bytes;
    void* at;
};

struct CpuidTable {
    kvm_cpuid2 header;
    kvm_cpuid_entry2 entries[4];
};

// A TD of one vCPU with a page of private memory, ready to run.
struct Td {
    explicit Td(Host& h) : host(h)
    {
        sys = host.device->open();
        vm = static_cast<int>(host.ioctl(sys, KVM_CREATE_VM, KVM_X86_TDX_VM));
        enable(KVM_CAP_SPLIT_IRQCHIP, 24);
        enable(KVM_CAP_X2APIC_API, 3);
        enable(KVM_CAP_EXIT_HYPERCALL, bit(KVM_HC_MAP_GPA_RANGE));
    }

    void enable(u32 cap, u64 arg)
    {
        kvm_enable_cap c{};
        c.cap = cap;
        c.args[0] = arg;
        EXPECT_EQ(host.ioctl(vm, KVM_ENABLE_CAP, &c), 0);
    }
    long command(int fd, u32 id, const void* data, u32 flags = 0)
    {
        kvm_tdx_cmd cmd{.id = id, .flags = flags, .data = reinterpret_cast<u64>(data), .hw_error = 0};
        return host.ioctl(fd, KVM_MEMORY_ENCRYPT_OP, &cmd);
    }
    long init_vm(u32 width = 48)
    {
        struct {
            kvm_tdx_init_vm params;
            kvm_cpuid_entry2 entry;
        } arg{};
        arg.params.attributes = spec::td_attributes::SEPT_VE_DISABLE;
        arg.params.xfam = 3;
        arg.params.cpuid.nent = 1;
        arg.entry.function = 0x80000008;
        arg.entry.eax = width << 16;
        return command(vm, KVM_TDX_INIT_VM, &arg);
    }
    void add_vcpu()
    {
        vcpu = static_cast<int>(host.ioctl(vm, KVM_CREATE_VCPU, u64{0}));
        ASSERT_GE(vcpu, 0);
        run = static_cast<kvm_run*>(host.device->mmap(vcpu, kVcpuMmapSize));
        CpuidTable cpuid{};
        cpuid.header.nent = 1;
        cpuid.entries[0].function = 1;
        cpuid.entries[0].ecx = 1u << 21;
        ASSERT_EQ(host.ioctl(vcpu, KVM_SET_CPUID2, &cpuid), 0);
    }
    void add_memory()
    {
        kvm_create_guest_memfd create{.size = kRamBytes, .flags = 0, .reserved = {}};
        gmem = static_cast<int>(host.ioctl(vm, KVM_CREATE_GUEST_MEMFD, &create));
        ASSERT_GE(gmem, 0);
        kvm_userspace_memory_region2 region{};
        region.flags = KVM_MEM_GUEST_MEMFD;
        region.guest_phys_addr = kRam;
        region.memory_size = kRamBytes;
        region.userspace_addr = reinterpret_cast<u64>(shared.at);
        region.guest_memfd = static_cast<u32>(gmem);
        ASSERT_EQ(host.ioctl(vm, KVM_SET_USER_MEMORY_REGION2, &region), 0);
        kvm_memory_attributes attrs{
            .address = kRam, .size = kRamBytes, .attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE, .flags = 0};
        ASSERT_EQ(host.ioctl(vm, KVM_SET_MEMORY_ATTRIBUTES, &attrs), 0);
    }
    long init_region(u64 gpa, u64 pages)
    {
        kvm_tdx_init_mem_region region{
            .source_addr = reinterpret_cast<u64>(source.at), .gpa = gpa, .nr_pages = pages};
        return command(vcpu, KVM_TDX_INIT_MEM_REGION, &region, KVM_TDX_MEASURE_MEMORY_REGION);
    }
    void build()
    {
        ASSERT_EQ(init_vm(), 0);
        add_vcpu();
        add_memory();
        ASSERT_EQ(command(vcpu, KVM_TDX_INIT_VCPU, nullptr), 0);
        ASSERT_EQ(init_region(kRam, 2), 0);
        ASSERT_EQ(command(vm, KVM_TDX_FINALIZE_VM, nullptr), 0);
        host.sink.records.clear();
    }
    long enter() { return host.ioctl(vcpu, KVM_RUN, u64{0}); }

    void touch_shared(u64 gpa, u64 qualification)
    {
        host.lp().then([=](cpu::Vmcs& v, cpu::GuestContext&) {
            v.exit_reason = static_cast<u32>(spec::ExitReason::EPT_VIOLATION);
            v.exit_qualification = qualification;
            v.guest_physical_address = gpa | kShared;
        });
    }
    void tdvmcall(u64 r11, u64 r12, u64 r13 = 0, u64 r14 = 0, u64 r15 = 0)
    {
        host.lp().then([=](cpu::Vmcs& v, cpu::GuestContext& c) {
            v.exit_reason = static_cast<u32>(spec::ExitReason::TDCALL);
            v.exit_instruction_len = 4;
            v.efer |= spec::efer::LMA; // TDCALL is for 64-bit mode
            v.seg[static_cast<unsigned>(spec::Seg::cs)].ar |= spec::segment_ar::L;
            c[spec::Gpr::rax] = 0;
            c[spec::Gpr::rcx] = spec::tdvmcall_mask::kLinux;
            c[spec::Gpr::r10] = 0;
            c[spec::Gpr::r11] = r11;
            c[spec::Gpr::r12] = r12;
            c[spec::Gpr::r13] = r13;
            c[spec::Gpr::r14] = r14;
            c[spec::Gpr::r15] = r15;
        });
    }
    // What the guest finds in its registers at the next entry, which then ends the run with a triple fault.
    void expect_answer(u64 r10, u64 r11)
    {
        host.lp().then([=](cpu::Vmcs& v, cpu::GuestContext& c) {
            EXPECT_EQ(c[spec::Gpr::r10], r10);
            EXPECT_EQ(c[spec::Gpr::r11], r11);
            v.exit_reason = static_cast<u32>(spec::ExitReason::TRIPLE_FAULT);
        });
    }

    Host& host;
    int sys = -1, vm = -1, vcpu = -1, gmem = -1;
    kvm_run* run = nullptr;
    Page shared{kRamBytes}, source{kRamBytes};
};

TEST(TdFlow, FirstTouchOfMmioInstallsAnSpteAndReenters)
{
    Host host;
    Td td(host);
    td.build();
    td.touch_shared(kDevice, spec::ept::qual::READ);
    td.tdvmcall(48, 4, 0, kDevice | kShared | 0x10);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_MMIO);
    EXPECT_EQ(td.run->mmio.phys_addr, kDevice + 0x10);
    EXPECT_EQ(td.run->mmio.len, 4u);
    EXPECT_EQ(td.run->mmio.is_write, 0);
    const std::vector<Event> expected = {
        Event::kvm_entry,         Event::kvm_exit,          Event::kvm_page_fault, Event::mark_mmio_spte,
        Event::kvm_check_emulate, Event::kvm_entry,         Event::kvm_exit,       Event::kvm_tdx_vmcall,
        Event::kvm_mmio,          Event::kvm_userspace_exit};
    EXPECT_EQ(host.events(), expected);
    const auto mark = host.sink.of(Event::mark_mmio_spte);
    ASSERT_EQ(mark.size(), 1u);
    EXPECT_EQ(mark[0].values[0].number, kDevice >> 12);
    EXPECT_EQ(mark[0].values[1].number & (bit(63) | 7), 0u); // no permission, and #VE is not suppressed
    const auto check = host.sink.of(Event::kvm_check_emulate);
    EXPECT_STREQ(check[0].values[1].text, "X86EMUL_RETRY_INSTR");
    const u32 data = 0xcafe;
    std::memcpy(td.run->mmio.data, &data, sizeof data);
    td.expect_answer(0, data);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

TEST(TdFlow, WithoutTheRetryRuleKvmWouldHaveToEmulateATd)
{
    kvm::x86_ops ops = kvm::vt_x86_ops;
    ops.check_emulate_instruction = [](kvm::Vcpu&, int, std::span<const u8>) {
        return kvm::X86EMUL_CONTINUE;
    };
    Host host(ops);
    Td td(host);
    td.build();
    td.touch_shared(kDevice, spec::ept::qual::READ);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
    EXPECT_EQ(td.run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
}

TEST(TdFlow, WithoutAZeroMmioValueTheSpteWouldSuppressVe)
{
    kvm::x86_ops ops = kvm::vt_x86_ops;
    ops.shadow_mmio_value_tdx = bit(63);
    Host host(ops);
    Td td(host);
    td.build();
    td.touch_shared(kDevice, spec::ept::qual::READ);
    td.touch_shared(kDevice, spec::ept::qual::READ); // exits again, for ever
    td.host.lp().then_exit(spec::ExitReason::TRIPLE_FAULT);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(host.sink.of(Event::mark_mmio_spte).size(), 2u);
    EXPECT_NE(host.sink.of(Event::mark_mmio_spte)[0].values[1].number & bit(63), 0u);
}

TEST(TdFlow, AnIllFormedMmioRequestIsAnInvalidOperand)
{
    Host host;
    Td td(host);
    td.build();
    td.tdvmcall(48, 3, 0, kDevice | kShared); // no such size
    td.expect_answer(TDVMCALL_STATUS_INVALID_OPERAND, 48);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

TEST(TdFlow, PortReadsTravelThroughTheSharedPage)
{
    Host host;
    Td td(host);
    td.build();
    td.tdvmcall(30, 1, 0, 0x3f8);
    ASSERT_EQ(td.enter(), 0);
    ASSERT_EQ(td.run->exit_reason, KVM_EXIT_IO);
    EXPECT_EQ(td.run->io.port, 0x3f8);
    reinterpret_cast<u8*>(td.run)[td.run->io.data_offset] = 0x5a;
    td.expect_answer(0, 0x5a);
    ASSERT_EQ(td.enter(), 0);
}

TEST(TdFlow, MapGpaGoesToUserSpaceInChunks)
{
    Host host;
    Td td(host);
    td.build();
    td.tdvmcall(0x10001, kRam | kShared, u64{3} << 20);
    ASSERT_EQ(td.enter(), 0);
    ASSERT_EQ(td.run->exit_reason, KVM_EXIT_HYPERCALL);
    EXPECT_EQ(td.run->hypercall.args[0], kRam);
    EXPECT_EQ(td.run->hypercall.args[1], 512u);
    EXPECT_EQ(td.run->hypercall.args[2], 0u); // to shared
    ASSERT_EQ(td.enter(), 0);
    ASSERT_EQ(td.run->exit_reason, KVM_EXIT_HYPERCALL);
    EXPECT_EQ(td.run->hypercall.args[1], 256u);
    td.expect_answer(0, kRam | kShared);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

TEST(TdFlow, UnknownSubFunctionsAreUnsupported)
{
    Host host;
    Td td(host);
    td.build();
    td.tdvmcall(0x10005, 0);
    td.expect_answer(TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED, 0x10005);
    ASSERT_EQ(td.enter(), 0);
}

TEST(TdFlow, AttributeAndAccessThatDisagreeExitWithMemoryFault)
{
    Host host;
    Td td(host);
    td.build();
    td.touch_shared(kRam, spec::ept::qual::WRITE); // the frame is private
    EXPECT_EQ(td.enter(), -EFAULT);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_MEMORY_FAULT);
    EXPECT_EQ(td.run->memory_fault.gpa, kRam);
    EXPECT_EQ(td.run->memory_fault.flags, 0u);
}

TEST(TdFlow, ConvertingAFrameMovesItBetweenTheRoots)
{
    Host host;
    Td td(host);
    td.build();
    kvm_memory_attributes to_shared{.address = kRam, .size = kPageSize, .attributes = 0, .flags = 0};
    ASSERT_EQ(host.ioctl(td.vm, KVM_SET_MEMORY_ATTRIBUTES, &to_shared), 0);
    EXPECT_EQ(host.sink.of(Event::kvm_exit).size(), 0u);
    td.touch_shared(kRam, spec::ept::qual::WRITE);
    td.host.lp().then_exit(spec::ExitReason::TRIPLE_FAULT);
    ASSERT_EQ(td.enter(), 0);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

TEST(TdFlow, HaltBlocksUntilASignal)
{
    Host host;
    Td td(host);
    td.build();
    td.tdvmcall(12, 0);
    // The handler of a real signal runs on the vCPU's thread: here the thread is known by its own call.
    std::atomic<bool> entered{false};
    pthread_t thread = pthread_self();
    struct sigaction act {};
    static uapi::Device* device = nullptr;
    device = host.device.get();
    act.sa_handler = [](int) { device->signal_arrived(); };
    sigaction(SIGUSR1, &act, nullptr);
    std::thread waker([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        pthread_kill(thread, SIGUSR1);
    });
    EXPECT_EQ(td.enter(), -EINTR);
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_INTR);
    waker.join();
}

TEST(TdFlow, ImmediateExitStillCompletesThePendingAccess)
{
    Host host;
    Td td(host);
    td.build();
    td.tdvmcall(30, 4, 0, 0x60);
    ASSERT_EQ(td.enter(), 0);
    const u32 value = 0x12345678;
    std::memcpy(reinterpret_cast<u8*>(td.run) + td.run->io.data_offset, &value, sizeof value);
    td.run->immediate_exit = 1;
    EXPECT_EQ(td.enter(), -EINTR);
    td.run->immediate_exit = 0;
    td.expect_answer(0, value);
    ASSERT_EQ(td.enter(), 0);
}

TEST(TdCommands, AreRefusedOutOfOrder)
{
    Host host;
    Td td(host);
    EXPECT_EQ(host.ioctl(td.vm, KVM_CREATE_VCPU, u64{0}), -EIO); // before INIT_VM
    EXPECT_EQ(td.command(td.vm, 99, nullptr), -EINVAL);
    EXPECT_EQ(td.command(td.vm, KVM_TDX_FINALIZE_VM, nullptr), -EINVAL);
    EXPECT_EQ(td.init_vm(47), -EINVAL);
    EXPECT_EQ(td.command(td.vm, KVM_TDX_INIT_VM, nullptr), -EFAULT);
    ASSERT_EQ(td.init_vm(), 0);
    EXPECT_EQ(td.init_vm(), -EINVAL); // once only
    td.add_vcpu();
    EXPECT_EQ(td.enter(), -EINVAL);              // not finalized
    EXPECT_EQ(td.init_region(kRam, 1), -EINVAL); // vCPU not initialized
    EXPECT_EQ(td.command(td.vcpu, KVM_TDX_INIT_VCPU, nullptr, 1), -EINVAL);
    ASSERT_EQ(td.command(td.vcpu, KVM_TDX_INIT_VCPU, nullptr), 0);
    EXPECT_EQ(td.command(td.vcpu, KVM_TDX_INIT_VCPU, nullptr), -EINVAL);
    EXPECT_EQ(td.init_region(kRam, 1), -EINVAL); // no slot
    td.add_memory();
    EXPECT_EQ(td.init_region(kRam | kShared, 1), -EINVAL);
    EXPECT_EQ(td.init_region(kRam, 0), -EINVAL);
    ASSERT_EQ(td.init_region(kRam, 1), 0);
    EXPECT_EQ(td.init_region(kRam, 1), -EEXIST);
    ASSERT_EQ(td.command(td.vm, KVM_TDX_FINALIZE_VM, nullptr), 0);
    EXPECT_EQ(td.command(td.vcpu, KVM_TDX_INIT_VCPU, nullptr), -EINVAL);
}

TEST(TdCommands, ATdShowsNoRegisters)
{
    Host host;
    Td td(host);
    td.build();
    u8 buffer[4096] = {};
    for (const u32 request : {KVM_GET_REGS, KVM_SET_REGS, KVM_GET_SREGS, KVM_GET_SREGS2, KVM_GET_FPU,
                              KVM_GET_XSAVE, KVM_GET_XCRS, KVM_GET_DEBUGREGS, KVM_GET_LAPIC})
        EXPECT_EQ(host.ioctl(td.vcpu, request, buffer), -EINVAL) << std::hex << request;
}

TEST(TdCommands, KeysComeBackWhenTdsEnd)
{
    Host host;
    for (int i = 0; i < 40; ++i) { // far more than there are keys
        Td td(host);
        td.build();
        for (const int fd : {td.vm, td.vcpu, td.gmem})
            EXPECT_EQ(host.device->close(fd), 0);
    }
    std::vector<std::unique_ptr<Td>> tds;
    for (int i = 0; i < 15; ++i) {
        tds.push_back(std::make_unique<Td>(host));
        EXPECT_EQ(tds.back()->init_vm(), 0);
    }
    Td one_too_many(host);
    EXPECT_EQ(one_too_many.init_vm(), -ENOSPC);
}

} // namespace
} // namespace seamless
