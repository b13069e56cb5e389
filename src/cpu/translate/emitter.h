// SPDX-License-Identifier: Apache-2.0
// Emits host code for guest instructions: natively re-encoded ones, and stack and flow. Memory operands
// become host pointers, looked up inline or by the slow path.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "cpu/translate/assembler.h"
#include "cpu/translate/block.h"
#include "cpu/translate/frame.h"
#include "cpu/translate/stubs.h"

namespace seamless::cpu {

// What a lookup is told about the access, and the slow path with it.
struct AccessInfo {
    u16 size = 0;
    bool write = false;
    bool stack = false;
    bool aligned = false; // #GP unless it is: takes priority over what the access itself raises
    bool x87 = false;     // so does #MF, where an exception is pending
    bool locked = false;  // one access to every observer, wherever it lies
    u16 index = 0;        // of the instruction in the block

    [[nodiscard]] u32 pack() const
    {
        return size | u32{write} << 10 | u32{stack} << 11 | u32{aligned} << 12 | u32{x87} << 13 |
               u32{locked} << 14 | u32{index} << 16;
    }
    [[nodiscard]] static AccessInfo unpack(u32 p)
    {
        return {.size = static_cast<u16>(p & 0x3ff),
                .write = test(p, 10),
                .stack = test(p, 11),
                .aligned = test(p, 12),
                .x87 = test(p, 13),
                .locked = test(p, 14),
                .index = static_cast<u16>(p >> 16)};
    }
};

// Each can be off: the tests compare on with off.
struct EmitOptions {
    bool inline_tlb = false;
    bool inline_flags_live = false; // also where the flags must be kept (BMI2)
    bool links = false;             // blocks of one page jump to each other
    bool calls = false;             // instructions of C++ are called from inside a block
    bool jump_cache = false;        // indirect and cross-page jumps find their block inline
};

class Emitter {
  public:
    Emitter(Assembler& assembler, const Stubs& stubs, const ModeWord& mode, const EmitOptions& options,
            Block& block)
        : a_(assembler), stubs_(stubs), mode_(mode), options_(options), block_(block)
    {}

    // Emits `insn`, the `index`-th of the block, at `offset` from the block's page. `flags_live`: a lookup
    // before the instruction must keep the arithmetic flags. False if the block ends with it.
    [[nodiscard]] bool emit(const decode::Instruction& insn, u16 index, u16 offset, bool flags_live);
    // The entries. From another page RIP comes in r15, and gives the page; returned is where the other one
    // is: room for the jump that replaces it when the block is dropped.
    [[nodiscard]] u32 begin(u16 offset);
    // Ends a block that did not end by itself: goes on at `offset`.
    void end_at(u16 offset) { exit_to(offset); }
    // Ends a block at an instruction that raises `vector` whenever it is reached.
    void raise(spec::Vector vector, u16 index);
    // Out-of-line paths; call once, last.
    void finish();

  private:
    using Emit = std::function<void()>;

    // emitter.cpp
    void emit_system(u16 offset);
    void call_system(const decode::Instruction& insn, u16 index, u16 offset);
    void ensure_extended();
    [[nodiscard]] bool extended_fault(const decode::Instruction& insn, u16 index);
    void rip_to_r15(i64 offset);
    void set_rip(i64 offset);
    void exit_to(i64 offset);
    void exit_to_rip_in_r15();
    void exit_with(ExitCode code, u32 detail = 0);
    void poll(const Emit& requested);
    void link_edge(u16 target, bool backward, std::optional<u8> condition = {});
    [[nodiscard]] bool links_to(i64 offset) const;

    // address.cpp
    void address(const ZydisDecodedOperand& operand, i64 rsp_adjust = 0, bool with_segment = true);
    void lookup(const AccessInfo& info, bool flags_live, const Emit& op);
    void slow_path(const AccessInfo& info, const Emit& op);
    void load_operand(Host to, unsigned size, u16 index);
    void store_operand(Host from, unsigned size, u16 index);
    void lookup_flags_dead(const AccessInfo& info, const Emit& op);
    void lookup_flags_live(const AccessInfo& info, const Emit& op);
    // An inline lookup that missed: where it jumps from, where a hit goes on, where the instruction is done,
    // and what makes r14 the linear address again.
    struct Miss {
        u32 from = 0;
        u32 hit = 0;
        u32 after = 0;
        Emit restore = {};
    };
    void later(const Miss& miss, const AccessInfo& info, const Emit& op);
    [[nodiscard]] i32 tlb_field(std::size_t field) const;
    void add_segment_base(ZydisRegister segment);

    // native.cpp
    void native(const decode::Instruction& insn, u16 index, bool flags_live);
    void native_bits(const decode::Instruction& insn, u16 index, bool flags_live);
    void native_moffs(const decode::Instruction& insn, u16 index, bool flags_live);

    // control.cpp
    [[nodiscard]] bool control(const decode::Instruction& insn, u16 index, u16 offset, bool flags_live);
    void push(const decode::Instruction& insn, u16 index, bool flags_live);
    void pop(const decode::Instruction& insn, u16 index, bool flags_live);
    void push_value(unsigned size, u16 index, bool flags_live, const Emit& value_to_r15);
    void leave(const decode::Instruction& insn, u16 index, bool flags_live);
    void lea(const decode::Instruction& insn);
    void call(const decode::Instruction& insn, u16 index, u16 offset, bool flags_live);
    void ret(const decode::Instruction& insn, u16 index, bool flags_live);
    void jmp(const decode::Instruction& insn, u16 index, u16 offset, bool flags_live);
    void jcc(const decode::Instruction& insn, u16 offset);
    void branch_target_to_temp(const decode::Instruction& insn, u16 index, bool flags_live);
    void exit_to_temp(unsigned size);
    void advance_stack(i64 bytes);
    [[nodiscard]] bool stack32() const { return mode_.code != decode::CodeSize::bits64; }

    // Reads guest register `r` into `to`, or writes it from `from`.
    void read_guest(Host to, ZydisRegister r);
    void write_guest(ZydisRegister r, Host from, unsigned size);

    Assembler& a_;
    const Stubs& stubs_;
    const ModeWord& mode_;
    EmitOptions options_;
    Block& block_;
    bool extended_ensured_ = false;
    unsigned address_width_ = 64; // of the current instruction
    std::vector<Emit> out_of_line_;
    std::vector<std::pair<u32, u16>>
        pending_polls_; // jumps of polls that found a request, and where RIP then is
};

// Where guest general registers live (stubs.cpp says why).
inline constexpr Host kGuestRsp = Host::r13;
inline constexpr Host kScratch = Host::r14; // effective address, then host pointer
inline constexpr Host kScratch2 = Host::r15;
[[nodiscard]] constexpr bool in_frame(unsigned guest) { return guest >= 13; }
[[nodiscard]] constexpr Host host_of(unsigned guest)
{
    return guest == 4 ? kGuestRsp : static_cast<Host>(guest);
}
[[nodiscard]] constexpr i32 guest_slot(unsigned guest)
{
    return FRAME(state) + static_cast<i32>(offsetof(CpuState, gpr)) + 8 * static_cast<i32>(guest);
}
// Guest register number 0 to 15 of any general register name; AH to BH give 0 to 3.
[[nodiscard]] unsigned guest_number(ZydisRegister r);
[[nodiscard]] bool is_general(ZydisRegister r);
[[nodiscard]] bool is_high_byte(ZydisRegister r);

} // namespace seamless::cpu
