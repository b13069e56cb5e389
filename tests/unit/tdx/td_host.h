// SPDX-License-Identifier: Apache-2.0
// A host that drives the TDX module through SEAMCALL registers: brings it up, and builds TDs step by step.
#pragma once

#include <cstring>
#include <gtest/gtest.h>
#include <vector>

#include "fakes/scripted_lp.h"
#include "mem/guest_access.h"
#include "spec/ept.h"
#include "tdx/module.h"

namespace seamless::tdx {

using spec::TdgLeaf;
using spec::TdhLeaf;
using spec::TdxOperand;
using spec::TdxStatus;

inline constexpr u16 kGlobalHkid = 16, kTdHkid = 17;
inline constexpr u64 kGpa = 0x1000000;

// Time that several threads may look at.
class SharedClock : public base::Clock {
  public:
    [[nodiscard]] u64 tsc() override { return tsc_value += 100; }
    [[nodiscard]] u64 tsc_hz() override { return 2'000'000'000; }
    [[nodiscard]] u64 monotonic_ns() override { return tsc_value / 2; }
    [[nodiscard]] u64 realtime_ns() override { return tsc_value / 2; }
    std::atomic<u64> tsc_value = 1'000'000;
};

struct TdHost : fakes::ScriptedHost {
    explicit TdHost(const std::optional<PlatformKey>& platform_key = key(), unsigned lps = 2,
                    const cpu::LpFactory& make_lp = fakes::make_scripted_lp)
        : fakes::ScriptedHost(lps, u64{1} << 30, make_lp),
          module(package, *memory, clock, random, platform_key)
    {}

    static PlatformKey key()
    {
        PlatformKey k{};
        k[0] = 0x5a;
        return k;
    }

    // One SEAMCALL; the registers after it are in `out`.
    TdxStatus call(TdhLeaf leaf, cpu::SeamRegs in = {}, unsigned version = 0, unsigned on = 0)
    {
        in.rax = spec::leaf_rax(leaf, version);
        EXPECT_TRUE(module.seamcall(package.lp(on), in));
        out = in;
        return static_cast<TdxStatus>(in.rax);
    }

    // A TDMR over the whole arena, its PAMTs in a reserved area of it.
    spec::TdmrInfo tdmr_info()
    {
        const u64 size = memory->size(), base = memory->base().value();
        const u64 bytes_4k = size / 4096 * 16, bytes_2m = kPageSize * 2, bytes_1g = kPageSize;
        pamt = memory->alloc_range(bytes_4k + bytes_2m + bytes_1g).value();
        spec::TdmrInfo info{};
        info.base = base;
        info.size = size;
        info.pamt_4k_base = pamt.value(), info.pamt_4k_size = bytes_4k;
        info.pamt_2m_base = pamt.value() + bytes_4k, info.pamt_2m_size = bytes_2m;
        info.pamt_1g_base = pamt.value() + bytes_4k + bytes_2m, info.pamt_1g_size = bytes_1g;
        info.reserved[0] = {pamt.value() - base, bytes_4k + bytes_2m + bytes_1g};
        return info;
    }

    TdxStatus sys_config(const spec::TdmrInfo& info, u64 count = 1, u64 hkid = kGlobalHkid)
    {
        const Hpa array = page(), at = page();
        mem::store<u64>(array, at.value());
        std::memcpy(mem::host_ptr(at), &info, sizeof(info));
        return call(TdhLeaf::SYS_CONFIG, {.rcx = array.value(), .rdx = count, .r8 = hkid});
    }

    void bring_up()
    {
        ASSERT_EQ(call(TdhLeaf::SYS_INIT), TdxStatus::SUCCESS);
        for (unsigned i = 0; i < package.count(); ++i)
            ASSERT_EQ(call(TdhLeaf::SYS_LP_INIT, {}, 0, i), TdxStatus::SUCCESS);
        ASSERT_EQ(sys_config(tdmr_info()), TdxStatus::SUCCESS);
        ASSERT_EQ(call(TdhLeaf::SYS_KEY_CONFIG), TdxStatus::SUCCESS);
        const u64 base = memory->base().value(), end = base + memory->size();
        do
            ASSERT_EQ(call(TdhLeaf::SYS_TDMR_INIT, {.rcx = base}), TdxStatus::SUCCESS);
        while (out.rdx < end);
    }

    static spec::TdParams default_params()
    {
        spec::TdParams p{};
        p.attributes = spec::td_attributes::SEPT_VE_DISABLE;
        p.xfam = spec::xfam::X87 | spec::xfam::SSE;
        p.max_vcpus = 2;
        p.eptp_controls = spec::ept::EPTP_WB | spec::ept::eptp_walk_length(4);
        p.config_flags = spec::config_flags::NO_RBP_MOD;
        p.tsc_frequency = 40;
        std::memset(p.mrconfigid, 0x11, sizeof(p.mrconfigid));
        return p;
    }

    void create_td(u16 hkid = kTdHkid)
    {
        tdr = page();
        ASSERT_EQ(call(TdhLeaf::MNG_CREATE, {.rcx = tdr.value(), .rdx = hkid}), TdxStatus::SUCCESS);
        ASSERT_EQ(call(TdhLeaf::MNG_KEY_CONFIG, {.rcx = tdr.value()}), TdxStatus::SUCCESS);
        for (unsigned i = 0; i < spec::kTdcsPages; ++i) {
            tdcx.push_back(page());
            ASSERT_EQ(call(TdhLeaf::MNG_ADDCX, {.rcx = tdcx.back().value(), .rdx = tdr.value()}),
                      TdxStatus::SUCCESS);
        }
    }

