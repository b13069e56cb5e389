// SPDX-License-Identifier: Apache-2.0
// One memfd, mapped writable and mapped executable, filled front to back and emptied as a whole.
#include "cpu/translate/code_cache.h"

#include <algorithm>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace seamless::cpu {

Result<std::unique_ptr<CodeCache>, Message> CodeCache::create(u32 size)
{
    const int fd = memfd_create("seamless-code", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) != 0) {
        if (fd >= 0)
            close(fd);
        return fail(Message{"code cache: cannot create memory for translated code"});
    }
    void* writable = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    void* executable = mmap(nullptr, size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    close(fd);
    if (writable == MAP_FAILED || executable == MAP_FAILED) {
        if (writable != MAP_FAILED)
            munmap(writable, size);
        if (executable != MAP_FAILED)
            munmap(executable, size);
        return fail(Message{
            "code cache: the host does not allow executable memory (is /dev/shm or memfd mounted noexec?)"});
    }
    return std::unique_ptr<CodeCache>(
        new CodeCache(static_cast<u8*>(writable), static_cast<u8*>(executable), size));
}

CodeCache::~CodeCache()
{
    munmap(writable_, size_);
    munmap(executable_, size_);
}

Block& CodeCache::add(std::unique_ptr<Block> block)
{
    used_ = align_up(block->code.end, 16u);
    cold_used_ = block->cold.end;
    placed_.push_back({block->code, block.get()});
    cold_placed_.push_back({block->cold, block.get()});
    add_to_page(block->start.page().value(), *block);
    if (block->on_two_pages())
        add_to_page(block->second.value(), *block);
    const Key key{block->start.value(), block->key};
    std::unique_ptr<Block>& place = blocks_[key];
    CHECK(!place);
    place = std::move(block);
    return *place;
}

void CodeCache::add_to_page(u64 page, Block& block)
{
    by_page_[page].blocks.push_back(&block);
    may_have_blocks_[page_bit(page)] = true;
}

Block* CodeCache::find_older(Hpa start, u32 key)
{
    const auto it = blocks_.find({start.value(), key});
    if (it == blocks_.end())
        return nullptr;
    recent_of(it->first) = {.start = start.value(), .key = key, .block = it->second.get()};
    return it->second.get();
}

const Block* CodeCache::containing(u64 at)
{
    Placed* placed = placed_at(static_cast<u32>(at - address()));
    return placed ? placed->block : nullptr;
}

CodeCache::Placed* CodeCache::placed_at(u32 offset)
{
    std::vector<Placed>& list = offset < half() ? placed_ : cold_placed_;
    const auto is_at = [offset](const Placed& placed) {
        return offset >= placed.range.begin && offset < placed.range.end;
    };
    u32& recent = placed_recently_[offset / 4 % placed_recently_.size()];
    if (recent < list.size() && is_at(list[recent])) [[likely]]
        return &list[recent];
    const auto it =
        std::ranges::upper_bound(list, offset, {}, [](const Placed& placed) { return placed.range.begin; });
    if (it == list.begin() || !is_at(*std::prev(it)))
        return nullptr;
    recent = static_cast<u32>(std::prev(it) - list.begin());
    return &list[recent];
}

void CodeCache::remove(Block& block)
{
    const auto it = blocks_.find({block.start.value(), block.key});
    if (it == blocks_.end() || it->second.get() != &block)
        return;
    recent_of(it->first) = {};
    std::erase(by_page_[block.start.page().value()].blocks, &block);
    if (block.on_two_pages())
        std::erase(by_page_[block.second.value()].blocks, &block);
    removed_.push_back(std::move(it->second));
    blocks_.erase(it);
}

std::span<Block* const> CodeCache::blocks_of(u64 page) const
{
    const auto it = by_page_.find(page);
    return it == by_page_.end() ? std::span<Block* const>() : it->second.blocks;
}

bool CodeCache::must_verify(u64 page, u64 suspicions, bool always)
{
    if (!may_have_blocks_[page_bit(page)]) [[likely]]
        return false;
    const auto it = by_page_.find(page);
    return it != by_page_.end() && (std::exchange(it->second.verified, suspicions) != suspicions || always);
}

void CodeCache::free_removed()
{
    for (const std::unique_ptr<Block>& block : removed_)
        for (const u32 begin : {block->code.begin, block->cold.begin})
            if (Placed* placed = placed_at(begin); placed && placed->block == block.get())
                placed->block = nullptr;
    removed_.clear();
}

void CodeCache::drop_blocks()
{
    blocks_.clear();
    recent_.fill({});
    placed_.clear();
    cold_placed_.clear();
    by_page_.clear();
    may_have_blocks_.reset();
    removed_.clear();
    used_ = reserved_;
    cold_used_ = half();
}

} // namespace seamless::cpu
