// SPDX-License-Identifier: Apache-2.0
// TDG.VP.VMCALL from the instruction in the guest to the VMM and back: each leaf that KVM knows, what it
// refuses, and with which status. TDX ABI: "GHCI".
#include <thread>

#include "abi/td_robot.h"
#include "spec/tdx_ghci.h"

namespace seamless::abi {
namespace {

constexpr u64 kInfo = 0x10000, kMapGpa = 0x10001, kGetQuote = 0x10002, kFatal = 0x10003, kNotify = 0x10004;
constexpr u64 kInvalid = TDVMCALL_STATUS_INVALID_OPERAND, kUnsupported = TDVMCALL_STATUS_SUBFUNC_UNSUPPORTED;
constexpr u64 kAlign = TDVMCALL_STATUS_ALIGN_ERROR, kRetry = 1;
constexpr u64 kPage = TdRobot::kPrivate, kS = TdRobot::kShared;

class Tdvmcall : public testing::Test {
  protected:
    // R10 of a call that must not leave KVM.
    u64 refused(u64 r11, u64 r12 = 0, u64 r13 = 0, u64 r14 = 0) { return td.vmcall(r11, r12, r13, r14).r10; }
    // What a VMM does with MapGPA: sets the attributes.
    bool convert(const kvm_run& run)
    {
        if (run.exit_reason != KVM_EXIT_HYPERCALL || run.hypercall.nr != KVM_HC_MAP_GPA_RANGE)
            return false;
        const bool to_private = run.hypercall.args[2] & KVM_MAP_GPA_RANGE_ENCRYPTED;
        return td.set_attributes(run.hypercall.args[0], run.hypercall.args[1] * kPageSize,
                                 to_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0) == 0;
    }
    void enable_apic()
    {
        ASSERT_EQ(td.vmcall(32, 0x80f, 0x1ff).r10, 0u); // the spurious-interrupt register, by WRMSR
    }
    void send_msi()
    {
        kvm_msi msi{};
        msi.address_lo = 0xfee00000;
        msi.data = TdRobot::kVector;
        EXPECT_EQ(host.ioctl(td.vm, KVM_SIGNAL_MSI, &msi), 1);
    }

