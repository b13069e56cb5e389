// SPDX-License-Identifier: Apache-2.0
// Requests and their data go through shared memory; data are copied out of it before anybody looks at them.
#include "guest/linux/fw_cfg.h"

#include "guest/firmware/memory.h"
#include "guest/firmware/tdx.h"
#include "guest/firmware/x86.h"
#include "guest/linux/layout.h"

namespace seamless::guest {
namespace {

constexpr u16 kDmaHigh = 0x514, kDmaLow = 0x518;
enum Control : u32 { kError = 1, kRead = 2, kSelect = 8 };
constexpr u64 kDataOffset = 4096;
constexpr u64 kMost = layout::kSharedSize - kDataOffset;
constexpr u64 kGhciRetry = 1;

struct DmaRequest { // big endian
    u32 control;
    u32 length;
    u64 address;
};

struct DirectoryEntry { // big endian
    u32 size;
    u16 item;
    u16 reserved;
    char name[56];
};

// Between private and shared. The host may do it in pieces.
bool convert(u64 gpa, u64 size)
{
    while (size != 0) {
        const VmcallResult answer = vmcall(kMapGpa, gpa, size);
        if (answer.status == kSuccess)
            return true;
        if (answer.status != kGhciRetry || answer.value <= gpa || answer.value >= gpa + size)
            return false;
        size -= answer.value - gpa;
        gpa = answer.value;
    }
    return true;
}

} // namespace

void copy(void* to, const void* from, u64 size)
{
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

void clear(void* to, u64 size) { asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(0) : "memory"); }

bool same_text(const char* left, const char* right, u64 limit)
{
    for (u64 i = 0; i < limit; ++i) {
        if (left[i] != right[i])
            return false;
        if (left[i] == 0)
            return true;
    }
    return true;
}

bool FwCfg::open(const Machine& machine)
{
    shared_bit_ = machine.shared_bit;
    window_ = layout::kShared;
    if (machine.td) {
        if (!convert(layout::kShared | shared_bit_, layout::kSharedSize))
            return false;
        window_ = map_device(machine, layout::kShared);
    }
    char signature[4] = {};
    return read(FwCfgItem::SIGNATURE, signature, sizeof signature) && signature[0] == 'Q' &&
           signature[1] == 'E' && signature[2] == 'M' && signature[3] == 'U';
}

bool FwCfg::close()
{
    if (shared_bit_ == 0)
        return true;
    return convert(layout::kShared, layout::kSharedSize) &&
           accept({.start = layout::kShared, .size = layout::kSharedSize}).failure == kSuccess;
}

bool FwCfg::transfer(u32 control, u64 size)
{
    auto& request = *reinterpret_cast<volatile DmaRequest*>(window_);
    request.length = __builtin_bswap32(static_cast<u32>(size));
    request.address = __builtin_bswap64(layout::kShared + kDataOffset);
    request.control = __builtin_bswap32(control);
    asm volatile("" : : : "memory");
    out32(kDmaHigh, __builtin_bswap32(static_cast<u32>(layout::kShared >> 32)));
    out32(kDmaLow, __builtin_bswap32(static_cast<u32>(layout::kShared)));
    return request.control == 0; // it is done when OUT returns
}

bool FwCfg::read(u16 item, void* to, u64 size)
{
    u32 control = kSelect | kRead | u32{item} << 16;
    auto* bytes = static_cast<u8*>(to);
    while (size != 0) {
        const u64 piece = size < kMost ? size : kMost;
        if (!transfer(control, piece))
            return false;
        copy(bytes, reinterpret_cast<const void*>(window_ + kDataOffset), piece);
        bytes += piece;
        size -= piece;
        control = kRead;
    }
    return true;
}

FwCfgFile FwCfg::find(const char* name)
{
    constexpr u32 kMostFiles = 64;
    static DirectoryEntry entries[kMostFiles];
    u32 count = 0;
    if (!read_u32(FwCfgItem::FILE_DIR, count))
        return {};
    count = __builtin_bswap32(count);
    if (count > kMostFiles)
        count = kMostFiles;
    // One read from the start: the directory is the count and the entries behind it.
    static u8 directory[sizeof(u32) + sizeof entries];
    if (!read(FwCfgItem::FILE_DIR, directory, sizeof(u32) + count * sizeof(DirectoryEntry)))
        return {};
    copy(entries, directory + sizeof(u32), count * sizeof(DirectoryEntry));
    for (u32 i = 0; i < count; ++i)
        if (same_text(entries[i].name, name, sizeof entries[i].name))
            return {.item = __builtin_bswap16(entries[i].item), .size = __builtin_bswap32(entries[i].size)};
    return {};
}

} // namespace seamless::guest
