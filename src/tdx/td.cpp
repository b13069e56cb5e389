// SPDX-License-Identifier: Apache-2.0
// Lookups in the TD's structures.
#include "tdx/td.h"

#include <cstring>

#include "spec/ept.h"

namespace seamless::tdx {

Td::Td(Hpa page) : tdr(page) {}
Td::~Td() = default;

const cpu::CpuidResult* Td::find_cpuid(u32 leaf, u32 subleaf) const
{
    for (const VirtualCpuid& row : cpuid)
        if (row.leaf == leaf && (row.subleaf == ~0u || row.subleaf == subleaf))
            return &row.values;
    return nullptr;
}

Sha384Digest Td::rtmr_value(unsigned index) const
{
    Sha384Digest value;
    for (std::size_t i = 0; i < std::size(rtmr[index]); ++i) {
        const u64 word = rtmr[index][i];
        std::memcpy(value.data() + i * sizeof(word), &word, sizeof(word));
    }
    return value;
}

void Td::set_rtmr(unsigned index, const Sha384Digest& value)
{
    for (std::size_t i = 0; i < std::size(rtmr[index]); ++i) {
        u64 word;
        std::memcpy(&word, value.data() + i * sizeof(word), sizeof(word));
        rtmr[index][i] = word;
    }
}

paging::EptRoot Vcpu::ept_root() const
{
    return {.table = td.sept_root(),
            .levels = td.ept_levels(),
            .shared_bit = td.shared_bit(),
            .shared_table = Hpa(vmcs.shared_ept_pointer & spec::ept::ADDRESS)};
}

} // namespace seamless::tdx
