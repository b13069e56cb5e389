// SPDX-License-Identifier: Apache-2.0
// Each instruction form of the emulator in a guest, on a device that behaves like memory: registers, flags
// and contents end as they do where the operand is memory and the processor executes the instruction itself.
#include "abi/plain_vm.h"

namespace seamless::abi {
namespace {

constexpr u64 kResults = 0x7000, kTarget = kHandlers + 16 * 20;

struct Form {
    const char* name;
    std::initializer_list<u8> code; // the operand is [edi]; what memory gets besides goes to [esi]
    u64 operand = 0x00000005fedcba98;
    u32 eax = 0x12345678, edx = 3, ecx = 4;
    int exception = -1; // what it ends in
};

// clang-format off
const Form kForms[] = {
    {"mov load",          {0x8b, 0x07}},               {"mov store",        {0x66, 0x89, 0x07}},
    {"mov imm",           {0xc6, 0x07, 0x77}},         {"mov moffs",        {0x8a, 0x67, 2}},
    {"movzx, movsx",      {0x0f, 0xb7, 0x07, 0x0f, 0xbe, 0x4f, 1}},
    {"add",               {0x01, 0x07}},               {"or",               {0x0a, 0x07}},
    {"adc",               {0x83, 0x17, 0x7f}},         {"sbb",              {0x66, 0x1b, 0x07}},
    {"and",               {0x21, 0x07}},               {"sub",              {0x28, 0x07}},
    {"lock xor",          {0xf0, 0x31, 0x07}},         {"cmp",              {0x39, 0x07}},
    {"test",              {0x85, 0x07}},               {"test imm",         {0xf6, 0x07, 0x18}},
    {"inc",               {0xff, 0x07}},               {"dec",              {0xfe, 0x0f}},
    {"not",               {0xf7, 0x17}},               {"neg",              {0xf7, 0x1f}},
    {"xchg",              {0x87, 0x07}},               {"lock xadd",        {0xf0, 0x0f, 0xc1, 0x07}},
    {"cmpxchg, not equal", {0x0f, 0xb1, 0x0f}},        {"cmpxchg, equal",   {0xf0, 0x0f, 0xb1, 0x0f}, 0x12345678},
    {"cmpxchg8b, not equal", {0x0f, 0xc7, 0x0f}},      {"cmpxchg8b, equal", {0xf0, 0x0f, 0xc7, 0x0f}, 0x0000000312345678},
    {"rol",               {0xc0, 0x07, 3}},            {"rcr",              {0xd3, 0x1f}},
    {"shl",               {0xd1, 0x27}},               {"sar",              {0xc1, 0x3f, 7}},
    {"shld",              {0x0f, 0xa4, 0x07, 9}},      {"shrd cl",          {0x66, 0x0f, 0xad, 0x07}},
    {"bt",                {0x0f, 0xa3, 0x17}},         {"bts far off",      {0x0f, 0xab, 0x17}, 5, 0, 0x105},
    {"btr backwards",     {0x0f, 0xb3, 0x17}, 5, 0, 0xffffffe1}, {"btc imm", {0x0f, 0xba, 0x3f, 3}},
    {"bsf",               {0x0f, 0xbc, 0x07}},         {"bsr",              {0x0f, 0xbd, 0x07}},
    {"bsf of zero",       {0x0f, 0xbc, 0x07}, 0},
    {"mul byte",          {0xf6, 0x27}},               {"mul",              {0xf7, 0x27}},
    {"imul one",          {0xf7, 0x2f}},               {"imul two",         {0x0f, 0xaf, 0x07}},
    {"imul three",        {0x69, 0x07, 9, 9, 9, 9}},   {"div",              {0xf7, 0x37}},
    {"idiv word",         {0x66, 0xf7, 0x3f}},         {"div by zero", {0xf7, 0x37}, 0, 1, 0, 0, 0},
    {"cmov",              {0x0f, 0x45, 0x07}},         {"setcc",            {0x0f, 0x95, 0x07}},
    {"push",              {0xff, 0x37}},               {"pop",              {0x6a, 0x99, 0x8f, 0x07}},
    {"jmp",               {0xff, 0x27}, kTarget},      {"call",             {0xff, 0x17}, kTarget},
    {"call, stack in a device", {0x8d, 0x67, 0x40, 0xe8, 0, 0, 0, 0, 0x58}},
    {"ret",               {0x8d, 0x27, 0xc3}, kTarget},
    {"pushf, popf",       {0x8d, 0x67, 0x40, 0xf9, 0x9c, 0xf8, 0x9d}},
    {"push, pop imm",     {0x8d, 0x67, 0x40, 0x6a, 0x85, 0x68, 1, 2, 3, 4, 0x59, 0x5a}},
    {"leave",             {0x8d, 0x2f, 0xc9}, 0x1234},
    {"xlat",              {0x8d, 0x1f, 0xb0, 3, 0xd7, 0x31, 0xdb}},
    {"movs in",           {0x89, 0xfa, 0x87, 0xf7, 0xa5, 0x89, 0xd7, 0x31, 0xd2, 0xbe, 0, 0x70, 0, 0}}, {"stos", {0xab, 0xaa}},
    {"lods",              {0x56, 0x8d, 0x37, 0xad, 0xac, 0x5e}},       {"scas", {0xaf}},
    {"cmps",              {0xa7, 0x83, 0xee, 4}},      {"rep stosw",        {0xf3, 0x66, 0xab}},
    {"repne scasb",       {0xf2, 0xae}},
    {"movaps",            {0x0f, 0x28, 0x0f, 0x0f, 0x11, 0x0e}},
    {"movups, at 3",      {0x0f, 0x10, 0x4f, 3, 0x0f, 0x11, 0x4f, 0x13}},
    {"movdqa, movntdq",   {0x66, 0x0f, 0x6f, 0x17, 0x66, 0x0f, 0xe7, 0x57, 0x20}},
    {"movdqu over a page", {0xf3, 0x0f, 0x6f, 0x9f, 0xf5, 0x0f, 0, 0, 0xf3, 0x0f, 0x7f, 0x1e}},
    {"movq mm, and back", {0x0f, 0x6f, 0x27, 0x0f, 0x7f, 0x67, 0x18, 0x0f, 0x77}},
    {"movnti",            {0x0f, 0xc3, 0x07}},         {"movbe",            {0x0f, 0x38, 0xf0, 0x07}},
    {"fnstcw, fnstsw",    {0xd9, 0x3f, 0xdd, 0x7f, 4}},
    {"sldt, str, smsw",   {0x0f, 0x00, 0x07, 0x0f, 0x00, 0x4f, 4, 0x0f, 0x01, 0x67, 8}},
    {"lmsw",              {0x0f, 0x01, 0x37, 0x0f, 0x01, 0xe0}, 2},
    {"mov from segment",  {0x8c, 0x1f}},
    {"clflush",           {0x0f, 0xae, 0x3f}},
};
// clang-format on

struct Emulation : testing::Test {
    Host host;
    PlainVm vm{host};
    std::array<u8, 0x2000> device{};
    int exits = 0;

