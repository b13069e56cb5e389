// SPDX-License-Identifier: Apache-2.0
// Who runs on which logical processor, and calls of a function on a given one: what a kernel does with its
// CPUs. A TD's vCPU is bound to the processor it last ran on until TDH.VP.FLUSH is executed there.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "cpu/package.h"

namespace seamless::kvm {

class Processors {
  public:
    using Call = std::function<void(cpu::LogicalProcessor&)>;
    static constexpr u8 kCallVector = 0xfb; // CALL_FUNCTION_VECTOR
    static constexpr unsigned kAny = ~0u;

    explicit Processors(cpu::Package& package);

    // Borrows one for this thread, `hint` if it is free.
    [[nodiscard]] cpu::LogicalProcessor& load(unsigned hint);
    void put(cpu::LogicalProcessor& lp);
    // Runs `call` on processor `id` and waits for it: here if nobody has it, else on the thread that has.
    // `mine`: the processor this thread has borrowed, whose own calls are served meanwhile.
    void call_on(unsigned id, const Call& call, cpu::LogicalProcessor* mine = nullptr);
    // What the call interrupt's handler does.
    void serve_calls(cpu::LogicalProcessor& lp);
    // The processor this thread has loaded, or nullptr: a kernel's "this CPU".
    [[nodiscard]] cpu::LogicalProcessor* this_cpu() const;
    // Runs `call` on this CPU, or on one borrowed for it.
    void on_some_cpu(const Call& call);
    [[nodiscard]] cpu::Package& package() { return package_; }

  private:
    struct Pending {
        const Call* call;
        bool done = false;
    };
    // busy: a call runs here for which nobody had to be asked. called: whoever has it finds calls to serve.
    enum class State : u8 { idle, loaded, called, busy };
    struct Slot {
        std::atomic<State> state{State::idle}; // taken and left without the lock, as long as nobody calls
        std::deque<Pending*> calls;
    };
    [[nodiscard]] static bool change(Slot& slot, State from, State to)
    {
        return slot.state.compare_exchange_strong(from, to);
    }
    void serve_locked(cpu::LogicalProcessor& lp);

    cpu::Package& package_;
    std::mutex mutex_;
    std::condition_variable served_;
    std::vector<Slot> slots_;
};

// A processor for the length of a scope.
class LoadedLp {
  public:
    LoadedLp(Processors& processors, unsigned hint) : processors_(processors), lp_(processors.load(hint)) {}
    ~LoadedLp() { processors_.put(lp_); }
    LoadedLp(const LoadedLp&) = delete;
    LoadedLp& operator=(const LoadedLp&) = delete;
    [[nodiscard]] cpu::LogicalProcessor& operator*() { return lp_; }
    [[nodiscard]] cpu::LogicalProcessor* operator->() { return &lp_; }

  private:
    Processors& processors_;
    cpu::LogicalProcessor& lp_;
};

} // namespace seamless::kvm
