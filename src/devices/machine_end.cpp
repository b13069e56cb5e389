// SPDX-License-Identifier: Apache-2.0
// Debug-exit and power-off ports.
#include "devices/machine_end.h"

#include <algorithm>

#include "devices/little_endian.h"

namespace seamless::devices {

void DebugExit::read(u64, std::span<u8> data) { std::fill(data.begin(), data.end(), u8{0}); }

void DebugExit::write(u64, std::span<const u8> data) { end_.debug_exit(static_cast<u32>(load_le(data))); }

void PowerPort::read(u64 offset, std::span<u8> data) { store_le(data, u64{control_} >> (offset * 8)); }

void PowerPort::write(u64 offset, std::span<const u8> data)
{
    const auto low = static_cast<unsigned>(offset * 8);
    const auto high = static_cast<unsigned>(low + data.size() * 8 - 1);
    control_ = static_cast<u16>(with_field(control_, high, low, load_le(data)));
    if ((control_ & SLP_EN) == 0)
        return;
    control_ &= static_cast<u16>(~SLP_EN); // ACPI: SLP_EN is write-only, it reads as zero
    if ((control_ & kSleepType) == 0)
        end_.power_off();
}

} // namespace seamless::devices
