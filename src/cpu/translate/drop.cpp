// SPDX-License-Identifier: Apache-2.0
// Drops blocks whose bytes have changed, or will: nothing leads into them any more, and a running one is
// left.
#include <cstring>

#include "cpu/translate/engine.h"

namespace seamless::cpu {

using decode::CodeSize;

// Code that leaves at `offset` of the current page, for what leads into a dropped block.
u64 Engine::emit_exit_at(u16 offset, CodeSize code)
{
    Assembler assembler(cache_->room(), cache_->room_address());
    Block none;
    ModeWord mode;
    mode.code = code;
    Emitter emitter(assembler, stubs_, mode, {}, none);
    emitter.end_at(offset);
    const u64 at = cache_->room_address();
    cache_->take(assembler.offset());
    return at;
}

// Whatever leads to the block meets a jump to a way out at its entry; if it is running, behind the current
// instruction.
void Engine::drop_block(Block& block)
{
    if (block.dropped)
        return;
    block.dropped = true;
    const auto redirect = [&](u64 from, u16 offset) {
        const u64 to = emit_exit_at(offset, static_cast<CodeSize>(block.key & 3));
        u8* at = cache_->writable(from);
        const u32 rel = static_cast<u32>(to - (from + 5));
        at[0] = 0xe9;
        std::memcpy(at + 1, &rel, 4);
    };
    const u64 entry = reinterpret_cast<u64>(block.host);
    const bool running = in_access_ - entry < block.host_size;
    if (running && access_index_ + 1u < block.insns.size()) {
        const GuestInsn& next = block.insns[access_index_ + 1u];
        redirect(entry + next.host, next.offset);
    }
    redirect(entry, block.insns.front().offset);
    cache_->remove(block);
}

void Engine::drop_page(u64 host_page)
{
    for (Block* block : cache_->blocks_of(host_page))
        drop_or_postpone(*block);
}

void Engine::verify_page(u64 host_page)
{
    if (mode_ == EngineMode::step)
        return;
    for (Block* block : cache_->blocks_of(host_page))
        if (!self_contained(*block) || !unchanged(*block))
            drop_or_postpone(*block);
}

// Where there is no room to redirect what leads to the block, all blocks go before the next one is entered.
void Engine::drop_or_postpone(Block& block)
{
    if (cache_->exhausted())
        drop_all_ = true;
    else
        drop_block(block);
}

void Engine::drop_all_code()
{
    cache_->drop_blocks();
    drop_all_ = false;
    for (JumpCache& jumps : frame_.jumps)
        jumps.flush();
    left_ = nullptr;
}

} // namespace seamless::cpu
