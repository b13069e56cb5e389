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

TdxStatus state_incorrect(SeamCall& call, const sept::Position& at)
{
    return with_entry(call, at, TdxStatus::EPT_ENTRY_STATE_INCORRECT | TdxOperand::RCX);
}

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

} // namespace

TdxStatus tdh_mem_sept_add(SeamCall& call)
{
    Td& td = *call.td;
    const bool allow_existing = call.version > 0 && (call.regs.rdx & 1);
    if (call.version == 0 && (call.regs.rdx & 1))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RDX;
    MemOperand operand;
    if (const TdxStatus s = parse_gpa(call, 1, td.ept_levels() - 1, operand); s != TdxStatus::SUCCESS)
        return s;
    LockedPage page;
    if (const TdxStatus s =
            call.module.lock_page(call.regs.r8, TdxOperand::R8, LockMode::exclusive, TdxPageType::NDA, page);
        s != TdxStatus::SUCCESS)
        return s;
    const Held tree(td.sept_lock, LockMode::shared);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    sept::Position at;
    if (const TdxStatus s = walk_to(call, operand, at); s != TdxStatus::SUCCESS)
        return s;
    sept::EntryLock lock(at);
    if (!lock)
        return with_entry(call, at, TdxStatus::OPERAND_BUSY | TdxOperand::RCX);
    if (allow_existing && at.state() == SeptState::NL_MAPPED) {
        call.regs.r8 |= bit(63); // not used
        return TdxStatus::SUCCESS;
    }
    if (at.state() != SeptState::FREE)
        return state_incorrect(call, at);
    sept::fill_free(page.hpa);
    call.module.take_page(page, TdxPageType::EPT, td);
    lock.commit(sept::make(mem::with_hkid(page.hpa, td.hkid), SeptState::NL_MAPPED));
    call.regs.rcx = call.regs.rdx = 0;
    if (call.version > 0)
        call.regs.r8 = ~u64{0};
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mem_page_add(SeamCall& call)
{
    Td& td = *call.td;
    MemOperand operand;
    if (const TdxStatus s = parse_gpa(call, 0, 0, operand); s != TdxStatus::SUCCESS)
        return s;
    LockedPage page;
    if (const TdxStatus s =
            call.module.lock_page(call.regs.r8, TdxOperand::R8, LockMode::exclusive, TdxPageType::NDA, page);
        s != TdxStatus::SUCCESS)
        return s;
    const u64 source = call.regs.r9;
    if (!aligned(source, kPageSize) || (source & (mem::kHkidMask | bits(63, mem::kMaxPhysicalAddress))) ||
        source == 0)
        return TdxStatus::OPERAND_INVALID | TdxOperand::R9;
    const Held tree(td.sept_lock, LockMode::shared);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    const Held mrtd(td.mrtd_lock, LockMode::exclusive);
    if (!mrtd)
        return TdxStatus::OPERAND_BUSY | TdxOperand::TDCS;
    sept::Position at;
    if (const TdxStatus s = walk_to(call, operand, at); s != TdxStatus::SUCCESS)
        return s;
    sept::EntryLock lock(at);
    if (!lock)
        return with_entry(call, at, TdxStatus::OPERAND_BUSY | TdxOperand::RCX);
    if (at.state() != SeptState::FREE)
        return state_incorrect(call, at);
    if (source != page.hpa.value() && !copy_page(page.hpa, Hpa(source))) // a page may be added in place
        return TdxStatus::OPERAND_INVALID | TdxOperand::R9;
    measure_page_add(*td.mrtd_context, operand.gpa);
    call.module.take_page(page, TdxPageType::REG, td);
    lock.commit(sept::make(mem::with_hkid(page.hpa, td.hkid), SeptState::MAPPED));
    call.regs.rcx = call.regs.rdx = 0;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_mem_page_aug(SeamCall& call)
{
    Td& td = *call.td;
    MemOperand operand;
    if (const TdxStatus s = parse_gpa(call, 0, 1, operand); s != TdxStatus::SUCCESS)
        return s;
    LockedPage page;
    if (const TdxStatus s = call.module.lock_page(call.regs.r8, TdxOperand::R8, LockMode::exclusive,
                                                  TdxPageType::NDA, page, operand.level);
        s != TdxStatus::SUCCESS)
        return s;
    const Held tree(td.sept_lock, LockMode::shared);
    if (!tree)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    sept::Position at;
    if (const TdxStatus s = walk_to(call, operand, at); s != TdxStatus::SUCCESS)
        return s;
    sept::EntryLock lock(at);
    if (!lock)
        return with_entry(call, at, TdxStatus::OPERAND_BUSY | TdxOperand::RCX);
    if (at.state() != SeptState::FREE && at.state() != SeptState::REMOVED)
        return state_incorrect(call, at);
    call.module.take_page(page, TdxPageType::REG, td); // its content is zeroed when the guest accepts it
    lock.commit(sept::make(mem::with_hkid(page.hpa, td.hkid), SeptState::PENDING));
    call.regs.rcx = call.regs.rdx = 0;
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
