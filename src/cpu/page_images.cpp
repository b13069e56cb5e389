// SPDX-License-Identifier: Apache-2.0
// Images of pages: made, compared, forgotten.
#include "cpu/page_images.h"

#include <algorithm>
#include <span>

#include "mem/guest_access.h"

namespace seamless::cpu {

bool PageImages::same(u64 page, bool again)
{
    Image* image = place(page).get();
    if (!image || image->page != page || !image->taken)
        return false;
    if (std::exchange(image->looked, suspicions_) == suspicions_ && !again)
        return true;
    image->taken = mem::try_equal(Hpa(page), image->bytes); // or the next look would take it for compared
    return image->taken;
}

bool PageImages::take(u64 page)
{
    std::unique_ptr<Image>& image = place(page);
    if (!image)
        image = std::make_unique<Image>();
    const bool before = std::exchange(image->page, page) == page;
    image->taken = before && mem::try_copy_from(image->bytes, Hpa(page));
    image->looked = suspicions_;
    return image->taken;
}

void PageImages::forget(u64 page)
{
    Image* image = place(page).get();
    if (image && image->page == page)
        image->taken = false;
}

void PageImages::runs(u64 page)
{
    const auto end =
        running_.begin() + static_cast<std::ptrdiff_t>(std::min(running_count_, running_.size()));
    if (running_count_ > running_.size() || std::find(running_.begin(), end, page) != end)
        return;
    if (running_count_ < running_.size())
        running_[running_count_] = page;
    ++running_count_;
}

bool PageImages::all_same()
{
    const bool few = running_count_ <= running_.size();
    if (few && std::ranges::all_of(std::span(running_).first(running_count_),
                                   [this](u64 page) { return same(page, true); }))
        return true;
    running_count_ = 0;
    return false;
}

} // namespace seamless::cpu
