// SPDX-License-Identifier: Apache-2.0
// What KVM makes of each return of TDH.VP.ENTER: the exits with all their fields, the errors, and the ends of
// the VM. Most of them no guest can bring about on a host that works, so the answers of the TDX module are a
// script's here; what the module itself makes of such VM exits is at the end.
#include <gtest/gtest.h>

#include "kvm/backend_tdx/tdx.h"
#include "kvm/guest_memfd.h"
#include "spec/vmx.h"
#include "tdx/module.h"
#include "unit/uapi/scripted_td.h"

namespace seamless {
namespace {

using namespace uapi_test;
using spec::ExitReason;
using spec::TdxOperand;
using spec::TdxStatus;
namespace intr = spec::intr_info;

constexpr u32 kCpu = 2; // where the vCPU runs
constexpr u64 kGpa = 0x5000;
constexpr u64 kSwError = 0x8000ff0000000000;
// KVM's own number; the module's has bit 61, too.
constexpr u64 kNonRecoverableTd = 0x4000000200000000;

constexpr u64 of(ExitReason reason) { return static_cast<u64>(reason); }
constexpr u64 of(TdxStatus status, u64 details = 0) { return static_cast<u64>(status) | details; }
constexpr u64 of(TdxStatus status, ExitReason reason) { return of(status, of(reason)); }

// The TDX module, whose TDH.VP.ENTER has its answers from a script. The last of them is a triple fault.
class ScriptedEnter : public cpu::SeamPort {
  public:
    struct Answer {
        u64 ret = 0;
        cpu::SeamRegs registers{};
        bool vmfail_invalid = false;
    };
    explicit ScriptedEnter(cpu::SeamPort& module) : module_(module) {}
    bool seamcall(cpu::LogicalProcessor& lp, cpu::SeamRegs& regs) override
    {
        const auto leaf = static_cast<spec::TdhLeaf>(regs.rax & 0xffff);
        if (leaf == refused)
            return false;
        if (leaf != spec::TdhLeaf::VP_ENTER)
            return module_.seamcall(lp, regs);
        ++entries;
        Answer answer{.ret = of(TdxStatus::NON_RECOVERABLE_VCPU, ExitReason::TRIPLE_FAULT)};
        if (!answers.empty()) {
            answer = answers.front();
            answers.erase(answers.begin());
        }
        if (answer.vmfail_invalid)
            return false;
        regs = answer.registers;
        regs.rax = answer.ret;
        return true;
    }
    std::vector<Answer> answers;
    std::optional<spec::TdhLeaf> refused;
    unsigned entries = 0;

  private:
    cpu::SeamPort& module_;
};

class TdExit : public testing::Test {
  protected:
    TdExit()
    {
        EXPECT_TRUE(kvm.enable_tdx().ok());
        make_vm();
    }
    void make_vm()
    {
        vm = std::move(kvm.create_vm(KVM_X86_TDX_VM)).value();
        kvm_enable_cap split{};
        split.cap = KVM_CAP_SPLIT_IRQCHIP;
        split.args[0] = 24;
        EXPECT_TRUE(vm->enable_cap(split).ok());
        u64 hw_error = 0;
        kvm_tdx_init_vm params{};
        params.attributes = spec::td_attributes::SEPT_VE_DISABLE;
        params.xfam = 3;
        const kvm_cpuid_entry2 width[] = {{.function = 0x80000008, .eax = 48u << 16}};
        EXPECT_TRUE(kvm::tdx_init_vm(*vm, params, width, hw_error).ok());
        vcpu = vm->create_vcpu(kCpu).value();
        vcpu->cpuid = {{.function = 1, .ecx = 1u << 21}};
        vcpu->cpuid_changed();
        EXPECT_TRUE(vcpu->with_processor([&](cpu::LogicalProcessor&) -> kvm::Handled {
                            TRY(kvm::tdx_init_vcpu(*vcpu, 0, hw_error));
                            return 0;
                        })
                        .ok());
        EXPECT_TRUE(kvm::tdx_finalize_vm(*vm, hw_error).ok());
    }
    // KVM_RUN with this answer first. 0, or the errno.
    int run(const ScriptedEnter::Answer& answer)
    {
        vcpu->run().exit_reason = 0xdead;
        seam.entries = 0;
        seam.answers = {answer};
        const auto result = vcpu->kvm_run_ioctl();
        return result.ok() ? 0 : result.error().value;
    }
    int run(u64 ret) { return run({.ret = ret}); }
    int violation(u64 gpa, u64 qualification, u64 extended = 0)
    {
        return run({.ret = of(ExitReason::EPT_VIOLATION),
                    .registers = {.rcx = qualification, .rdx = extended, .r8 = gpa}});
    }
    int exception(u32 info) { return run({.ret = of(ExitReason::EXCEPTION_NMI), .registers = {.r9 = info}}); }
    void expect_internal_error(u64 ret)
    {
        EXPECT_EQ(vcpu->run().exit_reason, KVM_EXIT_INTERNAL_ERROR);
        EXPECT_EQ(vcpu->run().internal.suberror, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON);
        ASSERT_EQ(vcpu->run().internal.ndata, 2u);
        EXPECT_EQ(vcpu->run().internal.data[0], ret);
        EXPECT_EQ(vcpu->run().internal.data[1], kCpu);
        EXPECT_EQ(seam.entries, 1u);
    }
    // The guest was entered again, and ended then.
    void expect_resumed()
    {
        EXPECT_EQ(vcpu->run().exit_reason, KVM_EXIT_SHUTDOWN);
        EXPECT_EQ(seam.entries, 2u);
    }
    void map_private_page();
    void expect_dead()
    {
        EXPECT_TRUE(vm->dead());
        EXPECT_EQ(run(0), EIO);
        EXPECT_EQ(seam.entries, 0u);
    }

