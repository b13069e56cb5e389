// SPDX-License-Identifier: Apache-2.0
// A VMM takes a plain guest's memory away without telling KVM: the next access ends KVM_RUN with EFAULT, at
// the instruction that made it, and once the memory is back the guest goes on as if nothing had happened.
#include <thread>

#include "abi/plain_vm.h"
#include "rig/memory.h"

namespace seamless::abi {
namespace {

using rig::LosableMemory;

constexpr u64 kLost = 0x100000; // where the guest sees what goes away
constexpr u64 kPages = 2;
constexpr u8 kReport = 0x80;

// The code that ends with OUT to kReport runs while the memory is there, and brings the processor to know it;
// then the memory goes.
class LosingVm {
  public:
    LosingVm() : vm(host)
    {
        const kvm_userspace_memory_region region{.slot = 1,
                                                 .flags = 0,
                                                 .guest_phys_addr = kLost,
                                                 .memory_size = memory.bytes,
                                                 .userspace_addr = reinterpret_cast<u64>(memory.at)};
        EXPECT_EQ(host.ioctl(vm.vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
        vm.regs.rsi = vm.regs.rdi = kLost;
        vm.regs.rbx = kPlain;
        vm.regs.rax = 5;
        vm.regs.rdx = 6;
    }
    // Runs up to the report. `code` comes behind it; it may be empty, for a guest that jumped away.
    void start(std::initializer_list<u8> before, std::initializer_list<u8> code)
    {
        std::vector<u8> all(before);
        all.insert(all.end(), {0xe6, kReport});
        from = kCode + all.size();
        all.insert(all.end(), code);
        all.push_back(0xf4);
        std::copy(all.begin(), all.end(), vm.memory.at + kCode);
        ASSERT_EQ(host.ioctl(vm.vcpu, KVM_SET_SREGS, &vm.sregs), 0);
        ASSERT_EQ(host.ioctl(vm.vcpu, KVM_SET_REGS, &vm.regs), 0);
        ASSERT_EQ(vm.go_on(), KVM_EXIT_IO);
    }
    // KVM_RUN fails, as often as it is tried, and the registers stay what they are.
    void expect_lost(u64 rip)
    {
        kvm_regs first{};
        for (int i = 0; i < 2; ++i) {
            ASSERT_EQ(host.ioctl(vm.vcpu, KVM_RUN), -EFAULT);
            ASSERT_EQ(host.ioctl(vm.vcpu, KVM_GET_REGS, &vm.regs), 0);
            EXPECT_EQ(vm.regs.rip, rip);
            vm.regs.rflags &= ~kArithmetic; // arbitrary where the code behind overwrites them unread
            if (i == 0)
                first = vm.regs;
        }
        EXPECT_EQ(std::memcmp(&first, &vm.regs, sizeof first), 0);
    }
    void finish()
    {
        memory.restore();
        ASSERT_EQ(vm.go_on(), KVM_EXIT_HLT);
    }

    static constexpr u64 kPlain = 0x4000; // memory that stays
    static constexpr u64 kArithmetic = 0x8d5;
    Host host;
    LosableMemory memory{kPages};
    PlainVm vm;
    u64 from = 0; // where the code under test begins
};

struct Case {
    const char* name;
    std::initializer_list<u8> before, code;
    u64 steps; // bytes of `code` before the instruction that fails
};

// ESI and EDI point to what is lost, EBX does not; EAX is 5, EDX 6, and memory holds 100H at first.
constexpr u32 kStored = 0x100;

// Each runs twice, once without losing anything; both ends are the same, memory included.
void run_beside_undisturbed(const Case& c, u64 offset, u64 first_lost, u64 pages_lost)
{
    SCOPED_TRACE(c.name);
    kvm_regs ends[2];
    std::vector<u8> memories[2];
    for (const bool lose : {false, true}) {
        LosingVm v;
        v.vm.regs.rsi += offset;
        v.vm.regs.rdi += offset;
        v.memory.put<u32>(offset, kStored);
        v.vm.memory.put<u32>(LosingVm::kPlain, 0x77);
        ASSERT_NO_FATAL_FAILURE(v.start(c.before, c.code));
        if (lose) {
            v.memory.unmap(first_lost, pages_lost);
            ASSERT_NO_FATAL_FAILURE(v.expect_lost(v.from + c.steps));
        }
        ASSERT_NO_FATAL_FAILURE(v.finish());
        ends[lose] = v.vm.regs;
        memories[lose].assign(v.memory.at, v.memory.at + v.memory.bytes);
        memories[lose].insert(memories[lose].end(), v.vm.memory.at, v.vm.memory.at + kRam);
    }
    EXPECT_EQ(std::memcmp(&ends[0], &ends[1], sizeof ends[0]), 0);
    EXPECT_EQ(memories[0], memories[1]);
}

constexpr std::initializer_list<u8> kRead = {0x8b, 0x0e};       // mov ecx, [esi]
constexpr std::initializer_list<u8> kWrite = {0x89, 0x07};      // mov [edi], eax
constexpr std::initializer_list<u8> kCount = {0x89, 0x07, 0xb9, // and mov ecx, 10H
                                              0x10, 0,    0,    0};

TEST(HostMemory, EachKindOfAccessFailsAtItsInstructionAndGoesOn)
{
    const Case cases[] = {
        {"load", kRead, {0x40, 0x03, 0x06}, 1},                     // inc eax; add eax, [esi]
        {"store", kWrite, {0x40, 0x89, 0x07}, 1},                   // inc eax; mov [edi], eax
        {"add to memory", kWrite, {0x01, 0x07}, 0},                 // add [edi], eax
        {"lock add", kWrite, {0xf0, 0x01, 0x07}, 0},                // lock add [edi], eax
        {"xchg", kWrite, {0x87, 0x07}, 0},                          // xchg [edi], eax
        {"lock cmpxchg8b", kWrite, {0xf0, 0x0f, 0xc7, 0x0f}, 0},    // lock cmpxchg8b [edi]
        {"absolute load", kRead, {0xa1, 0, 0, 0x10, 0}, 0},         // mov eax, [100000H]
        {"absolute store", kWrite, {0xa3, 0, 0, 0x10, 0}, 0},       // mov [100000H], eax
        {"push from memory", kRead, {0xff, 0x36}, 0},               // push dword [esi]
        {"pop to memory", kWrite, {0x53, 0x8f, 0x07}, 1},           // push ebx; pop dword [edi]
        {"rep movsd from it", kCount, {0x87, 0xdf, 0xf3, 0xa5}, 2}, // xchg edi, ebx; rep movsd
        {"rep movsd to it", kCount, {0x87, 0xde, 0xf3, 0xa5}, 2},   // xchg esi, ebx; rep movsd
        {"rep stosd", kCount, {0xf3, 0xab}, 0},
        {"lodsd", kRead, {0xad}, 0},
        {"repe cmpsb", kCount, {0xf3, 0xa6}, 0},
        {"repne scasb", kCount, {0xf2, 0xae}, 0},
        {"fxsave", kWrite, {0x0f, 0xae, 0x07}, 0},
        {"fstp", kWrite, {0xd9, 0xe8, 0xdd, 0x1f}, 2}, // fld1; fstp qword [edi]
    };
    for (const Case& c : cases)
        run_beside_undisturbed(c, 0, 0, kPages);
}

TEST(HostMemory, AnAccessInTwoPagesNeedsBoth)
{
    const Case cases[] = {
        {"load", kRead, {0x03, 0x06}, 0},
        {"store", kWrite, {0x89, 0x07}, 0},
        {"add to memory", kWrite, {0x01, 0x07}, 0},
        {"lock add", kWrite, {0xf0, 0x01, 0x07}, 0},
        {"xadd", kWrite, {0x0f, 0xc1, 0x07}, 0},
        {"fstp", kWrite, {0xd9, 0xe8, 0xdd, 0x1f}, 2},
        {"rep movsd", kCount, {0x87, 0xdf, 0xf3, 0xa5}, 2},
    };
    for (const Case& c : cases)
        for (const u64 lost : {0, 1})
            run_beside_undisturbed(c, kPageSize - 2, lost, 1);
}

TEST(HostMemory, TheStackMayBeLost)
{
    const Case cases[] = {
        {"push", {0x87, 0xe6, 0x50}, {0x50}, 0},      // xchg esp, esi; push eax
        {"pop", {0x87, 0xe6, 0x50, 0x50}, {0x58}, 0}, // pop eax
        {"call", {0x87, 0xe6, 0x50}, {0xe8, 0, 0, 0, 0}, 0},
        {"leave", {0x87, 0xe6, 0x50, 0x89, 0xe5}, {0xc9}, 0}, // mov ebp, esp; leave
        {"pushad", {0x87, 0xe6, 0x50}, {0x60}, 0},
        {"interrupt", {0x87, 0xe6, 0x50}, {0xcc}, 0}, // int3: the handler halts
    };
    for (const Case& c : cases)
        run_beside_undisturbed(c, 0x800, 0, kPages);
}

TEST(HostMemory, FetchedCodeMayBeLost)
{
    LosingVm v;
    v.memory.put<u32>(0, 0xf440e7ff); // jmp edi, back; inc eax; hlt
    v.memory.put<u16>(16, 0x40);      // inc eax
    v.memory.at[17] = 0xf4;
    v.vm.regs.rdi = kLost + 16;
    ASSERT_NO_FATAL_FAILURE(v.start({}, {0xff, 0xe7})); // jmp edi
    v.memory.unmap();
    ASSERT_NO_FATAL_FAILURE(v.expect_lost(kLost + 16));
    ASSERT_NO_FATAL_FAILURE(v.finish());
    EXPECT_EQ(v.vm.regs.rax, 6u);
    // The same code again, translated by now, and other code when the page is back.
    v.vm.regs.rip = kCode;
    ASSERT_NO_FATAL_FAILURE(v.start({}, {0xff, 0xe7}));
    v.memory.unmap();
    ASSERT_NO_FATAL_FAILURE(v.expect_lost(kLost + 16));
    v.memory.restore();
    v.memory.at[16] = 0x48; // dec eax
    ASSERT_EQ(v.vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(v.vm.regs.rax, 5u);
}

// The page directory: 4 MiB pages, one to one.
void use_page_directory(LosingVm& v)
{
    for (u32 i = 0; i < 1024; ++i)
        v.memory.put<u32>(4 * i, i << 22 | 0xe7);
    v.vm.sregs.cr3 = kLost;
    v.vm.sregs.cr4 |= 0x10;
    v.vm.sregs.cr0 |= 0x80000000;
    v.vm.regs.rcx = kLost;
}

TEST(HostMemory, PageTablesMayBeLost)
{
    LosingVm v;
    use_page_directory(v);
    v.memory.put<u32>(kPageSize, 0x55);
    v.vm.regs.rsi = kLost + kPageSize;
    ASSERT_NO_FATAL_FAILURE(
        v.start({0x8b, 0x06}, {0x0f, 0x22, 0xd9, 0x8b, 0x06})); // mov cr3, ecx; mov eax, [esi]
    v.memory.unmap(0, 1);
    ASSERT_NO_FATAL_FAILURE(v.expect_lost(v.from + 3));
    ASSERT_NO_FATAL_FAILURE(v.finish());
    EXPECT_EQ(v.vm.regs.rax, 0x55u);
}

TEST(HostMemory, PageTablesMayBeLostToTheEmulator)
{
    LosingVm v;
    use_page_directory(v);
    v.vm.regs.rsi = kDevice;
    v.vm.regs.rax = 0;
    ASSERT_NO_FATAL_FAILURE(v.start({}, {0x8b, 0x06, 0x8b, 0x06})); // mov eax, [esi], twice
    ASSERT_EQ(v.vm.go_on(), KVM_EXIT_MMIO);
    v.vm.answer(1);
    v.host.trace.watch = [&](const trace::Record& record) {
        if (record.event == Event::ept_misconfig) // between the processor's walk and KVM's
            v.memory.unmap(0, 1);
    };
    // KVM cannot read the instruction that it has to emulate.
    ASSERT_EQ(v.vm.go_on(), KVM_EXIT_INTERNAL_ERROR);
    EXPECT_EQ(v.vm.regs.rip, v.from + 2);
    v.host.trace.watch = {};
    v.memory.restore();
    ASSERT_EQ(v.vm.go_on(), KVM_EXIT_HLT); // in the handler of #UD, which KVM has queued
    EXPECT_EQ(v.vm.regs.rip, kHandlers + 16 * 6 + 1);
    EXPECT_EQ(v.vm.regs.rax, 1u);
}

TEST(HostMemory, DescriptorTablesMayBeLost)
{
    LosingVm v;
    v.vm.sregs.idt.base = kLost;
    std::memcpy(v.memory.at, v.vm.memory.at + kIdt, 256);
    ASSERT_NO_FATAL_FAILURE(v.start({}, {0x0f, 0x0b})); // ud2
    v.memory.unmap();
    ASSERT_NO_FATAL_FAILURE(v.expect_lost(v.from));
    ASSERT_NO_FATAL_FAILURE(v.finish());
    EXPECT_EQ(v.vm.regs.rip, kHandlers + 16 * 6 + 1);
}

TEST(HostMemory, ATruncatedFileIsLostFromItsEnd)
{
    LosingVm v;
    v.vm.regs.rdi = kLost + kPageSize;
    ASSERT_NO_FATAL_FAILURE(v.start({0x89, 0x06, 0x89, 0x07}, {0x01, 0x06, 0x01, 0x07}));
    v.memory.truncate(kPageSize);
    ASSERT_NO_FATAL_FAILURE(v.expect_lost(v.from + 2));
    EXPECT_EQ(v.memory.get<u32>(0), 10u);
    v.memory.truncate(2 * kPageSize);
    ASSERT_EQ(v.vm.go_on(), KVM_EXIT_HLT);
    EXPECT_EQ(v.memory.get<u32>(kPageSize), 5u); // what was there is gone
}

TEST(HostMemory, MemoryThatBecomesReadOnlyCanBeRead)
{
    LosingVm v;
    ASSERT_NO_FATAL_FAILURE(
        v.start({0x89, 0x07}, {0x03, 0x06, 0x89, 0x07})); // add eax, [esi]; mov [edi], eax
    v.memory.forbid_writes();
    ASSERT_NO_FATAL_FAILURE(v.expect_lost(v.from + 2));
    EXPECT_EQ(v.vm.regs.rax, 10u);
    ASSERT_NO_FATAL_FAILURE(v.finish());
    EXPECT_EQ(v.memory.get<u32>(0), 10u);
}

TEST(HostMemory, ItGoesWhileTheGuestRunsAndNoStoreIsLostOrMadeTwice)
{
    LosingVm v;
    v.vm.regs.rax = 0;
    // lock inc dword [edi]; inc eax; jmp
    ASSERT_NO_FATAL_FAILURE(v.start({}, {0xf0, 0xff, 0x07, 0x40, 0xeb, 0xfa}));
    u64 before = 0;
    for (int round = 0; round < 30; ++round) {
        std::thread vmm([&] {
            while (v.memory.get<u32>(0) < before + 1000)
                std::this_thread::yield();
            v.memory.unmap();
        });
        EXPECT_EQ(v.host.ioctl(v.vm.vcpu, KVM_RUN), -EFAULT);
        vmm.join();
        ASSERT_EQ(v.host.ioctl(v.vm.vcpu, KVM_GET_REGS, &v.vm.regs), 0);
        EXPECT_EQ(v.vm.regs.rip, v.from);
        v.memory.restore();
        ASSERT_EQ(v.memory.get<u32>(0), v.vm.regs.rax);
        EXPECT_GE(v.vm.regs.rax, before + 1000);
        before = v.vm.regs.rax;
    }
}

TEST(HostMemory, ASlotThatGoesWithItsMemoryBecomesADevice)
{
    LosingVm v;
    ASSERT_NO_FATAL_FAILURE(v.start(kWrite, {0x89, 0x07}));
    v.memory.unmap();
    const kvm_userspace_memory_region none{
        .slot = 1, .flags = 0, .guest_phys_addr = kLost, .memory_size = 0, .userspace_addr = 0};
    ASSERT_EQ(v.host.ioctl(v.vm.vm, KVM_SET_USER_MEMORY_REGION, &none), 0);
    ASSERT_EQ(v.vm.go_on(), KVM_EXIT_MMIO);
    v.vm.expect_mmio(true, kLost, 4);
}

} // namespace
} // namespace seamless::abi
