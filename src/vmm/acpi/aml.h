// SPDX-License-Identifier: Apache-2.0
// A small encoder of AML, enough to describe devices: names, integers, strings, packages, scopes, devices,
// buffers and resource templates. ACPI: "ACPI Machine Language (AML) Specification".
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/bits.h"

namespace seamless::vmm::acpi {

// A piece of AML; a term holds the terms it was made of.
using Aml = std::vector<u8>;

[[nodiscard]] Aml integer(u64 value);
[[nodiscard]] Aml string(std::string_view text);
// "PNP0501" in the compressed form of _HID; seven characters, three letters and four hexadecimal digits.
[[nodiscard]] Aml eisa_id(std::string_view id);
[[nodiscard]] Aml package(std::span<const Aml> elements);
// Names here are one segment of four characters, "\" may come first.
[[nodiscard]] Aml name(std::string_view name, const Aml& value);
[[nodiscard]] Aml scope(std::string_view name, std::span<const Aml> terms);
[[nodiscard]] Aml device(std::string_view name, std::span<const Aml> terms);

// ACPI: "Resource Data Types for ACPI": descriptors, and the buffer that a _CRS evaluates to.
[[nodiscard]] Aml io_ports(u16 first, u8 count);
[[nodiscard]] Aml memory32_fixed(u32 base, u32 size);
[[nodiscard]] Aml edge_interrupt(u32 gsi);
[[nodiscard]] Aml resource_template(std::span<const Aml> descriptors);

} // namespace seamless::vmm::acpi
