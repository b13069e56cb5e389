// SPDX-License-Identifier: Apache-2.0
// The trace events and their fields: one table serves the trace points, the writers and the readers of a
// trace. Names are KVM's tracepoints where KVM has one; fields that begin with cpu_ are what hardware hides
// from a host.
#pragma once

#include <array>
#include <string_view>

#include "base/bits.h"

namespace seamless::trace {

enum class Event : u8 {
    ept_misconfig,
    ept_violation,
    handle_mmio_page_fault,
    kvm_check_emulate,
    kvm_emulate_insn,
    kvm_entry,
    kvm_exit,
    kvm_fast_mmio,
    kvm_mmio,
    kvm_page_fault,
    kvm_pio,
    kvm_tdx_vmcall,
    kvm_tdx_vmcall_done,
    kvm_userspace_exit,
    mark_mmio_spte,
    tdx_seamcall,
    tdx_tdcall,
    ve_inject,
};

inline constexpr unsigned kMaxFields = 8;

// hex: address, value or mask; dec: count or length; name: static text; bytes: instruction bytes.
enum class Format : u8 { none, hex, dec, name, bytes };

struct Field {
    std::string_view name;
    Format format = Format::none;
};

struct EventRow {
    Event event;
    std::string_view name;
    std::array<Field, kMaxFields> fields;
};

// The row of `event`; the table is indexed by the enum.
[[nodiscard]] const EventRow& row_of(Event event);

// The row named `name`, or nullptr.
[[nodiscard]] const EventRow* row_named(std::string_view name);

} // namespace seamless::trace