    TdxStatus init_td(const spec::TdParams& params)
    {
        const Hpa at = page();
        std::memcpy(mem::host_ptr(at), &params, sizeof(params));
        return call(TdhLeaf::MNG_INIT, {.rcx = tdr.value(), .rdx = at.value()});
    }

    Hpa create_vcpu(u64 initial_rcx = 0xabcd, u32 x2apic_id = 0)
    {
        const Hpa at = page();
        EXPECT_EQ(call(TdhLeaf::VP_CREATE, {.rcx = at.value(), .rdx = tdr.value()}), TdxStatus::SUCCESS);
        for (unsigned i = 1; i < spec::kTdvpsPages; ++i) {
            vcpu_pages.push_back(page());
            EXPECT_EQ(call(TdhLeaf::VP_ADDCX, {.rcx = vcpu_pages.back().value(), .rdx = at.value()}),
                      TdxStatus::SUCCESS);
        }
        EXPECT_EQ(call(TdhLeaf::VP_INIT, {.rcx = at.value(), .rdx = initial_rcx, .r8 = x2apic_id}, 1),
                  TdxStatus::SUCCESS);
        vcpu_pages.push_back(at);
        return at;
    }

    TdxStatus sept_add(u64 gpa, unsigned level)
    {
        tables.push_back(page());
        return call(TdhLeaf::MEM_SEPT_ADD,
                    {.rcx = gpa | level, .rdx = tdr.value(), .r8 = tables.back().value()});
    }
    void sept_tables(u64 gpa)
    {
        for (const unsigned level : {3u, 2u, 1u})
            ASSERT_EQ(sept_add(gpa & ~(spec::ept::level_size(level) - 1), level), TdxStatus::SUCCESS);
    }

    TdxStatus page_add(u64 gpa, Hpa at, Hpa source)
    {
        return call(TdhLeaf::MEM_PAGE_ADD,
                    {.rcx = gpa, .rdx = tdr.value(), .r8 = at.value(), .r9 = source.value()});
    }
    TdxStatus page_aug(u64 gpa, Hpa at, unsigned level = 0)
    {
        return call(TdhLeaf::MEM_PAGE_AUG, {.rcx = gpa | level, .rdx = tdr.value(), .r8 = at.value()});
    }
    TdxStatus block(u64 gpa) { return call(TdhLeaf::MEM_RANGE_BLOCK, {.rcx = gpa, .rdx = tdr.value()}); }
    TdxStatus unblock(u64 gpa) { return call(TdhLeaf::MEM_RANGE_UNBLOCK, {.rcx = gpa, .rdx = tdr.value()}); }
    TdxStatus remove(u64 gpa) { return call(TdhLeaf::MEM_PAGE_REMOVE, {.rcx = gpa, .rdx = tdr.value()}); }
    TdxStatus track() { return call(TdhLeaf::MEM_TRACK, {.rcx = tdr.value()}); }
    TdxStatus finalize() { return call(TdhLeaf::MR_FINALIZE, {.rcx = tdr.value()}); }
    TdxStatus enter(Hpa tdvpr, cpu::SeamRegs regs = {}, unsigned on = 0)
    {
        regs.rcx = tdvpr.value();
        return call(TdhLeaf::VP_ENTER, regs, 0, on);
    }
    u64 mng_rd(u64 field)
    {
        EXPECT_EQ(call(TdhLeaf::MNG_RD, {.rcx = tdr.value(), .rdx = field}), TdxStatus::SUCCESS);
        return out.r8;
    }

    // The module's own objects, for tests that hold their locks.
    Td& td() { return *static_cast<Td*>(module.pamt().entry(tdr, 0).object); }

    // A TD with one vCPU and one page at kGpa, ready to run.
    void build(spec::TdParams params = default_params())
    {
        bring_up();
        create_td();
        ASSERT_EQ(init_td(params), TdxStatus::SUCCESS);
        vcpu = create_vcpu();
        sept_tables(kGpa);
        ram = page();
        ASSERT_EQ(page_add(kGpa, ram, page()), TdxStatus::SUCCESS);
        ASSERT_EQ(finalize(), TdxStatus::SUCCESS);
    }

    // Makes the script's guest execute an instruction that exits, in 64-bit mode.
    static void exit(cpu::Vmcs& vmcs, spec::ExitReason reason, u32 length = 4, u64 qualification = 0)
    {
        vmcs.efer |= spec::efer::LMA;
        vmcs.seg[static_cast<unsigned>(spec::Seg::cs)].ar |= spec::segment_ar::L;
        vmcs.exit_reason = static_cast<u32>(reason);
        vmcs.exit_instruction_len = length;
        vmcs.exit_qualification = qualification;
    }
    // A TDCALL with these registers; `check` sees the registers it leaves, at the next entry.
    using Regs = std::vector<std::pair<spec::Gpr, u64>>;
    void tdcall(TdgLeaf leaf, Regs regs, std::function<void(cpu::Vmcs&, cpu::GuestContext&)> check = {},
                unsigned version = 0)
    {
        lp().then([=](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
            c[spec::Gpr::rax] = spec::leaf_rax(leaf, version);
            for (const auto& [reg, value] : regs)
                c[reg] = value;
            exit(vmcs, spec::ExitReason::TDCALL);
        });
        if (check)
            lp().then([check](cpu::Vmcs& vmcs, cpu::GuestContext& c) {
                check(vmcs, c);
                exit(vmcs, spec::ExitReason::EXTERNAL_INTERRUPT, 0);
            });
    }

    SharedClock clock; // of the module
    TdxModule module;
    cpu::SeamRegs out;
    Hpa pamt, tdr, vcpu, ram;
    std::vector<Hpa> tdcx, vcpu_pages, tables;
};

inline u64 code(TdxStatus s) { return static_cast<u64>(s); }

} // namespace seamless::tdx
