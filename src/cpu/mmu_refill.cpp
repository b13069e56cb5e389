// SPDX-License-Identifier: Apache-2.0
// A miss of the inline TLB that the translation cache knows: the commonest way out of translated code. It is
// taken with the guest's vector state in the host's registers, so this file is compiled without their use
// (see CMakeLists.txt) and calls nothing: not even an inline function, which the linker may take from another
// file.
#include "base/bits.h"
#include "cpu/mmu.h"

namespace seamless::cpu {

using paging::Translation;

[[gnu::flatten]] u8* Mmu::refill(Gva gva, unsigned size, bool write, TlbSet set)
{
    constexpr unsigned kLinearBits = 57; // the cache knows no others apart
    const bool user = set == TlbSet::user;
    const bool allow_user = set == TlbSet::supervisor_ac;
    if (size > kPageSize - gva.page_offset() || sign_extend(gva.value(), kLinearBits) != gva.value())
        return nullptr;
    const Translation t = cached(gva, write ? Access::write : Access::read, user, allow_user);
    if (!t.valid() || !t.has(Translation::ept_read) || (write && code_pages_.may_have(t.host_page())))
        return nullptr;
    tlbs_[static_cast<unsigned>(set)].fill(gva, t.host_page(), write, t.has(Translation::global));
    return reinterpret_cast<u8*>(t.host_page() + gva.page_offset());
}

} // namespace seamless::cpu
