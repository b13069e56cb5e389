// SPDX-License-Identifier: Apache-2.0
// What is not resident is a hole of its file, or swapped out.
#include "mem/clear.h"

#include <algorithm>
#include <sys/mman.h>
#include <sys/sysinfo.h>

#include "mem/guest_access.h"

namespace seamless::mem {
namespace {

constexpr u64 kPiece = 512; // pages

bool host_swaps()
{
    struct sysinfo info;
    return sysinfo(&info) != 0 || info.totalswap != 0;
}

void clear_piece(Hpa hpa, u64 pages)
{
    unsigned char resident[kPiece] = {};
    const bool known = mincore(host_ptr(hpa), pages * kPageSize, resident) == 0;
    const bool may_be_swapped = known && host_swaps();
    for (u64 i = 0; i < pages; ++i) {
        const Hpa page = hpa + i * kPageSize;
        const bool absent = known && !(resident[i] & 1);
        if (absent && !may_be_swapped)
            continue;
        // Given back to the file it is a hole, wherever it was.
        if (!absent || madvise(host_ptr(page), kPageSize, MADV_REMOVE) != 0)
            zero(page, kPageSize);
    }
}

} // namespace

void clear(Hpa hpa, u64 bytes)
{
    for (u64 done = 0; done < bytes / kPageSize; done += kPiece)
        clear_piece(hpa + done * kPageSize, std::min(kPiece, bytes / kPageSize - done));
}

} // namespace seamless::mem
