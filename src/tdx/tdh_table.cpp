// SPDX-License-Identifier: Apache-2.0
// The table of SEAMCALL leaves. TDX ABI: "SEAMCALL (TDH) Interface Functions", "TD Operation State and
// Legality".
#include "base/row_index.h"
#include "base/table.h"
#include "tdx/mrtd.h"
#include "tdx/tdh/leaves.h"

namespace seamless::tdx {
namespace {

using enum spec::TdOpState;
using spec::TdhLeaf;

constexpr LockMode S = LockMode::shared, X = LockMode::exclusive;
constexpr u16 kBuild = op_states(INITIALIZED, RUNNABLE, LIVE_EXPORT, MEMORY_IMPORT, STATE_IMPORT, POST_IMPORT,
                                 LIVE_IMPORT, START_EXPORT);
constexpr u16 kRange = op_states(INITIALIZED, RUNNABLE, LIVE_EXPORT, PAUSED_EXPORT, POST_EXPORT, POST_IMPORT,
                                 LIVE_IMPORT, START_EXPORT);
constexpr u16 kRead = static_cast<u16>(kAnyOpState & ~op_states(UNINITIALIZED, START_IMPORT));
constexpr u16 kWrite = static_cast<u16>(kBuild | op_states(FAILED_IMPORT));
constexpr u16 kInit = op_states(INITIALIZED);

using enum spec::SeptState;
constexpr u16 kLeaves = sept_states(MAPPED, BLOCKED, PENDING, PENDING_BLOCKED);
constexpr u16 kTables = sept_states(NL_MAPPED, NL_BLOCKED);
constexpr u8 kTop = SeptRule::kTop;
constexpr TdxStatus kNotPresent = TdxStatus::EPT_ENTRY_NOT_PRESENT;

constexpr u16 n(TdhLeaf leaf) { return static_cast<u16>(leaf); }

// clang-format off
constexpr TdhRow kRows[] = {
    {.number = n(TdhLeaf::VP_ENTER),            .name = "TDH.VP.ENTER",            .run = tdh_vp_enter, .td = TdAt::owner_of_rcx, .tdr = S, .tdvpr = S,
     .states = op_states(RUNNABLE, LIVE_EXPORT, LIVE_IMPORT, START_EXPORT), .flags = spec::vp_enter_rcx::HOST_RECOVERABILITY_HINT | spec::vp_enter_rcx::RESUME_L1},
    {.number = n(TdhLeaf::MNG_ADDCX),           .name = "TDH.MNG.ADDCX",           .run = tdh_mng_addcx, .td = TdAt::rdx, .tdr = X},
    {.number = n(TdhLeaf::MEM_PAGE_ADD),        .name = "TDH.MEM.PAGE.ADD",        .run = tdh_mem_page_add, .td = TdAt::rdx, .tdr = S, .states = kInit,
     .mrtd = X, .sept = {.new_page = NewPage::small, .source_page = true, .tree = S, .states = sept_states(FREE)}},
    {.number = n(TdhLeaf::MEM_SEPT_ADD),        .name = "TDH.MEM.SEPT.ADD",        .run = tdh_mem_sept_add, .max_version = 1, .td = TdAt::rdx, .tdr = S, .states = kBuild, .flags = 1,
     .flags_version = 1, .sept = {.min_level = 1, .max_level = kTop, .new_page = NewPage::small, .tree = S, .states = sept_states(FREE, NL_MAPPED)}},
    {.number = n(TdhLeaf::VP_ADDCX),            .name = "TDH.VP.ADDCX",            .run = tdh_vp_addcx, .td = TdAt::owner_of_rdx, .tdr = S, .tdvpr = X, .states = op_states(INITIALIZED, STATE_IMPORT)},
    {.number = n(TdhLeaf::MEM_PAGE_RELOCATE),   .name = "TDH.MEM.PAGE.RELOCATE",   .run = tdh_mem_page_relocate, .td = TdAt::rdx, .tdr = S, .states = kRange,
     .sept = {.new_page = NewPage::small, .tree = S, .states = kLeaves, .tracked = true}},
    {.number = n(TdhLeaf::MEM_PAGE_AUG),        .name = "TDH.MEM.PAGE.AUG",        .run = tdh_mem_page_aug, .td = TdAt::rdx, .tdr = S, .states = op_states(INITIALIZED, RUNNABLE, LIVE_EXPORT, LIVE_IMPORT, START_EXPORT),
     .sept = {.max_level = 1, .new_page = NewPage::of_level, .tree = S, .states = sept_states(FREE, REMOVED)}},
    {.number = n(TdhLeaf::MEM_RANGE_BLOCK),     .name = "TDH.MEM.RANGE.BLOCK",     .run = tdh_mem_range_block, .td = TdAt::rdx, .tdr = S, .states = kRange,
     .sept = {.max_level = kTop, .tree = S, .states = kLeaves | kTables}},
    {.number = n(TdhLeaf::MNG_KEY_CONFIG),      .name = "TDH.MNG.KEY.CONFIG",      .run = tdh_mng_key_config, .td = TdAt::rcx, .tdr = X},
    {.number = n(TdhLeaf::MNG_CREATE),          .name = "TDH.MNG.CREATE",          .run = tdh_mng_create},
    {.number = n(TdhLeaf::VP_CREATE),           .name = "TDH.VP.CREATE",           .run = tdh_vp_create, .td = TdAt::rdx, .tdr = S, .states = op_states(INITIALIZED, STATE_IMPORT)},
    {.number = n(TdhLeaf::MNG_RD),              .name = "TDH.MNG.RD",              .run = tdh_mng_rd, .max_version = 1, .td = TdAt::rcx, .tdr = S, .states = kRead, .r8_output = true},
    {.number = n(TdhLeaf::MEM_RD),              .name = "TDH.MEM.RD",              .run = tdh_mem_rd, .td = TdAt::rdx, .tdr = S, .states = kRead, .r8_output = true,
     .sept = {.debug = true, .granule = 8, .tree = S, .in_large_page = true, .states = sept_states(MAPPED)}},
    {.number = n(TdhLeaf::MNG_WR),              .name = "TDH.MNG.WR",              .run = tdh_mng_wr, .td = TdAt::rcx, .tdr = S, .states = kWrite, .r8_output = true},
    {.number = n(TdhLeaf::MEM_WR),              .name = "TDH.MEM.WR",              .run = tdh_mem_wr, .td = TdAt::rdx, .tdr = S, .states = kWrite, .r8_output = true,
     .sept = {.debug = true, .granule = 8, .tree = S, .in_large_page = true, .states = sept_states(MAPPED)}},
    {.number = n(TdhLeaf::MEM_PAGE_DEMOTE),     .name = "TDH.MEM.PAGE.DEMOTE",     .run = tdh_mem_page_demote, .td = TdAt::rdx, .tdr = S, .states = kRange, .flags = 1,
     .sept = {.min_level = 1, .max_level = 2, .tree = S, .states = kLeaves, .tracked = true}},
    {.number = n(TdhLeaf::MR_EXTEND),           .name = "TDH.MR.EXTEND",           .run = tdh_mr_extend, .td = TdAt::rdx, .tdr = S, .states = kInit,
     .mrtd = X, .sept = {.granule = kMrExtendBytes, .tree = S, .states = sept_states(MAPPED), .no_entry = kNotPresent, .wrong_state = kNotPresent}},
    {.number = n(TdhLeaf::MR_FINALIZE),         .name = "TDH.MR.FINALIZE",         .run = tdh_mr_finalize, .td = TdAt::rcx, .tdr = X, .states = kInit, .op_state = X,
     .mrtd = X},
    {.number = n(TdhLeaf::VP_FLUSH),            .name = "TDH.VP.FLUSH",            .run = tdh_vp_flush, .td = TdAt::owner_of_rcx, .tdr = S, .tdvpr = X},
    {.number = n(TdhLeaf::MNG_VPFLUSHDONE),     .name = "TDH.MNG.VPFLUSHDONE",     .run = tdh_mng_vpflushdone, .td = TdAt::rcx, .tdr = X},
    {.number = n(TdhLeaf::MNG_KEY_FREEID),      .name = "TDH.MNG.KEY.FREEID",      .run = tdh_mng_key_freeid, .td = TdAt::rcx, .tdr = X},
    {.number = n(TdhLeaf::MNG_INIT),            .name = "TDH.MNG.INIT",            .run = tdh_mng_init, .td = TdAt::rcx, .tdr = X},
    {.number = n(TdhLeaf::VP_INIT),             .name = "TDH.VP.INIT",             .run = tdh_vp_init, .max_version = 1, .td = TdAt::owner_of_rcx, .tdr = S, .tdvpr = X, .states = kInit},
    {.number = n(TdhLeaf::MEM_PAGE_PROMOTE),    .name = "TDH.MEM.PAGE.PROMOTE",    .run = tdh_mem_page_promote, .max_version = 1, .td = TdAt::rdx, .tdr = S, .states = kRange,
     .sept = {.min_level = 1, .max_level = 2, .tree = X, .states = kTables, .tracked = true}},
    {.number = n(TdhLeaf::PHYMEM_PAGE_RDMD),    .name = "TDH.PHYMEM.PAGE.RDMD",    .run = tdh_phymem_page_rdmd},
    {.number = n(TdhLeaf::MEM_SEPT_RD),         .name = "TDH.MEM.SEPT.RD",         .run = tdh_mem_sept_rd, .td = TdAt::rdx, .tdr = S, .states = kRead,
     .sept = {.max_level = kTop, .tree = S}},
    {.number = n(TdhLeaf::VP_RD),               .name = "TDH.VP.RD",               .run = tdh_vp_rd, .max_version = 1, .td = TdAt::owner_of_rcx, .tdr = S, .tdvpr = S, .states = kRead, .r8_output = true},
    {.number = n(TdhLeaf::MNG_KEY_RECLAIMID),   .name = "TDH.MNG.KEY.RECLAIMID",   .run = tdh_mng_key_reclaimid},
    {.number = n(TdhLeaf::PHYMEM_PAGE_RECLAIM), .name = "TDH.PHYMEM.PAGE.RECLAIM", .run = tdh_phymem_page_reclaim},
    {.number = n(TdhLeaf::MEM_PAGE_REMOVE),     .name = "TDH.MEM.PAGE.REMOVE",     .run = tdh_mem_page_remove, .td = TdAt::rdx, .tdr = S, .states = static_cast<u16>(kRange | op_states(FAILED_IMPORT)),
     .sept = {.max_level = 1, .tree = S, .states = kLeaves, .tracked = true}},
    {.number = n(TdhLeaf::MEM_SEPT_REMOVE),     .name = "TDH.MEM.SEPT.REMOVE",     .run = tdh_mem_sept_remove, .max_version = 1, .td = TdAt::rdx, .tdr = S, .states = kRead,
     .sept = {.min_level = 1, .max_level = kTop, .tree = X, .states = kTables}},
    {.number = n(TdhLeaf::SYS_KEY_CONFIG),      .name = "TDH.SYS.KEY.CONFIG",      .run = tdh_sys_key_config, .before_ready = true},
    {.number = n(TdhLeaf::SYS_INFO),            .name = "TDH.SYS.INFO",            .run = tdh_sys_info, .before_ready = true},
    {.number = n(TdhLeaf::SYS_INIT),            .name = "TDH.SYS.INIT",            .run = tdh_sys_init, .max_version = 1, .before_ready = true},
    {.number = n(TdhLeaf::SYS_RD),              .name = "TDH.SYS.RD",              .run = tdh_sys_rd, .before_ready = true},
    {.number = n(TdhLeaf::SYS_LP_INIT),         .name = "TDH.SYS.LP.INIT",         .run = tdh_sys_lp_init, .before_ready = true},
    {.number = n(TdhLeaf::SYS_TDMR_INIT),       .name = "TDH.SYS.TDMR.INIT",       .run = tdh_sys_tdmr_init},
    {.number = n(TdhLeaf::SYS_RDALL),           .name = "TDH.SYS.RDALL",           .run = tdh_sys_rdall, .before_ready = true},
    {.number = n(TdhLeaf::MEM_TRACK),           .name = "TDH.MEM.TRACK",           .run = tdh_mem_track, .td = TdAt::rcx, .tdr = S, .states = static_cast<u16>(kRead & ~op_states(FAILED_IMPORT))},
    {.number = n(TdhLeaf::MEM_RANGE_UNBLOCK),   .name = "TDH.MEM.RANGE.UNBLOCK",   .run = tdh_mem_range_unblock, .td = TdAt::rdx, .tdr = S, .states = kRange,
     .sept = {.max_level = kTop, .tree = X, .states = sept_states(BLOCKED, PENDING_BLOCKED, NL_BLOCKED), .tracked = true}},
    {.number = n(TdhLeaf::PHYMEM_CACHE_WB),     .name = "TDH.PHYMEM.CACHE.WB",     .run = tdh_phymem_cache_wb},
    {.number = n(TdhLeaf::PHYMEM_PAGE_WBINVD),  .name = "TDH.PHYMEM.PAGE.WBINVD",  .run = tdh_phymem_page_wbinvd},
    {.number = n(TdhLeaf::VP_WR),               .name = "TDH.VP.WR",               .run = tdh_vp_wr, .td = TdAt::owner_of_rcx, .tdr = S, .tdvpr = S,
     .states = kWrite, .r8_output = true},
    {.number = n(TdhLeaf::SYS_LP_SHUTDOWN),     .name = "TDH.SYS.LP.SHUTDOWN",     .run = tdh_sys_lp_shutdown, .before_ready = true, .after_shutdown = true},
    {.number = n(TdhLeaf::SYS_CONFIG),          .name = "TDH.SYS.CONFIG",          .run = tdh_sys_config, .before_ready = true},
};
// clang-format on
static_assert(strictly_ascending(kRows, &TdhRow::number));
constexpr auto kIndex = base::index_rows<64>(kRows, &TdhRow::number);

} // namespace

std::span<const TdhRow> tdh_rows() { return kRows; }

const TdhRow* find_tdh(u64 number)
{
    return number > 0xffff ? nullptr : kIndex.find(static_cast<u16>(number));
}

} // namespace seamless::tdx