    Host host;
    TdRobot td{host};
};

TEST_F(Tdvmcall, InfoOfLeafZeroIsKvmsAndOfLeafOneTheVmms)
{
    Mailbox m = td.vmcall(kInfo, 0, 5, 5);
    EXPECT_EQ(m.r10 | m.r11 | m.r12 | m.r13 | m.r14, 0u);
    m = td.vmcall(kInfo, 1, 0, 0, 0, [](kvm_run& run) {
        EXPECT_EQ(run.exit_reason, KVM_EXIT_TDX);
        EXPECT_EQ(run.tdx.nr, kInfo);
        EXPECT_EQ(run.tdx.flags, 0u);
        EXPECT_EQ(run.tdx.get_tdvmcall_info.ret, 0u);
        EXPECT_EQ(run.tdx.get_tdvmcall_info.leaf, 1u);
        EXPECT_EQ(run.tdx.get_tdvmcall_info.r11 | run.tdx.get_tdvmcall_info.r14, 0u);
        run.tdx.get_tdvmcall_info.r11 = 2;
        run.tdx.get_tdvmcall_info.r12 = 12;
        run.tdx.get_tdvmcall_info.r13 = 13;
        run.tdx.get_tdvmcall_info.r14 = 14;
        return true;
    });
    EXPECT_EQ(m.r10, 0u);
    EXPECT_EQ(m.r11, 2u);
    EXPECT_EQ(m.r12, 12u);
    EXPECT_EQ(m.r13, 13u);
    EXPECT_EQ(m.r14, 14u);
    EXPECT_EQ(refused(kInfo, 2), kInvalid);
    EXPECT_EQ(refused(kInfo, bit(32) | 1), kInvalid); // all 64 bits count
}

TEST_F(Tdvmcall, MapGpaConvertsBothWays)
{
    ASSERT_EQ(td.accept(kPage), 0u);
    td.store(kPage, 0x1111);
    Mailbox m = td.vmcall(kMapGpa, kPage | kS, kPageSize, 0, 0, [&](kvm_run& run) {
        EXPECT_EQ(run.hypercall.args[0], kPage);
        EXPECT_EQ(run.hypercall.args[1], 1u);
        EXPECT_EQ(run.hypercall.args[2], 0u);
        EXPECT_EQ(run.hypercall.flags, 1u); // a 64-bit guest
        EXPECT_EQ(run.hypercall.ret, 0u);
        return convert(run);
    });
    EXPECT_EQ(m.r10, 0u);
    EXPECT_EQ(m.r11, kMapGpa); // a success writes neither register
    td.store(TdRobot::kSharedView + kPage, 0x2222);
    EXPECT_EQ(td.shared.get<u64>(0), 0x2222u);
    m = td.vmcall(kMapGpa, kPage, kPageSize, 0, 0, [&](kvm_run& run) {
        EXPECT_EQ(run.hypercall.args[2], KVM_MAP_GPA_RANGE_ENCRYPTED);
        return convert(run);
    });
    EXPECT_EQ(m.r10, 0u);
    ASSERT_EQ(td.accept(kPage), 0u); // the old private page is gone
    EXPECT_EQ(td.load(kPage), 0u);
    EXPECT_EQ(td.shared.get<u64>(0), 0x2222u); // and the shared one is the VMM's still
}

TEST_F(Tdvmcall, MapGpaGoesInChunksAndStopsWhereTheVmmFails)
{
    std::vector<u64> chunks;
    const u64 gpa = 0x10000000, size = (u64{5} << 20);
    Mailbox m = td.vmcall(kMapGpa, gpa | kS, size, 0, 0, [&](kvm_run& run) {
        EXPECT_EQ(run.hypercall.args[0], gpa + chunks.size() * (u64{2} << 20));
        chunks.push_back(run.hypercall.args[1]);
        return true;
    });
    EXPECT_EQ(m.r10, 0u);
    EXPECT_EQ(chunks, (std::vector<u64>{512, 512, 256}));
    int n = 0;
    m = td.vmcall(kMapGpa, gpa, size, 0, 0, [&](kvm_run& run) {
        run.hypercall.ret = ++n == 2 ? 1 : 0;
        return true;
    });
    EXPECT_EQ(n, 2);
    EXPECT_EQ(m.r10, kInvalid);
    EXPECT_EQ(m.r11, gpa + (u64{2} << 20));
}

TEST_F(Tdvmcall, MapGpaYieldsToAnInterrupt)
{
    enable_apic();
    const u64 gpa = 0x10000000 | kS;
    int n = 0;
    const Mailbox m = td.vmcall(kMapGpa, gpa, u64{6} << 20, 0, 0, [&](kvm_run&) {
        if (++n == 2)
            send_msi(); // interrupts are off: it stays pending
        return true;
    });
    EXPECT_EQ(n, 2);
    EXPECT_EQ(m.r10, kRetry);
    EXPECT_EQ(m.r11, gpa + (u64{4} << 20));
}

TEST_F(Tdvmcall, MapGpaIsChecked)
{
    const struct {
        u64 gpa, size, status;
    } cases[] = {
        {kPage, 0, kInvalid},               // nothing
        {~u64{0xfff}, 0x2000, kInvalid},    // wraps
        {kS - kPageSize, 0x2000, kInvalid}, // from private to shared
        {bit(52), kPageSize, kInvalid},     // beyond the guest's MAXPHYADDR
        {bit(52) - kPageSize, 0x2000, kInvalid},
        {kPage + 1, kPageSize, kAlign},
        {kPage, 0x1800, kAlign},
    };
    for (const auto& c : cases) {
        const Mailbox m = td.vmcall(kMapGpa, c.gpa, c.size);
        EXPECT_EQ(m.r10, c.status) << std::hex << c.gpa;
        EXPECT_EQ(m.r11, c.gpa);
    }
}

TEST(TdvmcallWithoutMapGpa, IsUnsupported)
{
    Host host;
    TdRobot td(host, 1, false);
    const Mailbox m = td.vmcall(kMapGpa, kPage, kPageSize);
    EXPECT_EQ(m.r10, kUnsupported);
    EXPECT_EQ(m.r11, kPage);
}

TEST_F(Tdvmcall, GetQuoteIsTheVmms)
{
    const auto quote = [&](u64 ret, bool answer) {
        return td.vmcall(kGetQuote, kPage | kS, 0x3000, 0, 0, [=](kvm_run& run) {
            EXPECT_EQ(run.exit_reason, KVM_EXIT_TDX);
            EXPECT_EQ(run.tdx.nr, kGetQuote);
            EXPECT_EQ(run.tdx.get_quote.ret, kUnsupported);
            EXPECT_EQ(run.tdx.get_quote.gpa, kPage);
            EXPECT_EQ(run.tdx.get_quote.size, 0x3000u);
            if (answer)
                run.tdx.get_quote.ret = ret;
            return true;
        });
    };
    EXPECT_EQ(quote(0, true).r10, 0u);
    EXPECT_EQ(quote(kAlign, true).r10, kAlign);
    EXPECT_EQ(quote(0, false).r10, kUnsupported);           // a VMM that does not know the exit
    EXPECT_EQ(refused(kGetQuote, kPage, 0x1000), kInvalid); // private
}

TEST_F(Tdvmcall, AQuoteThatIsReadyWakesTheGuestByItsVector)
{
    enable_apic();
    u64 vector = 0;
    EXPECT_EQ(td.vmcall(kNotify, TdRobot::kVector, 0, 0, 0,
                        [&](kvm_run& run) {
                            EXPECT_EQ(run.tdx.nr, kNotify);
                            EXPECT_EQ(run.tdx.setup_event_notify.ret, kUnsupported);
                            vector = run.tdx.setup_event_notify.vector;
                            run.tdx.setup_event_notify.ret = 0;
                            return true;
                        })
                  .r10,
              0u);
    EXPECT_EQ(vector, TdRobot::kVector);
    std::thread vmm([this] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        send_msi();
    });
    Mailbox halt{};
    halt.order = Mailbox::halt_awake;
    halt.rcx = TdRobot::kMask;
    halt.r11 = 12;
    td.carry_out(0, halt);
    vmm.join();
    EXPECT_EQ(td.mailbox().interrupts, 1u);
}

TEST_F(Tdvmcall, NotifyVectorsAreOfInterrupts)
{
    EXPECT_EQ(refused(kNotify, 31), kInvalid);
    EXPECT_EQ(refused(kNotify, 256), kInvalid);
    EXPECT_EQ(refused(kNotify, bit(32) | 0x40), kInvalid);
    EXPECT_EQ(td.vmcall(kNotify, 32, 0, 0, 0, [](kvm_run&) { return true; }).r10, kUnsupported);
}

TEST_F(Tdvmcall, AFatalErrorShowsTheRegistersThatTheGuestExposed)
{
    Mailbox order{};
    order.order = Mailbox::tdcall;
    order.rcx = 0xffcc;
    order.r11 = kFatal;
    order.r12 = 0x1234;
    order.rbx = 0xb;
    order.rsi = 0x51;
    order.rdi = 0xd1;
    order.rdx = 0xd;
    order.r8 = 8;
    order.r15 = 15;
    td.carry_out(0, order, [](kvm_run& run) {
        EXPECT_EQ(run.exit_reason, KVM_EXIT_SYSTEM_EVENT);
        EXPECT_EQ(run.system_event.type, KVM_SYSTEM_EVENT_TDX_FATAL);
        EXPECT_EQ(run.system_event.ndata, 16u);
        const u64 expected[16] = {77, 0xffcc, 0xd, 0xb, 0, 0, 0x51, 0xd1, 8, 0, 0, kFatal, 0x1234, 0, 0, 15};
        for (int i = 0; i < 16; ++i)
            EXPECT_EQ(run.system_event.data[i], expected[i]) << i;
        return false;
    });
    ASSERT_EQ(td.run_once(), KVM_EXIT_IO); // KVM lets it go on; stopping is the VMM's decision
    EXPECT_TRUE(td.reported());
}

TEST_F(Tdvmcall, MsrsAreThoseThatKvmEmulates)
{
    EXPECT_EQ(td.vmcall(31, 0x277).r11, 0x0007040600070406u);
    EXPECT_EQ(td.vmcall(32, 0x277, 0x0606060606060606).r10, 0u);
    EXPECT_EQ(td.vmcall(31, bit(40) | 0x277).r11, 0x0606060606060606u); // the low 32 bits count
    EXPECT_EQ(refused(31, 0xc0000082), kInvalid);                       // LSTAR is the processor's
    EXPECT_EQ(refused(32, 0xc0000080, 0), kInvalid);                    // EFER may be read only
    EXPECT_EQ(refused(32, 0x277, 0xff), kInvalid);                      // no such memory type
    EXPECT_EQ(refused(31, 0x808), kInvalid);                            // TPR is virtual
}

TEST_F(Tdvmcall, CpuidComesFromTheTableOfTheVmm)
{
    Mailbox m = td.vmcall(10, 0, 0);
    EXPECT_EQ(m.r10, 0u);
    EXPECT_EQ(m.r12, 1u);
    EXPECT_EQ(m.r13, 0x12345678u);
    m = td.vmcall(10, 0x80000008, 7);
    EXPECT_EQ(m.r12, 52u);
    m = td.vmcall(10, 0x12345, 0, 1, 1); // beyond the last: the highest basic leaf
    EXPECT_EQ(m.r14, u64{1u << 21 | 1u << 24});
    EXPECT_EQ(m.r15, 0u);
}

TEST_F(Tdvmcall, PortsGoToTheVmm)
{
    Mailbox m = td.vmcall(30, 2, 0, 0x10060, 0, [](kvm_run& run) {
        EXPECT_EQ(run.exit_reason, KVM_EXIT_IO);
        EXPECT_EQ(run.io.direction, KVM_EXIT_IO_IN);
        EXPECT_EQ(run.io.size, 2);
        EXPECT_EQ(run.io.port, 0x60);
        EXPECT_EQ(run.io.count, 1u);
        const u32 value = 0xabcd1234;
        std::memcpy(reinterpret_cast<u8*>(&run) + run.io.data_offset, &value, sizeof value);
        return true;
    });
    EXPECT_EQ(m.r11, 0x1234u);
    m = td.vmcall(30, 1, 1, 0x70, 0x1ff, [](kvm_run& run) {
        EXPECT_EQ(run.io.direction, KVM_EXIT_IO_OUT);
        EXPECT_EQ(reinterpret_cast<u8*>(&run)[run.io.data_offset], 0xff);
        return true;
    });
    EXPECT_EQ(m.r10, 0u);
    for (const u64 size : {u64{0}, u64{3}, u64{8}, bit(32) | 1})
        EXPECT_EQ(refused(30, size, 0, 0x60), kInvalid) << size;
    EXPECT_EQ(refused(30, 1, 2, 0x60), kInvalid);
    EXPECT_EQ(refused(30, 1, bit(32), 0x60), kInvalid);
}

TEST_F(Tdvmcall, MmioRequestsAreChecked)
{
    const u64 device = TdRobot::kDevice | kS;
    for (const u64 size : {0, 3, 5, 16})
        EXPECT_EQ(refused(48, size, 0, device), kInvalid) << size;
    EXPECT_EQ(refused(48, 4, 2, device), kInvalid);
    EXPECT_EQ(refused(48, 4, 0, TdRobot::kDevice), kInvalid); // private
    EXPECT_EQ(refused(48, 8, 0, (bit(48) - 4)), kInvalid);    // its end is not shared
    const Mailbox m = td.vmcall(48, bit(32) | 4, bit(32), device, 0, [](kvm_run& run) { // truncated
        EXPECT_EQ(run.exit_reason, KVM_EXIT_MMIO);
        EXPECT_EQ(run.mmio.phys_addr, TdRobot::kDevice);
        EXPECT_EQ(run.mmio.len, 4u);
        EXPECT_FALSE(run.mmio.is_write);
        const u64 value = ~u64{0};
        std::memcpy(run.mmio.data, &value, sizeof value);
        return true;
    });
    EXPECT_EQ(m.r11, 0xffffffffu);
    EXPECT_EQ(m.r10, 0u);
}

TEST_F(Tdvmcall, OtherInstructionsAndLeavesAreUnsupported)
{
    for (const u64 leaf : {u64{36}, u64{39}, u64{54}, u64{65}, u64{0x10005}, u64{0x10006}, bit(32) | 10})
        EXPECT_EQ(refused(leaf), kUnsupported) << leaf;
}

TEST_F(Tdvmcall, KvmsOwnHypercallsTakeR10)
{
    const auto hypercall = [this](u64 nr, u64 a0, u64 a1, u64 a2, const TdRobot::OnExit& on_exit = {}) {
        Mailbox order{};
        order.order = Mailbox::tdcall;
        order.rcx = TdRobot::kMask;
        order.r10 = nr;
        order.r11 = a0;
        order.r12 = a1;
        order.r13 = a2;
        td.carry_out(0, order, on_exit);
        return static_cast<i64>(td.mailbox().r10);
    };
    EXPECT_EQ(hypercall(99, 0, 0, 0), -1000);
    EXPECT_EQ(hypercall(1, 0, 0, 0), 0);
    EXPECT_EQ(hypercall(KVM_HC_MAP_GPA_RANGE, kPage + 1, 1, 0), -EINVAL);
    EXPECT_EQ(hypercall(KVM_HC_MAP_GPA_RANGE, kPage, 0, 0), -EINVAL);
    EXPECT_EQ(hypercall(KVM_HC_MAP_GPA_RANGE, kPage, ~u64{0}, 0), -EINVAL);
    const i64 r = hypercall(KVM_HC_MAP_GPA_RANGE, kPage, 3, 0x10, [](kvm_run& run) {
        EXPECT_EQ(run.exit_reason, KVM_EXIT_HYPERCALL);
        EXPECT_EQ(run.hypercall.args[0], kPage);
        EXPECT_EQ(run.hypercall.args[1], 3u);
        EXPECT_EQ(run.hypercall.args[2], 0x10u);
        run.hypercall.ret = 7;
        return true;
    });
    EXPECT_EQ(r, 7);
}

TEST_F(Tdvmcall, AnAccessOfADeviceIsOneExitThenVe)
{
    EXPECT_EQ(td.mailbox().ve_count, 0u);
    Mailbox order{};
    order.order = Mailbox::load;
    order.rdi = TdRobot::kHighView + (TdRobot::kDevice & 0x3fffffff);
    const auto serve = [](kvm_run& run) {
        EXPECT_EQ(run.exit_reason, KVM_EXIT_MMIO);
        const u64 value = 0x1122334455667788;
        std::memcpy(run.mmio.data, &value, sizeof value);
        return true;
    };
    td.carry_out(0, order, serve);
    EXPECT_EQ(td.mailbox().rbx, 0x1122334455667788u);
    EXPECT_EQ(td.mailbox().ve_count, 1u);
    EXPECT_EQ(td.mailbox().ve_gpa & ~u64{0xfff}, TdRobot::kDevice | kS);
    EXPECT_EQ(host.trace.exits("EPT_VIOLATION"), 1u);
    td.carry_out(0, order, serve);
    EXPECT_EQ(host.trace.exits("EPT_VIOLATION"), 1u);
}

} // namespace
} // namespace seamless::abi
