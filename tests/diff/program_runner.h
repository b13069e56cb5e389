// SPDX-License-Identifier: Apache-2.0
// Runs random programs on a processor: the software around them, which mends what they fault on, and a record
// of all that they could see.
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "cpu/processor.h"
#include "decode/instruction.h"
#include "diff/program.h"
#include "fakes/guest_machine.h"

namespace seamless::diff {

// What software saw when the program came to it: an exception, or a hypercall.
struct ProgramEvent {
    int vector = -1; // an exception's
    u64 error_code = 0;
    u64 cr2 = 0;
    u64 rip = 0;
    u64 rflags = 0; // an exception's: without the arithmetic flags (DEVIATION: arbitrary where dead)
    std::array<u64, spec::kGprCount> gpr{};
    u64 extended = 0; // a digest of the extended state

    bool operator==(const ProgramEvent&) const = default;
};

enum class ProgramEnd : u8 { halted, many_events, long_run, lost };

struct ProgramOutcome {
    ProgramEnd end = ProgramEnd::lost;
    std::vector<ProgramEvent> events; // the last one is where it ended
    std::vector<u8> memory;           // all frames, and the page table
    u64 instructions = 0;             // step mode: how many it took
    u64 interrupts = 0;

    // Whether the code is not what the program came with, at the end.
    [[nodiscard]] bool changes_code(const Program& program) const;
};

// TSC that stands still, and sends an interrupt when it has been read often enough.
class InterruptingClock final : public fakes::FixedClock {
  public:
    u64 tsc() override;
    cpu::LogicalProcessor* lp = nullptr;
    unsigned period = 0;

  private:
    unsigned reads_ = 0;
};

class ProgramRunner {
  public:
    ProgramRunner(cpu::EngineMode mode, const cpu::Optimizations& optimizations);
    void run(const Program& program, ProgramOutcome& out);
    // From another thread: makes whatever runs come out, and be looked at.
    void interrupt() { lp_.send_interrupt(kHostVector); }

  private:
    static constexpr u8 kHostVector = 0x30;

    void make_handlers();
    void load(const Program& program);
    void set_registers(const Program& program);
    [[nodiscard]] bool step(const Program& program, ProgramOutcome& out);
    void record(ProgramOutcome& out, int vector);
    void exception(int vector, ProgramOutcome& out);
    [[nodiscard]] bool mend(const ProgramEvent& event);
    void skip(const ProgramEvent& event);
    [[nodiscard]] bool decode_at(u64 linear, decode::Instruction& insn);
    void hypercall(const Program& program);
    void external_interrupt();
    void save_memory(std::vector<u8>& out);

    fakes::GuestMachine machine_;
    std::vector<std::pair<u64, std::vector<u8>>> software_; // handlers and tables, as each program finds them
    InterruptingClock clock_;
    cpu::Package package_;
    cpu::LogicalProcessor& lp_;
    Rng timing_{1}; // for what programs cannot see
    u64 events_ = 0;
};

} // namespace seamless::diff
