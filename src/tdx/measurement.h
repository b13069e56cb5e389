// SPDX-License-Identifier: Apache-2.0
// SHA-384 and the report MAC. TDX ABI: "Measurement Types", "TDREPORT_STRUCT".
#pragma once

#include <array>
#include <memory>
#include <span>

#include "base/bits.h"
#include "spec/tdx_structs.h"

namespace seamless::tdx {

using Sha384Digest = std::array<u8, spec::kSha384Bytes>;

// A SHA-384 that grows call by call, as MRTD does while a TD is built.
class Sha384 {
  public:
    Sha384();
    ~Sha384();
    Sha384(const Sha384&) = delete;
    Sha384& operator=(const Sha384&) = delete;

    void update(std::span<const u8> data);
    [[nodiscard]] Sha384Digest finish();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

[[nodiscard]] Sha384Digest sha384(std::span<const u8> data);
[[nodiscard]] std::array<u8, 32> hmac_sha256(std::span<const u8> key, std::span<const u8> data);

} // namespace seamless::tdx
