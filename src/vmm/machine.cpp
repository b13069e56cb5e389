// SPDX-License-Identifier: Apache-2.0
// vCPU threads, the watchdog, and the way out of KVM_RUN.
#include "vmm/machine.h"

#include <chrono>
#include <csignal>
#include <fmt/format.h>

#include "base/signal_handler.h"
#include "vmm/firmware_config.h"

namespace seamless::vmm {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int kKick = SIGUSR1;
constexpr unsigned kSerialPin = 4; // COM1's interrupt on every PC
constexpr auto kProgressPeriod = 250ms;
constexpr auto kKickPeriod = 20ms;
constexpr auto kStopPatience = 10s;
// A healthy guest does not fault twice in a row at one place with nothing done in between: KVM mends the
// cause or lets the guest see it. Races between vCPUs cost a handful of retries, never this many.
constexpr u64 kFruitlessLimit = 10000;

// The port of the vCPU whose thread this is; the signal handler has no other way to find it.
thread_local IoctlPort* t_port = nullptr;

void on_kick(int)
{
    const int saved = errno;
    if (t_port != nullptr)
        t_port->signal_arrived();
    errno = saved;
}

// The kick signal's handler, for the length of a run. Without SA_RESTART, so that a kernel's KVM_RUN returns
// too.
class KickHandler {
  public:
    KickHandler()
    {
        struct sigaction action {};
        action.sa_handler = on_kick;
        sigemptyset(&action.sa_mask);
        sigaction(kKick, nullptr, &old_);
        base::set_signal_handler(kKick, action);
    }
    ~KickHandler() { sigaction(kKick, &old_, nullptr); }
    KickHandler(const KickHandler&) = delete;
    KickHandler& operator=(const KickHandler&) = delete;

  private:
    struct sigaction old_ {};
};

void unblock_kick()
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, kKick);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

} // namespace

Machine::Machine(std::unique_ptr<Vm> vm, bool td, devices::SerialSink& serial, const devices::Clock& clock,
                 VirtioBackends backends, devices::SerialSink* debug)
    : vm_(std::move(vm)),
      td_(td),
      interrupts_(vm_->vm),
      board_(interrupts_.ioapic()),
      dma_(vm_->memory),
      fw_cfg_(dma_),
      serial_(serial, &interrupts_.ioapic().line(kSerialPin)),
      debug_sink_(debug),
      debug_exit_(*this),
      power_port_(*this),
      sleep_ports_(*this),
      reset_port_(*this),
      rtc_(clock),
      pit_(clock),
      port_b_(pit_, clock),
      virtio_(std::move(backends), board_, dma_, td)
{}

Machine::~Machine() = default;

Result<void, Message> Machine::attach_debug_console()
{
    if (debug_sink_ == nullptr)
        return {};
    TRY(board_.pio.add("debug-console", devices::DebugConsole::kBochsPort, 1, debug_console_));
    return board_.pio.add("debug-console", devices::DebugConsole::kOvmfPort, 1, debug_console_);
}

Result<void, Message> Machine::attach_devices(const MachinePlan& plan)
{
    TRY(board_.pio.add("serial", devices::Serial::kCom1, devices::Serial::kPorts, serial_));
    TRY(board_.pio.add("debug-exit", devices::DebugExit::kPort, devices::DebugExit::kSize, debug_exit_));
    TRY(board_.pio.add("power", devices::PowerPort::kPort, devices::PowerPort::kSize, power_port_));
    TRY(board_.pio.add("sleep", devices::SleepPorts::kControl, 2, sleep_ports_));
    TRY(board_.pio.add("reset", devices::ResetPort::kPort, 1, reset_port_));
    TRY(board_.pio.add("rtc", devices::Rtc::kPort, devices::Rtc::kPorts, rtc_));
    TRY(board_.pio.add("pit", devices::Pit::kPort, devices::Pit::kPorts, pit_));
    TRY(board_.pio.add("port-b", devices::PortB::kPort, 1, port_b_));
    TRY(board_.pio.add("fw_cfg", devices::FwCfg::kPort, devices::FwCfg::kPorts, fw_cfg_));
    TRY(board_.mmio.add("ioapic", devices::Ioapic::kBase, devices::Ioapic::kSize, interrupts_.ioapic()));
    TRY(attach_debug_console());
    fill_fw_cfg(fw_cfg_, plan);
    for (const MemoryRange& range : plan.config.testdevs) {
        testdevs_.push_back(std::make_unique<devices::TestDevice>(range.size));
        TRY(board_.mmio.add("testdev", range.start, range.size, *testdevs_.back()));
    }
    return virtio_.attach();
}

Result<std::unique_ptr<Machine>, Message> Machine::build(IoctlPort& port, const MachinePlan& plan,
                                                         devices::SerialSink& serial,
                                                         const devices::Clock& clock, VirtioBackends backends,
                                                         devices::SerialSink* debug)
{
    std::unique_ptr<Vm> vm = TRY(build_vm(port, plan));
    std::unique_ptr<Machine> machine(new Machine(std::move(vm), plan.config.kind == VmKind::td, serial, clock,
                                                 std::move(backends), debug));
    TRY(machine->attach_devices(plan));
    return machine;
}

