// SPDX-License-Identifier: Apache-2.0
// The SEAMCALL leaves. Each finds the operands that its row names checked and locked.
#pragma once

#include "tdx/seam_call.h"

namespace seamless::tdx {

TdxStatus tdh_vp_enter(SeamCall&);
TdxStatus tdh_mng_addcx(SeamCall&);
TdxStatus tdh_mem_page_add(SeamCall&);
TdxStatus tdh_mem_sept_add(SeamCall&);
TdxStatus tdh_vp_addcx(SeamCall&);
TdxStatus tdh_mem_page_aug(SeamCall&);
TdxStatus tdh_mem_range_block(SeamCall&);
TdxStatus tdh_mng_key_config(SeamCall&);
TdxStatus tdh_mng_create(SeamCall&);
TdxStatus tdh_vp_create(SeamCall&);
TdxStatus tdh_mng_rd(SeamCall&);
TdxStatus tdh_mr_extend(SeamCall&);
TdxStatus tdh_mr_finalize(SeamCall&);
TdxStatus tdh_vp_flush(SeamCall&);
TdxStatus tdh_mng_vpflushdone(SeamCall&);
TdxStatus tdh_mng_key_freeid(SeamCall&);
TdxStatus tdh_mng_key_reclaimid(SeamCall&);
TdxStatus tdh_mng_init(SeamCall&);
TdxStatus tdh_vp_init(SeamCall&);
TdxStatus tdh_phymem_page_rdmd(SeamCall&);
TdxStatus tdh_vp_rd(SeamCall&);
TdxStatus tdh_phymem_page_reclaim(SeamCall&);
TdxStatus tdh_mem_page_remove(SeamCall&);
TdxStatus tdh_sys_key_config(SeamCall&);
TdxStatus tdh_sys_init(SeamCall&);
TdxStatus tdh_sys_rd(SeamCall&);
TdxStatus tdh_sys_rdall(SeamCall&);
TdxStatus tdh_sys_lp_init(SeamCall&);
TdxStatus tdh_sys_tdmr_init(SeamCall&);
TdxStatus tdh_mem_track(SeamCall&);
TdxStatus tdh_mem_range_unblock(SeamCall&);
TdxStatus tdh_phymem_cache_wb(SeamCall&);
TdxStatus tdh_phymem_page_wbinvd(SeamCall&);
TdxStatus tdh_vp_wr(SeamCall&);
TdxStatus tdh_sys_config(SeamCall&);
TdxStatus tdh_mem_page_relocate(SeamCall&);
TdxStatus tdh_mem_page_demote(SeamCall&);
TdxStatus tdh_mem_page_promote(SeamCall&);
TdxStatus tdh_mem_sept_remove(SeamCall&);
TdxStatus tdh_mem_sept_rd(SeamCall&);
TdxStatus tdh_mem_rd(SeamCall&);
TdxStatus tdh_mem_wr(SeamCall&);
TdxStatus tdh_mng_wr(SeamCall&);
TdxStatus tdh_sys_lp_shutdown(SeamCall&);
TdxStatus tdh_sys_info(SeamCall&);

} // namespace seamless::tdx
