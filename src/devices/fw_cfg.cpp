// SPDX-License-Identifier: Apache-2.0
// fw_cfg: selection, reading, and DMA.
#include "devices/fw_cfg.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "devices/little_endian.h"

namespace seamless::devices {
namespace {

// The selector is 16 bits at the first port, the data port the second; DMA's address lies from the fifth on.
constexpr u64 kSelector = 0, kData = 1, kDmaHigh = 4, kDmaLow = 8;
constexpr std::string_view kDmaSignature = "QEMU CFG"; // what the address reads as

constexpr u32 DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16;
constexpr u64 kTraditional = 1, kHasDma = 2;

struct DmaRequest {
    std::array<u8, 16> bytes{}; // control, length, address: all big-endian
};

u64 load_be(std::span<const u8> data)
{
    u64 value = 0;
    for (const u8 byte : data)
        value = value << 8 | byte;
    return value;
}

void append_be(std::vector<u8>& to, u64 value, unsigned bytes)
{
    for (unsigned i = bytes; i-- > 0;)
        to.push_back(static_cast<u8>(value >> (i * 8)));
}

} // namespace

FwCfg::FwCfg(DmaMemory& memory) : memory_(memory)
{
    add(FwCfgKey::SIGNATURE, {'Q', 'E', 'M', 'U'});
    add_number(FwCfgKey::ID, kTraditional | kHasDma, 4);
    write_directory();
}

void FwCfg::add(FwCfgKey key, std::vector<u8> content)
{
    items_[static_cast<u16>(key)] = Item{.owned = std::move(content)};
}

void FwCfg::add_external(FwCfgKey key, std::span<const u8> content, WasRead was_read)
{
    items_[static_cast<u16>(key)] = Item{.external = content, .was_read = std::move(was_read)};
}

void FwCfg::add_number(FwCfgKey key, u64 value, unsigned bytes)
{
    std::vector<u8> content(bytes);
    store_le(content, value);
    add(key, std::move(content));
}

void FwCfg::add_file(const std::string& name, std::vector<u8> content)
{
    const auto key = static_cast<u16>(static_cast<u16>(FwCfgKey::FILE_FIRST) + files_.size());
    files_[name] = {.key = key, .size = static_cast<u32>(content.size())};
    items_[key] = Item{.owned = std::move(content)};
    write_directory();
}

void FwCfg::write_directory()
{
    std::vector<u8> directory;
    append_be(directory, files_.size(), 4);
    for (const auto& [name, file] : files_) {
        append_be(directory, file.size, 4);
        append_be(directory, file.key, 2);
        append_be(directory, 0, 2);
        const std::size_t start = directory.size();
        directory.insert(directory.end(), name.begin(), name.end());
        directory.resize(start + kMaxName + 1);
    }
    add(FwCfgKey::FILE_DIR, std::move(directory));
}

void FwCfg::select(u16 key)
{
    selected_ = key;
    position_ = 0;
}

std::span<const u8> FwCfg::rest() const
{
    const auto item = items_.find(selected_);
    if (item == items_.end())
        return {};
    const std::span<const u8> bytes = item->second.bytes();
    return bytes.subspan(std::min<u64>(position_, bytes.size()));
}

// Past the end, and where there is no item, everything reads as zero.
u8 FwCfg::next_byte()
{
    const std::span<const u8> left = rest();
    if (left.empty())
        return 0;
    ++position_;
    return left.front();
}

u8 FwCfg::address_byte(u64 offset) const
{
    return offset >= kDmaHigh ? static_cast<u8>(kDmaSignature[offset - kDmaHigh]) : u8{0};
}

void FwCfg::read(u64 offset, std::span<u8> data)
{
    for (std::size_t i = 0; i < data.size(); ++i)
        data[i] = offset == kData ? next_byte() : address_byte(offset + i);
}

void FwCfg::write(u64 offset, std::span<const u8> data)
{
    if (offset == kSelector && data.size() == 2)
        select(static_cast<u16>(load_le(data)));
    else if (offset == kDmaHigh && data.size() == 4)
        dma_address_ = load_be(data) << 32;
    else if ((offset == kDmaLow && data.size() == 4) || (offset == kDmaHigh && data.size() == 8)) {
        dma_address_ |= load_be(data);
        run_dma();
        dma_address_ = 0; // the next request below 4 GiB needs no high half
    }
}

void FwCfg::run_dma()
{
    DmaRequest request;
    if (!memory_.read(dma_address_, request.bytes))
        return; // there is no place for an error bit either
    const std::span<const u8> bytes(request.bytes);
    const auto control = static_cast<u32>(load_be(bytes.first(4)));
    const bool done =
        transfer(control, load_be(bytes.subspan(8, 8)), static_cast<u32>(load_be(bytes.subspan(4, 4))));
    // The guest polls this word: zero means done.
    const std::array<u8, 4> answer{0, 0, 0, static_cast<u8>(done ? 0 : DMA_ERROR)};
    (void)memory_.write(dma_address_, answer);
}

bool FwCfg::transfer(u32 control, u64 address, u32 length)
{
    if (control & DMA_SELECT)
        select(static_cast<u16>(control >> 16));
    if (control & DMA_READ)
        return read_to(address, length);
    if (control & DMA_WRITE) // no item can be written
        return length == 0;
    if (control & DMA_SKIP)
        position_ += std::min<u64>(length, rest().size());
    return true;
}

bool FwCfg::read_to(u64 address, u32 length)
{
    const std::span<const u8> content = rest().first(std::min<u64>(length, rest().size()));
    if (address + length < address)
        return false;
    if (!content.empty() && !memory_.write(address, content))
        return false;
    position_ += content.size();
    if (const auto item = items_.find(selected_); item != items_.end() && item->second.was_read)
        item->second.was_read(content);
    return content.size() == length || memory_.fill_zero(address + content.size(), length - content.size());
}

} // namespace seamless::devices
