// SPDX-License-Identifier: Apache-2.0
// TDH.SYS.RDALL and TDG.SYS.RDALL: all fields of the module in one list, which says what single reads say.
#include "tdx/metadata.h"
#include "unit/tdx/td_host.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
using spec::Gpr;
namespace md = spec::md;
constexpr auto RDX = TdxOperand::RDX;

struct SysRdAll : testing::Test, TdHost {
    void SetUp() override { build(); }
    TdxStatus all(Hpa to, u64 first = md::kFirst)
    {
        return call(TdhLeaf::SYS_RDALL, {.rdx = to.value(), .r8 = first});
    }
    // Reads the list as a host would, and compares each field; how many there were.
    unsigned check(Hpa list)
    {
        const u64 head = mem::load<u64>(list);
        unsigned fields = 0;
        u64 at = 8, next = 0;
        for (u64 sequence = 0; sequence < field(head, 31, 16); ++sequence) {
            const u64 id = mem::load<u64>(list + at);
            at += 8;
            for (u64 i = 0; i <= field(id, 46, 38); ++i, at += 8, ++fields) {
                const u64 one = (id & ~bits(46, 38)) + i;
                EXPECT_TRUE(fields == 0 || one == next) << std::hex << one;
                EXPECT_EQ(call(TdhLeaf::SYS_RD, {.rdx = one}), SUCCESS) << std::hex << one;
                EXPECT_EQ(mem::load<u64>(list + at), out.r8) << std::hex << one;
                next = out.rdx;
            }
        }
        EXPECT_EQ(at, field(head, 15, 0));
        EXPECT_EQ(head >> 32, 0u);
        EXPECT_EQ(next, md::kFirst) << "the last field is in the list";
        return fields;
    }
};

TEST_F(SysRdAll, TheListHoldsEveryField)
{
    const Hpa list = page();
    ASSERT_EQ(all(list), SUCCESS);
    EXPECT_EQ(out.r8, ~u64{0});
    unsigned one_by_one = 0;
    EXPECT_EQ(call(TdhLeaf::SYS_RD, {.rdx = md::kFirst}), METADATA_FIRST_FIELD_ID_IN_CONTEXT);
    for (u64 id = out.rdx; id != md::kFirst; id = out.rdx, ++one_by_one)
        ASSERT_EQ(call(TdhLeaf::SYS_RD, {.rdx = id}), SUCCESS);
    EXPECT_EQ(check(list), one_by_one);
    ASSERT_EQ(all(list, md::CPUID_CONFIG_LEAVES & ~bits(63, 62)), SUCCESS) << "the mark is not looked at";
    EXPECT_LT(check(list), one_by_one);
    EXPECT_EQ(mem::load<u64>(list + 8) & ~bits(46, 38), md::CPUID_CONFIG_LEAVES);
}

TEST_F(SysRdAll, Refusals)
{
    const Hpa list = page();
    EXPECT_EQ(all(list + 8), OPERAND_INVALID | RDX);
    EXPECT_EQ(out.r8, ~u64{0});
    EXPECT_EQ(all(Hpa(list.value() | u64{kTdHkid} << mem::kHkidShift)), OPERAND_INVALID | RDX);
    EXPECT_EQ(all(list, 0x0a000003'00999999), METADATA_FIELD_ID_INCORRECT);
    EXPECT_EQ(out.r8, ~u64{0});
    EXPECT_EQ(mem::load<u64>(list), 0u) << "nothing is written";
    TdHost fresh;
    EXPECT_EQ(fresh.call(TdhLeaf::SYS_RDALL, {.rdx = fresh.page().value(), .r8 = md::kFirst}),
              SYS_LP_INIT_NOT_DONE);
}

TEST_F(SysRdAll, AListThatIsFullTellsWhereToGoOn)
{
    u64 head[2 + 8] = {}, rest[512] = {};
    const MdList first = list_sys_fields(module, md::kFirst, head);
    EXPECT_EQ(first.status, METADATA_LIST_OVERFLOW);
    EXPECT_LE(field(head[0], 15, 0), sizeof(head));
    EXPECT_EQ(call(TdhLeaf::SYS_RD, {.rdx = first.next}), SUCCESS);
    const u64 value = out.r8;
    const MdList second = list_sys_fields(module, first.next, rest);
    EXPECT_EQ(second.status, SUCCESS);
    EXPECT_EQ(rest[1] & ~bits(46, 38), first.next);
    EXPECT_EQ(rest[2], value);
}

TEST_F(SysRdAll, GuestsGetTheSame)
{
    const Hpa list = page();
    ASSERT_EQ(all(list), SUCCESS);
    const auto ask = [this](u64 gpa, u64 first, TdxStatus status) {
        tdcall(TdgLeaf::SYS_RDALL, {{Gpr::rdx, gpa}, {Gpr::r8, first}},
               [=](cpu::Vmcs&, cpu::GuestContext& c) {
                   EXPECT_EQ(c[Gpr::rax], code(status));
                   EXPECT_EQ(c[Gpr::r8], ~u64{0});
               });
        ASSERT_EQ(code(enter(vcpu)), 1u);
    };
    ask(kGpa, md::kFirst, SUCCESS);
    EXPECT_EQ(std::memcmp(mem::host_ptr(ram), mem::host_ptr(list), kPageSize), 0);
    ask(kGpa + 8, md::kFirst, OPERAND_INVALID | RDX);
    ask(kGpa | bit(47), md::kFirst, OPERAND_INVALID | RDX);
    ask(kGpa, bit(62), METADATA_FIELD_ID_INCORRECT);
    // A page that is not there is the host's business; the guest then asks for the same again.
    tdcall(TdgLeaf::SYS_RDALL, {{Gpr::rdx, kGpa + 0x1000}, {Gpr::r8, md::MAX_TDMRS}});
    ASSERT_EQ(code(enter(vcpu)), 48u);
    EXPECT_EQ(out.r8, kGpa + 0x1000);
    ASSERT_EQ(code(enter(vcpu)), 1u);
    EXPECT_EQ(lp().history.back().gpr[8], md::MAX_TDMRS);
}

} // namespace
} // namespace seamless::tdx
