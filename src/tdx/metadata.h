// SPDX-License-Identifier: Apache-2.0
// Metadata: fields of the module, of a TD and of a vCPU by their ids. One row serves host and guest, read and
// write. TDX ABI: "Metadata Access".
#pragma once

#include <span>

#include "tdx/module.h"

namespace seamless::tdx {

struct MdValue {
    spec::TdxStatus status = spec::TdxStatus::SUCCESS;
    u64 value = 0; // of a read; of a write, what was there before
};

enum class MdCaller : u8 { host, guest };

[[nodiscard]] MdValue read_sys_field(TdxModule& module, u64 id);
[[nodiscard]] MdValue read_td_field(TdxModule& module, Td& td, u64 id, MdCaller caller);
[[nodiscard]] MdValue read_vcpu_field(Vcpu& vcpu, u64 id, MdCaller caller = MdCaller::host);
[[nodiscard]] MdValue write_td_field(Td& td, u64 id, u64 data, u64 mask, MdCaller caller);
[[nodiscard]] MdValue write_vcpu_field(Vcpu& vcpu, u64 id, u64 data, u64 mask,
                                       MdCaller caller = MdCaller::host);

// A list of the module's fields from `id` on (-1: from the first) as far as `list` goes: a header, then
// sequences of fields that follow each other. TDX ABI: "Metadata List".
struct MdList {
    spec::TdxStatus status = spec::TdxStatus::SUCCESS;
    u64 next = spec::md::kFirst; // the field to go on with; -1 if all are in the list, or at a failure
};
[[nodiscard]] MdList list_sys_fields(TdxModule& module, u64 id, std::span<u64> list);

// The id of the first field (`id` = -1) or of the one after `id`; -1 after the last.
[[nodiscard]] u64 next_sys_field(TdxModule& module, u64 id);
[[nodiscard]] u64 next_td_field(const Td& td, u64 id);
[[nodiscard]] u64 next_vcpu_field(u64 id);

} // namespace seamless::tdx
