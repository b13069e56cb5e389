// SPDX-License-Identifier: Apache-2.0
// Reading and clearing the dirty log. Whoever takes bits out of it owes the frames their write protection
// before user space sees the bits: the next write faults and is logged again.
#include "kvm/dirty_log.h"

#include "kvm/vm.h"

namespace seamless::kvm {

using namespace spec::kvm;

DirtyBitmap::DirtyBitmap(u64 npages, bool initially_set)
    : npages_(npages), words_(std::make_unique<std::atomic<u64>[]>(words()))
{
    for (u64 page = 0; initially_set && page < npages; ++page)
        mark(page);
}

// KVM's order of checks: the number of the slot, then whether it is there and has a log.
Result<Memslot*, Errno> Vm::logged_slot(u32 id)
{
    if (id >> 16 != 0 || id >= Memslots::kUserSlots)
        return fail(Errno{EINVAL});
    Memslot* slot = slots.by_id(id);
    if (!slot || !slot->dirty)
        return fail(Errno{ENOENT});
    return slot;
}

Result<std::vector<u64>, Errno> Vm::get_dirty_log(u32 id)
{
    const std::unique_lock guard(slots_lock);
    Memslot& slot = *TRY(logged_slot(id));
    std::vector<u64> log(slot.dirty->words());
    TlbFlush flush;
    {
        const std::lock_guard tables(mmu.lock);
        for (u64 w = 0; w < log.size(); ++w) {
            if (manual_dirty_log_protect) { // KVM_CLEAR_DIRTY_LOG does the rest
                log[w] = slot.dirty->peek(w);
                continue;
            }
            log[w] = slot.dirty->take(w);
            flush |= mmu.write_protect_masked(slot.base + w * 64, log[w]);
        }
    }
    if (flush.needed)
        flush_remote_tlbs();
    return log;
}

Result<void, Errno> Vm::check_clear_dirty_log(const kvm_clear_dirty_log& clear)
{
    const std::shared_lock guard(slots_lock);
    if (clear.slot >> 16 != 0 || clear.slot >= Memslots::kUserSlots || clear.first_page % 64 != 0)
        return fail(Errno{EINVAL});
    const Memslot& slot = *TRY(logged_slot(clear.slot));
    if (clear.first_page > slot.npages)
        return fail(Errno{EINVAL});
    const u64 rest = slot.npages - clear.first_page;
    if (clear.num_pages > rest || (clear.num_pages < rest && clear.num_pages % 64 != 0))
        return fail(Errno{EINVAL});
    return {};
}

Result<void, Errno> Vm::clear_dirty_log(const kvm_clear_dirty_log& clear, std::span<const u64> bitmap)
{
    TRY(check_clear_dirty_log(clear));
    const std::unique_lock guard(slots_lock);
    Memslot& slot = *TRY(logged_slot(clear.slot));
    TlbFlush flush;
    {
        const std::lock_guard tables(mmu.lock);
        for (u64 i = 0, w = clear.first_page / 64; i < bitmap.size() && w < slot.dirty->words(); ++i, ++w)
            flush |= mmu.write_protect_masked(slot.base + w * 64, slot.dirty->take(w, bitmap[i]));
    }
    if (flush.needed)
        flush_remote_tlbs();
    return {};
}

// After the flags of a slot changed: writes are logged from now on, or no longer.
void Vm::update_dirty_log(Memslot& slot)
{
    if (slot.logs_dirty_pages() == (slot.dirty != nullptr))
        return;
    TlbFlush flush;
    {
        const std::lock_guard tables(mmu.lock);
        mmu.note_invalidation(); // faults on their way would map large pages, which nobody logs
        if (slot.dirty) {
            slot.dirty.reset(); // entries that are write protected fault once more and stay writable
            return;
        }
        slot.dirty = std::make_unique<DirtyBitmap>(slot.npages,
                                                   manual_dirty_log_protect & KVM_DIRTY_LOG_INITIALLY_SET);
        flush = mmu.write_protect(slot.base, slot.base + slot.npages);
    }
    if (flush.needed)
        flush_remote_tlbs();
}

} // namespace seamless::kvm
