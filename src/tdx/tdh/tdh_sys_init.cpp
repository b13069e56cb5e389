// SPDX-License-Identifier: Apache-2.0
// TDH.SYS.INIT, TDH.SYS.LP.INIT, TDH.SYS.KEY.CONFIG: the module's own bring-up, in that order.
// TDH.SYS.LP.SHUTDOWN: its end.
#include "tdx/tdh/leaves.h"

namespace seamless::tdx {

TdxStatus tdh_sys_init(SeamCall& call)
{
    TdxModule& module = call.module;
    if (call.regs.rcx != 0)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    call.regs.rcx = call.regs.rdx = call.regs.r8 = call.regs.r9 = call.regs.r10 = 0;
    const Held lock(module.sys_lock, LockMode::exclusive);
    if (!lock)
        return TdxStatus::SYS_BUSY;
    if (module.sys_state != SysState::loaded)
        return TdxStatus::SYS_INIT_NOT_PENDING;
    if (!module.make_key())
        return TdxStatus::RND_NO_ENTROPY;
    module.sys_state = SysState::initialized;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_sys_lp_init(SeamCall& call)
{
    TdxModule& module = call.module;
    call.regs.rcx = call.regs.rdx = call.regs.r8 = 0;
    const Held lock(module.sys_lock, LockMode::shared); // all processors may do this at once
    if (!lock)
        return TdxStatus::SYS_BUSY;
    if (module.sys_state != SysState::initialized)
        return TdxStatus::SYS_LP_INIT_NOT_PENDING;
    const std::lock_guard guard(module.lp_mutex);
    if (module.lp_initialized[call.lp.id()])
        return TdxStatus::SYS_LP_INIT_DONE;
    module.lp_initialized[call.lp.id()] = true;
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_sys_key_config(SeamCall& call)
{
    TdxModule& module = call.module;
    const Held lock(module.sys_lock, LockMode::exclusive);
    if (!lock)
        return TdxStatus::SYS_BUSY;
    if (module.sys_state != SysState::configured)
        return TdxStatus::SYS_KEY_CONFIG_NOT_PENDING;
    module.sys_state = SysState::ready; // this host has one package
    return TdxStatus::SUCCESS;
}

TdxStatus tdh_sys_lp_shutdown(SeamCall& call)
{
    const Held lock(call.module.sys_lock, LockMode::exclusive);
    if (!lock)
        return TdxStatus::SYS_BUSY;
    call.module.sys_state = SysState::shutdown; // for good: every other leaf is refused from now on
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
