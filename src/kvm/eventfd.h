// SPDX-License-Identifier: Apache-2.0
// Eventfds that a VMM hands over: told from other files, kept open, and compared.
#pragma once

#include "base/bits.h"
#include "base/errno.h"
#include "base/result.h"

namespace seamless::kvm {

// A descriptor of our own for the VMM's eventfd. EBADF: not open; EINVAL: not an eventfd.
[[nodiscard]] Result<int, Errno> duplicate_eventfd(int fd);
// What identifies the eventfd behind `fd`, however many descriptors it has; 0 where the kernel does not tell.
[[nodiscard]] u64 eventfd_identity(int fd);

} // namespace seamless::kvm
