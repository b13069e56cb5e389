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
#include "cpu/translate/stretch.h"
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
        return {.size = static_cast<u16>(p & kSizeMask),
                .write = test(p, 10),
                .stack = test(p, 11),
                .aligned = test(p, 12),
                .x87 = test(p, 13),
                .locked = test(p, 14),
                .index = static_cast<u16>(p >> 16)};
    }
    static constexpr u32 kSizeMask = 0x3ff;
};

// Each can be off: the tests compare on with off.
struct EmitOptions {
    bool inline_tlb = false;
    bool stretches = false;         // once for neighbouring accesses (stretch.h)
    bool inline_flags_live = false; // also where the flags must be kept (BMI2)
    bool dead_flags = false;        // flags that the code behind overwrites are not kept
    bool links = false;             // blocks of one page jump to each other
    bool far_links = false;         // and those of different pages (BMI2)
    bool bmi2 = false;              // the host has it
    bool calls = false;             // instructions of C++ are called from inside a block
    bool inline_system = false;     // what C++ would do, where that is little (BMI2)
    bool jump_cache = false;        // indirect and cross-page jumps find their block inline
    bool returns = false;           // calls leave on the host's stack where they return to (returns.cpp)
    bool count = false;             // each block adds its instructions to Frame::retired
};

class Emitter {
  public:
    Emitter(Assembler& assembler, const Stubs& stubs, const ModeWord& mode, const EmitOptions& options,
            Block& block)
        : a_(assembler), stubs_(stubs), mode_(mode), options_(options), block_(block)
    {}

    // Whether code may read the arithmetic flags where the block's last jump leads to.
    void set_flags_live_out(bool target) { target_flags_live_ = target; }
    // Emits the block: instructions at `offset` of its page. `flags_live`, by instruction: a lookup before it
    // must keep the arithmetic flags. Both stay until finish().
    void emit(std::span<const decode::Instruction> insns, const std::vector<bool>& flags_live, u16 offset);
    // Ends a block that did not end by itself: goes on at `offset`.
    void end_at(u16 offset) { exit_to(offset); }
    // Out-of-line paths; call once, last.
    void finish();

  private:
    using Emit = std::function<void()>;

    // emitter.cpp
    // The entries. From another page RIP comes in r15, and gives the page.
    void begin(u16 offset);
    void count_instructions();
    // False if the block ends with the instruction.
    [[nodiscard]] bool emit_one(const decode::Instruction& insn, u16 index, bool flags_live);
    void raise(spec::Vector vector, u16 index);
    void ensure_extended();
    void entry();
    void rip_to_r15(i64 offset);
    void set_rip(i64 offset);
    void exit_to(i64 offset);
    void exit_to_rip_in_r15();
    void exit_with(ExitCode code, u32 detail = 0);
    void poll(u16 target);
    void link_edge(u16 target, bool backward, std::optional<u8> condition = {});
    void link_site(u32 site, u16 target);
    [[nodiscard]] bool links_to(i64 offset) const;
    [[nodiscard]] static bool in_page(i64 offset)
    {
        return offset >= 0 && offset < static_cast<i64>(kPageSize);
    }

    // system.cpp
    [[nodiscard]] bool emit_system(const decode::Instruction& insn, u16 index);
    // What C++ executes elsewhere, where that is little. False: not here.
    [[nodiscard]] bool inline_system(const decode::Instruction& insn, u16 index, bool flags_live);
    [[nodiscard]] const SystemCall& add_call(const decode::Instruction& insn, u16 index);
    void call_system(const SystemCall& call, u64 stub);
    [[nodiscard]] bool crosses(const decode::Instruction& insn) const;
    void cross(const SystemCall& call, u64 stub);
    void swapgs();
    void sti(const decode::Instruction& insn, u16 index, bool flags_live);
    void pushf(u16 index);
    [[nodiscard]] bool rdtsc(const decode::Instruction& insn, u16 index);
    [[nodiscard]] u32 time_on_line();
    void write_flag(u64 flag, i32 all_but, bool set, bool flags_live);

