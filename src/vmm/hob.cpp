// SPDX-License-Identifier: Apache-2.0
// Builds the TD HOB list.
#include "vmm/hob.h"

#include <algorithm>
#include <cstring>

namespace seamless::vmm {
namespace {

constexpr u16 kHandoff = 1, kResourceDescriptor = 3, kEndOfList = 0xffff;
constexpr u32 kHandoffVersion = 9;
constexpr u32 kSystemMemory = 0, kMemoryMappedIo = 1, kMemoryUnaccepted = 7;
constexpr u32 PRESENT = 1, INITIALIZED = 2, TESTED = 4, UNCACHEABLE = 0x400;

struct Header {
    u16 type;
    u16 length;
    u32 reserved;
};

struct Handoff {
    Header header;
    u32 version;
    u32 boot_mode;
    u64 memory_top, memory_bottom, free_top, free_bottom; // firmware sets up its own
    u64 end_of_list;
};
static_assert(sizeof(Handoff) == 56);

struct Resource {
    Header header;
    u8 owner[16];
    u32 type;
    u32 attributes;
    u64 start;
    u64 length;
};
static_assert(sizeof(Resource) == 48);

template <typename T>
void append(std::vector<u8>& list, const T& block)
{
    const auto* bytes = reinterpret_cast<const u8*>(&block);
    list.insert(list.end(), bytes, bytes + sizeof(T));
}

void append_resource(std::vector<u8>& list, u32 type, u32 attributes, const MemoryRange& range)
{
    append(list, Resource{.header = {kResourceDescriptor, sizeof(Resource), 0},
                          .owner = {},
                          .type = type,
                          .attributes = attributes,
                          .start = range.start,
                          .length = range.size});
}

// RAM in ascending pieces: what was added is usable, what lies between must be accepted first.
void append_ram(std::vector<u8>& list, const MemoryRange& ram, const std::vector<MemoryRange>& added)
{
    constexpr u32 usable = PRESENT | INITIALIZED | TESTED;
    u64 next = ram.start;
    for (const MemoryRange& piece : added) {
        if (!ram.contains(piece))
            continue;
        if (piece.start > next)
            append_resource(list, kMemoryUnaccepted, usable, {next, piece.start - next});
        append_resource(list, kSystemMemory, usable, piece);
        next = piece.end();
    }
    if (next < ram.end())
        append_resource(list, kMemoryUnaccepted, usable, {next, ram.end() - next});
}

} // namespace

std::vector<u8> build_hob_list(const HobInput& input)
{
    std::vector<MemoryRange> added(input.added.begin(), input.added.end());
    std::sort(added.begin(), added.end(),
              [](const MemoryRange& a, const MemoryRange& b) { return a.start < b.start; });
    std::vector<u8> list(sizeof(Handoff));
    for (const MemoryRange& ram : input.ram) {
        if (input.unaccepted)
            append_ram(list, ram, added);
        else
            append_resource(list, kSystemMemory, PRESENT | INITIALIZED | TESTED, ram);
    }
    for (const MemoryRange& range : input.mmio)
        append_resource(list, kMemoryMappedIo, PRESENT | INITIALIZED | UNCACHEABLE, range);
    Handoff handoff{};
    handoff.header = {kHandoff, sizeof(Handoff), 0};
    handoff.version = kHandoffVersion;
    handoff.end_of_list = input.address + list.size();
    std::memcpy(list.data(), &handoff, sizeof(handoff));
    append(list, Header{kEndOfList, sizeof(Header), 0});
    return list;
}

} // namespace seamless::vmm
