// SPDX-License-Identifier: Apache-2.0
// The ioctls of interrupts and events, for the tables of VMs and vCPUs.
#pragma once

#include "uapi/files.h"

namespace seamless::uapi {

[[nodiscard]] IoctlResult signal_msi(const Call& c);
[[nodiscard]] IoctlResult create_irqchip(const Call& c);
[[nodiscard]] IoctlResult irq_line(const Call& c);
[[nodiscard]] IoctlResult irq_line_status(const Call& c);
[[nodiscard]] IoctlResult set_gsi_routing(const Call& c);
[[nodiscard]] IoctlResult irqfd(const Call& c);
[[nodiscard]] IoctlResult get_mp_state(const Call& c);
[[nodiscard]] IoctlResult set_mp_state(const Call& c);
[[nodiscard]] IoctlResult interrupt(const Call& c);
[[nodiscard]] IoctlResult nmi(const Call& c);
[[nodiscard]] IoctlResult get_vcpu_events(const Call& c);
[[nodiscard]] IoctlResult set_vcpu_events(const Call& c);
[[nodiscard]] IoctlResult get_lapic(const Call& c);
[[nodiscard]] IoctlResult set_lapic(const Call& c);

} // namespace seamless::uapi