    // address.cpp
    void address_of(const AddressForm& form, i64 disp);
    [[nodiscard]] bool emit_stretch(const Stretch& stretch);
    void emit_accesses(const Stretch& stretch);
    [[nodiscard]] u32 probe(unsigned size, bool write, bool flags_live, bool split = false);
    [[nodiscard]] u32 probe_flags_dead(unsigned size, bool write, bool split);
    [[nodiscard]] u32 probe_flags_live(unsigned size, bool write, bool split);
    void address(const ZydisDecodedOperand& operand, i64 rsp_adjust = 0);
    // `splits`: `op` can do with the pointer in two parts (pointer_split_).
    void lookup(const AccessInfo& info, bool flags_live, const Emit& op, bool splits = false);
    void slow_path(const AccessInfo& info, const Emit& op);
    void load_operand(Host to, unsigned size, u16 index);
    void store_operand(Host from, unsigned size, u16 index);
    // An inline lookup that missed: where it jumps from, where a hit goes on, where the instruction is done.
    struct Miss {
        u32 from = 0;
        u32 hit = 0;
        u32 after = 0;
        bool flags_live = false;
    };
    void later(const Miss& miss, const AccessInfo& info, const Emit& op);
    [[nodiscard]] i32 tlb_field(std::size_t field) const;
    [[nodiscard]] i32 tlb_tag(bool write) const;
    void add_segment_base(ZydisRegister segment);

    // native.cpp
    void native(const decode::Instruction& insn, u16 index, bool flags_live);
    void native_bits(const decode::Instruction& insn, u16 index, bool flags_live);
    void native_moffs(const decode::Instruction& insn, u16 index, bool flags_live);

    // control.cpp
    [[nodiscard]] bool control(const decode::Instruction& insn, u16 index, bool flags_live);
    void push(const decode::Instruction& insn, u16 index, bool flags_live);
    void pop(const decode::Instruction& insn, u16 index, bool flags_live);
    void push_value(unsigned size, u16 index, bool flags_live, const Emit& value_to_r15);
    void leave(const decode::Instruction& insn, u16 index, bool flags_live);
    void lea(const decode::Instruction& insn);
    // The access to the stack, and where it goes on.
    void call_push(const decode::Instruction& insn, u16 index, bool flags_live);
    void call_go(const decode::Instruction& insn);
    void ret_pop(const decode::Instruction& insn, u16 index, bool flags_live);
    void ret_go();
    void jmp(const decode::Instruction& insn, u16 index, bool flags_live);
    void jcc(const decode::Instruction& insn, u16 offset);
    void branch_target_to_temp(const decode::Instruction& insn, u16 index, bool flags_live);
    void exit_to_temp(unsigned size);
    void advance_stack(i64 bytes);
    void stack_address(Host base, i32 disp);

    // far_links.cpp
    void far_jump(i64 target);
    void far_call(i64 target, i64 next);
    [[nodiscard]] u32 compare_far(LinkSite& site, i64 target, bool call);
    void far_miss(u32 from, u32 number, const Emit& otherwise);
    [[nodiscard]] bool links_far() const
    {
        return options_.far_links && mode_.code == decode::CodeSize::bits64;
    }

    // returns.cpp
    [[nodiscard]] bool keeps_returns() const
    {
        return options_.returns && mode_.code == decode::CodeSize::bits64;
    }
    void call_and_return(i64 target, i64 next);
    void call_temp_and_return(i64 next);
    void remember_return(i64 next);
    void land_behind_call(i64 next);
    [[nodiscard]] bool stack32() const { return mode_.code != decode::CodeSize::bits64; }

    // Reads guest register `r` into `to`, or writes it from `from`.
    void read_guest(Host to, ZydisRegister r);
    void write_guest(ZydisRegister r, Host from, unsigned size);

    Assembler& a_;
    const Stubs& stubs_;
    const ModeWord& mode_;
    EmitOptions options_;
    Block& block_;
    bool target_flags_live_ = true;
    std::span<const decode::Instruction> insns_;
    const std::vector<bool>* flags_live_ = nullptr; // by instruction
    std::vector<Stretch> stretches_;
    // The current instruction: its number, its address width, how far from r14 its access is, and the stretch
    // whose lookup it shares.
    u16 now_ = 0;
    unsigned address_width_ = 64;
    i32 pointer_disp_ = 0;
    // The host pointer is r14 + r15: a load needs not wait for the addition.
    bool pointer_split_ = false;
    const Stretch* shared_ = nullptr;
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
// BT and its kin, where a register moves the address.
[[nodiscard]] bool is_bit_string(const decode::Instruction& insn);
// What an instruction on extended state raises in this mode, whatever its operands are: it ends its block.
[[nodiscard]] std::optional<spec::Vector> unavailable(const decode::Instruction& insn, const ModeWord& mode);
// LEA of two registers that are both in the frame.
[[nodiscard]] bool lea_needs_scratch(const decode::Instruction& insn);

} // namespace seamless::cpu
