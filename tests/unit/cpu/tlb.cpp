// SPDX-License-Identifier: Apache-2.0
// What ends a cached translation, and what does not: each event of SDM, "Operations that Invalidate TLBs and
// Paging-Structure Caches". A change of the tables alone is not seen, as little as on a processor.
#include <cstring>
#include <gtest/gtest.h>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::ExitReason;
using spec::Gpr;
using spec::Vector;

class Tlb : public testing::TestWithParam<cpu::EngineMode> {
  protected:
    static constexpr u64 kOne = GuestMachine::kData, kTwo = kOne + 0x1000; // frames, filled with 1 and with 2
    static constexpr u64 kWindow = kOne + 0x2000, kOther = kOne + 0x3000, kDescriptor = kOne + 0x4000;
    static constexpr u64 kWritable = 7, kGlobal = 0x107, kDirty = 0x40;
    static constexpr u64 kKeep = bit(63);

    void SetUp() override
    {
        for (u64 offset = 0; offset < kPageSize; offset += 8) {
            machine.put<u64>(kOne + offset, 1);
            machine.put<u64>(kTwo + offset, 2);
        }
        map(kWindow, kOne);
        map(kOther, kOne);
    }

    static u64 entry_of(u64 gva)
    {
        return GuestMachine::kMemory - ((gva >> 21) + 1) * kPageSize + 8 * (gva >> 12 & 511);
    }
    void map(u64 gva, u64 frame, u64 flags = kWritable) { machine.put<u64>(entry_of(gva), frame | flags); }

