// SPDX-License-Identifier: Apache-2.0
// Stacks made by hand: frame pointers, guesses, exception frames, and garbage.
#include "vmm/report/stack.h"

#include <cstring>
#include <gtest/gtest.h>
#include <map>

#include "vmm/report/console_tail.h"

namespace seamless::vmm::report {
namespace {

using spec::Gpr;
using spec::Seg;

constexpr u64 kStack = 0x10000, kStackSize = 0x1000, kCode = 0x40000;

struct Stack : testing::Test {
    std::vector<u8> stack = std::vector<u8>(kStackSize);
    std::vector<u8> code = std::vector<u8>(0x1000, 0x90);
    trace::VcpuRegisters registers;
    ReadMemory read = [this](u64 from, std::span<u8> to) {
        for (const auto& [start, bytes] : {std::pair(kStack, &stack), {kCode, &code}})
            if (from >= start && from - start < bytes->size()) {
                const u64 there = std::min<u64>(to.size(), bytes->size() - (from - start));
                std::memcpy(to.data(), bytes->data() + (from - start), there);
                return there;
            }
        return u64{0};
    };

    Stack()
    {
        registers.rip = kCode;
        registers.efer = spec::efer::LMA;
        registers.seg[static_cast<unsigned>(Seg::cs)] = {.ar = spec::segment_ar::L, .selector = 8};
        registers.gpr[static_cast<unsigned>(Gpr::rsp)] = kStack;
    }
    void word(u64 offset, u64 value) { std::memcpy(stack.data() + offset, &value, 8); }
    // CALL before `offset`.
    u64 call_before(u64 offset)
    {
        code[offset - 5] = 0xe8;
        return kCode + offset;
    }
    std::vector<u64> addresses(bool symbols = false)
    {
        std::vector<u64> list;
        for (const Frame& f : backtrace(
                 registers, read, [](u64 a) { return a == kCode + 0x300 ? "known" : ""; }, symbols))
            list.push_back(f.address);
        return list;
    }
};

TEST_F(Stack, FramePointersAreFollowedWhileTheyMakeSense)
{
    registers.gpr[static_cast<unsigned>(Gpr::rbp)] = kStack + 0x100;
    word(0x100, kStack + 0x200);
    word(0x108, call_before(0x100));
    word(0x200, kStack + 0x300);
    word(0x208, call_before(0x200));
    word(0x300, kStack + 0x100); // back down: a loop
    word(0x308, call_before(0x300));
    EXPECT_EQ(addresses(), (std::vector<u64>{kCode, kCode + 0x100, kCode + 0x200, kCode + 0x300}));
}

TEST_F(Stack, GuessesAreBehindCalls)
{
    word(0x10, call_before(0x100));
    word(0x18, kCode + 0x180); // no call there
    word(0x20, 0xdead0000);
    word(0x28, call_before(0x300));
    code[0x3fe] = 0xff, code[0x3ff] = 0xd0; // call rax
    word(0x30, kCode + 0x400);
    EXPECT_EQ(addresses(), (std::vector<u64>{kCode, kCode + 0x100, kCode + 0x300, kCode + 0x400}));
    EXPECT_EQ(addresses(true), (std::vector<u64>{kCode, kCode + 0x300})) << "symbols must confirm";
}

TEST_F(Stack, ItHasAnEndWhateverIsOnIt)
{
    const u64 back = call_before(0x100);
    for (u64 i = 0; i < kStackSize; i += 8)
        word(i, back);
    EXPECT_LE(addresses().size(), 24u);
    registers.gpr[static_cast<unsigned>(Gpr::rsp)] = ~u64{0};
    EXPECT_EQ(addresses(), std::vector<u64>{kCode});
    registers.efer = 0;
    EXPECT_EQ(addresses(), std::vector<u64>{kCode}) << "only 64-bit code is known";
}

TEST_F(Stack, ExceptionFramesHaveFiveWordsThatFit)
{
    const auto frame = [&](u64 at, u64 rip, u64 cs, u64 flags, u64 rsp, u64 ss) {
        for (const u64 value : {rip, cs, flags, rsp, ss}) {
            word(at, value);
            at += 8;
        }
    };
    frame(0x40, kCode + 8, 8, 0x46, kStack + 0x80, 0x10);
    frame(0x80, kCode + 16, 8, 0x44, kStack, 0x10);     // RFLAGS without its fixed bit
    frame(0xc0, kCode + 24, 0x33, 0x246, 0x7000, 0x2b); // user mode
    frame(0x100, 0x5, 8, 0x46, kStack, 0x10);           // no code there
    const std::vector<Frame> found = exception_frames(registers, read);
    ASSERT_EQ(found.size(), 2u);
    EXPECT_EQ(found[0].address, kCode + 8);
    EXPECT_EQ(found[0].rsp, kStack + 0x80);
    EXPECT_EQ(found[1].address, kCode + 24);
}

TEST(Console, TheLastWordsOfAKernel)
{
    struct Nowhere : devices::SerialSink {
        u64 count = 0;
        void transmit(u8) override { ++count; }
    } sink;
    ConsoleTail tail(sink);
    u64 said = 0;
    const auto say = [&](std::string_view text) {
        tail.transmit_all({reinterpret_cast<const u8*>(text.data()), text.size()});
        said += text.size();
    };
    EXPECT_EQ(tail.panic(), "");
    say("[ 1.0] Kernel pan");
    say("ic - not syncing: no \x1b init\r\n more\n");
    EXPECT_EQ(tail.panic(), "no . init");
    for (unsigned i = 0; i < 3 * ConsoleTail::kKept; ++i)
        tail.transmit('x');
    EXPECT_EQ(tail.panic(), "") << "only the end is kept";
    EXPECT_EQ(sink.count, said + 3 * ConsoleTail::kKept);
}

} // namespace
} // namespace seamless::vmm::report
