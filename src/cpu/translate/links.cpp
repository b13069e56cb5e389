// SPDX-License-Identifier: Apache-2.0
// Links blocks that lead to each other, and ends the links to other pages.
#include <algorithm>
#include <cstring>

#include "cpu/translate/engine.h"

namespace seamless::cpu {

// The way that led here is made shorter for the next time.
void Engine::follow(Block& block)
{
    if (left_by_ == ExitCode::link && left_ && !left_->dropped) {
        const LinkSite& site = left_->links[left_link_];
        if (site.bias)
            return follow_far(site, block);
        if (left_->key != block.key || left_->start.page() != block.start.page() ||
            site.target != block.start.page_offset())
            return;
        if (cache_->exhausted()) // the next translation drops all code
            return;
        // Where a block ends on a second page, that page decides, and the jump cache knows of it.
        const u32 to = block.on_two_pages()    ? emit_exit_at(site.target, block.key)
                       : left_->extended_state ? block.live
                                               : block.near;
        const u32 rel = to - (site.patch + 4);
        std::memcpy(cache_->writable(site.patch), &rel, 4);
    } else if (left_by_ == ExitCode::jump && options_.jump_cache &&
               (frame_.state.code64() || frame_.state.segment(spec::Seg::cs).base == 0)) { // RIP is linear
        frame_.jumps[static_cast<unsigned>(mmu_.current_set())].fill(frame_.state.rip,
                                                                     cache_->address(block.code.begin));
    }
}

// To its entry from another page.
void Engine::follow_far(const LinkSite& site, Block& block)
{
    const u64 rip = frame_.state.rip;
    if (left_->key != block.key || rip != left_rip_)
        return;
    const unsigned set = ModeWord::of_exit(block.key).tlb_set;
    const u32 rel = block.code.begin - (site.patch + 4);
    std::memcpy(cache_->writable(site.patch), &rel, 4);
    const u64 bias = FarLinks::bias(rip, frame_.link_epochs[set]);
    std::memcpy(cache_->writable(site.bias), &bias, 8);
    far_links_[set].leads_to(rip);
    if (std::ranges::find(block.led_from, site.bias) == block.led_from.end())
        block.led_from.push_back(site.bias);
}

// Nothing leads to the block from another page any more.
void Engine::unlink_far(Block& block)
{
    const u64 bias = FarLinks::unlinked(block.start.page_offset());
    for (const u32 at : block.led_from)
        std::memcpy(cache_->writable(at), &bias, 8);
    block.led_from.clear();
}

// All links of the set are of an epoch that is over.
void Engine::end_far_links(unsigned set)
{
    far_links_[set].forget();
    if (++frame_.link_epochs[set] < FarLinks::kEpochs)
        return;
    frame_.link_epochs[set] = 0;
    cache_->for_each([this, set](Block& block) {
        if (ModeWord::of_exit(block.key).tlb_set == set)
            unlink_far(block);
    });
}

} // namespace seamless::cpu
