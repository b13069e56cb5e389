// SPDX-License-Identifier: Apache-2.0
// Code that changes. While a page holds translated code, no TLB may write to it unnoticed; the first write
// drops the code on every processor. What one processor asks of another waits until that one polls, or enters
// a guest.
#include <sched.h>

#include "cpu/core.h"

namespace seamless::cpu {

u64 Core::post_maintenance(u64 host_page, Maintenance kind)
{
    u64 ticket = 0;
    {
        const std::lock_guard lock(maintenance_mutex_);
        maintenance_.push_back({host_page, kind});
        ticket = maintenance_posted_.fetch_add(1) + 1;
    }
    __atomic_store_n(&frame_.request, kRequest, __ATOMIC_SEQ_CST);
    return ticket;
}

void Core::do_maintenance()
{
    if (maintenance_done_.load() == maintenance_posted_.load())
        return;
    std::vector<Posted> work;
    {
        const std::lock_guard lock(maintenance_mutex_);
        work.swap(maintenance_);
    }
    for (const Posted& posted : work)
        if (posted.kind == Maintenance::revoke_write)
            mmu_.revoke_write(posted.host_page);
        else
            engine_->drop_page(posted.host_page);
    maintenance_done_.fetch_add(work.size());
}

bool Core::maintained(u64 ticket) const { return maintenance_done_.load() >= ticket || !in_guest_.load(); }

// One turn of waiting for another processor, which may wait for this one.
void Core::let_others_work()
{
    do_maintenance();
    sched_yield();
}

// A LOCKed access in two host pages: the others wait between two instructions, or outside of the guest.
void Core::stop_others()
{
    for (Core* nobody = nullptr; !coherence_->alone.compare_exchange_strong(nobody, this); nobody = nullptr)
        stand_still(); // this access has not begun
    for (Core* other : coherence_->cores) {
        if (other == this)
            continue;
        while (!other->still()) {
            __atomic_store_n(&other->frame_.request, kRequest, __ATOMIC_SEQ_CST);
            let_others_work();
        }
    }
}

void Core::resume_others() { coherence_->alone.store(nullptr); }

void Core::stand_still()
{
    const auto wanted = [this] {
        const Core* alone = coherence_->alone.load();
        return alone != nullptr && alone != this;
    };
    while (wanted()) {
        parked_.store(true);
        while (wanted())
            let_others_work();
        parked_.store(false); // and look again: the next one may have counted on it
    }
}

// Called before a TLB gets the right to write to the page, so before the write.
void Core::page_written(u64 host_page)
{
    if (mode_ == EngineMode::step)
        return;
    const u64 processors = coherence_->code_pages.take(host_page);
    if (processors == 0) [[likely]]
        return;
    for (Core* core : coherence_->cores) {
        if (!test(processors, core->id()))
            continue;
        if (core == this)
            engine_->drop_page(host_page);
        else
            core->post_maintenance(host_page, Maintenance::drop_code);
    }
}

// An image is taken before the blocks are compared, and compared once more behind them: nobody may write in
// between. None is taken where a translation has begun, whose bytes may be read before and after it.
void Core::page_fetched(u64 host_page, bool found)
{
    if (mode_ == EngineMode::step)
        return;
    images_.runs(host_page);
    if (images_.same(host_page, found))
        return;
    const bool taken = images_.suspected() && !translating_ && images_.take(host_page);
    engine_->verify_page(host_page, found || taken);
    if (taken && !images_.same(host_page, true))
        images_.forget(host_page);
}

void Core::fetches_dropped(Gva page)
{
    if (engine_)
        engine_->forget_jumps(page);
}

// The order matters: first the page counts as code, so that no new write tag is given out; then the old ones
// go; only then are the bytes read. A write that comes while this processor waits takes the page's mark away
// again, and finds nothing to drop yet: then all of it is to be done again.
void Core::protect_code(u64 host_page)
{
    images_.forget(host_page);
    translating_ = true;
    CodePages& pages = coherence_->code_pages;
    while (!pages.has(host_page, id())) {
        if (pages.add(host_page, id())) {
            revoke_write_everywhere(host_page);
            pages.settle(host_page);
        }
        while (!pages.settled(host_page))
            let_others_work(); // the one we wait for may wait for us
    }
}

void Core::revoke_write_everywhere(u64 host_page)
{
    mmu_.revoke_write(host_page);
    for (Core* other : coherence_->cores) {
        if (other == this || !other->started_.load())
            continue;
        const u64 ticket = other->post_maintenance(host_page, Maintenance::revoke_write);
        while (!other->maintained(ticket))
            let_others_work();
    }
}

} // namespace seamless::cpu
