// SPDX-License-Identifier: Apache-2.0
// One SEAMCALL in progress, and the row that describes its leaf: what the dispatcher checks and locks before
// it.
#pragma once

#include <optional>
#include <span>

#include "cpu/logical_processor.h"
#include "cpu/seam_port.h"
#include "tdx/module.h"
#include "tdx/sept.h"

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

    // What a SeptRule names, checked and locked.
    u64 gpa = 0;
    unsigned level = 0;
    LockedPage new_page;
    Held tree_lock, mrtd_lock;
    sept::Position at;
    std::optional<sept::EntryLock> entry;
};

// Where the leaf has its TD: a TDR operand, or the owner of a TDVPR operand.
enum class TdAt : u8 { none, rcx, rdx, owner_of_rcx, owner_of_rdx };

constexpr u16 op_states(auto... states)
{
    return static_cast<u16>(((1u << static_cast<unsigned>(states)) | ... | 0u));
}
inline constexpr u16 kAnyOpState = 0x1fff;

// A set of states of a secure EPT entry.
constexpr u16 sept_states(auto... states)
{
    constexpr auto one = [](spec::SeptState s) { // tables have bit 7 set, the rest fits into three bits
        return 1u << ((static_cast<unsigned>(s) & 7) | static_cast<unsigned>(s) >> 7 << 3);
    };
    return static_cast<u16>((one(states) | ... | 0u));
}

// The page that R8 brings: 4 KiB, or as large as RCX says.
enum class NewPage : u8 { none, small, of_level };

// What a MEM leaf asks of its operands and of the secure EPT entry that RCX names, in the order of the
// checks. Refusals from the walk on describe the entry in RCX and RDX.
struct SeptRule {
    static constexpr u8 kTop = 0xff; // the level of the root's entries

    bool debug = false;               // only in a debug TD
    u16 granule = 0;                  // RCX is a GPA aligned to this; 0: it is a page, with its level
    u8 min_level = 0, max_level = 0;  // of RCX
    NewPage new_page = NewPage::none; // R8
    bool source_page = false;         // R9: a page of the host's
    LockMode tree = LockMode::none;   // none: the leaf does not look at the secure EPT
    bool in_large_page = false;       // a larger page that holds the GPA will do
    u16 states = 0;                   // allowed ones; 0: the leaf only looks, and does not lock the entry
    bool tracked = false;             // blocked and out of all TLBs, where the TD may run
    TdxStatus no_entry = TdxStatus::EPT_WALK_FAILED;
    TdxStatus wrong_state = TdxStatus::EPT_ENTRY_STATE_INCORRECT;
};

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
    u64 flags = 0;          // bits of the TDR or TDVPR operand that are not part of the address...
    u8 flags_version = 0;   // ...from this version on
    LockMode mrtd = LockMode::none;
    SeptRule sept = {};
};

[[nodiscard]] std::span<const TdhRow> tdh_rows();
[[nodiscard]] const TdhRow* find_tdh(u64 number);

// What row.states asks of a TD: not fatal, keys configured, TDCS complete, op-state locked and allowed.
[[nodiscard]] TdxStatus check_td(SeamCall& call, u16 states, LockMode op_state);
// VP.ENTER, VP.RD, VP.WR: binds the vCPU to this processor.
[[nodiscard]] TdxStatus associate(SeamCall& call);

} // namespace seamless::tdx
