// SPDX-License-Identifier: Apache-2.0
// The radix table behind the PAMT: 1 GiB groups of 2 MiB blocks of 4 KiB entries.
#include "tdx/pamt.h"

#include "base/check.h"
#include "spec/ept.h"

namespace seamless::tdx {

using spec::TdxPageType;

struct Pamt::Block {
    PamtEntry whole;
    std::atomic<u32> used = 0; // 4 KiB pages that are not NDA
    PamtEntry pages[512];
};

struct Pamt::Group {
    std::atomic<Block*> blocks[512] = {};
    ~Group()
    {
        for (std::atomic<Block*>& b : blocks)
            delete b.load();
    }
};

namespace {

// The object at `slot`, made by the first who asks.
template <typename T>
T& made(std::atomic<T*>& slot)
{
    T* found = slot.load(std::memory_order_acquire);
    if (found)
        return *found;
    auto fresh = std::make_unique<T>();
    if (slot.compare_exchange_strong(found, fresh.get()))
        return *fresh.release();
    return *found;
}

} // namespace

Pamt::Pamt(Hpa base, u64 size)
    : base_(base), groups_(size >> 30), table_(std::make_unique<std::atomic<Group*>[]>(groups_))
{}

Pamt::~Pamt()
{
    for (u64 i = 0; i < groups_; ++i)
        delete table_[i].load();
}

Pamt::Block& Pamt::block(Hpa hpa)
{
    const u64 offset = hpa - base_;
    CHECK((offset >> 30) < groups_); // callers check that the page lies in a TDMR
    return made(made(table_[offset >> 30]).blocks[offset >> 21 & 511]);
}

PamtEntry& Pamt::entry(Hpa hpa, unsigned level)
{
    Block& b = block(hpa);
    return level == 1 ? b.whole : b.pages[hpa.value() >> kPageShift & 511];
}

LockedPage Pamt::lock(Hpa hpa, unsigned level, LockMode mode)
{
    LockedPage found;
    Block& b = block(hpa);
    if (level == 1) {
        found.page = Held(b.whole.lock, mode);
        if (found.page)
            found.entry = &b.whole, found.hpa = hpa, found.level = 1;
        return found;
    }
    found.block = Held(b.whole.lock, LockMode::shared);
    if (!found.block)
        return found;
    if (b.whole.type != TdxPageType::NDA) {
        found.block.release();
        return lock(Hpa(hpa.value() & ~(spec::ept::level_size(1) - 1)), 1, mode);
    }
    PamtEntry& e = b.pages[hpa.value() >> kPageShift & 511];
    found.page = Held(e.lock, mode);
    if (found.page)
        found.entry = &e, found.hpa = hpa;
    return found;
}

bool Pamt::block_in_use(Hpa hpa) { return block(hpa).used != 0; }

void Pamt::assign(LockedPage& page, TdxPageType type, Hpa owner)
{
    const bool was = page.entry->type != TdxPageType::NDA, is = type != TdxPageType::NDA;
    page.entry->type = type;
    page.entry->owner = owner;
    page.entry->bepoch = 0;
    if (page.level == 0 && was != is) {
        Block& b = block(page.hpa);
        is ? ++b.used : --b.used;
    }
}

void Pamt::split(LockedPage& page)
{
    Block& b = block(page.hpa);
    for (PamtEntry& e : b.pages) {
        e.type = TdxPageType::REG;
        e.owner = page.entry->owner;
        e.bepoch = 0;
    }
    b.used = 512;
    assign(page, TdxPageType::NDA, {});
}

void Pamt::merge(LockedPage& page, Hpa owner)
{
    Block& b = block(page.hpa);
    for (PamtEntry& e : b.pages) {
        e.type = TdxPageType::NDA;
        e.owner = {};
    }
    b.used = 0;
    assign(page, TdxPageType::REG, owner);
}

} // namespace seamless::tdx
