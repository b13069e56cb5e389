// SPDX-License-Identifier: Apache-2.0
// KVM_SET_MEMORY_ATTRIBUTES: which frames of a VM are private. Independent of memslots; the default is
// shared.
#pragma once

#include <map>

#include "base/address.h"

namespace seamless::kvm {

class MemoryAttributes {
  public:
    [[nodiscard]] u64 get(Gfn gfn) const;
    // True if every frame of [start, end) has exactly `attributes`.
    [[nodiscard]] bool range_has(Gfn start, Gfn end, u64 attributes) const;
    void set(Gfn start, Gfn end, u64 attributes);

  private:
    // Where attributes change: from this frame on they are ..., until the next key. Before the first key: 0.
    std::map<u64, u64> changes_;
};

} // namespace seamless::kvm
