// SPDX-License-Identifier: Apache-2.0
// TDH.MEM.SEPT.ADD, MEM.PAGE.ADD, MEM.PAGE.AUG: tables and pages come into the secure EPT.
#include <cerrno>
#include <cstring>
#include <sys/uio.h>
#include <unistd.h>

#include "tdx/mrtd.h"
#include "tdx/tdh/leaves.h"
#include "tdx/tdh/mem_operand.h"

namespace seamless::tdx {

using sept::SeptState;
using spec::TdxPageType;

namespace {

// The source page is host memory of any kind: it may lie outside the arena and, unlike on hardware, fault.
bool copy_page(Hpa to, Hpa from)
{
    const iovec local{mem::host_ptr(to), kPageSize}, remote{mem::host_ptr(from), kPageSize};
    const ssize_t copied = process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
    if (copied < 0 && (errno == ENOSYS || errno == EPERM)) { // a sandbox that lacks the call: trust the host
        std::memcpy(mem::host_ptr(to), mem::host_ptr(from), kPageSize);
        return true;
    }
    return copied == static_cast<ssize_t>(kPageSize);
}

// The new page becomes the TD's, and what the entry refers to.
TdxStatus link(SeamCall& call, TdxPageType type, SeptState state)
{
    call.module.take_page(call.new_page, type, *call.td);
    call.entry->commit(sept::make(mem::with_hkid(call.new_page.hpa, call.td->hkid), state));
    return done(call);
}

} // namespace

TdxStatus tdh_mem_sept_add(SeamCall& call)
{
    if (call.at.state() == SeptState::NL_MAPPED) {
        const bool allow_existing = call.regs.rdx & 1; // no flag but an unaligned TDR in version 0
        if (!allow_existing)
            return entry_error(call, TdxStatus::EPT_ENTRY_STATE_INCORRECT);
        call.regs.r8 |= bit(63); // not used
        return TdxStatus::SUCCESS;
    }
    sept::fill_free(call.new_page.hpa);
    if (call.version > 0)
        call.regs.r8 = ~u64{0};
    return link(call, TdxPageType::EPT, SeptState::NL_MAPPED);
}

TdxStatus tdh_mem_page_add(SeamCall& call)
{
    const Hpa source(call.regs.r9), page = call.new_page.hpa;
    (void)call.module.memory().take_untouched(page, kPageSize);
    if (source != page && !copy_page(page, source)) // a page may be added in place
        return TdxStatus::OPERAND_INVALID | TdxOperand::R9;
    measure_page_add(*call.td->mrtd_context, call.gpa);
    return link(call, TdxPageType::REG, SeptState::MAPPED);
}

TdxStatus tdh_mem_page_aug(SeamCall& call)
{
    return link(call, TdxPageType::REG, SeptState::PENDING); // zeroed when the guest accepts it
}

} // namespace seamless::tdx
