// SPDX-License-Identifier: Apache-2.0
// Causes found in histories made by hand, and not found in those that only look alike.
#include "vmm/report/diagnosis.h"

#include <gmock/gmock.h>

#include "spec/ept.h"
#include "spec/tdx_abi.h"
#include "vmm/report/report.h"

namespace seamless::vmm::report {
namespace {

using spec::ExitReason;
using spec::Gpr;
using testing::HasSubstr;
using testing::Not;
using Kind = Event::Kind;

constexpr u64 kShared = u64{1} << 47, kDevice = 0xfe000000;

u32 number(ExitReason reason) { return static_cast<u32>(reason); }

Event ve(u64 gpa, u64 rsp = 0x9000)
{
    return {.kind = Kind::ve,
            .rsp = rsp,
            .reason = number(ExitReason::EPT_VIOLATION),
            .answered = true,
            .gla = 0x123,
            .gpa = gpa};
}

Event port_ve(u64 rsp = 0x9000)
{
    return {.kind = Kind::ve, .rsp = rsp, .reason = number(ExitReason::IO_INSTRUCTION), .answered = true};
}

Event request(spec::Tdvmcall leaf, u64 r12, u64 r13 = 0, u64 r14 = 0, u64 status = 0)
{
    return {.kind = Kind::tdvmcall,
            .leaf = static_cast<u64>(leaf),
            .answered = true,
            .status = status,
            .operands = {r12, r13, r14, 0}};
}

Event left(ExitReason reason, u64 gpa = 0)
{
    return {.kind = Kind::exit, .reason = number(reason), .gpa = gpa};
}

struct Diagnoses : testing::Test {
    Facts facts;
    u8 page_state = static_cast<u8>(spec::SeptState::PENDING);

