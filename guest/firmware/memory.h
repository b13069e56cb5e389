// SPDX-License-Identifier: Apache-2.0
// The guest's memory: the HOB list that describes it, acceptance of private pages, and mappings of devices.
#pragma once

#include "guest/firmware/machine.h"

namespace seamless::guest {

enum class ResourceType : u32 { SYSTEM_MEMORY = 0, MEMORY_MAPPED_IO = 1, MEMORY_UNACCEPTED = 7 };

struct MemoryRange {
    u64 start = 0;
    u64 size = 0;
};

// The `index`th resource descriptor of `type` in the HOB list, empty if there are not as many.
[[nodiscard]] MemoryRange find_resource(const Machine& machine, ResourceType type, unsigned index = 0);

struct Accepted {
    u64 large = 0;   // pages of 2 MiB
    u64 small = 0;   // pages of 4 KiB
    u64 failure = 0; // status that ended it, 0 for none
};

// Accepts `range`, by 2 MiB where the host maps it so.
[[nodiscard]] Accepted accept(MemoryRange range);

// Maps the device registers at `gpa` (in a TD: shared) and returns their linear address. At most 2 MiB,
// within one aligned block of 2 MiB. Each call takes a new place.
[[nodiscard]] u64 map_device(const Machine& machine, u64 gpa);

} // namespace seamless::guest
