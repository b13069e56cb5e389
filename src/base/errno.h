// SPDX-License-Identifier: Apache-2.0
// Errno: why the KVM API refuses a call. Becomes -1 and errno in uapi/ and nowhere else.
#pragma once

#include <cerrno>

namespace seamless::base {

struct Errno {
    int value; // positive: EINVAL, ENOENT, ...

    friend constexpr bool operator==(Errno, Errno) = default;
};

} // namespace seamless::base
