// SPDX-License-Identifier: Apache-2.0
// SHA-384 for measurements. FIPS 180-4.
#pragma once

#include "base/bits.h"

namespace seamless::guest {

inline constexpr unsigned kSha384Size = 48;

class Sha384 {
  public:
    void update(const void* data, u64 size);
    // Writes the digest; the object is spent.
    void finish(u8* digest);

  private:
    void block(const u8* data);

    u64 state_[8] = {0xcbbb9d5dc1059ed8, 0x629a292a367cd507, 0x9159015a3070dd17, 0x152fecd8f70e5939,
                     0x67332667ffc00b31, 0x8eb44a8768581511, 0xdb0c2e0d64f98fa7, 0x47b5481dbefa4fa4};
    u8 pending_[128] = {};
    unsigned pending_size_ = 0;
    u64 total_ = 0;
};

} // namespace seamless::guest
