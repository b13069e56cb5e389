// SPDX-License-Identifier: Apache-2.0
// Dispatch of SEAMCALL: look the leaf up, check and lock what its row says, call it. Operand checks are in
// the module's order. TDX ABI: "SEAMCALL (TDH) Instruction (Common)".
#include "tdx/module.h"

#include "tdx/tdh/mem_operand.h"
#include "trace/trace.h"

namespace seamless::tdx {

using spec::TdLifecycle;
using spec::TdxPageType;

TdxModule::TdxModule(cpu::Package& package, mem::HostMemory& memory, base::Clock& clock, base::Random& random,
                     const std::optional<PlatformKey>& key)
    : lp_initialized(package.count()),
      package_(package),
      memory_(memory),
      clock_(clock),
      random_(random),
      key_(key),
      pamt_(memory.base(), memory.size())
{}

TdxModule::~TdxModule() = default;

bool TdxModule::make_key()
{
    if (key_)
        return true;
    PlatformKey fresh;
    if (!random_.fill(fresh))
        return false;
    key_ = fresh;
    return true;
}

const Tdmr* TdxModule::initialized_tdmr(Hpa hpa) const
{
    for (const auto& tdmr : tdmrs)
        if (hpa.value() >= tdmr->info.base && hpa.value() - tdmr->info.base < tdmr->info.size)
            return (hpa.value() | ((u64{1} << 30) - 1)) < tdmr->next ? tdmr.get() : nullptr;
    return nullptr;
}

namespace {

// Whether a reserved area of the TDMR has a part of the page.
bool reserved(const Tdmr& tdmr, Hpa hpa, u64 size)
{
    const u64 offset = hpa.value() - tdmr.info.base;
    for (const spec::TdmrReservedArea& area : tdmr.info.reserved) {
        if (area.size == 0)
            break;
        if (offset < area.offset + area.size && area.offset < offset + size)
            return true;
    }
    return false;
}

} // namespace

TdxStatus TdxModule::lock_any_page(u64 operand, TdxOperand name, LockMode mode, LockedPage& page,
                                   unsigned level)
{
    const u64 size = spec::ept::level_size(level);
    if (!aligned(operand, size) || (operand & (mem::kHkidMask | bits(63, mem::kMaxPhysicalAddress))))
        return TdxStatus::OPERAND_INVALID | name;
    const Tdmr* tdmr = initialized_tdmr(Hpa(operand));
    if (!tdmr)
        return TdxStatus::OPERAND_ADDR_RANGE_ERROR | name;
    page = pamt_.lock(Hpa(operand), level, mode);
    if (!page.entry)
        return TdxStatus::OPERAND_BUSY | name;
    if (reserved(*tdmr, page.hpa, size)) {
        if (page.level != 0) {
            page = {};
            return TdxStatus::PAGE_METADATA_INCORRECT | name;
        }
        page.entry->type =
            TdxPageType::RSVD; // marked when somebody asks, instead of all of them at the start
    }
    return TdxStatus::SUCCESS;
}

TdxStatus TdxModule::lock_page(u64 operand, TdxOperand name, LockMode mode, TdxPageType type,
                               LockedPage& page, unsigned level)
{
    if (const TdxStatus s = lock_any_page(operand, name, mode, page, level); s != TdxStatus::SUCCESS)
        return s;
    const bool usable = page.entry->type == type && page.level == level &&
                        (type != TdxPageType::NDA || level == 0 || !pamt_.block_in_use(page.hpa));
    if (usable)
        return TdxStatus::SUCCESS;
    page = {};
    return TdxStatus::PAGE_METADATA_INCORRECT | name;
}

bool TdxModule::shared_operand_ok(u64 hpa, u64 alignment, u64 bytes) const
{
    if (!aligned(hpa, alignment) || (hpa & (mem::kHkidMask | bits(63, mem::kMaxPhysicalAddress))))
        return false;
    // Any memory of the host can be shared memory, but the module must be able to read it without a fault:
    // only the arena is sure to be mapped. DEVIATION: elsewhere hardware would read whatever is there.
    return memory_.contains(Hpa(hpa)) && memory_.contains(Hpa(hpa + bytes - 1));
}

void TdxModule::take_page(LockedPage& page, TdxPageType type, Td& td)
{
    pamt_.assign(page, type, td.tdr);
    td.chldcnt += page.level == 0 ? 1 : 512;
}

void TdxModule::free_page(LockedPage& page, Td& td)
{
    pamt_.assign(page, TdxPageType::NDA, {});
    page.entry->object = nullptr;
    td.chldcnt -= page.level == 0 ? 1 : 512;
}

Td& TdxModule::add_td(Hpa tdr)
{
    const std::lock_guard lock(tds_mutex_);
    return *(tds_[tdr.value()] = std::make_unique<Td>(tdr));
}

void TdxModule::remove_td(Td& td)
{
    const std::lock_guard lock(tds_mutex_);
    tds_.erase(td.tdr.value());
}

TdxStatus check_td(SeamCall& call, u16 states, LockMode op_state)
{
    Td& td = *call.td;
    if (td.fatal)
        return TdxStatus::TD_FATAL;
    if (td.lifecycle != TdLifecycle::KEYS_CONFIGURED)
        return TdxStatus::TD_KEYS_NOT_CONFIGURED;
    if (td.num_tdcx < spec::kTdcsPages)
        return TdxStatus::TDCS_NOT_ALLOCATED;
    call.op_state_lock = Held(td.op_state_lock, op_state);
    if (!call.op_state_lock)
        return TdxStatus::OPERAND_BUSY | TdxOperand::OP_STATE;
    if (!test(states, static_cast<unsigned>(td.op_state.load())))
        return TdxStatus::OP_STATE_INCORRECT;
    return TdxStatus::SUCCESS;
}

TdxStatus associate(SeamCall& call)
{
    Vcpu& vcpu = *call.vcpu;
    const int here = static_cast<int>(call.lp.id());
    int lp = vcpu.lp.load();
    if (lp == here) [[likely]]
        return TdxStatus::SUCCESS;
    lp = kNoLp;
    if (vcpu.lp.compare_exchange_strong(lp, here)) {
        ++vcpu.td.num_associated;
        vcpu.epoch = 0; // what this processor has cached may be of any age
        return TdxStatus::SUCCESS;
    }
    return lp == here ? TdxStatus::SUCCESS : TdxStatus::VCPU_ASSOCIATED;
}

namespace {

// Finds and locks the TDR or TDVPR operand of the row.
TdxStatus lock_td_operand(SeamCall& call, const TdhRow& row)
{
    const bool rcx = row.td == TdAt::rcx || row.td == TdAt::owner_of_rcx;
    const TdxOperand name = rcx ? TdxOperand::RCX : TdxOperand::RDX;
    const u64 flags = call.version >= row.flags_version ? row.flags : 0;
    const u64 operand = (rcx ? call.regs.rcx : call.regs.rdx) & ~flags;
    if (row.td == TdAt::rcx || row.td == TdAt::rdx) {
        const TdxStatus s = call.module.lock_page(operand, name, row.tdr, TdxPageType::TDR, call.tdr_lock);
        if (s == TdxStatus::SUCCESS)
            call.td = static_cast<Td*>(call.tdr_lock.entry->object);
        return s;
    }
    const TdxStatus s = call.module.lock_page(operand, name, row.tdvpr, TdxPageType::TDVPR, call.vp_lock);
    if (s != TdxStatus::SUCCESS)
        return s;
    Vcpu& vcpu = *static_cast<Vcpu*>(call.vp_lock.entry->object);
    call.tdr_lock = call.module.pamt().lock(vcpu.td.tdr, 0, row.tdr);
    if (!call.tdr_lock.entry)
        return TdxStatus::OPERAND_BUSY | TdxOperand::TDR;
    call.vcpu = &vcpu;
    call.td = &vcpu.td;
    return TdxStatus::SUCCESS;
}

// What row.sept asks for, with the lock of the measurement where the module takes it.
TdxStatus lock_memory(SeamCall& call, const TdhRow& row)
{
    const bool walks = row.sept.tree != LockMode::none;
    if (walks)
        if (const TdxStatus s = check_operands(call, row.sept); s != TdxStatus::SUCCESS)
            return s;
    call.tree_lock = Held(call.td->sept_lock, row.sept.tree);
    if (!call.tree_lock)
        return TdxStatus::OPERAND_BUSY | TdxOperand::SEPT;
    call.mrtd_lock = Held(call.td->mrtd_lock, row.mrtd);
    if (!call.mrtd_lock)
        return TdxStatus::OPERAND_BUSY | TdxOperand::TDCS;
    return walks ? find_entry(call, row.sept) : TdxStatus::SUCCESS;
}

TdxStatus run(SeamCall& call, const TdhRow* row, u64 rax)
{
    if (!row || field(rax, 63, 24) != 0 || call.version > row->max_version)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RAX;
    const SysState sys = call.module.sys_state;
    if (sys == SysState::shutdown && !row->after_shutdown)
        return TdxStatus::SYS_SHUTDOWN;
    if (sys != SysState::ready && !row->before_ready)
        return TdxStatus::SYS_NOT_READY;
    if (row->td != TdAt::none)
        if (const TdxStatus s = lock_td_operand(call, *row); s != TdxStatus::SUCCESS)
            return s;
    if (row->states != 0)
        if (const TdxStatus s = check_td(call, row->states, row->op_state); s != TdxStatus::SUCCESS)
            return s;
    if (row->td != TdAt::none)
        if (const TdxStatus s = lock_memory(call, *row); s != TdxStatus::SUCCESS)
            return s;
    return row->run(call);
}

} // namespace

bool TdxModule::seamcall(cpu::LogicalProcessor& lp, cpu::SeamRegs& regs)
{
    const cpu::SeamRegs in = regs;
    const TdhRow* row = find_tdh(spec::leaf_of(in.rax));
    {
        SeamCall call{.module = *this, .lp = lp, .regs = regs, .version = spec::version_of(in.rax)};
        regs.rax = static_cast<u64>(run(call, row, in.rax));
        if (row && row->r8_output && spec::is_error(regs.rax))
            regs.r8 = 0;
    }
    TRACE(lp.trace, trace::Event::tdx_seamcall, row ? row->name : "UNKNOWN", regs.rax, in.rcx, in.rdx, in.r8,
          in.r9);
    return true;
}

} // namespace seamless::tdx
