// SPDX-License-Identifier: Apache-2.0
// One memfd, mapped writable and mapped executable, filled front to back and emptied as a whole.
#include "cpu/translate/code_cache.h"

#include <sys/mman.h>
#include <unistd.h>

namespace seamless::cpu {

Result<std::unique_ptr<CodeCache>, Message> CodeCache::create(u64 size)
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
    used_ += align_up<u64>(block->host_size, 16);
    by_host_[reinterpret_cast<u64>(block->host)] = block.get();
    by_page_[block->start.page().value()].push_back(block.get());
    const Key key{block->start.value(), block->key};
    std::unique_ptr<Block>& place = blocks_[key];
    CHECK(!place);
    place = std::move(block);
    return *place;
}

Block* CodeCache::find(Hpa start, u32 key) const
{
    const auto it = blocks_.find({start.value(), key});
    return it == blocks_.end() ? nullptr : it->second.get();
}

const Block* CodeCache::containing(u64 at) const
{
    auto it = by_host_.upper_bound(at);
    if (it == by_host_.begin())
        return nullptr;
    const Block* block = std::prev(it)->second;
    return at - reinterpret_cast<u64>(block->host) < block->host_size ? block : nullptr;
}

void CodeCache::remove(Block& block)
{
    const auto it = blocks_.find({block.start.value(), block.key});
    if (it == blocks_.end() || it->second.get() != &block)
        return;
    std::erase(by_page_[block.start.page().value()], &block);
    removed_.push_back(std::move(it->second));
    blocks_.erase(it);
}

std::vector<Block*> CodeCache::blocks_of(u64 page) const
{
    const auto it = by_page_.find(page);
    return it == by_page_.end() ? std::vector<Block*>() : it->second;
}

void CodeCache::drop_blocks()
{
    blocks_.clear();
    by_host_.clear();
    by_page_.clear();
    removed_.clear();
    used_ = reserved_;
}

} // namespace seamless::cpu