    void fill(const Form& form)
    {
        for (std::size_t i = 0; i < device.size(); ++i)
            device[i] = static_cast<u8>(i * 7 + 3);
        std::memcpy(device.data() + 0x100, &form.operand, sizeof form.operand);
    }
    void serve()
    {
        kvm_run& run = *vm.run;
        ASSERT_GE(run.mmio.phys_addr, kDevice);
        const u64 at = run.mmio.phys_addr - kDevice;
        ASSERT_LE(at + run.mmio.len, device.size());
        u8* const bytes = device.data() + at;
        run.mmio.is_write ? std::memcpy(bytes, run.mmio.data, run.mmio.len)
                          : std::memcpy(run.mmio.data, bytes, run.mmio.len);
        ++exits;
    }
    // Runs the form with its operand 100H into the device or into memory that holds the same.
    void run(const Form& form, bool in_device)
    {
        fill(form);
        exits = 0;
        std::memset(vm.memory.at + kResults, 0, 0x100);
        std::memset(vm.memory.at + kStack - 0x100, 0, 0x100);
        std::memcpy(ram.at, device.data(), device.size());
        vm.regs = {.rax = form.eax,
                   .rbx = 0x0badcafe,
                   .rcx = form.ecx,
                   .rdx = form.edx,
                   .rsi = kResults,
                   .rdi = (in_device ? kDevice : kRamDevice) + 0x100,
                   .rsp = kStack,
                   .rbp = 0,
                   .rip = kCode,
                   .rflags = 2 | spec::rflags::CF};
        vm.start(form.code);
        for (int i = 0; i < 64 && vm.run->exit_reason == KVM_EXIT_MMIO && !HasFatalFailure(); ++i) {
            serve();
            vm.go_on();
        }
        ASSERT_EQ(vm.run->exit_reason, KVM_EXIT_HLT);
        vm.regs.rdi -= (in_device ? kDevice : kRamDevice);
        if (!in_device)
            std::memcpy(device.data(), ram.at, device.size());
    }

