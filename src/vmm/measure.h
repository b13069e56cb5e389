// SPDX-License-Identifier: Apache-2.0
// What a TD's measurement registers will hold, computed from its inputs alone: MRTD, and the RTMRs that the
// built-in firmware extends. It shares nothing with the TDX module but SHA-384.
#pragma once

#include <array>
#include <span>

#include "base/message.h"
#include "base/result.h"
#include "vmm/linux_payload.h"
#include "vmm/tdvf.h"

namespace seamless::vmm {

using Digest = std::array<u8, 48>;
using Mrtd = Digest;

// TDX ABI: TDH.MEM.PAGE.ADD, TDH.MR.EXTEND: the records that go into MRTD, section by section, page by page.
[[nodiscard]] Result<Mrtd, Message> measure_tdvf(std::span<const u8> image, const Tdvf& tdvf);

// RTMR[0] to RTMR[2] when the built-in firmware has started the kernel: the ACPI tables as fw_cfg delivers
// them; the kernel's file; the command line with its terminating zero and the initial RAM disk, if there is
// one.
[[nodiscard]] Result<std::array<Digest, 3>, Message> measure_linux(const LinuxPayload& payload,
                                                                   unsigned cpus);

} // namespace seamless::vmm
