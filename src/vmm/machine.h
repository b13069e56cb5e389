// SPDX-License-Identifier: Apache-2.0
// A machine: a VM, its devices, a thread for each vCPU, and the watch over how the run ends.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "devices/debug_console.h"
#include "devices/fw_cfg.h"
#include "devices/machine_end.h"
#include "devices/pit.h"
#include "devices/rtc.h"
#include "devices/serial.h"
#include "devices/testdev.h"
#include "vmm/dma.h"
#include "vmm/exit_handlers.h"
#include "vmm/inspection_port.h"
#include "vmm/interrupts.h"
#include "vmm/virtio_devices.h"
#include "vmm/vm_builder.h"

namespace seamless::vmm {

struct RunOptions {
    u64 timeout_ms = 0;                   // 0: none
    InspectionPort* inspection = nullptr; // finds vCPUs that can never get anywhere
};

class Machine : private devices::MachineEnd {
  public:
    // `serial` receives what the guest sends to COM1, `debug` what it sends to the debug console, which the
    // machine has only then; `clock` is what the real-time clock and the interval timer show. They, the port
    // and the files of the plan's payload must outlive the machine.
    [[nodiscard]] static Result<std::unique_ptr<Machine>, Message>
    build(IoctlPort& port, const MachinePlan& plan, devices::SerialSink& serial, const devices::Clock& clock,
          VirtioBackends backends = {}, devices::SerialSink* debug = nullptr);
    ~Machine() override;
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;

    // Runs until the machine ends; every vCPU thread has left KVM_RUN then, unless stuck() says otherwise.
    [[nodiscard]] Outcome run(const RunOptions& options);
    // After the run, for the machine that a reset makes of this one: disks stay locked, connections open.
    // This one can then only be destroyed.
    [[nodiscard]] VirtioBackends release_backends() { return virtio_.release(); }
    // Any thread: ends the run with `outcome`, unless it has ended already.
    void end(Outcome outcome);
    // Any thread: input for COM1; returns how many bytes there was room for.
    std::size_t receive(std::span<const u8> bytes);
    // The same for the virtio console.
    std::size_t receive_console(std::span<const u8> bytes) { return virtio_.receive(bytes); }
    // How things stand after the run.
    [[nodiscard]] bool td() const { return td_; }
    [[nodiscard]] std::span<const Vcpu> vcpus() const { return vm_->vcpus; }
    [[nodiscard]] const devices::Ioapic& ioapic() const { return interrupts_.ioapic(); }
    [[nodiscard]] std::vector<DmaMistake> dma_mistakes() const { return dma_.mistakes(); }
    // What is at a guest-physical address: "memory", a device's name, or nothing.
    [[nodiscard]] std::string_view owner(u64 gpa) const;
    // A vCPU did not come back from KVM_RUN: its thread still uses this machine, which must not be destroyed.
    [[nodiscard]] bool stuck() const { return stuck_; }

  private:
    Machine(std::unique_ptr<Vm> vm, bool td, devices::SerialSink& serial, const devices::Clock& clock,
            VirtioBackends backends, devices::SerialSink* debug);
    [[nodiscard]] Result<void, Message> attach_debug_console();
    [[nodiscard]] Result<void, Message> attach_devices(const MachinePlan& plan);
    void debug_exit(u32 value) override;
    void power_off() override;
    void reset() override;

    void start_threads();
    void vcpu_thread(const Vcpu& vcpu);
    void wait_for_end(const RunOptions& options);
    [[nodiscard]] bool ended() const { return ended_.load(); }
    void check_progress(InspectionPort& inspection);
    void stop_threads();

    std::unique_ptr<Vm> vm_;
    bool td_;
    Interrupts interrupts_;
    Board board_;
    Dma dma_;
    devices::FwCfg fw_cfg_;
    devices::Serial serial_;
    devices::SerialSink* debug_sink_; // nullptr: there is no debug console
    devices::DebugConsole debug_console_{debug_sink_};
    devices::DebugExit debug_exit_;
    devices::PowerPort power_port_;
    devices::SleepPorts sleep_ports_;
    devices::ResetPort reset_port_;
    devices::Rtc rtc_;
    devices::Pit pit_;
    devices::PortB port_b_;
    std::vector<std::unique_ptr<devices::TestDevice>> testdevs_;
    VirtioDevices virtio_; // its threads use all of the above

    std::mutex mutex_; // guards what follows
    std::condition_variable changed_;
    std::optional<Outcome> outcome_;
    std::atomic<bool> ended_ = false; // there is an outcome; read without the lock
    unsigned running_ = 0;            // vCPU threads that have not finished
    std::vector<std::thread> threads_;
    bool stuck_ = false;
};

} // namespace seamless::vmm