    u64 read(u64 gva)
    {
        machine.gpr(Gpr::rbx) = gva;
        EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::VMCALL); // mov rax, [rbx]
        EXPECT_EQ(machine.handled_vector(), -1);
        return machine.gpr(Gpr::rax);
    }
    void write(u64 gva)
    {
        machine.gpr(Gpr::rbx) = gva;
        EXPECT_EQ(machine.run({0x48, 0x89, 0x03}), ExitReason::VMCALL);
    }
    void invlpg(u64 gva)
    {
        machine.gpr(Gpr::rbx) = gva;
        EXPECT_EQ(machine.run({0x0f, 0x01, 0x3b}), ExitReason::VMCALL);
    }
    void load_cr3(u64 value)
    {
        machine.gpr(Gpr::rcx) = value;
        EXPECT_EQ(machine.run({0x0f, 0x22, 0xd9}), ExitReason::VMCALL);
        EXPECT_EQ(machine.handled_vector(), -1);
    }
    void load_cr4(u64 value)
    {
        machine.gpr(Gpr::rcx) = value;
        EXPECT_EQ(machine.run({0x0f, 0x22, 0xe1}), ExitReason::VMCALL);
        EXPECT_EQ(machine.handled_vector(), -1);
    }
    void invpcid(u64 type, u64 pcid, u64 address)
    {
        machine.put<u64>(kDescriptor, pcid);
        machine.put<u64>(kDescriptor + 8, address);
        machine.gpr(Gpr::rax) = type;
        machine.gpr(Gpr::rsi) = kDescriptor;
        EXPECT_EQ(machine.run({0x66, 0x0f, 0x38, 0x82, 0x06}), ExitReason::VMCALL);
    }
    void use_pcids()
    {
        machine.vmcs.cr4 |= spec::cr4::PCIDE;
        load_cr3(GuestMachine::kPml4 | 1);
    }

    GuestMachine machine{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, Tlb, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(Tlb, InvlpgEndsOnePage)
{
    EXPECT_EQ(read(kWindow), 1u);
    EXPECT_EQ(read(kOther), 1u);
    map(kWindow, kTwo);
    map(kOther, kTwo);
    EXPECT_EQ(read(kWindow), 1u) << "nobody said that the tables have changed";
    invlpg(kWindow + 0x123);
    EXPECT_EQ(read(kWindow), 2u);
    EXPECT_EQ(read(kOther), 1u);
}

TEST_P(Tlb, Cr3EndsAllButGlobalPages)
{
    map(kOther, kOne, kGlobal);
    EXPECT_EQ(read(kWindow) + read(kOther), 2u);
    map(kWindow, kTwo);
    map(kOther, kTwo, kGlobal);
    load_cr3(GuestMachine::kPml4);
    EXPECT_EQ(read(kWindow), 2u);
    EXPECT_EQ(read(kOther), 1u);
    invlpg(kOther);
    EXPECT_EQ(read(kOther), 2u);
}

TEST_P(Tlb, ChangingPgeEndsGlobalPagesToo)
{
    map(kWindow, kOne, kGlobal);
    EXPECT_EQ(read(kWindow), 1u);
    map(kWindow, kTwo, kGlobal);
    load_cr4(machine.vmcs.cr4 ^ spec::cr4::PGE);
    EXPECT_EQ(read(kWindow), 2u);
    map(kWindow, kOne, kGlobal);
    load_cr3(GuestMachine::kPml4);
    EXPECT_EQ(read(kWindow), 1u) << "without CR4.PGE the bit means nothing";
}

TEST_P(Tlb, APcidKeepsItsTranslations)
{
    use_pcids();
    EXPECT_EQ(read(kWindow), 1u);
    map(kWindow, kTwo);
    load_cr3(GuestMachine::kPml4 | 2);
    EXPECT_EQ(read(kWindow), 2u) << "another PCID has its own";
    map(kWindow, kOne);
    load_cr3(GuestMachine::kPml4 | 1 | kKeep);
    EXPECT_EQ(read(kWindow), 1u);
    map(kWindow, kTwo);
    EXPECT_EQ(read(kWindow), 1u);
    load_cr3(GuestMachine::kPml4 | 2 | kKeep);
    EXPECT_EQ(read(kWindow), 2u);
    load_cr3(GuestMachine::kPml4 | 1);
    EXPECT_EQ(read(kWindow), 2u) << "bit 63 clear ends the PCID's translations";
    EXPECT_EQ(machine.vmcs.cr3, GuestMachine::kPml4 | 1) << "bit 63 is not kept";
}

TEST_P(Tlb, InvlpgIsForTheCurrentPcid)
{
    use_pcids();
    EXPECT_EQ(read(kWindow), 1u);
    load_cr3(GuestMachine::kPml4 | 2);
    EXPECT_EQ(read(kWindow), 1u);
    map(kWindow, kTwo);
    invlpg(kWindow);
    EXPECT_EQ(read(kWindow), 2u);
    load_cr3(GuestMachine::kPml4 | 1 | kKeep);
    EXPECT_EQ(read(kWindow), 1u);
}

TEST_P(Tlb, InvpcidByType)
{
    enum : u64 { address, context, all, all_but_global };
    struct Row {
        u64 type, pcid;
        u64 window, other, global; // what is read afterwards under PCID 1
    };
    constexpr Row kRows[] = {
        {address, 1, 2, 1, 1}, {address, 2, 1, 1, 1}, {context, 1, 2, 2, 1},
        {context, 2, 1, 1, 1}, {all, 0, 2, 2, 2},     {all_but_global, 0, 2, 2, 1},
    };
    constexpr u64 kGlobalWindow = kOne + 0x5000;
    for (const bool current : {true, false})
        for (const Row& row : kRows) {
            machine.reset_state();
            machine.vmcs.cr4 |= spec::cr4::PCIDE;
            for (const u64 gva : {kWindow, kOther})
                map(gva, kOne);
            map(kGlobalWindow, kOne, kGlobal);
            load_cr3(GuestMachine::kPml4 | 1);
            EXPECT_EQ(read(kWindow) + read(kOther) + read(kGlobalWindow), 3u);
            for (const u64 gva : {kWindow, kOther})
                map(gva, kTwo);
            map(kGlobalWindow, kTwo, kGlobal);
            if (!current)
                load_cr3(GuestMachine::kPml4 | 3);
            invpcid(row.type, row.pcid, kWindow);
            if (!current)
                load_cr3(GuestMachine::kPml4 | 1 | kKeep);
            EXPECT_EQ(read(kWindow), row.window) << row.type << ' ' << row.pcid << ' ' << current;
            EXPECT_EQ(read(kOther), row.other) << row.type << ' ' << row.pcid << ' ' << current;
            EXPECT_EQ(read(kGlobalWindow), row.global) << row.type << ' ' << row.pcid << ' ' << current;
        }
}

TEST_P(Tlb, InvlpgEndsAllOfALargePage)
{
    constexpr u64 kLarge = 0x400000, kFrameA = 0x200000, kFrameB = 0x600000, kPage = 0x80;
    constexpr u64 kEntry = GuestMachine::kPml4 + 0x2000 + 8 * (kLarge >> 21);
    constexpr u64 kParts[] = {0, 0x1000, 0x7f000, 0x100000};
    for (const u64 part : kParts) {
        machine.put<u64>(kFrameA + part, 1);
        machine.put<u64>(kFrameB + part, 2);
    }
    machine.put<u64>(kEntry, kFrameA | kWritable | kPage);
    for (const u64 part : kParts)
        EXPECT_EQ(read(kLarge + part), 1u);
    machine.put<u64>(kEntry, kFrameB | kWritable | kPage);
    EXPECT_EQ(read(kLarge), 1u);
    invlpg(kLarge + 0x3000); // a part that was never read
    for (const u64 part : kParts)
        EXPECT_EQ(read(kLarge + part), 2u) << part;
}

TEST_P(Tlb, CodeIsFoundAgainWhereItsPageIsMapped)
{
    constexpr u8 kFirst[] = {0xb0, 1, 0xc3}, kSecond[] = {0xb0, 2, 0xc3}; // mov al, n; ret
    machine.code(kOne, kFirst);
    machine.code(kTwo, kSecond);
    const auto call = [&] {
        machine.gpr(Gpr::rdx) = kWindow;
        EXPECT_EQ(machine.run({0xff, 0xd2, 0xff, 0xd2}), ExitReason::VMCALL);
        return machine.gpr(Gpr::rax) & 0xff;
    };
    use_pcids();
    EXPECT_EQ(call(), 1u);
    map(kWindow, kTwo);
    invlpg(kWindow);
    EXPECT_EQ(call(), 2u);
    load_cr3(GuestMachine::kPml4 | 2);
    map(kWindow, kOne);
    invlpg(kWindow);
    EXPECT_EQ(call(), 1u);
    load_cr3(GuestMachine::kPml4 | 1 | kKeep);
    EXPECT_EQ(call(), 2u);
}

TEST_P(Tlb, ACleanTranslationIsWalkedAgainForAWrite)
{
    use_pcids();
    EXPECT_EQ(read(kWindow), 1u);
    EXPECT_FALSE(machine.get<u64>(entry_of(kWindow)) & kDirty);
    load_cr3(GuestMachine::kPml4 | 2);
    load_cr3(GuestMachine::kPml4 | 1 | kKeep);
    write(kWindow);
    EXPECT_TRUE(machine.get<u64>(entry_of(kWindow)) & kDirty);
}

// SDM: "Accessed and Dirty Flags for EPT". The guest's own dirty flag is set already when the page is read.
TEST_P(Tlb, AReadPageIsMarkedInTheEptWhenItIsWritten)
{
    const Hpa entry = machine.entry_at(Gpa(kOne));
    map(kWindow, kOne, kWritable | kDirty);
    const auto dirty = [&] { return (*mem::host_ptr<u64>(entry) & spec::ept::D) != 0; };
    for (const bool accessed_dirty : {false, true}) {
        machine.reset_state();
        machine.vmcs.ept_pointer |= accessed_dirty ? spec::ept::EPTP_AD : 0;
        machine.lp.invept_all();
        (void)read(kWindow);
        EXPECT_FALSE(dirty());
        write(kWindow);
        EXPECT_EQ(dirty(), accessed_dirty);
    }
}

// Pages 2 MiB apart share an index of the inline TLB: what is driven out is found again, and ends with the
// same events.
class TlbSharedIndex : public Tlb {
  protected:
    static constexpr u64 kApart = 0x200000;
    static constexpr u64 kPages[] = {kWindow, kWindow + kApart, kWindow + 2 * kApart};

    void SetUp() override
    {
        Tlb::SetUp();
        for (const u64 page : kPages)
            map(page, kOne);
    }
    // Reads the first two in turns within one run, as often as a loop does.
    u64 read_in_turns(u64 first, u64 second)
    {
        machine.gpr(Gpr::rbx) = first;
        machine.gpr(Gpr::rsi) = second;
        machine.gpr(Gpr::rax) = 0;
        // mov ecx, 100; l: add rax, [rbx]; stc; mov rdx, [rsi]; adc rax, rdx; dec ecx; jnz l
        EXPECT_EQ(machine.run({0xb9, 100, 0, 0, 0, 0x48, 0x03, 0x03, 0xf9, 0x48, 0x8b, 0x16, 0x48, 0x11, 0xd0,
                               0xff, 0xc9, 0x75, 0xf2}),
                  ExitReason::VMCALL);
        EXPECT_EQ(machine.handled_vector(), -1);
        return machine.gpr(Gpr::rax);
    }
};
INSTANTIATE_TEST_SUITE_P(Modes, TlbSharedIndex, testing::Values(cpu::EngineMode::step, cpu::EngineMode::full),
                         [](const auto& mode) {
                             return mode.param == cpu::EngineMode::step ? "step" : "full";
                         });

TEST_P(TlbSharedIndex, InvlpgEndsTheOneAndTheOther)
{
    EXPECT_EQ(read_in_turns(kPages[0], kPages[1]), 300u);
    for (const u64 page : {kPages[0], kPages[1]})
        map(page, kTwo);
    EXPECT_EQ(read_in_turns(kPages[0], kPages[1]), 300u);
    invlpg(kPages[0]);
    EXPECT_EQ(read_in_turns(kPages[0], kPages[1]), 400u);
    invlpg(kPages[1]);
    EXPECT_EQ(read_in_turns(kPages[0], kPages[1]), 500u);
    EXPECT_EQ(read(kPages[2]), 1u);
}

TEST_P(TlbSharedIndex, GlobalPagesStayWhicheverWasUsedLast)
{
    for (const unsigned global : {0u, 1u})
        for (const bool global_last : {false, true}) {
            machine.reset_state();
            map(kPages[global], kOne, kGlobal);
            map(kPages[1 - global], kOne);
            machine.lp.invept_all();
            EXPECT_EQ(read_in_turns(kPages[0], kPages[1]), 300u);
            (void)read(kPages[global_last ? global : 1 - global]);
            map(kPages[global], kTwo, kGlobal);
            map(kPages[1 - global], kTwo);
            load_cr3(GuestMachine::kPml4);
            EXPECT_EQ(read(kPages[1 - global]), 2u);
            EXPECT_EQ(read(kPages[global]), 1u);
        }
}

// What the index has no room for comes back from the translation cache while the guest's vector registers and
// flags are in the host's.
TEST_P(TlbSharedIndex, AThirdPageTakesNoRegisterAndNoFlag)
{
    for (const u64 page : kPages)
        (void)read(page);
    for (unsigned i = 0; i < 16; ++i)
        machine.context.xsave.bytes[160 + i] = static_cast<u8>(0x40 + i); // XMM0
    machine.gpr(Gpr::rbx) = kPages[0];
    machine.gpr(Gpr::rsi) = kPages[1];
    machine.gpr(Gpr::rdi) = kPages[2];
    // movaps xmm1, xmm0; mov ecx, 100; l: stc; mov rax, [rbx]; mov rdx, [rsi]; mov r8, [rdi]; movq xmm2,
    // [rbx]; jnc out; paddq xmm1, xmm2; dec ecx; jnz l; out:
    EXPECT_EQ(machine.run({0x0f, 0x28, 0xc8, 0xb9, 100,  0,    0,    0,    0xf9, 0x48, 0x8b,
                           0x03, 0x48, 0x8b, 0x16, 0x4c, 0x8b, 0x07, 0xf3, 0x0f, 0x7e, 0x13,
                           0x73, 0x08, 0x66, 0x0f, 0xd4, 0xca, 0xff, 0xc9, 0x75, 0xe8}),
              ExitReason::VMCALL);
    EXPECT_EQ(machine.handled_vector(), -1);
    EXPECT_EQ(machine.gpr(Gpr::rcx) & 0xffffffff, 0u);
    u64 low[2];
    std::memcpy(low, machine.context.xsave.bytes + 160, sizeof low);
    u64 sum[2];
    std::memcpy(sum, machine.context.xsave.bytes + 176, sizeof sum);
    EXPECT_EQ(sum[0], low[0] + 100); // the page holds 1
    EXPECT_EQ(sum[1], low[1]);
}

TEST_P(TlbSharedIndex, WritesGoWhereTheyMay)
{
    map(kPages[1], kTwo, 5); // not writable
    machine.gpr(Gpr::rbx) = kPages[0];
    machine.gpr(Gpr::rsi) = kPages[1];
    // mov rax, [rbx]; mov rax, [rsi]; mov [rbx], rdi; mov rdx, [rsi]; mov [rsi], rdi
    machine.gpr(Gpr::rdi) = 7;
    machine.vmcs.cr0 |= spec::cr0::WP;
    machine.run({0x48, 0x8b, 0x03, 0x48, 0x8b, 0x06, 0x48, 0x89, 0x3b, 0x48, 0x8b, 0x16, 0x48, 0x89, 0x3e});
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(Vector::PF));
    EXPECT_EQ(machine.get<u64>(kOne), 7u);
    EXPECT_EQ(machine.get<u64>(kTwo), 2u);
    EXPECT_EQ(machine.gpr(Gpr::rdx), 2u);
}