    static constexpr u64 kRamDevice = 0x400000;
    Memory ram{0x2000};
};

TEST_F(Emulation, EveryFormEndsAsItDoesOnMemory)
{
    vm.add_slot(1, kRamDevice, ram);
    vm.sregs.cr4 |= spec::cr4::OSFXSR;
    for (const Form& form : kForms) {
        SCOPED_TRACE(form.name);
        run(form, false);
        EXPECT_EQ(exits, 0);
        const kvm_regs expected = vm.regs;
        const u64 end = form.exception < 0 ? kCode + form.code.size() : kHandlers + 16 * u64(form.exception);
        EXPECT_TRUE(expected.rip == end + 1 || form.operand == kTarget);
        const auto contents = device;
        std::array<u8, 0x100> results{}, stack{};
        std::memcpy(results.data(), vm.memory.at + kResults, results.size());
        std::memcpy(stack.data(), vm.memory.at + kStack - 0x100, stack.size());
        run(form, true);
        EXPECT_GE(exits, 1);
        if (vm.regs.rsp > kDevice) // a stack in the device
            vm.regs.rsp -= kDevice - kRamDevice;
        if (vm.regs.rbp > kDevice)
            vm.regs.rbp -= kDevice - kRamDevice;
        EXPECT_EQ(std::memcmp(&vm.regs, &expected, sizeof expected), 0);
        EXPECT_EQ(vm.regs.rip, expected.rip);
        EXPECT_EQ(vm.regs.rflags, expected.rflags);
        EXPECT_EQ(vm.regs.rax, expected.rax);
        EXPECT_EQ(vm.regs.rdx, expected.rdx);
        EXPECT_EQ(device, contents);
        EXPECT_EQ(std::memcmp(results.data(), vm.memory.at + kResults, results.size()), 0);
        EXPECT_EQ(std::memcmp(stack.data(), vm.memory.at + kStack - 0x100, stack.size()), 0);
    }
}

TEST_F(Emulation, FormsThatAreNotThereAreReported)
{
    const std::initializer_list<u8> forms[] = {
        // Neither KVM's nor ours.
        {0xf3, 0x0f, 0xb8, 0x07},          // popcnt
        {0xf2, 0x0f, 0x38, 0xf1, 0x07},    // crc32
        {0x0f, 0x58, 0x07},                // addps
        {0xf3, 0x0f, 0x7e, 0x07},          // movq xmm0
        {0x66, 0x0f, 0x6e, 0x07},          // movd xmm0
        {0x0f, 0xfc, 0x07},                // paddb mm0
        {0x8d, 0x67, 0x40, 0xc8, 4, 0, 1}, // enter with a nested frame
        {0xdd, 0x07},                      // fld qword
        // KVM's (the deviation in emul/table.cpp).
        {0x0f, 0x01, 0x17}, // lgdt
        {0x0f, 0x01, 0x1f}, // lidt
        {0x0f, 0x01, 0x07}, // sgdt
        {0x0f, 0x01, 0x0f}, // sidt
        {0x0f, 0x00, 0x17}, // lldt
        {0x0f, 0x00, 0x1f}, // ltr
        {0x0f, 0xae, 0x07}, // fxsave
        {0x0f, 0xae, 0x0f}, // fxrstor
        {0xff, 0x1f},       // call far
        {0xff, 0x2f},       // jmp far
        {0x8e, 0x1f},       // mov ds
        {0x0f, 0xb2, 0x07}, // lss
    };
    vm.sregs.cr4 |= spec::cr4::OSFXSR;
    for (const auto& form : forms) {
        vm.regs = {.rdi = kDevice, .rsp = kStack, .rip = kCode, .rflags = 2};
        EXPECT_EQ(vm.start(form), KVM_EXIT_INTERNAL_ERROR);
        EXPECT_EQ(vm.run->internal.suberror, KVM_INTERNAL_ERROR_EMULATION);
        EXPECT_EQ(vm.run->emulation_failure.insn_bytes[0], form.begin()[vm.regs.rip - kCode]);
    }
}

TEST_F(Emulation, RepeatedInputComesInOneExitAndGoesToMemoryAtOnce)
{
    vm.regs.rdi = 0x5000;
    vm.regs.rdx = 0x3f8;
    vm.regs.rcx = 600;
    u8* const port = reinterpret_cast<u8*>(vm.run) + kPageSize * KVM_PIO_PAGE_OFFSET;
    vm.start({0xf3, 0x66, 0x6d}); // rep insw
    unsigned given = 0;
    for (const u32 count : {512u, 88u}) {
        ASSERT_EQ(vm.run->exit_reason, KVM_EXIT_IO);
        EXPECT_EQ(vm.run->io.direction, KVM_EXIT_IO_IN);
        EXPECT_EQ(vm.run->io.size, 2);
        EXPECT_EQ(vm.run->io.count, count);
        EXPECT_EQ(vm.regs.rcx, 600 - given);
        for (u32 i = 0; i < count; ++i, ++given) {
            port[2 * i] = static_cast<u8>(given);
            port[2 * i + 1] = static_cast<u8>(given >> 8);
        }
        vm.go_on();
    }
    EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rcx, 0u);
    EXPECT_EQ(vm.regs.rdi, 0x5000u + 1200);
    for (u16 i = 0; i < 600; ++i)
        ASSERT_EQ(vm.memory.get<u16>(0x5000 + 2 * u64{i}), i);
}

TEST_F(Emulation, RepeatedInputIntoADeviceIsWrittenEightBytesAtATime)
{
    vm.regs.rdi = kDevice;
    vm.regs.rdx = 0x3f8;
    vm.regs.rcx = 5;
    u8* const port = reinterpret_cast<u8*>(vm.run) + kPageSize * KVM_PIO_PAGE_OFFSET;
    vm.start({0xf3, 0x6d}); // rep insd
    ASSERT_EQ(vm.run->exit_reason, KVM_EXIT_IO);
    EXPECT_EQ(vm.run->io.count, 5u);
    std::memset(port, 0x5a, 20);
    vm.go_on();
    for (const u32 len : {8u, 8u, 4u}) {
        vm.expect_mmio(true, kDevice + (len == 4 ? 16 : vm.run->mmio.phys_addr & 8), len);
        vm.go_on();
    }
    EXPECT_EQ(vm.run->exit_reason, KVM_EXIT_HLT);
    EXPECT_EQ(vm.regs.rdi, kDevice + 20);
}

} // namespace
} // namespace seamless::abi
