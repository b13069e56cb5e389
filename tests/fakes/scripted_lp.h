// SPDX-License-Identifier: Apache-2.0
// A logical processor whose VM entries run a script instead of a guest, and a simulated host made of them:
// memory, clock, randomness, tracer and package. Everything is recorded, so that tests can check intermediate
// states.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "cpu/package.h"
#include "mem/host_memory.h"
#include "trace/trace.h"

namespace seamless::fakes {

class ScriptedLp : public cpu::LogicalProcessor {
  public:
    // One VM entry: what the guest does and how it exits. Exit information of the previous entry is cleared
    // before.
    using Entry = std::function<void(cpu::Vmcs&, cpu::GuestContext&)>;

    struct History {
        cpu::Vmcs vmcs; // as it was at the entry
        u64 gpr[spec::kGprCount];
    };

    using LogicalProcessor::LogicalProcessor;

    void then(Entry entry) { script_.push_back(std::move(entry)); }
    // An entry that exits with `reason` and nothing else.
    void then_exit(spec::ExitReason reason, u64 qualification = 0)
    {
        then([=](cpu::Vmcs& vmcs, cpu::GuestContext&) {
            vmcs.exit_reason = static_cast<u32>(reason);
            vmcs.exit_qualification = qualification;
        });
    }
    [[nodiscard]] std::size_t left() const { return script_.size(); }

    void vm_enter(cpu::Vmcs& vmcs, cpu::GuestContext& context) override
    {
        History now{vmcs, {}};
        std::copy(std::begin(context.gpr), std::end(context.gpr), now.gpr);
        history.push_back(now);
        vmcs.exit_qualification = vmcs.guest_linear_address = vmcs.guest_physical_address = 0;
        vmcs.exit_intr_info = vmcs.exit_intr_error_code = vmcs.idt_vectoring_info =
            vmcs.idt_vectoring_error_code = 0;
        vmcs.exit_instruction_len = vmcs.instruction_info = 0;
        vmcs.entry_intr_info &= ~spec::intr_info::VALID; // consumed by the entry
        if (script_.empty()) { // a script that ran out ends the run, or a test could hang
            vmcs.exit_reason = static_cast<u32>(spec::ExitReason::EXTERNAL_INTERRUPT);
            return;
        }
        const Entry entry = std::move(script_.front());
        script_.pop_front();
        entry(vmcs, context);
        ++counters_.vm_exits;
    }

    void invept_single(u64 eptp) override { invept.push_back(eptp); }
    void invept_all() override { ++invept_alls; }
    void invvpid(u16 vpid) override { invvpids.push_back(vpid); }
    void code_may_have_changed() override {}
    // From signal handlers too, which may have interrupted this very function.
    void send_interrupt(u8 vector) override
    {
        const std::size_t at = sent_.fetch_add(1);
        if (at < interrupts_.size())
            interrupts_[at] = vector;
    }
    bool acknowledge_interrupts() override { return sent_.exchange(0) != 0; }
    // Those sent and not acknowledged, the first of them.
    [[nodiscard]] std::vector<u8> interrupts() const
    {
        const std::size_t count = std::min(sent_.load(), interrupts_.size());
        return {interrupts_.begin(), interrupts_.begin() + static_cast<std::ptrdiff_t>(count)};
    }
    [[nodiscard]] Counters counters() const override { return counters_; }

    std::vector<History> history;
    std::vector<u64> invept;
    unsigned invept_alls = 0;
    std::vector<u16> invvpids;

  private:
    std::deque<Entry> script_;
    std::array<std::atomic<u8>, 64> interrupts_{};
    std::atomic<std::size_t> sent_ = 0;
    Counters counters_;
};

// Time that moves when the test says so, and a little at each look at the TSC.
class FakeClock : public base::Clock {
  public:
    [[nodiscard]] u64 tsc() override { return tsc_value += 100; }
    [[nodiscard]] u64 tsc_hz() override { return 2'000'000'000; }
    [[nodiscard]] u64 monotonic_ns() override { return tsc_value / 2; }
    [[nodiscard]] u64 realtime_ns() override { return tsc_value / 2; }
    u64 tsc_value = 1'000'000;
};

// A counter, not entropy: runs are reproducible. `exhausted` makes it fail.
class FakeRandom : public base::Random {
  public:
    [[nodiscard]] bool fill(std::span<u8> out) override
    {
        for (u8& byte : out)
            byte = next_++;
        return !exhausted;
    }
    bool exhausted = false;

  private:
    u8 next_ = 1;
};

class RecordingSink : public trace::Sink {
  public:
    void write(const trace::Record& record) override
    {
        const std::lock_guard lock(mutex_);
        records.push_back(record);
    }
    [[nodiscard]] std::vector<trace::Record> of(trace::Event event)
    {
        const std::lock_guard lock(mutex_);
        std::vector<trace::Record> found;
        for (const trace::Record& r : records)
            if (r.event == event)
                found.push_back(r);
        return found;
    }
    std::vector<trace::Record> records;

  private:
    std::mutex mutex_;
};

inline std::unique_ptr<cpu::LogicalProcessor> make_scripted_lp(cpu::Package& package, unsigned id)
{
    return std::make_unique<ScriptedLp>(package, id);
}

// A simulated host of `lps` processors: scripted ones, unless the test brings others.
struct ScriptedHost {
    explicit ScriptedHost(unsigned lps = 4, u64 memory_bytes = u64{4} << 30,
                          const cpu::LpFactory& make_lp = make_scripted_lp)
        : memory(std::move(mem::HostMemory::create(memory_bytes)).value()),
          tracer(sink, [] { return u64{0}; }),
          package(lps, make_lp, *memory, clock, random, tracer)
    {
        for (unsigned i = 0; i < lps; ++i)
            package.lp(i).trace = {&tracer, 0};
    }

    [[nodiscard]] ScriptedLp& lp(unsigned id = 0) { return static_cast<ScriptedLp&>(package.lp(id)); }
    // A zeroed page of the arena.
    [[nodiscard]] Hpa page() { return memory->alloc_page().value(); }

    std::unique_ptr<mem::HostMemory> memory;
    FakeClock clock;
    FakeRandom random;
    RecordingSink sink;
    trace::Tracer tracer;
    cpu::Package package;
};

} // namespace seamless::fakes
