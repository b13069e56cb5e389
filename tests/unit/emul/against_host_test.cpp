// SPDX-License-Identifier: Apache-2.0
// Each instruction that user mode can run, on a device: registers, flags and memory are what this host makes.
#include <gtest/gtest.h>

#include <random>

#include "unit/emul/native_run.h"

namespace seamless {
namespace {

using emul::Emulation;
using fakes::FakeCpu;
using fakes::NativeRun;
using spec::Gpr;
namespace rflags = spec::rflags;

constexpr u64 kDevice = FakeCpu::kDevice, kStack = 0x8000;

struct Form {
    const char* name;
    std::initializer_list<u8> code;
};

// clang-format off
const Form kForms[] = { // the operand is [rdi], but for strings
    {"add [rdi], eax",       {0x01, 0x07}},             {"add al, [rdi]",       {0x02, 0x07}},
    {"or [rdi], rax",        {0x48, 0x09, 0x07}},       {"or word [rdi], imm",  {0x66, 0x81, 0x0f, 0x34, 0x12}},
    {"adc [rdi], eax",       {0x11, 0x07}},             {"adc byte [rdi], imm", {0x80, 0x17, 0x7f}},
    {"sbb eax, [rdi]",       {0x1b, 0x07}},             {"sbb [rdi], imm8",     {0x83, 0x1f, 0xff}},
    {"and [rdi], ax",        {0x66, 0x21, 0x07}},       {"sub [rdi], rax",      {0x48, 0x29, 0x07}},
    {"xor al, [rdi]",        {0x32, 0x07}},             {"cmp [rdi], eax",      {0x39, 0x07}},
    {"test [rdi], rax",      {0x48, 0x85, 0x07}},       {"test byte, imm",      {0xf6, 0x07, 0x5a}},
    {"inc byte",             {0xfe, 0x07}},             {"dec qword",           {0x48, 0xff, 0x0f}},
    {"not dword",            {0xf7, 0x17}},             {"neg word",            {0x66, 0xf7, 0x1f}},
    {"lock xadd",            {0xf0, 0x0f, 0xc1, 0x07}}, {"xchg ax",             {0x66, 0x87, 0x07}},
    {"lock cmpxchg byte",    {0xf0, 0x0f, 0xb0, 0x0f}}, {"cmpxchg qword",       {0x48, 0x0f, 0xb1, 0x0f}},
    {"cmpxchg8b",            {0x0f, 0xc7, 0x0f}},       {"lock cmpxchg8b",      {0xf0, 0x0f, 0xc7, 0x0f}},
    {"rol byte, 1",          {0xd0, 0x07}},             {"ror dword, cl",       {0xd3, 0x0f}},
    {"rcl word, imm",        {0x66, 0xc1, 0x17, 3}},    {"rcr qword, 1",        {0x48, 0xd1, 0x1f}},
    {"shl byte, cl",         {0xd2, 0x27}},             {"shr dword, imm",      {0xc1, 0x2f, 9}},
    {"sar qword, cl",        {0x48, 0xd3, 0x3f}},       {"shl /6",              {0xd1, 0x37}},
    {"shld dword, imm",      {0x0f, 0xa4, 0x07, 5}},    {"shld qword, cl",      {0x48, 0x0f, 0xa5, 0x07}},
    {"shrd dword, cl",       {0x0f, 0xad, 0x07}},       {"shrd qword, imm",     {0x48, 0x0f, 0xac, 0x07, 33}},
    {"bt dword, imm",        {0x0f, 0xba, 0x27, 0x25}}, {"bts word, imm",       {0x66, 0x0f, 0xba, 0x2f, 7}},
    {"lock btr qword, imm",  {0xf0, 0x48, 0x0f, 0xba, 0x37, 0x3f}}, {"btc dword, imm", {0x0f, 0xba, 0x3f, 1}},
    {"bsf eax",              {0x0f, 0xbc, 0x07}},       {"bsr rax",             {0x48, 0x0f, 0xbd, 0x07}},
    {"mul byte",             {0xf6, 0x27}},             {"mul word",            {0x66, 0xf7, 0x27}},
    {"mul dword",            {0xf7, 0x27}},             {"mul qword",           {0x48, 0xf7, 0x27}},
    {"imul byte",            {0xf6, 0x2f}},             {"imul qword",          {0x48, 0xf7, 0x2f}},
    {"imul eax",             {0x0f, 0xaf, 0x07}},       {"imul ax",             {0x66, 0x0f, 0xaf, 0x07}},
    {"imul rax, imm8",       {0x48, 0x6b, 0x07, 0xfd}}, {"imul eax, imm32",     {0x69, 0x07, 1, 2, 3, 4}},
    {"div byte",             {0xf6, 0x37}},             {"div word",            {0x66, 0xf7, 0x37}},
    {"div dword",            {0xf7, 0x37}},             {"div qword",           {0x48, 0xf7, 0x37}},
    {"idiv byte",            {0xf6, 0x3f}},             {"idiv word",           {0x66, 0xf7, 0x3f}},
    {"idiv dword",           {0xf7, 0x3f}},             {"idiv qword",          {0x48, 0xf7, 0x3f}},
    {"cmovb eax",            {0x0f, 0x42, 0x07}},       {"cmovle rax",          {0x48, 0x0f, 0x4e, 0x07}},
    {"setnbe",               {0x0f, 0x97, 0x07}},       {"setp",                {0x0f, 0x9a, 0x07}},
    {"movsx",                {0x0f, 0xbe, 0x07}},       {"movzx",               {0x66, 0x0f, 0xb6, 0x07}},
    {"movsxd",               {0x48, 0x63, 0x07}},       {"movnti",              {0x48, 0x0f, 0xc3, 0x07}},
    {"mov ah, [rdi]",        {0x8a, 0x27}},             {"mov [rdi], imm",      {0xc7, 0x07, 9, 8, 7, 6}},
    {"push qword",           {0xff, 0x37}},             {"push word",           {0x66, 0xff, 0x37}},
    {"pop qword",            {0x8f, 0x07}},             {"pop word",            {0x66, 0x8f, 0x07}},
    {"pop [rsp + disp]",     {0x8f, 0x84, 0x24, 0, 0x80, 0, 0}},
    {"movsb",                {0xa4}},                   {"movsq",               {0x48, 0xa5}},
    {"cmpsd",                {0xa7}},                   {"stosw",               {0x66, 0xab}},
    {"lodsd",                {0xad}},                   {"scasb",               {0xae}},
    {"movaps xmm1",          {0x0f, 0x28, 0x0f}},       {"movaps to memory",    {0x0f, 0x29, 0x0f}},
    {"movapd xmm9",          {0x66, 0x44, 0x0f, 0x28, 0x0f}}, {"movups",        {0x0f, 0x10, 0x57, 1}},
    {"movupd to memory",     {0x66, 0x0f, 0x11, 0x57, 3}}, {"movdqa",           {0x66, 0x0f, 0x6f, 0x1f}},
    {"movdqu to memory",     {0xf3, 0x0f, 0x7f, 0x5f, 5}}, {"movdqu",           {0xf3, 0x0f, 0x6f, 0x5f, 5}},
    {"movntps",              {0x0f, 0x2b, 0x27}},       {"movntdq",             {0x66, 0x0f, 0xe7, 0x27}},
    {"movq mm3",             {0x0f, 0x6f, 0x1f}},       {"movq to memory, mm3", {0x0f, 0x7f, 0x1f}},
    {"fnstcw",               {0xd9, 0x3f}},             {"fnstsw",              {0xdd, 0x3f}},
    {"clflush",              {0x0f, 0xae, 0x3f}},
};
// clang-format on

void randomize(FakeCpu& cpu, std::mt19937_64& random, bool flags)
{
    for (u64& r : cpu.regs)
        r = random() >> (random() % 3 * 24); // small ones too
    for (u64 i = 0; i < 128; i += 8) {
        cpu.put<u64>(kDevice + i - 32, random() >> (random() % 3 * 24));
        cpu.put<u64>(kDevice + 0x100 + i, random());
    }
    if (random() % 3 == 0) // CMPXCHG: equal
        cpu.put<u64>(kDevice, cpu[Gpr::rax]);
    if (random() % 3 == 0) // CMPXCHG8B
        cpu.put<u64>(kDevice, cpu[Gpr::rdx] << 32 | static_cast<u32>(cpu[Gpr::rax]));
    if (random() % 8 == 0)
        cpu.put<u64>(kDevice, 0);
    cpu[Gpr::rdi] = kDevice;
    cpu[Gpr::rsi] = kDevice + 0x100;
    cpu[Gpr::rsp] = kStack;
    cpu[Gpr::rbp] = kStack;
    cpu.flags = rflags::FIXED1 | rflags::IF | (flags ? rflags::kArithmetic : 0);
    for (unsigned i = 32; i < 416; i += 8) {
        const u64 value = random();
        std::memcpy(cpu.fpu + i, &value, 8);
    }
    constexpr u16 kFcw = 0x37f, kFsw = 0x4100;
    constexpr u32 kMxcsr = 0x1f80;
    std::memcpy(cpu.fpu, &kFcw, 2);
    std::memcpy(cpu.fpu + 2, &kFsw, 2);
    std::memcpy(cpu.fpu + 24, &kMxcsr, 4);
    for (unsigned i = 32; i < 160; i += 16) // what lies above the 80 bits of a register is no state
        std::memset(cpu.fpu + i + 10, 0, 6);
}

void expect_same(const FakeCpu& cpu, const NativeRun& native)
{
    for (unsigned i = 0; i < 16; ++i)
        EXPECT_EQ(cpu.regs[i], native.gpr(i)) << "register " << i;
    EXPECT_EQ(cpu.flags & ~rflags::IF, native.flags() & ~rflags::IF);
    EXPECT_EQ(std::memcmp(cpu.memory + 0x2000, native.memory() + 0x2000, FakeCpu::kMemory - 0x2000), 0);
    EXPECT_EQ(std::memcmp(cpu.fpu, native.fpu(), 5), 0); // control, status, tags
    EXPECT_EQ(std::memcmp(cpu.fpu + 32, native.fpu() + 32, 128 + 256), 0);
}

TEST(EmulAgainstHost, EveryFormDoesWhatTheHostDoes)
{
    constexpr u64 kSeed = 20240607;
    std::mt19937_64 random(kSeed);
    NativeRun native;
    for (const Form& form : kForms) {
        SCOPED_TRACE(form.name);
        int compared = 0;
        for (int round = 0; round < 60 && !testing::Test::HasFailure(); ++round) {
            FakeCpu cpu;
            randomize(cpu, random, round & 1);
            const FakeCpu before = cpu;
            ASSERT_EQ(cpu.run(form.code), Emulation::OK);
            EXPECT_GE(cpu.log.size(), 1u) << "the device was not asked";
            if (cpu.exception == 0)
                continue; // #DE: the host would raise it too, see below
            ASSERT_EQ(cpu.exception, -1);
            EXPECT_EQ(cpu.rip_value, FakeCpu::kCode + form.code.size());
            native.run(before, form.code);
            expect_same(cpu, native);
            ++compared;
        }
        EXPECT_GE(compared, 8);
    }
}

TEST(EmulAgainstHost, BitNumbersInRegistersReachOutsideTheOperand)
{
    const Form forms[] = {
        {"bt", {0x0f, 0xa3, 0x07}},
        {"bts word", {0x66, 0x0f, 0xab, 0x07}},
        {"btr qword", {0x48, 0x0f, 0xb3, 0x07}},
        {"lock btc", {0xf0, 0x0f, 0xbb, 0x07}},
    };
    std::mt19937_64 random(7);
    NativeRun native;
    for (const Form& form : forms)
        for (const i64 number : {0, 15, 31, 32, 63, 64, 100, -1, -32, -33, -200}) {
            SCOPED_TRACE(form.name);
            SCOPED_TRACE(number);
            FakeCpu cpu;
            randomize(cpu, random, number & 1);
            cpu[Gpr::rax] = static_cast<u64>(number);
            const FakeCpu before = cpu;
            ASSERT_EQ(cpu.run(form.code), Emulation::OK);
            native.run(before, form.code);
            expect_same(cpu, native);
        }
}

} // namespace
} // namespace seamless
