// SPDX-License-Identifier: Apache-2.0
// The records that go into MRTD. TDX ABI: "TD Measurement: MRTD".
#pragma once

#include <span>

#include "tdx/measurement.h"

namespace seamless::tdx {

inline constexpr std::size_t kMrExtendBytes = 256;

void measure_page_add(Sha384& mrtd, u64 gpa);
void measure_extend(Sha384& mrtd, u64 gpa, std::span<const u8, kMrExtendBytes> chunk);

} // namespace seamless::tdx
