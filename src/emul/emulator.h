// SPDX-License-Identifier: Apache-2.0
// One vCPU's emulator: the instruction it has decoded, and the passes over it. A pass ends early where user
// space must answer; the next one runs the same decoded instruction from its start, with what was read
// before.
#pragma once

#include <array>

#include "base/result.h"
#include "decode/instruction.h"
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
    template <typename T>
    using Try = Result<T, X86Emul>;

    // What a pass has read, in order: a later pass over the same instruction reads it here, so that a device
    // sees each read once.
    struct ReadCache {
        std::array<u8, 64> data;
        std::size_t end = 0, at = 0;
    };

    [[nodiscard]] Try<void> fetch_and_decode(std::span<const u8> known);
    [[nodiscard]] Try<void> fetch_more();
    [[nodiscard]] Try<void> run();
    [[nodiscard]] Try<void> read_operands(Operation& op);
    [[nodiscard]] Try<void> write_operands(const Operation& op);
    void advance_string();
    [[nodiscard]] bool repeat_ends(u64 rflags);
    void finish(u64 rip, u64 rflags);
    [[nodiscard]] Try<void> at_intercept_point(InterceptStage stage);

    [[nodiscard]] Try<u64> read_operand(const ZydisDecodedOperand& operand);
    [[nodiscard]] Try<void> write_operand(const ZydisDecodedOperand& operand, u64 value);
    [[nodiscard]] Try<u64> read_port(unsigned bytes);
    template <typename Read>
    [[nodiscard]] Try<u64> read_once(unsigned bytes, Read read);

    [[nodiscard]] u64 offset_of(const ZydisDecodedOperand& operand) const;
    [[nodiscard]] Try<u64> linearize(spec::Seg seg, u64 offset, unsigned bytes, bool write, bool fetch);
    [[nodiscard]] base::Failure<X86Emul> raise(spec::Vector vector, u32 error_code = 0);
    [[nodiscard]] bool repeated() const { return repeat_prefix_ != 0; }
    [[nodiscard]] bool has_sole_memory_operand() const;

    EmulatedCpu& cpu_;
    decode::Instruction insn_{};
    const Row* row_ = nullptr;
    decode::CodeSize mode_{};
    std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes_{};
    std::size_t fetched_ = 0;
    u64 rip_ = 0;
    u8 repeat_prefix_ = 0; // F2, F3, or 0
    Registers regs_;
    ReadCache reads_;
    bool exception_ = false;
    bool retired_ = false;
    bool again_ = false; // more elements follow
    u64 new_rip_ = 0;
    u64 new_rflags_ = 0;
};

} // namespace seamless::emul
