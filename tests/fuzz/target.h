// SPDX-License-Identifier: Apache-2.0
// What every fuzz target exports.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
