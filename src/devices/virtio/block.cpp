// SPDX-License-Identifier: Apache-2.0
// Requests of the block device.
#include "devices/virtio/block.h"

#include <algorithm>

#include "devices/little_endian.h"

namespace seamless::devices::virtio {
namespace {

constexpr u64 SEG_MAX = bit(2), SIZE_MAX_ = bit(1), RO = bit(5), BLK_SIZE = bit(6), FLUSH = bit(9),
              DISCARD = bit(13), WRITE_ZEROES = bit(14);

constexpr u32 IN = 0, OUT = 1, FLUSH_TYPE = 4, GET_ID = 8, DISCARD_TYPE = 11, WRITE_ZEROES_TYPE = 13;
constexpr std::size_t kIdSize = 20;

struct Header {
    u32 type;
    u32 reserved;
    u64 sector;
};

struct Range {
    u64 sector;
    u32 sectors;
    u32 flags;
};
constexpr u32 UNMAP = 1;

template <typename T>
bool read_struct(Chain& chain, T& to)
{
    u8 bytes[sizeof(T)];
    if (chain.read(bytes) != sizeof(T))
        return false;
    std::memcpy(&to, bytes, sizeof(T));
    return true;
}

struct ConfigField {
    u64 offset;
    u32 bytes;
    u64 value;
};

} // namespace

Block::Block(Disk& disk, std::string name) : disk_(disk), name_(std::move(name))
{
    const ConfigField fields[] = {
        {0, 8, disk.size() / kSector}, // capacity
        {8, 4, kMostSegmentSize},      // size_max
        {12, 4, kMostSegments},        // seg_max
        {20, 4, kSector},              // blk_size
        {36, 4, kMostZeroSectors},     // max_discard_sectors
        {40, 4, 1},                    // max_discard_seg
        {44, 4, 4096 / kSector},       // discard_sector_alignment
        {48, 4, kMostZeroSectors},     // max_write_zeroes_sectors
        {52, 4, 1},                    // max_write_zeroes_seg
        {56, 1, 1},                    // write_zeroes_may_unmap
    };
    for (const ConfigField& f : fields)
        store_le(std::span(config_).subspan(f.offset, f.bytes), f.value);
}

u64 Block::features() const
{
    const u64 writing = disk_.read_only() ? RO : DISCARD | WRITE_ZEROES;
    return SIZE_MAX_ | SEG_MAX | BLK_SIZE | FLUSH | writing;
}

void Block::start(u64 features) { write_back_ = (features & FLUSH) != 0; }

// The status byte is the last that the driver lets us write; what is before it is data.
void Block::take_status_byte()
{
    std::span<u8>& last = chain_.writable.back();
    status_ = &last.back();
    last = last.first(last.size() - 1);
    if (last.empty())
        chain_.writable.pop_back();
}

bool Block::take()
{
    if (!port().pop(0, chain_))
        return false;
    if (chain_.writable.empty()) { // no way to answer
        port().needs_reset();
        return false;
    }
    take_status_byte();
    return true;
}

void Block::perform()
{
    written_ = 0;
    Header header{};
    result_ = read_struct(chain_, header) ? run(header.type, header.sector) : Status::IOERR;
}

void Block::finish()
{
    *status_ = static_cast<u8>(result_);
    port().push(0, chain_, written_ + 1);
}

Block::Status Block::run(u32 type, u64 sector)
{
    const bool changes = type == OUT || type == DISCARD_TYPE || type == WRITE_ZEROES_TYPE;
    if (changes && disk_.read_only())
        return Status::IOERR;
    switch (type) {
    case IN:
        return read(sector);
    case OUT:
        return write(sector);
    case FLUSH_TYPE:
        return flush();
    case GET_ID:
        return get_id();
    case DISCARD_TYPE:
        return zero(true);
    case WRITE_ZEROES_TYPE:
        return zero(false);
    default:
        return Status::UNSUPP;
    }
}

// Bounded also by what a driver may ask for at once: the buffers may overlap, and so be longer than memory.
bool Block::within(u64 sector, u64 bytes) const
{
    constexpr u64 most = u64{kMostSegments} * kMostSegmentSize;
    const u64 sectors = disk_.size() / kSector;
    return bytes % kSector == 0 && bytes <= most && sector <= sectors && bytes / kSector <= sectors - sector;
}

Block::Status Block::read(u64 sector)
{
    const u64 bytes = total_size(chain_.writable);
    if (!within(sector, bytes) || !disk_.read(sector * kSector, chain_.writable))
        return Status::IOERR;
    written_ = bytes;
    return Status::OK;
}

Block::Status Block::write(u64 sector)
{
    if (!within(sector, total_size(chain_.readable)))
        return Status::IOERR;
    return changed(disk_.write(sector * kSector, chain_.readable));
}

Block::Status Block::changed(bool done)
{
    if (!done)
        return Status::IOERR;
    return write_back_ ? Status::OK : flush();
}

Block::Status Block::get_id()
{
    std::array<u8, kIdSize> id{};
    std::copy_n(name_.begin(), std::min(name_.size(), kIdSize), id.begin());
    written_ = copy_to(chain_.writable, 0, id);
    return Status::OK;
}

Block::Status Block::zero(bool discard)
{
    Range range{};
    if (!read_struct(chain_, range) || !chain_.readable.empty()) // one segment is what we offer
        return Status::IOERR;
    if ((range.flags & ~UNMAP) != 0 || (discard && range.flags != 0))
        return Status::UNSUPP;
    const u64 bytes = range.sectors * kSector;
    const u64 sectors = disk_.size() / kSector;
    if (range.sectors > kMostZeroSectors || range.sector > sectors || range.sectors > sectors - range.sector)
        return Status::IOERR;
    return changed(disk_.zero(range.sector * kSector, bytes, discard || range.flags == UNMAP));
}

} // namespace seamless::devices::virtio
