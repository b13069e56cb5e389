// SPDX-License-Identifier: Apache-2.0
// Two rings of events: all of them, and those about guest memory.
#include "platform/event_memory.h"

#include <algorithm>
#include <string_view>

#include "base/address.h"
#include "spec/ept.h"

namespace seamless::platform {
namespace {

using trace::Event;
using trace::Record;

constexpr std::size_t kRecent = 4096, kMemory = 65536;

// The GPA mapping operand of the leaves that have one: level 2:0.
EventPages mapping(u64 rcx)
{
    const unsigned level = std::min(static_cast<unsigned>(rcx & 7), 4u);
    return {rcx & spec::ept::ADDRESS, spec::ept::level_size(level)};
}

bool takes_mapping(std::string_view leaf) { return leaf.starts_with("TDH.MEM.") && leaf != "TDH.MEM.TRACK"; }

} // namespace

std::optional<EventPages> pages_of(const Record& record)
{
    const auto number = [&](unsigned i) { return record.values[i].number; };
    switch (record.event) {
    case Event::ept_misconfig:
    case Event::ept_violation:
    case Event::kvm_page_fault:
    case Event::handle_mmio_page_fault:
        return EventPages{number(0) & ~kPageMask, kPageSize};
    case Event::mark_mmio_spte:
        return EventPages{number(0) << kPageShift, kPageSize};
    case Event::tdx_seamcall:
        if (record.values[0].text && takes_mapping(record.values[0].text))
            return mapping(number(2));
        return {};
    case Event::tdx_tdcall:
        if (record.values[0].text && std::string_view(record.values[0].text) == "TDG.MEM.PAGE.ACCEPT")
            return mapping(number(2));
        return {};
    default:
        return {};
    }
}

void EventMemory::Ring::add(const Record& record)
{
    if (records_.size() < size_) {
        records_.push_back(record);
        return;
    }
    records_[next_] = record;
    next_ = (next_ + 1) % size_;
}

template <typename Take>
void EventMemory::Ring::each(const Take& take) const
{
    for (std::size_t i = 0; i < records_.size(); ++i)
        take(records_[(next_ + i) % records_.size()]);
}

EventMemory::EventMemory(std::unique_ptr<trace::Sink> next, std::bitset<64> wanted)
    : next_(std::move(next)), wanted_(wanted), recent_(kRecent), memory_(kMemory)
{}

void EventMemory::write(const Record& record)
{
    {
        const std::lock_guard lock(mutex_);
        recent_.add(record);
        if (pages_of(record))
            memory_.add(record);
    }
    if (next_ && wanted_.test(static_cast<std::size_t>(record.event)))
        next_->write(record);
}

std::vector<Record> EventMemory::recent()
{
    const std::lock_guard lock(mutex_);
    std::vector<Record> out;
    recent_.each([&](const Record& record) { out.push_back(record); });
    return out;
}

std::vector<Record> EventMemory::of_page(u64 gpa, u64 shared_bit)
{
    const std::lock_guard lock(mutex_);
    std::vector<Record> out;
    const u64 page = gpa & ~shared_bit & ~kPageMask;
    memory_.each([&](const Record& record) {
        const EventPages pages = *pages_of(record);
        if (page - (pages.start & ~shared_bit) < pages.bytes)
            out.push_back(record);
    });
    return out;
}

} // namespace seamless::platform
