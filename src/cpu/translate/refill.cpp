// SPDX-License-Identifier: Apache-2.0
// What translated code calls first where the inline TLB does not know a page. Compiled without vector
// registers, as mmu_refill.cpp is and for the same reason.
#include "cpu/translate/engine.h"

namespace seamless::cpu {

[[gnu::flatten]] u8* Engine::refill(Mmu* mmu, u64 gva, u32 packed, u32 set)
{
    const AccessInfo info = AccessInfo::unpack(packed);
    if (info.x87 || (info.aligned && (gva & (info.size - 1u))))
        return nullptr;
    return mmu->refill(Gva(gva), info.size, info.write, static_cast<TlbSet>(set));
}

} // namespace seamless::cpu
