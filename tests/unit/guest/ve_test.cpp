// SPDX-License-Identifier: Apache-2.0
// The guest's #VE handler: what it asks the host for, and what it does to the interrupted code's registers.
#include "guest/firmware/ve.h"

#include <array>
#include <gtest/gtest.h>
#include <vector>

#include "guest/firmware/tdx.h"
#include "spec/vmx.h"

namespace {

using namespace seamless;
using namespace seamless::guest;
using spec::ExitReason;

// The TDX module and the host, as far as one #VE needs them.
struct FakeModule {
    VeInfo info{};
    u64 info_status = kSuccess;
    u64 answer_status = kSuccess;
    u64 answer = 0;
    std::array<u64, 4> leaf{};
    std::vector<u64> leaves;               // of all TDCALLs
    std::vector<TdcallRegisters> requests; // of TDG.VP.VMCALL

    u64 call(u64 number, TdcallRegisters& r)
    {
        leaves.push_back(number);
        if (number == static_cast<u64>(TdgLeaf::VP_VEINFO_GET)) {
            r.rcx = info.exit_reason;
            r.rdx = info.qualification;
            r.r8 = info.gla;
            r.r9 = info.gpa;
            r.r10 = info.instruction_length;
            return info_status;
        }
        requests.push_back(r);
        r.r10 = answer_status;
        r.r11 = answer;
        if (requests.back().r11 == static_cast<u64>(ExitReason::CPUID)) {
            r.r12 = leaf[0];
            r.r13 = leaf[1];
            r.r14 = leaf[2];
            r.r15 = leaf[3];
        }
        return kSuccess;
    }
};

FakeModule* module;

class VeHandler : public testing::Test {
  protected:
    static constexpr u64 kGpa = 0x8000fe000010;
    static constexpr u64 kBefore = 0xa5a5a5a5a5a5a5a5;

    VeHandler()
    {
        module = &fake;
        for (unsigned i = 0; i < 16; ++i)
            frame.gpr(i) = kBefore;
    }

    // An access to the device at kGpa by the instruction `bytes`.
    bool mmio(std::initializer_list<u8> bytes)
    {
        code.fill(0x90);
        std::copy(bytes.begin(), bytes.end(), code.begin());
        frame.rip = reinterpret_cast<u64>(code.data());
        fake.info = {.exit_reason = static_cast<u32>(ExitReason::EPT_VIOLATION),
                     .qualification = 0,
                     .gla = 0,
                     .gpa = gpa,
                     .instruction_length = 99}; // not valid for this kind, so never to be used
        return handle_ve(frame);
    }

    bool instruction(ExitReason reason, u32 length, u64 qualification = 0)
    {
        frame.rip = 0x1000;
        fake.info = {.exit_reason = static_cast<u32>(reason),
                     .qualification = qualification,
                     .gla = 0,
                     .gpa = 0,
                     .instruction_length = length};
        return handle_ve(frame);
    }

    [[nodiscard]] u64 advanced() const { return frame.rip - reinterpret_cast<u64>(code.data()); }

