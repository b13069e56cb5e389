// SPDX-License-Identifier: Apache-2.0
// Moves: every operand form that reaches a device, and how addresses are made.
#include <gtest/gtest.h>

#include "unit/emul/fake_cpu.h"

namespace seamless {
namespace {

using emul::Emulation;
using fakes::FakeCpu;
using spec::Gpr;
using spec::Seg;

constexpr u64 kDevice = FakeCpu::kDevice;

struct Load {
    std::initializer_list<u8> code;
    u64 rax; // afterwards; before it is all ones, the device holds 0x8899aabbccddeeff
};

TEST(EmulMoves, LoadsFillTheirRegisters)
{
    const Load loads[] = {
        {{0x48, 0x8b, 0x07}, 0x8899aabbccddeeff},       // mov rax, [rdi]
        {{0x8b, 0x07}, 0xccddeeff},                     // mov eax: the upper half is cleared
        {{0x66, 0x8b, 0x07}, 0xffffffffffffeeff},       // mov ax: the rest is kept
        {{0x8a, 0x47, 0x04}, 0xffffffffffffffbb},       // mov al, [rdi+4]
        {{0x8a, 0x67, 0x04}, 0xffffffffffffbbff},       // mov ah, [rdi+4]
        {{0x0f, 0xb6, 0x07}, 0xff},                     // movzx eax, byte
        {{0x66, 0x0f, 0xb6, 0x07}, 0xffffffffffff00ff}, // movzx ax, byte
        {{0x48, 0x0f, 0xb7, 0x07}, 0xeeff},             // movzx rax, word
        {{0x0f, 0xbe, 0x07}, 0xffffffff},               // movsx eax, byte
        {{0x48, 0x0f, 0xbf, 0x07}, 0xffffffffffffeeff}, // movsx rax, word
        {{0x48, 0x63, 0x07}, 0xffffffffccddeeff},       // movsxd rax, dword
        {{0x0f, 0x38, 0xf0, 0x07}, 0xffeeddcc},         // movbe eax, [rdi]
    };
    for (const Load& load : loads) {
        FakeCpu cpu;
        cpu.put<u64>(kDevice, 0x8899aabbccddeeff);
        cpu[Gpr::rdi] = kDevice;
        cpu[Gpr::rax] = ~u64{0};
        EXPECT_EQ(cpu.run(load.code), Emulation::OK);
        EXPECT_EQ(cpu[Gpr::rax], load.rax);
        EXPECT_EQ(cpu.rip_value, FakeCpu::kCode + load.code.size());
        EXPECT_EQ(cpu.log.size(), 1u); // asked once, though it took two passes
        EXPECT_EQ(cpu.passes, 2);
        EXPECT_EQ(cpu.flags, 2u);
    }
}

struct Store {
    std::initializer_list<u8> code;
    u64 memory; // afterwards; before it is all ones
};

TEST(EmulMoves, StoresWriteTheirSizeAndNoMore)
{
    const Store stores[] = {
        {{0x48, 0x89, 0x07}, 0x1122334455667788},                         // mov [rdi], rax
        {{0x89, 0x07}, 0xffffffff55667788},                               // eax
        {{0x66, 0x89, 0x07}, 0xffffffffffff7788},                         // ax
        {{0x88, 0x07}, 0xffffffffffffff88},                               // al
        {{0x88, 0x27}, 0xffffffffffffff77},                               // ah
        {{0x40, 0x88, 0x37}, 0xffffffffffffffcd},                         // sil: REX selects it
        {{0x44, 0x88, 0x07}, 0xffffffffffffff5e},                         // r8b
        {{0xc6, 0x07, 0x99}, 0xffffffffffffff99},                         // immediates
        {{0x66, 0xc7, 0x07, 0x34, 0x12}, 0xffffffffffff1234},             //
        {{0xc7, 0x07, 1, 0, 0, 0x80}, 0xffffffff80000001},                //
        {{0x48, 0xc7, 0x07, 0xfd, 0xff, 0xff, 0x7f}, 0x000000007ffffffd}, // sign-extended
        {{0x0f, 0xc3, 0x07}, 0xffffffff55667788},                         // movnti
    };
    for (const Store& store : stores) {
        FakeCpu cpu;
        cpu.put<u64>(kDevice, ~u64{0});
        cpu[Gpr::rdi] = kDevice;
        cpu[Gpr::rax] = 0x1122334455667788;
        cpu[Gpr::rsi] = 0xabcd;
        cpu[Gpr::r8] = 0x5e;
        EXPECT_EQ(cpu.run(store.code), Emulation::OK);
        EXPECT_EQ(cpu.get<u64>(kDevice), store.memory);
        EXPECT_EQ(cpu.passes, 1);
        EXPECT_EQ(cpu.rip_value, FakeCpu::kCode + store.code.size());
    }
}

TEST(EmulMoves, AddressesAreMadeOfAllTheirParts)
{
    FakeCpu cpu;
    cpu[Gpr::r13] = kDevice;
    cpu[Gpr::r12] = 0x10;
    cpu[Gpr::rax] = 0xaa;
    EXPECT_EQ(cpu.run({0x43, 0x88, 0x84, 0xa5, 0x00, 0x01, 0x00, 0x00}), Emulation::OK); // [r13+r12*4+0x100]
    EXPECT_EQ(cpu.get<u8>(kDevice + 0x140), 0xaa);

    const u32 disp = static_cast<u32>(kDevice + 8 - FakeCpu::kCode - 6);
    const u8 b0 = static_cast<u8>(disp), b1 = static_cast<u8>(disp >> 8);
    EXPECT_EQ(cpu.run({0x88, 0x05, b0, b1, static_cast<u8>(disp >> 16), 0}), Emulation::OK); // [rip+disp]
    EXPECT_EQ(cpu.get<u8>(kDevice + 8), 0xaa);

    cpu.segments[static_cast<unsigned>(Seg::gs)].base = kDevice;
    cpu[Gpr::rdi] = 0x20;
    EXPECT_EQ(cpu.run({0x65, 0x88, 0x07}), Emulation::OK); // gs:[rdi]
    EXPECT_EQ(cpu.get<u8>(kDevice + 0x20), 0xaa);
    cpu.segments[static_cast<unsigned>(Seg::ds)].base = 0x5000; // no base but of FS and GS counts
    cpu[Gpr::rdi] = kDevice + 0x30;
    EXPECT_EQ(cpu.run({0x88, 0x07}), Emulation::OK);
    EXPECT_EQ(cpu.get<u8>(kDevice + 0x30), 0xaa);

    cpu[Gpr::rdi] = u64{0xffffffff} << 32 | kDevice;
    EXPECT_EQ(cpu.run({0x67, 0x88, 0x47, 0x40}), Emulation::OK); // [edi+0x40]
    EXPECT_EQ(cpu.get<u8>(kDevice + 0x40), 0xaa);

    EXPECT_EQ(cpu.run({0xa2, 0x50, 0, 1, 0, 0, 0, 0, 0}), Emulation::OK); // mov [moffs], al
    EXPECT_EQ(cpu.get<u8>(kDevice + 0x50), 0xaa);
    cpu.put<u8>(kDevice + 0x51, 0xbb);
    EXPECT_EQ(cpu.run({0xa0, 0x51, 0, 1, 0, 0, 0, 0, 0}), Emulation::OK); // mov al, [moffs]
    EXPECT_EQ(cpu[Gpr::rax], 0xbbu);
}

TEST(EmulMoves, OtherModesHaveOtherSizesAndLimits)
{
    FakeCpu cpu;
    cpu.segments[static_cast<unsigned>(Seg::cs)].ar = 0xc09b; // 32-bit code
    cpu[Gpr::rdi] = kDevice;
    cpu[Gpr::rax] = 0x11223344;
    EXPECT_EQ(cpu.run({0x66, 0x89, 0x07}), Emulation::OK);
    EXPECT_EQ(cpu.get<u32>(kDevice), 0x3344u);
    auto& ds = cpu.segments[static_cast<unsigned>(Seg::ds)];
    ds.base = kDevice;
    ds.limit = 0xf;
    cpu[Gpr::rdi] = 0xc;
    EXPECT_EQ(cpu.run({0x89, 0x07}), Emulation::OK);
    EXPECT_EQ(cpu.get<u32>(kDevice + 0xc), 0x11223344u);
    cpu[Gpr::rdi] = 0xd; // its last byte lies behind the limit
    EXPECT_EQ(cpu.run({0x89, 0x07}), Emulation::OK);
    EXPECT_EQ(cpu.exception, 13);
    EXPECT_TRUE(cpu.emulator.exception_queued());
    EXPECT_EQ(cpu.rip_value, FakeCpu::kCode);
    ds.limit = 0xffffffff;
    ds.ar = 0xc091; // read-only
    cpu[Gpr::rdi] = 0;
    cpu.exception = -1;
    EXPECT_EQ(cpu.run({0x89, 0x07}), Emulation::OK);
    EXPECT_EQ(cpu.exception, 13);
    auto& ss = cpu.segments[static_cast<unsigned>(Seg::ss)];
    ss.limit = 0xff;
    cpu[Gpr::rbp] = 0x100;
    EXPECT_EQ(cpu.run({0x89, 0x45, 0x00}), Emulation::OK); // [ebp]: #SS
    EXPECT_EQ(cpu.exception, 12);
}

TEST(EmulMoves, NonCanonicalAddressesFault)
{
    FakeCpu cpu;
    cpu[Gpr::rdi] = u64{1} << 47;
    EXPECT_EQ(cpu.run({0x8b, 0x07}), Emulation::OK);
    EXPECT_EQ(cpu.exception, 13);
    cpu.exception = -1;
    cpu[Gpr::rbp] = u64{1} << 47;
    EXPECT_EQ(cpu.run({0x8b, 0x45, 0x00}), Emulation::OK);
    EXPECT_EQ(cpu.exception, 12);
    cpu.exception = -1;
    cpu[Gpr::rdi] = (u64{1} << 47) - 2; // the end lies beyond
    EXPECT_EQ(cpu.run({0x8b, 0x07}), Emulation::OK);
    EXPECT_EQ(cpu.exception, 13);
}

TEST(EmulMoves, WhatNoRowNamesCannotBeEmulated)
{
    const std::initializer_list<u8> refused[] = {
        {0x0f, 0x20, 0xc0},             // mov rax, cr0
        {0x8e, 0x07},                   // mov es, [rdi]
        {0xc5, 0xfa, 0x6f, 0x07},       // vmovdqu xmm0, [rdi]
        {0xf2, 0x0f, 0x10, 0x07},       // movsd xmm0, [rdi]: SSE, not the string instruction
        {0xf3, 0x0f, 0x7e, 0x07},       // movq xmm0, [rdi]
        {0x48, 0x0f, 0x6e, 0x07},       // movq mm0, qword [rdi]: another opcode than KVM's
        {0x0f, 0x58, 0x07},             // addps
        {0x0f, 0xb8, 0x07},             // not popcnt without its prefix
        {0xf3, 0x0f, 0xb8, 0x07},       // popcnt
        {0xf2, 0x0f, 0x38, 0xf1, 0x07}, // crc32
        {0x48, 0x0f, 0xc7, 0x0f},       // cmpxchg16b
        {0xff, 0x1f},                   // call far [rdi]
        {0xc8, 0x10, 0, 1},             // enter with a nested frame
        {0x0f, 0x0b},                   // ud2
    };
    for (const auto& code : refused) {
        FakeCpu cpu;
        EXPECT_EQ(cpu.run(code), Emulation::FAILED);
        EXPECT_FALSE(cpu.emulator.exception_queued());
        EXPECT_GE(cpu.emulator.insn().size(), code.size());
        EXPECT_TRUE(cpu.log.empty());
    }
    FakeCpu cpu;
    EXPECT_EQ(cpu.emulator.execute(), Emulation::FAILED); // nothing was decoded
}

TEST(EmulMoves, LockWhereItIsNotAllowedIsUndefined)
{
    const std::initializer_list<u8> undefined[] = {
        {0xf0, 0x89, 0x07},       // mov [rdi], eax
        {0xf0, 0x03, 0x07},       // add eax, [rdi]
        {0xf0, 0x39, 0x07},       // cmp
        {0xf0, 0x0f, 0xa3, 0x07}, // bt
        {0x66, 0xf0, 0xd1, 0x27}, // shl
        {0xf0, 0x0f, 0xa4, 7, 1}, // shld
    };
    for (const auto& code : undefined) {
        FakeCpu cpu;
        cpu[Gpr::rdi] = kDevice;
        EXPECT_EQ(cpu.run(code), Emulation::FAILED);
        EXPECT_TRUE(cpu.emulator.exception_queued());
        EXPECT_EQ(cpu.exception, 6);
        EXPECT_TRUE(cpu.log.empty());
    }
    FakeCpu cpu; // with LOCK or without, ADDPS is not emulated
    EXPECT_EQ(cpu.run({0xf0, 0x0f, 0x58, 0x07}), Emulation::FAILED);
    EXPECT_FALSE(cpu.emulator.exception_queued());
}

TEST(EmulMoves, TheNextPageIsFetchedOnlyIfTheInstructionGoesOnThere)
{
    FakeCpu cpu;
    cpu[Gpr::rdi] = kDevice;
    cpu[Gpr::rax] = 7;
    cpu.fetch_limit = 0x3000;
    cpu.put<u16>(0x2ffe, 0x0789); // mov [rdi], eax, the last bytes of the page
    cpu.rip_value = 0x2ffe;
    EXPECT_EQ(cpu.emulator.decode({}), Emulation::OK);
    EXPECT_EQ(cpu.fetches, std::vector<u64>{0x2ffe});
    cpu.put<u16>(0x2ffe, 0x4789); // mov [rdi + disp8], eax: the displacement lies behind
    EXPECT_EQ(cpu.emulator.decode({}), Emulation::FAILED);
    EXPECT_TRUE(cpu.emulator.exception_queued());
    EXPECT_EQ(cpu.exception, 14);
}

TEST(EmulMoves, KnownBytesAreNotFetchedAgain)
{
    FakeCpu cpu;
    cpu[Gpr::rdi] = kDevice;
    cpu[Gpr::rax] = 7;
    constexpr u8 code[] = {0x89, 0x07};
    EXPECT_EQ(cpu.emulator.decode(code), Emulation::OK);
    EXPECT_TRUE(cpu.fetches.empty());
    EXPECT_EQ(cpu.finish(), Emulation::OK);
    EXPECT_EQ(cpu.get<u32>(kDevice), 7u);
}

} // namespace
} // namespace seamless
