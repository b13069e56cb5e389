// SPDX-License-Identifier: Apache-2.0
// HOB list, acceptance and device mappings. PI specification: "HOB Code Definitions".
#include "guest/firmware/memory.h"

#include "guest/firmware/tdx.h"

extern "C" {
extern seamless::u64 page_tables[]; // image.ld; start.S fills the first six
}

namespace seamless::guest {
namespace {

constexpr u64 kSmall = 4096;
constexpr u64 kLarge = 512 * kSmall;

struct HobHeader {
    u16 type;
    u16 length;
    u32 reserved;
};
constexpr u16 kHobResource = 3;
constexpr u16 kHobEnd = 0xffff;
constexpr u64 kHobListLimit = 0x2000; // of the TD_HOB section: a list without an end stops here

struct HobResource {
    HobHeader header;
    u8 owner[16];
    u32 type;
    u32 attributes;
    u64 start;
    u64 length;
};
static_assert(sizeof(HobResource) == 48);

// The window for devices: linear addresses from 256 GiB, one directory of 2 MiB pages.
constexpr u64 kWindow = u64{256} << 30;
constexpr unsigned kWindowIndex = 256; // in the page-directory-pointer table
constexpr unsigned kEntriesPerTable = 512;
constexpr u64 kPresentWritable = 3;
constexpr u64 kUncached = 0x10; // PCD
constexpr u64 kLargePage = 0x80;
unsigned window_used;

} // namespace

MemoryRange find_resource(const Machine& machine, ResourceType type, unsigned index)
{
    if (machine.hob_list == 0)
        return {};
    u64 offset = 0;
    while (offset + sizeof(HobHeader) <= kHobListLimit) {
        const auto* header = reinterpret_cast<const HobHeader*>(machine.hob_list + offset);
        if (header->type == kHobEnd || header->length < sizeof(HobHeader))
            break;
        if (header->type == kHobResource && header->length >= sizeof(HobResource) &&
            offset + sizeof(HobResource) <= kHobListLimit) {
            const auto* resource = reinterpret_cast<const HobResource*>(header);
            if (resource->type == static_cast<u32>(type) && index-- == 0)
                return {.start = resource->start, .size = resource->length};
        }
        offset += header->length;
    }
    return {};
}

Accepted accept(MemoryRange range)
{
    Accepted done;
    u64 gpa = align_up(range.start, kSmall);
    const u64 end = align_down(range.start + range.size, kSmall);
    u64 small_until = gpa; // below, the host maps 4 KiB pages
    while (gpa < end) {
        const bool large = aligned(gpa, kLarge) && end - gpa >= kLarge && gpa >= small_until;
        const u64 status = accept_page(gpa, large ? 1 : 0);
        if ((status & kStatusMask) == kPageSizeMismatch && large) {
            small_until = gpa + kLarge;
            continue;
        }
        if (status != kSuccess && (status & kStatusMask) != kPageAlreadyAccepted) {
            done.failure = status;
            return done;
        }
        ++(large ? done.large : done.small);
        gpa += large ? kLarge : kSmall;
    }
    return done;
}

u64 map_device(const Machine& machine, u64 gpa)
{
    constexpr unsigned kBlocks = 2; // registers may reach into the next block
    if (window_used + kBlocks > kEntriesPerTable)
        end_guest(false);
    u64* directory_pointers = page_tables + kEntriesPerTable;
    u64* directory = page_tables + 6 * kEntriesPerTable;
    directory_pointers[kWindowIndex] = reinterpret_cast<u64>(directory) | kPresentWritable;
    const u64 gla = kWindow + window_used * kLarge;
    const u64 first =
        align_down(gpa, kLarge) | machine.shared_bit | kLargePage | kUncached | kPresentWritable;
    for (u64 block = 0; block < kBlocks; ++block)
        directory[window_used++] = first + block * kLarge;
    return gla + (gpa & (kLarge - 1));
}

} // namespace seamless::guest
