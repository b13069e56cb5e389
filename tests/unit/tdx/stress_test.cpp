// SPDX-License-Identifier: Apache-2.0
// Several processors call the module at once, for one TD and for two, with vCPUs that run meanwhile. Statuses
// must be legal ones, a page must be in one place only, and what a running vCPU has reached must stay its
// own.
#include <algorithm>
#include <map>
#include <random>
#include <thread>

#include "paging/ept_walk.h"
#include "unit/tdx/td_host.h"

namespace seamless::tdx {
namespace {

using enum TdxStatus;
using spec::ExitReason;
using spec::Gpr;
using spec::SeptState;
namespace md = spec::md;

constexpr u64 kArea = 0x40000000; // regions of 2 MiB whose tables come and go
constexpr unsigned kRegions = 2, kPagesPerRegion = 4, kPool = 12, kProcessors = 4;
constexpr unsigned kSteps = 1500;
constexpr u64 region_gpa(unsigned region) { return kArea + region * spec::ept::level_size(1); }

struct StressTd {
    Hpa tdr, root;
    u64 shape = 0; // CHLDCNT without pages and tables of the pool
};

using fakes::ScriptedLp;

struct Stress : testing::Test, TdHost {
    Stress() : TdHost(key(), kProcessors) {}

    // A TD with `vcpus` vCPUs, each with a private page at kGpa + its index.
    void add_td(u16 hkid, unsigned vcpus)
    {
        tdcx.clear();
        create_td(hkid);
        ASSERT_EQ(init_td(default_params()), SUCCESS);
        for (unsigned i = 0; i < vcpus; ++i) {
            running.push_back(create_vcpu(0, i));
            ASSERT_EQ(call(TdhLeaf::VP_FLUSH, {.rcx = running.back().value()}), SUCCESS);
        }
        sept_tables(kGpa);
        ASSERT_EQ(sept_add(kArea, 2), SUCCESS);
        for (unsigned i = 0; i < vcpus; ++i)
            ASSERT_EQ(page_add(kGpa + i * kPageSize, page(), page()), SUCCESS);
        ASSERT_EQ(finalize(), SUCCESS);
        tds.push_back({tdr, tdcx[kTdcsSeptRoot], mng_rd(md::CHLDCNT)});
    }
    void prepare(unsigned count)
    {
        bring_up();
        for (unsigned i = 0; i < count; ++i)
            add_td(static_cast<u16>(kTdHkid + i), 2 / count);
        for (unsigned i = 0; i < kPool; ++i)
            pool.push_back(page());
        for (unsigned i = 0; i < kProcessors; ++i)
            lp(i).trace = {}; // a million records help nobody
    }

    // Notes a status that the leaf may not answer.
    void expect(std::initializer_list<TdxStatus> legal, u64 rax, const char* leaf) const
    {
        const TdxStatus s = spec::status_of(rax);
        if (std::find(legal.begin(), legal.end(), s) == legal.end())
            ADD_FAILURE() << leaf << ": " << std::hex << rax << " " << spec::tdx_status_name(rax);
    }
    cpu::SeamRegs seamcall(unsigned on, TdhLeaf leaf, cpu::SeamRegs regs)
    {
        regs.rax = spec::leaf_rax(leaf);
        EXPECT_TRUE(module.seamcall(lp(on), regs));
        return regs;
    }

    void host_step(unsigned on, std::mt19937& dice);
    void drain(unsigned on, const StressTd& td, unsigned region);
    void host_read(unsigned on, const StressTd& td, Hpa at, std::mt19937& dice);
    void guest_step(unsigned on, Hpa tdvpr, unsigned index, const StressTd& td, std::mt19937& dice);
    void accept_and_use(ScriptedLp& here, u64 gpa, const StressTd& td, u64 marker);
    void run(unsigned count);
    void check_places();

