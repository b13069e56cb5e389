// SPDX-License-Identifier: Apache-2.0
// The MRTD of a TD, computed from the firmware image alone. It shares nothing with the TDX module but
// SHA-384.
#pragma once

#include <array>
#include <span>

#include "base/message.h"
#include "base/result.h"
#include "vmm/tdvf.h"

namespace seamless::vmm {

using Mrtd = std::array<u8, 48>;

// TDX ABI: TDH.MEM.PAGE.ADD, TDH.MR.EXTEND: the records that go into MRTD, section by section, page by page.
[[nodiscard]] Result<Mrtd, Message> measure_tdvf(std::span<const u8> image, const Tdvf& tdvf);

} // namespace seamless::vmm
