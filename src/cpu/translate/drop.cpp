// SPDX-License-Identifier: Apache-2.0
// Drops blocks whose bytes have changed, or will: nothing leads into them any more, and a running one is
// left.
#include <algorithm>
#include <cstring>

#include "cpu/translate/engine.h"

namespace seamless::cpu {

// Code that goes on at `offset` of the current page, wherever that leads by then.
u32 Engine::emit_exit_at(u16 offset, u32 key)
{
    Assembler assembler(cache_->memory(), cache_->address());
    const CodeRange room = cache_->cold_room();
    assembler.seek(room.begin, room.end);
    Block none;
    const ModeWord mode = ModeWord::of_exit(key);
    Emitter emitter(assembler, stubs_, mode, {.jump_cache = options_.jump_cache}, none);
    emitter.end_at(offset);
    cache_->take_cold(assembler.offset());
    return room.begin;
}

// Whatever leads to the block meets a jump to a way out at its entry; if it is running, behind the current
// instruction.
void Engine::drop_block(Block& block)
{
    if (block.dropped)
        return;
    block.dropped = true;
    const auto redirect = [&](u32 from, u16 offset) {
        const u32 to = emit_exit_at(offset, block.key);
        u8* at = cache_->writable(from);
        const u32 rel = to - (from + 5);
        at[0] = 0xe9;
        std::memcpy(at + 1, &rel, 4);
    };
    const bool running = in_access_ != 0 && cache_->containing(in_access_) == &block;
    if (running && access_index_ + 1u < block.insns.size()) {
        const GuestInsn& next = block.insns[access_index_ + 1u];
        redirect(next.host, next.offset);
        if (next.apart)
            redirect(next.apart, next.offset);
    }
    redirect(block.near, block.insns.front().offset);
    if (block.live != block.near)
        redirect(block.live, block.insns.front().offset);
    unlink_far(block);
    cache_->remove(block);
    forget_jumps(); // what leads to it would be led to itself
}

void Engine::drop_page(u64 host_page)
{
    drop_if(host_page, [](const Block&) { return true; });
}

// The list changes while its blocks are dropped.
void Engine::drop_if(u64 host_page, const std::function<bool(const Block&)>& which)
{
    const std::span<Block* const> blocks = cache_->blocks_of(host_page);
    if (std::ranges::none_of(blocks, [&](const Block* block) { return which(*block); })) [[likely]]
        return;
    for (Block* block : std::vector<Block*>(blocks.begin(), blocks.end()))
        if (which(*block))
            drop_or_postpone(*block);
}

void Engine::forget_jumps()
{
    for (JumpCache& jumps : frame_.jumps)
        jumps.flush();
    forget_returns();
}

// In the middle of a block: no block that has called returns behind its call without a look.
void Engine::forget_returns()
{
    if (in_access_)
        mem::store<u64>(Hpa(frame_.helper_rsp + sizeof(u64)), frame_.return_sentinel);
}

void Engine::forget_jumps(Gva page)
{
    for (unsigned set = 0; set < kTlbSets; ++set) {
        frame_.jumps[set].flush_page(page.value());
        if (far_links_[set].may_lead_to(page.value())) [[unlikely]]
            end_far_links(set);
    }
    forget_returns();
}

void Engine::verify_page(u64 host_page, bool found)
{
    if (mode_ == EngineMode::step || !cache_->must_verify(host_page, suspicions_, found))
        return;
    drop_if(host_page, [this](const Block& block) { return !unchanged(block); });
}

// Where there is no room to redirect what leads to the block, all blocks go before the next one is entered.
void Engine::drop_or_postpone(Block& block)
{
    if (!cache_->exhausted())
        return drop_block(block);
    drop_all_ = true;
    forget_jumps();
    __atomic_store_n(&frame_.request, kRequest, __ATOMIC_SEQ_CST);
}

// Between two runs: nothing of them is executing, nor will be.
void Engine::free_removed_code()
{
    if (left_ && left_->dropped)
        left_ = nullptr;
    last_bytes_ = {};
    cache_->free_removed();
}

void Engine::drop_all_code()
{
    cache_->drop_blocks();
    for (FarLinks& links : far_links_)
        links.forget();
    drop_all_ = false;
    forget_jumps();
    left_ = nullptr;
}

} // namespace seamless::cpu