    std::vector<StressTd> tds;
    std::vector<Hpa> running, pool;
    std::atomic<u64> accepted = 0, removed = 0, tables_removed = 0;
};

void Stress::host_read(unsigned on, const StressTd& td, Hpa at, std::mt19937& dice)
{
    constexpr u64 kFields[] = {md::RTMR, md::MRTD, md::CHLDCNT, md::TD_EPOCH, md::REFCOUNT, md::TD_CTLS};
    expect({SUCCESS},
           seamcall(on, TdhLeaf::MNG_RD, {.rcx = td.tdr.value(), .rdx = kFields[dice() % std::size(kFields)]})
               .rax,
           "MNG.RD");
    expect({SUCCESS, OPERAND_BUSY}, seamcall(on, TdhLeaf::PHYMEM_PAGE_RDMD, {.rcx = at.value()}).rax, "RDMD");
}

// What chance alone brings about too rarely: a region loses its pages, then its table.
void Stress::drain(unsigned on, const StressTd& td, unsigned region)
{
    const u64 tdr_pa = td.tdr.value(), table = region_gpa(region) | 1;
    const auto pages = [&](TdhLeaf leaf) {
        for (unsigned i = 0; i < kPagesPerRegion; ++i)
            removed +=
                seamcall(on, leaf, {.rcx = region_gpa(region) + i * kPageSize, .rdx = tdr_pa}).rax == 0 &&
                leaf == TdhLeaf::MEM_PAGE_REMOVE;
    };
    pages(TdhLeaf::MEM_RANGE_BLOCK);
    seamcall(on, TdhLeaf::MEM_TRACK, {.rcx = tdr_pa});
    pages(TdhLeaf::MEM_PAGE_REMOVE);
    seamcall(on, TdhLeaf::MEM_RANGE_BLOCK, {.rcx = table, .rdx = tdr_pa});
    seamcall(on, TdhLeaf::MEM_TRACK, {.rcx = tdr_pa});
    tables_removed += seamcall(on, TdhLeaf::MEM_SEPT_REMOVE, {.rcx = table, .rdx = tdr_pa}).rax == 0;
}

void Stress::host_step(unsigned on, std::mt19937& dice)
{
    const StressTd& td = tds[dice() % tds.size()];
    const unsigned region = dice() % kRegions;
    if (dice() % 64 == 0)
        drain(on, td, region);
    const u64 gpa = region_gpa(region) + dice() % kPagesPerRegion * kPageSize;
    const u64 range = dice() % 4 == 0 ? region_gpa(region) | 1 : gpa;
    const Hpa at = pool[dice() % kPool];
    const u64 tdr_pa = td.tdr.value();
    switch (dice() % 9) {
    case 0:
    case 1:
        expect({SUCCESS, OPERAND_BUSY, PAGE_METADATA_INCORRECT, EPT_WALK_FAILED, EPT_ENTRY_STATE_INCORRECT},
               seamcall(on, TdhLeaf::MEM_PAGE_AUG, {.rcx = gpa, .rdx = tdr_pa, .r8 = at.value()}).rax, "AUG");
        break;
    case 2:
        expect({SUCCESS, OPERAND_BUSY, PAGE_METADATA_INCORRECT, EPT_WALK_FAILED, EPT_ENTRY_STATE_INCORRECT},
               seamcall(on, TdhLeaf::MEM_SEPT_ADD,
                        {.rcx = region_gpa(region) | 1, .rdx = tdr_pa, .r8 = at.value()})
                   .rax,
               "SEPT.ADD");
        break;
    case 3:
        expect({SUCCESS, OPERAND_BUSY, EPT_WALK_FAILED, EPT_ENTRY_STATE_INCORRECT, GPA_RANGE_ALREADY_BLOCKED},
               seamcall(on, TdhLeaf::MEM_RANGE_BLOCK, {.rcx = range, .rdx = tdr_pa}).rax, "BLOCK");
        break;
    case 4:
        expect({SUCCESS, OPERAND_BUSY, EPT_WALK_FAILED, EPT_ENTRY_STATE_INCORRECT, TLB_TRACKING_NOT_DONE},
               seamcall(on, TdhLeaf::MEM_RANGE_UNBLOCK, {.rcx = range, .rdx = tdr_pa}).rax, "UNBLOCK");
        break;
    case 5:
        expect({SUCCESS, OPERAND_BUSY, PREVIOUS_TLB_EPOCH_BUSY},
               seamcall(on, TdhLeaf::MEM_TRACK, {.rcx = tdr_pa}).rax, "TRACK");
        break;
    case 6: {
        const u64 rax = seamcall(on, TdhLeaf::MEM_PAGE_REMOVE, {.rcx = gpa, .rdx = tdr_pa}).rax;
        expect({SUCCESS, OPERAND_BUSY, EPT_WALK_FAILED, EPT_ENTRY_STATE_INCORRECT, GPA_RANGE_NOT_BLOCKED,
                TLB_TRACKING_NOT_DONE},
               rax, "PAGE.REMOVE");
        removed += rax == code(SUCCESS);
        break;
    }
    case 7: {
        const u64 rax =
            seamcall(on, TdhLeaf::MEM_SEPT_REMOVE, {.rcx = region_gpa(region) | 1, .rdx = tdr_pa}).rax;
        expect({SUCCESS, OPERAND_BUSY, EPT_WALK_FAILED, EPT_ENTRY_STATE_INCORRECT, GPA_RANGE_NOT_BLOCKED,
                TLB_TRACKING_NOT_DONE, EPT_PAGE_NOT_FREE},
               rax, "SEPT.REMOVE");
        tables_removed += rax == code(SUCCESS);
        break;
    }
    default:
        host_read(on, td, at, dice);
    }
}

// The guest accepts a page and, as long as it does not exit, finds there what it wrote.
void Stress::accept_and_use(ScriptedLp& here, u64 gpa, const StressTd& td, u64 marker)
{
    here.then([=](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
        c[Gpr::rax] = spec::leaf_rax(TdgLeaf::MEM_PAGE_ACCEPT);
        c[Gpr::rcx] = gpa;
        exit(vmcs, ExitReason::TDCALL);
    });
    here.then([=, this](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
        exit(vmcs, ExitReason::EXTERNAL_INTERRUPT, 0);
        expect({SUCCESS, PAGE_ALREADY_ACCEPTED, OPERAND_BUSY}, c[Gpr::rax], "ACCEPT");
        if (c[Gpr::rax] != code(SUCCESS))
            return;
        ++accepted;
        const auto walk = paging::walk_ept({.table = td.root, .levels = 4}, Gpa(gpa), paging::Access::write);
        if (walk.outcome != paging::EptWalk::Outcome::ok)
            return; // blocked since
        const Hpa hpa = mem::without_hkid(walk.hpa);
        EXPECT_EQ(mem::load<u64>(hpa), 0u);
        mem::store<u64>(hpa, marker);
        for (unsigned i = 0; i < 20; ++i) {
            std::this_thread::yield();
            ASSERT_EQ(mem::load<u64>(hpa), marker) << "somebody else has this page";
        }
    });
}

void Stress::guest_step(unsigned on, Hpa tdvpr, unsigned index, const StressTd& td, std::mt19937& dice)
{
    const u64 own = kGpa + index * kPageSize;
    const u64 gpa = region_gpa(dice() % kRegions) + dice() % kPagesPerRegion * kPageSize;
    const auto leaf = [&](TdgLeaf number, u64 rcx, u64 rdx) {
        lp(on).then([=](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
            c[Gpr::rax] = spec::leaf_rax(number);
            c[Gpr::rcx] = rcx, c[Gpr::rdx] = rdx, c[Gpr::r8] = 0;
            exit(vmcs, ExitReason::TDCALL);
        });
        lp(on).then([=, this](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
            expect({SUCCESS, OPERAND_BUSY}, c[Gpr::rax], "TDCALL");
            exit(vmcs, ExitReason::EXTERNAL_INTERRUPT, 0);
        });
    };
    switch (dice() % 8) {
    case 0:
        leaf(TdgLeaf::MR_RTMR_EXTEND, own, dice() % kRtmrs);
        break;
    case 1:
        leaf(TdgLeaf::MR_REPORT, own, own);
        break;
    case 2:
        leaf(TdgLeaf::VM_RD, 0, md::RTMR);
        break;
    default:
        accept_and_use(lp(on), gpa, td, tdvpr.value() ^ dice());
    }
    while (lp(on).left() != 0) {
        const std::size_t left = lp(on).left();
        const u64 rax = seamcall(on, TdhLeaf::VP_ENTER, {.rcx = tdvpr.value()}).rax;
        if (spec::is_error(rax))
            expect({OPERAND_BUSY}, rax, "VP.ENTER"); // with TD_EPOCH, while another processor tracks
        else if (rax == static_cast<u64>(ExitReason::EPT_VIOLATION) && lp(on).left() != 0)
            seamcall(on, TdhLeaf::VP_ENTER, {.rcx = tdvpr.value()}); // nothing to accept: ends the script
        else if (left == lp(on).left() || rax > static_cast<u64>(ExitReason::EPT_VIOLATION))
            FAIL() << std::hex << rax;
    }
    lp(on).history.clear();
    lp(on).invept.clear();
}

// Each page of the pool is free, or a table, or where exactly one secure EPT says.
void Stress::check_places()
{
    std::map<u64, std::vector<u64>> places; // page -> TDRs that map it
    for (const StressTd& td : tds) {
        u64 tables_here = 0, pages_here = 0;
        for (unsigned r = 0; r < kRegions; ++r) {
            // A blocked table hides what is below: opened again first, now that nobody runs.
            seamcall(0, TdhLeaf::MEM_TRACK, {.rcx = td.tdr.value()});
            seamcall(0, TdhLeaf::MEM_RANGE_UNBLOCK, {.rcx = region_gpa(r) | 1, .rdx = td.tdr.value()});
            const auto table =
                seamcall(0, TdhLeaf::MEM_SEPT_RD, {.rcx = region_gpa(r) | 1, .rdx = td.tdr.value()});
            ASSERT_EQ(table.rax, code(SUCCESS));
            const auto state = static_cast<SeptState>(spec::sept_info_state(table.rdx));
            ASSERT_TRUE(state == SeptState::FREE || state == SeptState::NL_MAPPED) << unsigned(state);
            if (state == SeptState::FREE)
                continue;
            ++tables_here;
            for (unsigned i = 0; i < 512; ++i) {
                const auto entry = seamcall(0, TdhLeaf::MEM_SEPT_RD,
                                            {.rcx = region_gpa(r) + i * kPageSize, .rdx = td.tdr.value()});
                ASSERT_EQ(entry.rax, code(SUCCESS));
                if (spec::sept_info_state(entry.rdx) == static_cast<u8>(SeptState::FREE))
                    continue;
                ++pages_here;
                places[entry.rcx & spec::ept::ADDRESS].push_back(td.tdr.value());
            }
        }
        tdr = td.tdr;
        EXPECT_EQ(mng_rd(md::CHLDCNT), td.shape + tables_here + pages_here);
        EXPECT_EQ(mng_rd(md::REFCOUNT), 0u);
        EXPECT_EQ(mng_rd(md::REFCOUNT + 1), 0u);
    }
    for (const Hpa p : pool) {
        const auto page = seamcall(0, TdhLeaf::PHYMEM_PAGE_RDMD, {.rcx = p.value()});
        ASSERT_EQ(page.rax, code(SUCCESS));
        const auto type = static_cast<spec::TdxPageType>(page.rcx);
        const std::vector<u64> owners =
            type == spec::TdxPageType::REG ? std::vector<u64>{page.rdx} : std::vector<u64>{};
        EXPECT_EQ(places[p.value()], owners) << "type " << page.rcx;
        places.erase(p.value());
    }
    EXPECT_TRUE(places.empty()) << "a page that is none of the pool's";
}

void Stress::run(unsigned count)
{
    prepare(count);
    ASSERT_FALSE(HasFatalFailure());
    std::atomic<bool> done = false;
    std::vector<std::thread> guests, hosts;
    for (unsigned i = 0; i < 2; ++i)
        guests.emplace_back([&, i] {
            std::mt19937 dice(100 + i);
            while (!done && !HasFailure())
                guest_step(i, running[i], count == 1 ? i : 0, tds[count == 1 ? 0 : i], dice);
        });
    for (unsigned i = 2; i < kProcessors; ++i)
        hosts.emplace_back([&, i] {
            std::mt19937 dice(i);
            // Fast machines and slow ones: enough steps, and enough of what matters.
            for (unsigned step = 0; step < 100 * kSteps && !HasFailure(); ++step) {
                if (step >= kSteps && accepted >= 20 && removed >= 20 && tables_removed >= 2)
                    break;
                host_step(i, dice);
                if (step % 16 == 0)
                    std::this_thread::yield();
            }
        });
    for (std::thread& t : hosts)
        t.join();
    done = true;
    for (std::thread& t : guests)
        t.join();
    EXPECT_GE(accepted, 20u);
    EXPECT_GE(removed, 20u);
    EXPECT_GE(tables_removed, 2u);
    check_places();
}

TEST_F(Stress, ProcessorsShareOneTd) { run(1); }
TEST_F(Stress, TwoTdsShareThePages) { run(2); }

} // namespace
} // namespace seamless::tdx
