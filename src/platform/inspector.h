// SPDX-License-Identifier: Apache-2.0
// The inspection port over a simulated host: it stands between the software that enters guests and the
// processors that run them, and holds guests there when a tool wants it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>

#include "cpu/debug_port.h"
#include "platform/event_memory.h"
#include "platform/guest_view.h"
#include "platform/stall_watch.h"
#include "tdx/module.h"
#include "trace/inspection.h"

namespace seamless::platform {

class Inspector final : public trace::Inspection, public cpu::DebugPort {
  public:
    // `hold`: guests stand still before their first instruction, until a tool lets them go.
    explicit Inspector(bool hold) : stopping_(hold) {}

    // What facts about TDs and events come from; either may be nullptr.
    void look_at(tdx::TdxModule* module, EventMemory* events);
    // No thread runs a guest any more: what is to be seen from now on is how `watch`, which outlives this,
    // saw each vCPU last.
    void look_back(const StallWatch& watch);
    // A machine is about to go: nothing of its vCPUs is touched any more, and new ones may come.
    void forget_vcpus();
    // Async-signal-safe: the VMM wants the vCPU of some thread back.
    void signal_arrived() { ++signals_; }

    void listen(std::function<void()> stopped) override;
    void stop() override;
    [[nodiscard]] std::optional<trace::VcpuStop> take_stop() override;
    void resume(std::span<const trace::Resume> actions) override;
    [[nodiscard]] std::vector<trace::VcpuStatus> vcpus() override;
    [[nodiscard]] std::optional<trace::VcpuRegisters> registers(u32 vcpu) override;
    [[nodiscard]] bool set_registers(u32 vcpu, const trace::VcpuRegisters& registers) override;
    [[nodiscard]] u64 read(u32 vcpu, Gva from, std::span<u8> to) override;
    [[nodiscard]] u64 read(u32 vcpu, Gpa from, std::span<u8> to) override;
    [[nodiscard]] u64 write(u32 vcpu, Gva to, std::span<const u8> from) override;
    [[nodiscard]] u64 write(u32 vcpu, Gpa to, std::span<const u8> from) override;
    [[nodiscard]] trace::Walk walk(u32 vcpu, Gva gva) override;
    [[nodiscard]] trace::Walk walk(u32 vcpu, Gpa gpa) override;
    [[nodiscard]] u64 components() override;
    void set_points(std::span<const u64> breakpoints,
                    std::span<const trace::Watchpoint> watchpoints) override;
    [[nodiscard]] std::optional<trace::TdFacts> td_facts(u32 vcpu) override;
    [[nodiscard]] std::vector<trace::Record> recent_events() override;
    [[nodiscard]] std::vector<trace::Record> memory_events(u64 gpa) override;
    [[nodiscard]] std::vector<trace::Crossing> crossings(u32 vcpu) override;
    [[nodiscard]] std::optional<trace::ApicState> apic(u32 vcpu) override;

    [[nodiscard]] Run before(cpu::LogicalProcessor& lp, cpu::Debuggee& debuggee, cpu::Vmcs& vmcs,
                             cpu::GuestContext& context) override;
    void after(cpu::LogicalProcessor& lp, const cpu::Vmcs& vmcs, const cpu::GuestContext& context,
               const cpu::DebugStop& stop) override;

  private:
    enum class Where : u8 { unknown, running, stopped, outside };

    struct Slot {
        Where where = Where::unknown;
        cpu::Debuggee* debuggee = nullptr;
        // Of the guest, to be touched only while it is stopped; nullptr if it has only been looked back at.
        cpu::Vmcs* vmcs = nullptr;
        cpu::GuestContext* context = nullptr;
        cpu::Vmcs last_vmcs; // of the last VM exit
        cpu::GuestContext last_context;
        bool go = true; // once guests need not all stand still
        bool step = false;
        bool left = false; // since the step began
        u64 step_from = 0;
        u64 signals_seen = 0;
        bool code_changed = false;
        std::optional<trace::VcpuStop> stop; // that nobody has taken yet

        [[nodiscard]] const cpu::Vmcs& any_vmcs() const { return vmcs != nullptr ? *vmcs : last_vmcs; }
        [[nodiscard]] bool in_sight() const { return where == Where::stopped || where == Where::outside; }
        [[nodiscard]] const cpu::Vmcs& seen_vmcs() const
        {
            return where == Where::stopped ? *vmcs : last_vmcs;
        }
        [[nodiscard]] const cpu::GuestContext& seen_context() const
        {
            return where == Where::stopped ? *context : last_context;
        }
    };

    // All of these hold the mutex.
    [[nodiscard]] Slot& slot_of(u32 vcpu, cpu::Debuggee& debuggee, cpu::Vmcs& vmcs,
                                cpu::GuestContext& context);
    [[nodiscard]] bool held(const Slot& slot) const { return stopping_ || !slot.go; }
    [[nodiscard]] bool goes_back(Slot& slot) const;
    void stopped_by_itself(u32 vcpu, Slot& slot, const cpu::DebugStop& stop);
    void ask_all_to_stop();
    void wait_until_all_stand(std::unique_lock<std::mutex>& lock);
    void notify();
    [[nodiscard]] Slot* sight_of(u32 vcpu);
    void code_changes();

    std::atomic<u64> signals_ = 0;
    std::mutex mutex_; // guards what follows
    std::condition_variable changed_;
    std::map<u32, Slot> slots_; // by vCPU id
    bool stopping_;             // guests stand still
    bool new_go_ = true;        // vCPUs that come may run, as soon as anybody may
    cpu::DebugPoints points_;   // written while no guest runs
    std::function<void()> listener_;
    tdx::TdxModule* module_ = nullptr;
    EventMemory* events_ = nullptr;
    const StallWatch* watch_ = nullptr; // of a run that is over
};

} // namespace seamless::platform
