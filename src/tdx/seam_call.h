// SPDX-License-Identifier: Apache-2.0
// One SEAMCALL in progress, and the row that describes its leaf: what the dispatcher checks and locks before
// it.
#pragma once

#include <span>

#include "cpu/logical_processor.h"
#include "cpu/seam_port.h"
#include "tdx/module.h"

namespace seamless::tdx {

using spec::TdxOperand;
using spec::TdxStatus;

struct SeamCall {
    TdxModule& module;
    cpu::LogicalProcessor& lp;
    cpu::SeamRegs& regs;
    unsigned version = 0;
    Td* td = nullptr;     // locked as the row says
    Vcpu* vcpu = nullptr; // likewise

    LockedPage tdr_lock, vp_lock;
    Held op_state_lock;
};

// Where the leaf has its TD: a TDR operand, or the owner of a TDVPR operand.
enum class TdAt : u8 { none, rcx, rdx, owner_of_rcx, owner_of_rdx };

constexpr u16 op_states(auto... states)
{
    return static_cast<u16>(((1u << static_cast<unsigned>(states)) | ... | 0u));
}
inline constexpr u16 kAnyOpState = 0x1fff;

struct TdhRow {
    u16 number;
    const char* name;
    TdxStatus (*run)(SeamCall&);
    u8 max_version = 0;
    bool before_ready = false; // runs while the module is not READY
    bool after_shutdown = false;
    TdAt td = TdAt::none;
    LockMode tdr = LockMode::none;
    LockMode tdvpr = LockMode::none;
    u16 states = 0; // allowed op-states; 0: the leaf looks after lifecycle and op-state itself
    LockMode op_state = LockMode::shared;
    bool r8_output = false; // R8 is zero on any failure
    u64 flags = 0;          // bits of the TDR or TDVPR operand that are not part of the address
};

[[nodiscard]] std::span<const TdhRow> tdh_rows();
[[nodiscard]] const TdhRow* find_tdh(u64 number);

// What row.states asks of a TD: not fatal, keys configured, TDCS complete, op-state locked and allowed.
[[nodiscard]] TdxStatus check_td(SeamCall& call, u16 states, LockMode op_state);
// VP.ENTER, VP.RD, VP.WR: binds the vCPU to this processor.
[[nodiscard]] TdxStatus associate(SeamCall& call);

} // namespace seamless::tdx
