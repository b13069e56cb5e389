// SPDX-License-Identifier: Apache-2.0
// TDH.SYS.CONFIG and TDH.SYS.TDMR.INIT: which memory TDs may live in.
#include <algorithm>

#include "mem/guest_access.h"
#include "tdx/tdh/leaves.h"

namespace seamless::tdx {
namespace {

using spec::TdmrInfo;

constexpr u64 kGiB = u64{1} << 30;
constexpr u64 kPagesPerInit = 1024;

struct Range {
    u64 base, size;
    [[nodiscard]] bool overlaps(Range o) const { return base < o.base + o.size && o.base < base + size; }
    [[nodiscard]] bool inside(Range o) const { return base >= o.base && base + size <= o.base + o.size; }
};

struct PamtArea {
    Range range;
    u64 page_size;
};

std::array<PamtArea, 3> pamts_of(const TdmrInfo& t)
{
    return {{{{t.pamt_4k_base, t.pamt_4k_size}, u64{1} << 12},
             {{t.pamt_2m_base, t.pamt_2m_size}, u64{1} << 21},
             {{t.pamt_1g_base, t.pamt_1g_size}, u64{1} << 30}}};
}

// Details of a refusal: TDMR index, area index or PAMT size, other TDMR, one byte each.
u32 details(std::size_t tdmr, std::size_t area = 0, std::size_t other = 0)
{
    return static_cast<u32>(tdmr | area << 8 | other << 16);
}

TdxStatus check_reserved(const TdmrInfo& t, std::size_t i)
{
    u64 end = 0;
    for (std::size_t a = 0; a < spec::kMaxReservedPerTdmr && t.reserved[a].size != 0; ++a) {
        const spec::TdmrReservedArea& r = t.reserved[a];
        if (!aligned(r.offset, kPageSize) || !aligned(r.size, kPageSize) || r.size > t.size ||
            r.offset > t.size - r.size)
            return TdxStatus::INVALID_RESERVED_IN_TDMR | details(i, a);
        if (r.offset < end)
            return TdxStatus::NON_ORDERED_RESERVED_IN_TDMR | details(i, a);
        end = r.offset + r.size;
    }
    return TdxStatus::SUCCESS;
}

// Whether `range` touches a part of the TDMR that is not reserved.
bool touches_usable(const TdmrInfo& t, Range range)
{
    u64 at = t.base;
    for (const spec::TdmrReservedArea& r : t.reserved) {
        if (r.size == 0)
            break;
        if (range.overlaps({at, t.base + r.offset - at}))
            return true;
        at = t.base + r.offset + r.size;
    }
    return at < t.base + t.size && range.overlaps({at, t.base + t.size - at});
}

TdxStatus check_pamts(const std::vector<TdmrInfo>& tdmrs, std::size_t i, Range cmr)
{
    const auto areas = pamts_of(tdmrs[i]);
    for (std::size_t a = 0; a < areas.size(); ++a) {
        const Range range = areas[a].range;
        if (!aligned(range.base, kPageSize) || !aligned(range.size, kPageSize) ||
            range.base + range.size < range.base ||
            range.size < tdmrs[i].size / areas[a].page_size * spec::kPamtEntryBytes)
            return TdxStatus::INVALID_PAMT | details(i, a);
    }
    for (std::size_t a = 0; a < areas.size(); ++a) {
        const Range range = areas[a].range;
        for (std::size_t other = 0; other <= i; ++other) {
            const auto others = pamts_of(tdmrs[other]);
            const std::size_t before = other == i ? a : others.size();
            for (std::size_t b = 0; b < before; ++b)
                if (range.overlaps(others[b].range))
                    return TdxStatus::PAMT_OVERLAP | details(i, a, other);
            if (touches_usable(tdmrs[other], range))
                return TdxStatus::PAMT_OVERLAP | details(i, a, other);
        }
        if (!range.inside(cmr))
            return TdxStatus::PAMT_OUTSIDE_CMRS | details(i, a);
    }
    return TdxStatus::SUCCESS;
}

TdxStatus check_tdmr(const std::vector<TdmrInfo>& tdmrs, std::size_t i, Range cmr)
{
    const TdmrInfo& t = tdmrs[i];
    if (t.base + t.size < t.base)
        return TdxStatus::INVALID_TDMR | details(i);
    if (i > 0 && t.base < tdmrs[i - 1].base + tdmrs[i - 1].size)
        return TdxStatus::NON_ORDERED_TDMR | details(i);
    if (!aligned(t.base, kGiB) || !aligned(t.size, kGiB) || t.size == 0 ||
        (t.base + t.size - 1) >> mem::kHkidShift)
        return TdxStatus::INVALID_TDMR | details(i);
    if (const TdxStatus s = check_reserved(t, i); s != TdxStatus::SUCCESS)
        return s;
    if (const TdxStatus s = check_pamts(tdmrs, i, cmr); s != TdxStatus::SUCCESS)
        return s;
    const bool outside = (cmr.base > t.base && touches_usable(t, {t.base, cmr.base - t.base})) ||
                         touches_usable(t, {cmr.base + cmr.size, ~u64{0} - cmr.base - cmr.size});
    return outside ? TdxStatus::TDMR_OUTSIDE_CMRS | details(i) : TdxStatus::SUCCESS;
}

bool all_lps_initialized(TdxModule& module)
{
    const std::lock_guard guard(module.lp_mutex);
    return std::find(module.lp_initialized.begin(), module.lp_initialized.end(), false) ==
           module.lp_initialized.end();
}

} // namespace

TdxStatus tdh_sys_config(SeamCall& call)
{
    TdxModule& module = call.module;
    const cpu::SeamRegs& regs = call.regs;
    const Held lock(module.sys_lock, LockMode::exclusive);
    if (!lock)
        return TdxStatus::SYS_BUSY;
    if (module.sys_state != SysState::initialized || !all_lps_initialized(module))
        return TdxStatus::SYS_CONFIG_NOT_PENDING;
    const bool count_ok = regs.rdx != 0 && regs.rdx <= spec::kMaxTdmrs;
    if (!module.shared_operand_ok(regs.rcx, 512, count_ok ? regs.rdx * sizeof(u64) : sizeof(u64)))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    if (!count_ok)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RDX;
    const u64 hkid = field(regs.r8, 15, 0);
    if (regs.r8 >> 16 || hkid < kFirstPrivateHkid || hkid >= kHkids)
        return TdxStatus::OPERAND_INVALID | TdxOperand::R8;
    std::vector<TdmrInfo> tdmrs(regs.rdx);
    const Range cmr{module.memory().base().value(), module.memory().size()};
    for (std::size_t i = 0; i < tdmrs.size(); ++i) {
        const u64 at = mem::load<u64>(Hpa(regs.rcx + i * sizeof(u64)));
        if (!module.shared_operand_ok(at, 512, sizeof(TdmrInfo)))
            return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
        mem::copy_from({reinterpret_cast<u8*>(&tdmrs[i]), sizeof(TdmrInfo)}, Hpa(at));
        if (const TdxStatus s = check_tdmr(tdmrs, i, cmr); s != TdxStatus::SUCCESS)
            return s;
    }
    for (const TdmrInfo& info : tdmrs)
        module.tdmrs.push_back(std::make_unique<Tdmr>(info));
    module.global_hkid = static_cast<u16>(hkid);
    module.hkids[hkid] = HkidState::RESERVED;
    module.sys_state = SysState::configured;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_sys_tdmr_init(SeamCall& call)
{
    TdxModule& module = call.module;
    call.regs.rdx = 0;
    for (const auto& tdmr : module.tdmrs) {
        if (tdmr->info.base != call.regs.rcx)
            continue;
        const Held lock(tdmr->lock, LockMode::exclusive);
        if (!lock)
            return TdxStatus::OPERAND_BUSY | TdxOperand::RCX;
        if (tdmr->next >= tdmr->info.base + tdmr->info.size)
            return TdxStatus::TDMR_ALREADY_INITIALIZED;
        tdmr->next += kPagesPerInit * kPageSize;
        call.regs.rdx = align_down(tdmr->next.load(), kGiB);
        return TdxStatus::SUCCESS;
    }
    return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
}

} // namespace seamless::tdx
