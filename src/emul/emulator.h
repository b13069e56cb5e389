// SPDX-License-Identifier: Apache-2.0
// One vCPU's emulator: the instruction it has decoded, and the passes over it. A pass ends early where user
// space must answer; the next one runs the same decoded instruction from its start, with what was read
// before.
#pragma once

#include <array>

#include "base/result.h"
#include "emul/decoded.h"
#include "emul/emulated_cpu.h"
#include "emul/registers.h"
#include "emul/table.h"

namespace seamless::emul {

class Emulator {
  public:
    explicit Emulator(EmulatedCpu& cpu) : cpu_(cpu) {}

    // Fetches and decodes at RIP; `known` are bytes the processor gave. FAILED: an exception is queued, or
    // this is not an instruction that can be emulated (then exception_queued() is false).
    [[nodiscard]] Emulation decode(std::span<const u8> known);

    // One pass. OK: the pass is over; retired() tells whether RIP and RFLAGS are to be written. RESTART: so,
    // and another element of a repeated instruction follows.
    [[nodiscard]] Emulation execute();

    [[nodiscard]] bool exception_queued() const { return exception_; }
    [[nodiscard]] bool retired() const { return retired_; }
    [[nodiscard]] u64 new_rip() const { return new_rip_; }
    [[nodiscard]] u64 new_rflags() const { return new_rflags_; }
    [[nodiscard]] std::span<const u8> insn() const { return {bytes_.data(), fetched_}; }
    [[nodiscard]] u64 rip() const { return rip_; }

  private:
    friend struct Steps;
    template <typename T>
    using Try = Result<T, X86Emul>;

    struct Wide {
        u64 low = 0, high = 0;
    };
    // What a pass has read, in order: a later pass over the same instruction reads it here, so that a device
    // sees each read once.
    struct ReadCache {
        std::array<u8, 128> data;
        std::size_t end = 0, at = 0;
    };
    // Elements that one access to a port has brought ahead of REP INS. KVM's buffer has this size.
    struct PortCache {
        std::array<u8, 1024> data;
        std::size_t end = 0, at = 0;
    };

    // emulator.cpp
    [[nodiscard]] Try<void> fetch_and_decode(std::span<const u8> known);
    [[nodiscard]] Try<void> fetch_more();
    [[nodiscard]] Try<void> decode_into(Decoded& decoded);
    [[nodiscard]] bool is_lockable_without_lock() const;
    [[nodiscard]] Try<void> run();
    [[nodiscard]] Try<void> check_exceptions();
    [[nodiscard]] Try<void> compute(Operation& op);
    void finish(u64 rip, u64 rflags);
    [[nodiscard]] Try<void> at_intercept_point(InterceptStage stage);

    // operand.cpp
    [[nodiscard]] Try<void> read_operands(Operation& op);
    [[nodiscard]] Try<void> write_operands(const Operation& op);
    [[nodiscard]] Try<Wide> read_operand(const ZydisDecodedOperand& operand, bool modify);
    [[nodiscard]] Try<void> write_operand(const ZydisDecodedOperand& operand, const Wide& value);
    [[nodiscard]] Try<Wide> read_wide(const LinearAccess& access, unsigned bytes);
    [[nodiscard]] Try<u64> read_memory(const LinearAccess& access, unsigned bytes);
    [[nodiscard]] Try<void> write_memory(const LinearAccess& access, std::span<const u8> bytes);
    [[nodiscard]] bool has_sole_memory_operand() const;
    [[nodiscard]] static spec::Seg segment_of(ZydisRegister r);

    // string.cpp
    [[nodiscard]] Try<u64> read_port(unsigned size);
    [[nodiscard]] Try<void> refill_port_cache(u16 port, unsigned size);
    [[nodiscard]] Try<void> write_ahead(unsigned size);
    void advance_string();
    [[nodiscard]] bool count_down(u64 rflags);
    [[nodiscard]] bool go_on_at_once() const;
    [[nodiscard]] bool repeated() const { return repeat_prefix_ != 0; }

    // address.cpp
    [[nodiscard]] u64 offset_of(const ZydisDecodedOperand& operand) const;
    [[nodiscard]] Try<u64> linear_of(const ZydisDecodedOperand& operand, unsigned bytes, bool write);
    [[nodiscard]] Try<u64> linearize(spec::Seg seg, u64 offset, unsigned bytes, bool write, bool fetch);
    [[nodiscard]] bool canonical(u64 address, unsigned bytes = 1);

    // stack.cpp
    [[nodiscard]] unsigned stack_width() const;
    [[nodiscard]] unsigned stack_operand() const;
    [[nodiscard]] unsigned branch_operand() const;
    void move_stack(u64 by);
    [[nodiscard]] Try<void> push(u64 value, unsigned bytes);
    [[nodiscard]] Try<u64> pop(unsigned bytes);
    [[nodiscard]] Try<void> branch(u64 target, unsigned bytes);

    // vector.cpp
    [[nodiscard]] static bool is_vector(const ZydisDecodedOperand& operand);
    [[nodiscard]] Wide read_vector(ZydisRegister r);
    void write_vector(ZydisRegister r, const Wide& value);
    [[nodiscard]] Try<void> check_vector_use();
    [[nodiscard]] u16 fpu_word(unsigned offset);
    void set_fpu_word(unsigned offset, u16 value);
    void enter_mmx();
    [[nodiscard]] bool x87_exception_pending();

    [[nodiscard]] base::Failure<X86Emul> raise(spec::Vector vector, u32 error_code = 0);
    [[nodiscard]] bool real_or_virtual_8086() const;
    [[nodiscard]] unsigned cpl() const;

    EmulatedCpu& cpu_;
    DecodedInstructions decoded_;
    const decode::Instruction* insn_ = nullptr; // one of them, as are row_ and repeat_prefix_
    const Row* row_ = nullptr;
    decode::CodeSize mode_{};
    std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes_{};
    std::size_t fetched_ = 0;
    u64 rip_ = 0;
    u8 repeat_prefix_ = 0; // F2, F3, or 0
    Registers regs_{cpu_};
    ReadCache reads_;
    PortCache port_;
    unsigned elements_ = 1; // of a repeated instruction that this pass moves
    u64 next_rip_ = 0;      // behind the instruction, or where it branches
    bool exception_ = false;
    bool retired_ = false;
    bool again_ = false; // more elements follow
    u64 new_rip_ = 0;
    u64 new_rflags_ = 0;
};

} // namespace seamless::emul
