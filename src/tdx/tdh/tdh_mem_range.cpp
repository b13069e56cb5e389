// SPDX-License-Identifier: Apache-2.0
// TDH.MEM.RANGE.BLOCK, RANGE.UNBLOCK, MEM.TRACK, PAGE.REMOVE: pages leave the secure EPT, once no TLB can
// hold them.
#include "tdx/tdh/leaves.h"
#include "tdx/tdh/mem_operand.h"

namespace seamless::tdx {

using sept::SeptState;

namespace {

struct BlockRow {
    SeptState open, blocked;
};
constexpr BlockRow kBlocks[] = {
    {SeptState::NL_MAPPED, SeptState::NL_BLOCKED},
    {SeptState::MAPPED, SeptState::BLOCKED},
    {SeptState::PENDING, SeptState::PENDING_BLOCKED},
};

} // namespace

TdxStatus tdh_mem_range_block(SeamCall& call)
{
    const SeptState state = call.at.state();
    if (sept::is_blocked(state))
        return entry_error(call, TdxStatus::GPA_RANGE_ALREADY_BLOCKED);
    for (const BlockRow& row : kBlocks)
        if (row.open == state) {
            // The entry closes first and the epoch is read after it: whoever may have cached the open entry
            // entered in this epoch or an older one. The entry stays locked, so that nobody removes the page
            // between the two.
            const u64 closed = sept::make(sept::target(call.at.entry), row.blocked);
            PamtEntry& target = target_entry(call);
            call.entry->store_locked(closed);
            target.bepoch = call.td->td_epoch.load();
            call.entry->commit(closed);
        }
    return done(call);
}

TdxStatus tdh_mem_range_unblock(SeamCall& call)
{
    const SeptState state = call.at.state();
    for (const BlockRow& row : kBlocks)
        if (row.blocked == state)
            call.entry->commit(sept::make(sept::target(call.at.entry), row.open));
    return done(call);
}

TdxStatus tdh_mem_track(SeamCall& call)
{
    Td& td = *call.td;
    const Held epoch(td.epoch_lock, LockMode::exclusive);
    if (!epoch)
        return TdxStatus::OPERAND_BUSY | TdxOperand::TD_EPOCH;
    if (td.refcount[(td.td_epoch - 1) & 1] != 0)
        return TdxStatus::PREVIOUS_TLB_EPOCH_BUSY;
    ++td.td_epoch;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mem_page_remove(SeamCall& call)
{
    LockedPage page;
    if (const TdxStatus s = lock_target(call, page); s != TdxStatus::SUCCESS)
        return s;
    const Hpa hpa = page.hpa;
    call.module.free_page(page, *call.td);
    call.entry->commit(sept::kFree);
    return done(call, hpa.value());
}

} // namespace seamless::tdx
