// SPDX-License-Identifier: Apache-2.0
// The ioctls that read and write the registers, MSRs and CPUID of a vCPU.
#pragma once

#include <span>

#include "uapi/files.h"

namespace seamless::uapi {

[[nodiscard]] IoctlResult get_regs(const Call& c);
[[nodiscard]] IoctlResult set_regs(const Call& c);
[[nodiscard]] IoctlResult get_sregs(const Call& c);
[[nodiscard]] IoctlResult set_sregs(const Call& c);
[[nodiscard]] IoctlResult get_sregs2(const Call& c);
[[nodiscard]] IoctlResult set_sregs2(const Call& c);
[[nodiscard]] IoctlResult get_fpu(const Call& c);
[[nodiscard]] IoctlResult set_fpu(const Call& c);
[[nodiscard]] IoctlResult get_xsave(const Call& c);
[[nodiscard]] IoctlResult set_xsave(const Call& c);
[[nodiscard]] IoctlResult get_xcrs(const Call& c);
[[nodiscard]] IoctlResult set_xcrs(const Call& c);
[[nodiscard]] IoctlResult get_debugregs(const Call& c);
[[nodiscard]] IoctlResult set_debugregs(const Call& c);
[[nodiscard]] IoctlResult set_guest_debug(const Call& c);
[[nodiscard]] IoctlResult translate(const Call& c);
[[nodiscard]] IoctlResult get_msrs(const Call& c);
[[nodiscard]] IoctlResult set_msrs(const Call& c);
[[nodiscard]] IoctlResult set_cpuid2(const Call& c);
[[nodiscard]] IoctlResult get_cpuid2(const Call& c);
// Copies a table of CPUID entries out: E2BIG, with the number that is needed, where it does not fit.
[[nodiscard]] IoctlResult put_cpuid(u64 to, std::span<const spec::kvm::kvm_cpuid_entry2> entries);

} // namespace seamless::uapi
