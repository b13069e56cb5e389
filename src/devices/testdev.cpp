// SPDX-License-Identifier: Apache-2.0
// Registers that hold what was written to them.
#include "devices/testdev.h"

#include <algorithm>

namespace seamless::devices {

void TestDevice::read(u64 offset, std::span<u8> data)
{
    std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), data.size(), data.begin());
}

void TestDevice::write(u64 offset, std::span<const u8> data)
{
    std::copy_n(data.begin(), data.size(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
}

} // namespace seamless::devices
