// SPDX-License-Identifier: Apache-2.0
// The ioctls of guest memory, for the tables of VMs and vCPUs.
#pragma once

#include "uapi/files.h"

namespace seamless::uapi {

[[nodiscard]] IoctlResult set_user_memory_region(const Call& c);
[[nodiscard]] IoctlResult set_user_memory_region2(const Call& c);
[[nodiscard]] IoctlResult create_guest_memfd(const Call& c);
[[nodiscard]] IoctlResult set_memory_attributes(const Call& c);
[[nodiscard]] IoctlResult get_dirty_log(const Call& c);
[[nodiscard]] IoctlResult clear_dirty_log(const Call& c);
[[nodiscard]] IoctlResult pre_fault_memory(const Call& c);

} // namespace seamless::uapi