    Diagnoses()
    {
        facts.td = true;
        facts.shared_bit = kShared;
        facts.outcome = {.kind = Outcome::Kind::guest_died, .death = Death::fatal_error};
        facts.owner = [](u64 gpa) { return gpa == kDevice ? "testdev" : gpa < 0x10000000 ? "memory" : ""; };
        facts.symbol = [](u64 address) { return address == 0x1000 ? "start" : ""; };
        facts.sept_state = [this](u32, u64) { return std::optional(page_state); };
        add_vcpu(0);
    }
    VcpuFacts& add_vcpu(u32 id)
    {
        VcpuFacts& v = facts.vcpus.emplace_back();
        v.id = id;
        v.entered = true;
        v.registers.emplace().rip = 0x1000;
        v.registers->idtr.limit = 0xfff;
        v.instruction = Instruction{.rip = 0x1000,
                                    .bytes = {0x8b, 0x06},
                                    .text = "mov eax, [rsi]",
                                    .reads_or_writes_memory = true,
                                    .simple_move = true};
        v.td.emplace();
        v.apic.emplace().software_enabled = true;
        return v;
    }
    VcpuFacts& vcpu() { return facts.vcpus[0]; }
    void dies(Death death) { facts.outcome.death = death; }
    void hangs() { facts.outcome = {.kind = Outcome::Kind::timeout}; }
    // The name of the first cause, then its sentence.
    std::string cause()
    {
        const auto found = diagnose(facts);
        return found.empty() ? "" : std::string(found[0].name) + ": " + found[0].sentence;
    }
};

TEST_F(Diagnoses, ARequestThatNeverCameNamesTheInstruction)
{
    vcpu().events = {ve(kDevice | kShared), port_ve(), request(spec::Tdvmcall::INSTRUCTION_IO, 1)};
    vcpu().interrupted = {
        {.rip = 0x2000, .bytes = {}, .text = "out dx, al"},
        {.rip = 0x1000, .bytes = {}, .text = "add [rcx], eax", .reads_or_writes_memory = true}};
    EXPECT_THAT(cause(), HasSubstr("undecoded-mmio: "));
    EXPECT_THAT(cause(), HasSubstr("shared guest-physical address 0xfe000000 (testdev)"));
    EXPECT_THAT(cause(), HasSubstr("`add [rcx], eax` at 0x1000 <start>"));
    EXPECT_THAT(cause(), HasSubstr("no plain MOV"));
    vcpu().interrupted[1].simple_move = true;
    EXPECT_THAT(cause(), Not(HasSubstr("no plain MOV")));
}

TEST_F(Diagnoses, AnAnsweredAccessIsNoCause)
{
    vcpu().events = {ve(kDevice | kShared),
                     request(spec::Tdvmcall::VE_REQUEST_MMIO, 4, 0, kDevice | kShared)};
    EXPECT_THAT(cause(), HasSubstr("gave-up: "));
    vcpu().events = {ve(kDevice | kShared), request(spec::Tdvmcall::VE_REQUEST_MMIO, 4, 0, kDevice + 0x1000)};
    EXPECT_THAT(cause(), HasSubstr("undecoded-mmio: "));
}

TEST_F(Diagnoses, ASecondVeInTheHandler)
{
    dies(Death::no_progress);
    vcpu().events = {left(ExitReason::EPT_VIOLATION, kDevice | kShared)};
    EXPECT_THAT(cause(), HasSubstr("no-progress: `mov eax, [rsi]` at 0x1000 <start> accessed shared"));
    vcpu().events.push_back(left(ExitReason::EXTERNAL_INTERRUPT)); // what ended the run
    EXPECT_THAT(cause(), HasSubstr("no-progress: `mov eax, [rsi]` at 0x1000 <start> accessed shared"));
    vcpu().td->ve_info.valid = spec::kVeInfoValid;
    vcpu().td->ve_info.exit_reason = number(ExitReason::CPUID);
    EXPECT_THAT(cause(), HasSubstr("unread-ve: "));
    EXPECT_THAT(cause(), HasSubstr("VE_INFO still holds the #VE of an instruction (CPUID)"));

    dies(Death::triple_fault);
    vcpu().registers->cr2 = 0x5000;
    EXPECT_THAT(cause(), HasSubstr("triple-fault: "));
    EXPECT_THAT(cause(), HasSubstr("at 0x5000 (CR2)"));
    vcpu().events = {left(ExitReason::MSR_READ)};
    vcpu().events[0].injected = 8;
    EXPECT_THAT(cause(), HasSubstr("that of an instruction (MSR_READ)"));
}

TEST_F(Diagnoses, MemoryThatIsNotAccepted)
{
    dies(Death::dead_vm);
    vcpu().events = {left(ExitReason::EPT_VIOLATION, 0x4000)};
    EXPECT_THAT(cause(),
                HasSubstr("unaccepted-memory: `mov eax, [rsi]` at 0x1000 <start> touched private memory"));
    page_state = static_cast<u8>(spec::SeptState::MAPPED);
    EXPECT_EQ(cause(), "");
    vcpu().events[0].gpa = kDevice | kShared;
    EXPECT_EQ(cause(), "");
    vcpu().events[0].qualification = spec::ept::qual::FETCH;
    EXPECT_THAT(cause(), HasSubstr("code-in-shared-memory: "));
}

TEST_F(Diagnoses, RegistersOfADeviceAsPrivateMemory)
{
    dies(Death::memory_fault);
    facts.outcome.gpa = kDevice;
    facts.outcome.private_ = true;
    EXPECT_THAT(cause(), HasSubstr("mmio-as-private: "));
    EXPECT_THAT(cause(), HasSubstr("the device testdev is there"));
    facts.outcome.gpa = kDevice + 0x100000;
    EXPECT_THAT(cause(), HasSubstr("there is no memory there"));
    facts.outcome.private_ = false;
    EXPECT_EQ(cause(), "");
}

TEST_F(Diagnoses, AStackThatHasNoMore)
{
    dies(Death::triple_fault);
    EXPECT_THAT(cause(), HasSubstr("triple-fault: "));
    vcpu().stack_mapped = false;
    EXPECT_THAT(cause(), HasSubstr("stack-overflow: "));
    EXPECT_THAT(cause(), Not(HasSubstr("#VE handler")));
    for (u64 i = 0; i < 6; ++i)
        vcpu().events.push_back(port_ve(0x9000 - i * 0x100));
    EXPECT_THAT(cause(), HasSubstr("the last 6 #VEs"));
    vcpu().events.push_back(port_ve(0x9000)); // the handler had returned
    EXPECT_THAT(cause(), Not(HasSubstr("#VEs")));
}

TEST_F(Diagnoses, AnIdtWithoutGates)
{
    dies(Death::triple_fault);
    vcpu().registers->idtr.limit = 16 * 15 - 1;
    EXPECT_THAT(cause(), HasSubstr("triple-fault: "));
    vcpu().registers->idtr.limit = 16 * 15 - 2;
    EXPECT_THAT(cause(), HasSubstr("no-gate: "));
}

TEST_F(Diagnoses, RefusalsCountWhileTheyAreFresh)
{
    constexpr u64 kInvalid = u64{1} << 63;
    Event exit = left(ExitReason::MSR_READ);
    exit.rip = 0x1000;
    exit.number = 1;
    vcpu().events = {exit, request(spec::Tdvmcall::INSTRUCTION_RDMSR, 0x12345, 0, 0, kInvalid)};
    vcpu().events[1].number = 2;
    for (unsigned i = 0; i < 100; ++i)
        vcpu().events.push_back(port_ve());
    EXPECT_THAT(cause(), HasSubstr("refused-msr: The host refused RDMSR of MSR 0x12345 at 0x1000 <start>"));
    for (unsigned i = 0; i < 8; ++i)
        vcpu().events.push_back(left(ExitReason::CPUID));
    EXPECT_THAT(cause(), HasSubstr("gave-up: "));
    vcpu().events.push_back(request(spec::Tdvmcall::MAP_GPA, 0x1000, 0x1000, 0, kInvalid));
    EXPECT_THAT(cause(), HasSubstr("refused-request: "));
    EXPECT_THAT(cause(), HasSubstr("TDG.VP.VMCALL<MapGPA> 0x1000 bytes at 0x1000: INVALID_OPERAND"));
    hangs();
    EXPECT_EQ(cause(), "") << "a guest that ran on has got over it";
}

TEST_F(Diagnoses, TheModulesRefusals)
{
    Event write = left(ExitReason::MSR_WRITE);
    write.operands[1] = 0xffffffff0000010b;
    write.injected = 13;
    vcpu().events = {write};
    EXPECT_THAT(cause(), HasSubstr("The TDX module refused WRMSR of MSR 0x10b"));
    vcpu().events = {{.kind = Kind::tdcall,
                      .leaf = 6,
                      .answered = true,
                      .status = 0xc000010000000001,
                      .operands = {0x5000}}};
    EXPECT_THAT(cause(), HasSubstr("refused-tdcall: "));
    EXPECT_THAT(cause(), HasSubstr("TDG.MEM.PAGE.ACCEPT rcx 0x5000"));
    EXPECT_THAT(cause(), HasSubstr("(OPERAND_INVALID)"));
    vcpu().events[0].status = 0x00000b0a00000000; // a success with something to say
    EXPECT_THAT(cause(), HasSubstr("gave-up: "));
}

TEST_F(Diagnoses, BuffersOnTheWrongSide)
{
    hangs();
    facts.dma = {{0x5000, 64, true}};
    EXPECT_THAT(
        cause(),
        HasSubstr("dma-to-private: A device was sent to memory that the TD uses as private: 0x40 bytes"));
    facts.dma = {{0x5000 | kShared, 64, false}};
    EXPECT_THAT(cause(), HasSubstr("dma-to-nowhere: "));
    EXPECT_THAT(cause(), HasSubstr("the shared bit is for page tables"));
}

TEST_F(Diagnoses, InterruptsThatAreNotTaken)
{
    hangs();
    vcpu().events = {request(spec::Tdvmcall::INSTRUCTION_HLT, 1)};
    vcpu().events[0].answered = false;
    EXPECT_THAT(cause(), HasSubstr("sleeps-for-good: "));
    vcpu().apic->requested[0] = u64{1} << 49;
    EXPECT_THAT(cause(), HasSubstr("interrupt-not-taken: vCPU 0 waits in HLT while interrupt vector 0x31"));
    EXPECT_THAT(cause(), HasSubstr("interrupts blocked"));
    vcpu().events[0].operands[0] = 0;
    EXPECT_THAT(cause(), HasSubstr("waits-for-interrupt: "));
    vcpu().apic->task_priority = 0x30;
    EXPECT_THAT(cause(), HasSubstr("holds back the vectors below 0x40"));
    vcpu().apic->task_priority = 0;
    vcpu().apic->in_service[0] = u64{1} << 50;
    EXPECT_THAT(cause(), HasSubstr("vector 0x32, of the same or a higher class, is still in service"));
    vcpu().apic->software_enabled = false;
    EXPECT_THAT(cause(), HasSubstr("disabled by software"));
}

TEST_F(Diagnoses, AMaskedPinIsToBlameIfEverybodyWaits)
{
    hangs();
    vcpu().events = {request(spec::Tdvmcall::INSTRUCTION_HLT, 0)};
    facts.pins = {{4, "serial port", {.vector = 0x24, .masked = true, .asserted = true, .lost = true}}};
    EXPECT_THAT(cause(), HasSubstr("masked-interrupt: "));
    facts.pins[0].pin.masked = false;
    EXPECT_THAT(cause(), HasSubstr("an interrupt that it has lost"));
    facts.pins[0].pin.lost = false;
    EXPECT_THAT(cause(), HasSubstr("waits-for-interrupt: "));
    facts.pins[0].pin.masked = true;
    add_vcpu(1).events = {left(ExitReason::EXTERNAL_INTERRUPT)};
    EXPECT_THAT(cause(), HasSubstr("spins: vCPU 1 was still executing"));
}

TEST_F(Diagnoses, WhatTheGuestSaysItself)
{
    EXPECT_THAT(cause(), HasSubstr("gave-up: "));
    facts.panic = "VFS: no root";
    EXPECT_EQ(cause(), "panic: The guest's kernel panicked and says why on its console: \"VFS: no root\"");
}

TEST_F(Diagnoses, NothingKnownIsNoCause)
{
    hangs();
    facts.vcpus.clear();
    EXPECT_TRUE(diagnose(facts).empty());
    facts.vcpus.emplace_back();
    EXPECT_THAT(as_text(facts, diagnose(facts)), HasSubstr("registers: this KVM does not show them"));
}

TEST_F(Diagnoses, ReportsAreFitForATerminal)
{
    facts.symbol = [](u64) { return std::string("na\x1b[2Jme\"\n") + std::string(5000, 'x'); };
    facts.panic = "a\x07";
    vcpu().backtrace = {{Frame::How::rip, 0x1000}, {Frame::How::guess, 0x2000}};
    const auto causes = diagnose(facts);
    for (const std::string& text : {as_text(facts, causes), as_json(facts, causes)}) {
        for (const char c : text)
            EXPECT_TRUE(c == '\n' || (c >= ' ' && c <= '~')) << static_cast<int>(c);
    }
    EXPECT_LT(as_text(facts, causes).size(), 6000u);
}

} // namespace
} // namespace seamless::vmm::report