// A page with code has no right to be written unnoticed, in neither entry.
TEST_P(TlbSharedIndex, CodeIsNoticedThroughEither)
{
    constexpr u8 kFunction[] = {0xb0, 1, 0xc3}; // mov al, n; ret
    machine.code(kOne, kFunction);
    for (const auto& [page, other] : {std::pair{kPages[0], kPages[1]}, std::pair{kPages[1], kPages[0]}})
        for (u64 n = 1; n < 4; ++n) {
            write(page + 0x800);
            write(other + 0x800); // now the first
            machine.gpr(Gpr::rdx) = kOne;
            machine.gpr(Gpr::rbx) = page + 1;
            machine.gpr(Gpr::rcx) = n;
            // call rdx; mov [rbx], cl; call rdx
            EXPECT_EQ(machine.run({0xff, 0xd2, 0x88, 0x0b, 0xff, 0xd2}), ExitReason::VMCALL);
            EXPECT_EQ(machine.gpr(Gpr::rax) & 0xff, n);
        }
}

// What the processor remembers of EPT for the guest's tables ends with INVEPT.
TEST_P(Tlb, TheGuestsTablesAreWhereEptHasThem)
{
    ASSERT_EQ(read(kWindow), 1u);
    const Gpa table(align_down(entry_of(kWindow), kPageSize));
    const Hpa moved = machine.host->alloc_page().value();
    std::memcpy(mem::host_ptr<u8>(moved), machine.at(table.value()), kPageSize);
    mem::store<u64>(moved + entry_of(kWindow) % kPageSize, kTwo | kWritable);
    machine.map(table, moved, spec::ept::RWX);
    machine.lp.invept_all();
    EXPECT_EQ(read(kWindow), 2u);

    machine.set_entry(table, spec::ept::SUPPRESS_VE);
    machine.lp.invept_all();
    machine.gpr(Gpr::rbx) = kWindow;
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::EPT_VIOLATION);
}

