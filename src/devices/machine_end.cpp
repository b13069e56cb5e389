// SPDX-License-Identifier: Apache-2.0
// Debug-exit, power-off and reset ports.
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

void SleepPorts::read(u64 offset, std::span<u8> data)
{
    std::fill(data.begin(), data.end(), u8{0});
    if (offset == 0)
        data[0] = control_;
}

void SleepPorts::write(u64 offset, std::span<const u8> data)
{
    constexpr unsigned kEnable = 5;
    if (offset != 0)
        return;
    control_ = static_cast<u8>(data[0] & ~bit(kEnable)); // SLP_EN reads as zero
    if (test(data[0], kEnable) && field(data[0], 4, 2) == kPowerOffType)
        end_.power_off();
}

void ResetPort::read(u64, std::span<u8> data)
{
    std::fill(data.begin(), data.end(), u8{0});
    data[0] = control_;
}

void ResetPort::write(u64, std::span<const u8> data)
{
    control_ = data[0] & kSystemReset;
    if (data[0] & kReset)
        end_.reset();
}

} // namespace seamless::devices