    fakes::ScriptedHost machine{4, u64{2} << 30};
    tdx::TdxModule module{machine.package, *machine.memory, machine.clock, machine.random};
    ScriptedEnter seam{module};
    kvm::Kvm kvm{machine.package, &seam};
    std::shared_ptr<kvm::Vm> vm;
    kvm::Vcpu* vcpu = nullptr;
};

TEST_F(TdExit, ReasonsThatKvmDoesNotKnowAreInternalErrors)
{
    for (const ExitReason reason :
         {ExitReason::INIT_SIGNAL, ExitReason::NMI_WINDOW, ExitReason::TASK_SWITCH, ExitReason::RDPMC,
          ExitReason::CR_ACCESS, ExitReason::MCE_DURING_VMENTRY, ExitReason::XSETBV, ExitReason::BUS_LOCK,
          ExitReason::NOTIFY, ExitReason::SEAMCALL}) {
        SCOPED_TRACE(spec::exit_reason_name(reason));
        EXPECT_EQ(run(of(reason)), 0);
        expect_internal_error(of(reason));
    }
    EXPECT_FALSE(vm->dead());
}

TEST_F(TdExit, StatusesThatEndTheVcpuOrTheTdAreInternalErrors)
{
    const u64 answers[] = {
        of(TdxStatus::NON_RECOVERABLE_VCPU, ExitReason::EXTERNAL_INTERRUPT),
        kNonRecoverableTd | of(ExitReason::EXCEPTION_NMI),
        kNonRecoverableTd | of(ExitReason::EPT_VIOLATION),
        kNonRecoverableTd | of(ExitReason::EPT_MISCONFIG),
        of(TdxStatus::NON_RECOVERABLE_TD, ExitReason::EXCEPTION_NMI),
        of(TdxStatus::NON_RECOVERABLE_TD_NON_ACCESSIBLE, ExitReason::EXCEPTION_NMI),
        0x6000000700000000, // NON_RECOVERABLE_TD_WRONG_APIC_MODE, to KVM
        of(TdxStatus::NON_RECOVERABLE_TD_WRONG_APIC_MODE),
        of(TdxStatus::TD_FATAL),
        of(TdxStatus::VCPU_STATE_INCORRECT, 8),
        of(TdxStatus::OPERAND_INVALID | TdxOperand::RCX),
        of(TdxStatus::OPERAND_INVALID, of(ExitReason::TRIPLE_FAULT)), // an operand, no exit reason
    };
    for (const u64 ret : answers) {
        SCOPED_TRACE(testing::Message() << std::hex << ret);
        EXPECT_EQ(run(ret), 0);
        expect_internal_error(ret);
        EXPECT_FALSE(vm->dead()) << "KVM leaves the VM to its VMM";
    }
}

TEST_F(TdExit, ASeamcallThatFaultsIsAnInternalErrorAndTheEnd)
{
    constexpr u64 kGp = 13;
    EXPECT_EQ(run(kSwError | kGp), 0);
    expect_internal_error(kSwError | kGp);
    expect_dead();
}

TEST_F(TdExit, ASeamcallThatFailsIsAnInternalErrorAndTheEnd)
{
    EXPECT_EQ(run({.vmfail_invalid = true}), 0);
    expect_internal_error(kSwError | 0xffff0000);
    expect_dead();
}

TEST_F(TdExit, AFailedEntryHasItsOwnExit)
{
    constexpr u64 kFailed = bit(31);
    const u64 invalid_state = kFailed | of(ExitReason::INVALID_STATE);
    for (const u64 ret :
         {invalid_state, kFailed | of(ExitReason::MSR_LOAD_FAIL), kNonRecoverableTd | invalid_state}) {
        SCOPED_TRACE(testing::Message() << std::hex << ret);
        EXPECT_EQ(run(ret), 0);
        EXPECT_EQ(vcpu->run().exit_reason, KVM_EXIT_FAIL_ENTRY);
        EXPECT_EQ(vcpu->run().fail_entry.hardware_entry_failure_reason, ret & 0xffffffff);
        EXPECT_EQ(vcpu->run().fail_entry.cpu, kCpu);
        EXPECT_EQ(seam.entries, 1u);
    }
    // Behind the module's own number KVM looks for no reason.
    const u64 ret = of(TdxStatus::NON_RECOVERABLE_TD, invalid_state);
    EXPECT_EQ(run(ret), 0);
    expect_internal_error(ret);
    EXPECT_FALSE(vm->dead());
}

TEST_F(TdExit, ATripleFaultShutsDownWhateverTheStatusSays)
{
    for (const u64 ret :
         {of(ExitReason::TRIPLE_FAULT), of(TdxStatus::NON_RECOVERABLE_VCPU, ExitReason::TRIPLE_FAULT),
          kNonRecoverableTd | of(ExitReason::TRIPLE_FAULT)}) {
        SCOPED_TRACE(testing::Message() << std::hex << ret);
        EXPECT_EQ(run(ret), 0);
        EXPECT_EQ(vcpu->run().exit_reason, KVM_EXIT_SHUTDOWN);
        EXPECT_EQ(seam.entries, 1u);
    }
}

TEST_F(TdExit, AnExceptionGoesToUserSpaceWithoutItsErrorCode)
{
    EXPECT_EQ(exception(intr::VALID | intr::HARDWARE_EXCEPTION | 1), 0);
    EXPECT_EQ(vcpu->run().exit_reason, KVM_EXIT_EXCEPTION);
    EXPECT_EQ(vcpu->run().ex.exception, 1u);
    vcpu->run().ex.error_code = 0xdead;
    EXPECT_EQ(exception(intr::VALID | intr::HARDWARE_EXCEPTION | intr::ERROR_CODE | 14), 0);
    EXPECT_EQ(vcpu->run().exit_reason, KVM_EXIT_EXCEPTION);
    EXPECT_EQ(vcpu->run().ex.exception, 14u);
    EXPECT_EQ(vcpu->run().ex.error_code, 0u);
    EXPECT_EQ(seam.entries, 1u);
}

TEST_F(TdExit, WhatIsTheHostsOwnResumesTheGuest)
{
    EXPECT_EQ(exception(intr::VALID | intr::NMI | 2), 0);
    expect_resumed();
    EXPECT_EQ(exception(intr::VALID | intr::HARDWARE_EXCEPTION | 18), 0); // #MC
    expect_resumed();
    for (const u64 ret : {of(ExitReason::EXTERNAL_INTERRUPT), of(ExitReason::OTHER_SMI),
                          of(TdxStatus::OPERAND_BUSY | TdxOperand::TD_EPOCH),
                          of(TdxStatus::OPERAND_BUSY | TdxOperand::TDR)}) {
        SCOPED_TRACE(testing::Message() << std::hex << ret);
        EXPECT_EQ(run(ret), 0);
        expect_resumed();
    }
}

TEST_F(TdExit, AMisconfigurationIsABugOfKvms)
{
    EXPECT_EQ(run(of(ExitReason::EPT_MISCONFIG)), EIO);
    expect_dead();
}

TEST_F(TdExit, AnInstructionOfSharedMemoryIsABugOfTheModules)
{
    EXPECT_EQ(violation(kGpa | kShared, spec::ept::qual::READ), 0);
    expect_resumed(); // an MMIO entry was made
    EXPECT_EQ(violation(kGpa | kShared, spec::ept::qual::FETCH), EIO);
    EXPECT_EQ(seam.entries, 1u);
    expect_dead();
}

TEST_F(TdExit, APrivatePageThatIsNoneExitsForItsConversion)
{
    EXPECT_EQ(violation(kGpa, spec::ept::qual::WRITE), EFAULT);
    EXPECT_EQ(vcpu->run().exit_reason, KVM_EXIT_MEMORY_FAULT);
    EXPECT_EQ(vcpu->run().memory_fault.flags, KVM_MEMORY_EXIT_FLAG_PRIVATE);
    EXPECT_EQ(vcpu->run().memory_fault.gpa, kGpa);
    EXPECT_EQ(vcpu->run().memory_fault.size, kPageSize);
    EXPECT_FALSE(vm->dead());
}

TEST_F(TdExit, APendingPageOfATdWithoutVeIsTheEnd)
{
    const auto pending = static_cast<u64>(spec::ExtendedExitQual::PENDING_EPT_VIOLATION);
    // One that is mapped is a fault like others.
    EXPECT_EQ(violation(kGpa, spec::ept::qual::WAS_R | spec::ept::qual::WRITE, pending), EFAULT);
    EXPECT_FALSE(vm->dead());
    EXPECT_EQ(violation(kGpa, spec::ept::qual::WRITE, pending), EIO);
    expect_dead();
}

// Makes the page at kGpa private memory, and has the guest touch it.
void TdExit::map_private_page()
{
    auto gmem = kvm::GuestMemfd::create(vm, kPageSize, 0);
    ASSERT_TRUE(gmem.ok());
    kvm_userspace_memory_region2 region{};
    region.flags = KVM_MEM_GUEST_MEMFD;
    region.guest_phys_addr = kGpa;
    region.memory_size = kPageSize;
    ASSERT_TRUE(vm->set_memory_region(region, gmem.value().get(), {}).ok());
    ASSERT_TRUE(
        vm->set_memory_attributes(
              {.address = kGpa, .size = kPageSize, .attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE, .flags = 0})
            .ok());
    EXPECT_EQ(violation(kGpa, spec::ept::qual::WRITE), 0);
    expect_resumed();
}

TEST_F(TdExit, ATdWhoseKeyDoesNotComeBackTakesItAlong)
{
    map_private_page(); // its page of the secure EPT stays the TD's
    const u64 hkid = static_cast<u64>(vm->tdx->hkid);
    seam.refused = spec::TdhLeaf::MNG_VPFLUSHDONE;
    vm.reset();
    seam.refused.reset();
    make_vm();
    EXPECT_EQ(static_cast<u64>(vm->tdx->hkid), hkid + 1);
    EXPECT_EQ(run(of(ExitReason::NOTIFY)), 0);
    expect_internal_error(of(ExitReason::NOTIFY));
}

// VM exits as the module turns them into TD exits.
class ModuleExit : public testing::Test {
  protected:
    ModuleExit() { td.build(); }
    void exit(u32 reason, u32 intr_info = 0, u64 gpa = 0)
    {
        host.lp().then([=](cpu::Vmcs& v, cpu::GuestContext&) {
            v.exit_reason = reason;
            v.exit_intr_info = intr_info;
            v.guest_physical_address = gpa;
        });
    }
    void expect_internal_error(u64 ret)
    {
        ASSERT_EQ(td.enter(), 0);
        EXPECT_EQ(td.run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
        EXPECT_EQ(td.run->internal.suberror, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON);
        EXPECT_EQ(td.run->internal.ndata, 2u);
        EXPECT_EQ(td.run->internal.data[0], ret);
        EXPECT_EQ(td.run->internal.data[1], 0u);
    }
    Host host;
    Td td{host};
};

TEST_F(ModuleExit, NotificationsAreUnknownToKvm)
{
    exit(static_cast<u32>(ExitReason::NOTIFY));
    expect_internal_error(of(ExitReason::NOTIFY));
    host.lp().then_exit(ExitReason::TRIPLE_FAULT);
    ASSERT_EQ(td.enter(), 0); // the TD lives
    EXPECT_EQ(td.run->exit_reason, KVM_EXIT_SHUTDOWN);
}

TEST_F(ModuleExit, AFailedEntryIsTheEndOfTheTd)
{
    constexpr u32 kFailed = 1u << 31 | static_cast<u32>(ExitReason::INVALID_STATE);
    exit(kFailed);
    expect_internal_error(of(TdxStatus::NON_RECOVERABLE_TD, u64{kFailed}));
    expect_internal_error(of(TdxStatus::TD_FATAL));
}

TEST_F(ModuleExit, AnExceptionIsTheEndOfTheTd)
{
    exit(static_cast<u32>(ExitReason::EXCEPTION_NMI), intr::VALID | intr::HARDWARE_EXCEPTION | 1);
    expect_internal_error(of(TdxStatus::NON_RECOVERABLE_TD, ExitReason::EXCEPTION_NMI));
}

TEST_F(ModuleExit, AMachineCheckIsTheEndOfTheTd)
{
    exit(static_cast<u32>(ExitReason::EXCEPTION_NMI), intr::VALID | intr::HARDWARE_EXCEPTION | 18);
    expect_internal_error(of(TdxStatus::NON_RECOVERABLE_TD_NON_ACCESSIBLE, ExitReason::EXCEPTION_NMI));
}

TEST_F(ModuleExit, AMisconfiguredSharedEntryIsABugOfKvms)
{
    exit(static_cast<u32>(ExitReason::EPT_MISCONFIG), 0, kDevice | kShared);
    EXPECT_EQ(td.enter(), -EIO);
    EXPECT_EQ(td.enter(), -EIO);
    EXPECT_EQ(host.ioctl(td.vm, KVM_CHECK_EXTENSION, u64{0}), -EIO);
}

} // namespace
} // namespace seamless