// SDM: an EPT violation ends what was remembered of that page: it may have been moved, to become writable.
TEST_P(Tlb, AViolationEndsWhatIsKnownOfATable)
{
    const Gpa table(align_down(entry_of(kWindow), kPageSize));
    machine.map(table, machine.memory + table.value(), spec::ept::R);
    machine.lp.invept_all();
    machine.gpr(Gpr::rbx) = kWindow;
    ASSERT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::EPT_VIOLATION); // to set the accessed flag

    const Hpa moved = machine.host->alloc_page().value();
    std::memcpy(mem::host_ptr<u8>(moved), machine.at(table.value()), kPageSize);
    machine.map(table, moved, spec::ept::RWX);
    ASSERT_EQ(machine.enter(), ExitReason::VMCALL);
    constexpr u64 kAccessed = 0x20;
    const u64 offset = entry_of(kWindow) % kPageSize;
    EXPECT_TRUE(mem::load<u64>(moved + offset) & kAccessed);
    EXPECT_FALSE(machine.get<u64>(entry_of(kWindow)) & kAccessed);
}

TEST_P(Tlb, RightsAreThoseOfTheAccess)
{
    map(kWindow, kOne, 3); // the supervisor's
    EXPECT_EQ(read(kWindow), 1u);
    machine.user_mode();
    machine.gpr(Gpr::rbx) = kWindow;
    machine.run({0x48, 0x8b, 0x03});
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(Vector::PF));

    machine.reset_state();
    map(kWindow, kOne, 5); // the user's, not writable
    EXPECT_EQ(read(kWindow), 1u);
    machine.gpr(Gpr::rbx) = kWindow;
    machine.run({0x48, 0x89, 0x03});
    EXPECT_EQ(machine.handled_vector(), static_cast<int>(Vector::PF));

    machine.reset_state();
    EXPECT_EQ(read(kWindow), 1u);
    load_cr4(machine.vmcs.cr4 | spec::cr4::SMAP);
    machine.gpr(Gpr::rbx) = kWindow;
    EXPECT_EQ(machine.run({0x48, 0x8b, 0x03}), ExitReason::TRIPLE_FAULT)
        << "the IDT's page is the user's too";
}

} // namespace
} // namespace seamless
