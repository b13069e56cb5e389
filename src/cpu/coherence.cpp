// SPDX-License-Identifier: Apache-2.0
// Code that changes. While a page holds translated code, no TLB may write to it unnoticed; the first write
// drops the code on every processor. What one processor asks of another waits until that one polls, or enters
// a guest.
#include <emmintrin.h>

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

void Core::page_fetched(u64 host_page)
{
    if (mode_ == EngineMode::full)
        engine_->verify_page(host_page);
}

// The order matters: first the page counts as code, so that no new write tag is given out; then the old ones
// go; only then are the bytes read.
void Core::protect_code(u64 host_page)
{
    if (coherence_->code_pages.has(host_page, id()))
        return;
    if (!coherence_->code_pages.add(host_page, id())) {
        while (!coherence_->code_pages.settled(host_page)) {
            do_maintenance(); // the one we wait for may wait for us
            _mm_pause();
        }
        return;
    }
    mmu_.revoke_write(host_page);
    for (Core* other : coherence_->cores) {
        if (other == this || !other->started_.load())
            continue;
        const u64 ticket = other->post_maintenance(host_page, Maintenance::revoke_write);
        while (!other->maintained(ticket)) {
            do_maintenance();
            _mm_pause();
        }
    }
    coherence_->code_pages.settle(host_page);
}

} // namespace seamless::cpu