std::string_view Machine::owner(u64 gpa) const
{
    return vm_->memory.at({gpa, 1}) != nullptr ? "memory" : board_.mmio.owner(gpa);
}

void Machine::debug_exit(u32 value) { end({.kind = Outcome::Kind::debug_exit, .value = value}); }
void Machine::power_off() { end({.kind = Outcome::Kind::powered_off}); }

void Machine::reset()
{
    end({.kind = Outcome::Kind::reset,
         .report =
             td_ ? "the guest asked for a reset; a TD cannot be reset" : "the guest asked for a reset"});
}

void Machine::end(Outcome outcome)
{
    const std::lock_guard lock(mutex_);
    if (!outcome_)
        outcome_ = std::move(outcome);
    ended_.store(true);
    for (const Vcpu& vcpu : vm_->vcpus)
        vcpu.request_exit();
    changed_.notify_all();
}

std::size_t Machine::receive(std::span<const u8> bytes)
{
    const std::lock_guard lock(board_.mutex);
    return serial_.receive(bytes);
}

void Machine::vcpu_thread(const Vcpu& vcpu)
{
    t_port = &vcpu.fd().port();
    unblock_kick();
    const ExitContext context{.vcpu = vcpu, .board = board_, .memory = vm_->memory, .td = td_};
    while (!ended())
        if (std::optional<Outcome> outcome = handle_exit(context, vcpu.fd().ioctl(spec::kvm::KVM_RUN)))
            end(std::move(*outcome));
    t_port = nullptr;
    const std::lock_guard lock(mutex_);
    --running_;
    changed_.notify_all();
}

void Machine::start_threads()
{
    const std::lock_guard lock(mutex_);
    for (const Vcpu& vcpu : vm_->vcpus) {
        ++running_;
        threads_.emplace_back([this, &vcpu] { vcpu_thread(vcpu); });
    }
}

void Machine::check_progress(InspectionPort& inspection)
{
    for (const Vcpu& vcpu : vm_->vcpus) {
        const InspectionPort::Stall stall = inspection.stall(vcpu.index());
        if (stall.fruitless_entries < kFruitlessLimit)
            continue;
        end({.kind = Outcome::Kind::guest_died,
             .report = fmt::format("vCPU {}: the guest can make no progress: {} VM entries in a row ended in "
                                   "the same fault and no\n"
                                   "  instruction retired. In a TD this happens when an MMIO access faults "
                                   "while VE_INFO still holds an\n"
                                   "  earlier #VE, before TDG.VP.VEINFO.GET\n  {}",
                                   vcpu.index(), stall.fruitless_entries, stall.where),
             .death = Death::no_progress,
             .vcpu = vcpu.index()});
        return;
    }
}

void Machine::wait_for_end(const RunOptions& options)
{
    const auto deadline = Clock::now() + std::chrono::milliseconds(options.timeout_ms);
    for (;;) {
        {
            std::unique_lock lock(mutex_);
            auto until = Clock::now() + kProgressPeriod;
            if (options.timeout_ms != 0)
                until = std::min(until, deadline);
            if (changed_.wait_until(lock, until, [this] { return outcome_.has_value(); }))
                return;
        }
        if (options.inspection != nullptr)
            check_progress(*options.inspection);
        if (options.timeout_ms != 0 && Clock::now() >= deadline)
            end({.kind = Outcome::Kind::timeout,
                 .report = fmt::format("the guest was still running after {:.1f} s",
                                       static_cast<double>(options.timeout_ms) / 1000)});
    }
}

// A signal may arrive just before KVM_RUN looks for it, so kick until the thread is out. immediate_exit makes
// that sure on a kernel; the repetition also covers a thread that sits in a device's mutex.
void Machine::stop_threads()
{
    const auto deadline = Clock::now() + kStopPatience;
    std::unique_lock lock(mutex_);
    while (running_ != 0 && Clock::now() < deadline) {
        for (std::thread& thread : threads_)
            pthread_kill(thread.native_handle(), kKick);
        changed_.wait_for(lock, kKickPeriod, [this] { return running_ == 0; });
    }
    stuck_ = running_ != 0;
    std::vector<std::thread> threads = std::move(threads_);
    lock.unlock();
    for (std::thread& thread : threads)
        stuck_ ? thread.detach() : thread.join();
}

Outcome Machine::run(const RunOptions& options)
{
    const KickHandler handler;
    start_threads();
    wait_for_end(options);
    stop_threads();
    if (stuck_)
        return {.kind = Outcome::Kind::internal_error,
                .report = "a vCPU did not come back from KVM_RUN when it was told to"};
    const std::lock_guard lock(mutex_);
    return *outcome_;
}

} // namespace seamless::vmm
