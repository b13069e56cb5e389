// SPDX-License-Identifier: Apache-2.0
// The registers of a vCPU as gdb numbers them: one table for the target description and for every packet.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trace/inspection.h"

namespace seamless::gdb {

using trace::VcpuRegisters;

struct Register {
    std::string name;
    unsigned bits = 64;
    const char* type = "int";
    const char* feature = nullptr; // those of one feature stand together
    const char* group = nullptr;   // nullptr: the usual one for the type
    // Where it is in VcpuRegisters: this many bytes from there, zeros behind them. No bytes: `special`.
    std::size_t offset = 0;
    unsigned bytes = 0;
    u64 (*read)(const VcpuRegisters&) = nullptr;
    void (*write)(VcpuRegisters&, u64) = nullptr; // nullptr: read only
};

// In gdb's order, for a processor with these components of XCR0.
[[nodiscard]] std::vector<Register> register_table(u64 components);

// The bytes of a register, least significant first.
[[nodiscard]] std::vector<u8> value_of(const Register& reg, const VcpuRegisters& from);
// False if the register has another size, or is not to be written.
[[nodiscard]] bool set_value(const Register& reg, VcpuRegisters& to, std::span<const u8> value);

// GDB manual: "Target Description Format".
[[nodiscard]] std::string target_description(std::span<const Register> table);

} // namespace seamless::gdb
