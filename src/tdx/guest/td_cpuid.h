// SPDX-License-Identifier: Apache-2.0
// CPUID of a TD: which bits are fixed, native, or the host's choice, and which leaves raise #VE.
// TDX ABI: "CPUID Virtualization".
#pragma once

#include <optional>
#include <span>

#include "cpu/cpuid.h"
#include "tdx/td.h"

namespace seamless::tdx {

struct CpuidRow {
    u32 leaf, subleaf;         // -1: the leaf has no subleaves
    cpu::CpuidResult fixed1{}; // bits that are 1
    cpu::CpuidResult fixed0{}; // bits that are 0, or follow the processor's state
    cpu::CpuidResult direct{}; // bits the host chooses
    cpu::CpuidResult allow{};  // native bits the host may clear
};

// The rows whose values the host configures: CPUID_CONFIG_LEAVES, in order.
[[nodiscard]] std::span<const CpuidRow> cpuid_config_rows();
// The bits of `row` that a host can configure on this machine.
[[nodiscard]] cpu::CpuidResult cpuid_config_mask(const CpuidRow& row);

// CPUID(1).EAX of this platform: Sapphire Rapids.
inline constexpr u32 kNativeCpuid1Eax = 0x000806f8;
// What such a platform has against speculation, whatever the host below has. CPUID(7,0).EDX: MD_CLEAR,
// SPEC_CTRL, STIBP, L1D_FLUSH, ARCH_CAPABILITIES, SSBD. CPUID(7,2).EDX: PSFD, IPRED_CTRL, RRSBA_CTRL,
// BHI_CTRL.
inline constexpr u32 kNativeCpuid7Edx = 0xbc000400;
inline constexpr u32 kNativeCpuid72Edx = 0x17;

// Computes td.cpuid from the host's choice, which is in the order of cpuid_config_rows(). False: some
// configured bit is not the host's to choose; `bad` is its row.
[[nodiscard]] bool configure_cpuid(Td& td, std::span<const spec::CpuidValues> config, const CpuidRow*& bad);

// What CPUID gives this vCPU now; nothing if it raises #VE.
[[nodiscard]] std::optional<cpu::CpuidResult> td_cpuid(const Vcpu& vcpu, u32 leaf, u32 subleaf);

} // namespace seamless::tdx