    FakeModule fake;
    Frame frame{};
    u64 gpa = kGpa;
    std::array<u8, 32> code{};
};

void expect_request(const TdcallRegisters& r, ExitReason reason, u64 r12, u64 r13, u64 r14, u64 r15)
{
    EXPECT_EQ(r.rcx, 0xffccU);
    EXPECT_EQ(r.r10, 0U);
    EXPECT_EQ(r.r11, static_cast<u64>(reason));
    EXPECT_EQ(r.r12, r12);
    EXPECT_EQ(r.r13, r13);
    EXPECT_EQ(r.r14, r14);
    EXPECT_EQ(r.r15, r15);
}

TEST_F(VeHandler, AsksForVeInfoBeforeAnythingElse)
{
    ASSERT_TRUE(mmio({0x8b, 0x07}));
    EXPECT_EQ(fake.leaves, (std::vector<u64>{3, 0}));
}

TEST_F(VeHandler, GivesUpWithoutVeInfo)
{
    fake.info_status = kNoValidVeInfo;
    EXPECT_FALSE(mmio({0x8b, 0x07}));
    EXPECT_TRUE(fake.requests.empty());
}

TEST_F(VeHandler, ReadsFourBytesAndClearsTheUpperHalf)
{
    fake.answer = 0xffffffff'89abcdef; // the host may leave anything above
    ASSERT_TRUE(mmio({0x8b, 0x07}));   // mov (%rdi), %eax
    expect_request(fake.requests.at(0), ExitReason::EPT_VIOLATION, 4, 0, kGpa, 0);
    EXPECT_EQ(frame.gpr(0), 0x89abcdefU);
    EXPECT_EQ(advanced(), 2U);
}

TEST_F(VeHandler, ReadsIntoAHighByteRegister)
{
    fake.answer = 0x1ff;
    ASSERT_TRUE(mmio({0x8a, 0x27})); // mov (%rdi), %ah
    EXPECT_EQ(frame.gpr(0), with_field(kBefore, 15, 8, 0xff));
}

TEST_F(VeHandler, SignExtendsIntoTheWholeRegister)
{
    fake.answer = 0x80;
    ASSERT_TRUE(mmio({0x4c, 0x0f, 0xbe, 0x47, 0x10})); // movsbq 0x10(%rdi), %r8
    expect_request(fake.requests.at(0), ExitReason::EPT_VIOLATION, 1, 0, kGpa, 0);
    EXPECT_EQ(frame.gpr(8), 0xffffffff'ffffff80);
    EXPECT_EQ(advanced(), 5U);
}

TEST_F(VeHandler, WritesOnlyTheBytesOfTheAccess)
{
    ASSERT_TRUE(mmio({0x66, 0x89, 0x0f})); // mov %cx, (%rdi)
    expect_request(fake.requests.at(0), ExitReason::EPT_VIOLATION, 2, 1, kGpa, 0xa5a5);
    EXPECT_EQ(frame.gpr(1), kBefore);
    EXPECT_EQ(advanced(), 3U);
}

TEST_F(VeHandler, SignExtendsAnImmediateToEightBytes)
{
    ASSERT_TRUE(mmio({0x48, 0xc7, 0x07, 0xfe, 0xff, 0xff, 0xff})); // movq $-2, (%rdi)
    expect_request(fake.requests.at(0), ExitReason::EPT_VIOLATION, 8, 1, kGpa, ~u64{1});
    EXPECT_EQ(advanced(), 7U);
}

TEST_F(VeHandler, AsksTheHostNothingForAnInstructionItDoesNotKnow)
{
    EXPECT_FALSE(mmio({0x01, 0x07})); // add %eax, (%rdi)
    EXPECT_TRUE(fake.requests.empty());
    EXPECT_EQ(advanced(), 0U);
}

TEST_F(VeHandler, RefusesAnAccessThatCrossesThePage)
{
    gpa = 0x8000fe000ffd;
    EXPECT_FALSE(mmio({0x8b, 0x07}));
    EXPECT_TRUE(fake.requests.empty());
}

TEST_F(VeHandler, LeavesTheRegistersWhenTheHostRefuses)
{
    fake.answer_status = kGhciInvalidOperand;
    fake.answer = 0;
    EXPECT_FALSE(mmio({0x8b, 0x07}));
    EXPECT_EQ(frame.gpr(0), kBefore);
    EXPECT_EQ(advanced(), 0U);
}

TEST_F(VeHandler, MergesAByteFromAPortIntoAl)
{
    fake.answer = 0x3ff;
    ASSERT_TRUE(instruction(ExitReason::IO_INSTRUCTION, 1, (u64{0x3fd} << 16) | 8)); // in %dx, %al
    expect_request(fake.requests.at(0), ExitReason::IO_INSTRUCTION, 1, 0, 0x3fd, 0);
    EXPECT_EQ(frame.gpr(0), with_field(kBefore, 7, 0, 0xff));
    EXPECT_EQ(frame.rip, 0x1001U);
}

TEST_F(VeHandler, ClearsTheUpperHalfOfRaxForFourBytesFromAPort)
{
    fake.answer = 0x12345678;
    ASSERT_TRUE(instruction(ExitReason::IO_INSTRUCTION, 1, (u64{0xcfc} << 16) | 8 | 3));
    EXPECT_EQ(frame.gpr(0), 0x12345678U);
}

TEST_F(VeHandler, WritesAWordToAPort)
{
    ASSERT_TRUE(instruction(ExitReason::IO_INSTRUCTION, 2, (u64{0x604} << 16) | 1)); // out %ax, %dx
    expect_request(fake.requests.at(0), ExitReason::IO_INSTRUCTION, 2, 1, 0x604, 0xa5a5);
    EXPECT_EQ(frame.rip, 0x1002U);
}

TEST_F(VeHandler, RefusesStringPortInstructions)
{
    EXPECT_FALSE(instruction(ExitReason::IO_INSTRUCTION, 1, (u64{0x3f8} << 16) | 16));
    EXPECT_TRUE(fake.requests.empty());
}

TEST_F(VeHandler, ForwardsHypervisorCpuidLeaves)
{
    fake.leaf = {0x1'00000011, 0x22, 0x33, 0x44}; // bits 63:32 are not the guest's to see
    frame.gpr(0) = 0x40000000;
    frame.gpr(1) = 0xffffffff'00000007;
    ASSERT_TRUE(instruction(ExitReason::CPUID, 2));
    expect_request(fake.requests.at(0), ExitReason::CPUID, 0x40000000, 7, 0, 0);
    EXPECT_EQ(frame.gpr(0), 0x11U);
    EXPECT_EQ(frame.gpr(3), 0x22U);
    EXPECT_EQ(frame.gpr(1), 0x33U);
    EXPECT_EQ(frame.gpr(2), 0x44U);
    EXPECT_EQ(frame.rip, 0x1002U);
}

TEST_F(VeHandler, AnswersOtherCpuidLeavesWithZerosByItself)
{
    frame.gpr(0) = 2;
    ASSERT_TRUE(instruction(ExitReason::CPUID, 2));
    EXPECT_TRUE(fake.requests.empty());
    EXPECT_EQ(frame.gpr(0), 0U);
    EXPECT_EQ(frame.gpr(2), 0U);
}

TEST_F(VeHandler, SplitsAnMsrIntoEdxAndEax)
{
    fake.answer = 0x11223344'55667788;
    frame.gpr(1) = 0x1b;
    ASSERT_TRUE(instruction(ExitReason::MSR_READ, 2));
    expect_request(fake.requests.at(0), ExitReason::MSR_READ, 0x1b, 0, 0, 0);
    EXPECT_EQ(frame.gpr(0), 0x55667788U);
    EXPECT_EQ(frame.gpr(2), 0x11223344U);
}

TEST_F(VeHandler, JoinsEdxAndEaxIntoAnMsr)
{
    frame.gpr(1) = 0x830;
    frame.gpr(0) = 0xffffffff'00000001;
    frame.gpr(2) = 0xffffffff'00000002;
    ASSERT_TRUE(instruction(ExitReason::MSR_WRITE, 2));
    expect_request(fake.requests.at(0), ExitReason::MSR_WRITE, 0x830, 0x2'00000001, 0, 0);
}

TEST_F(VeHandler, TellsTheHostWhetherInterruptsAreBlockedInHlt)
{
    frame.rflags = 0x202;
    ASSERT_TRUE(instruction(ExitReason::HLT, 1));
    frame.rflags = 0x2;
    ASSERT_TRUE(instruction(ExitReason::HLT, 1));
    EXPECT_EQ(fake.requests.at(0).r12, 0U);
    EXPECT_EQ(fake.requests.at(1).r12, 1U);
    EXPECT_EQ(frame.rip, 0x1001U);
}

TEST_F(VeHandler, DoesNotHandleReasonsItHasNoRowFor)
{
    EXPECT_FALSE(instruction(ExitReason::CR_ACCESS, 3));
    EXPECT_TRUE(fake.requests.empty());
}

} // namespace

extern "C" u64 tdcall(u64 leaf, TdcallRegisters* registers) { return module->call(leaf, *registers); }
