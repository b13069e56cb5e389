// SPDX-License-Identifier: Apache-2.0
// `seamless run`: a machine from the command line, its console, its end.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fmt/format.h>
#include <unistd.h>

#include "cli/backends.h"
#include "cli/commands.h"
#include "cli/console.h"
#include "cli/firmware.h"
#include "cli/gdb_server.h"
#include "cli/log.h"
#include "cli/pty.h"
#include "cli/report_tools.h"
#include "cli/running_machine.h"
#include "cli/software_host.h"
#include "guest/builtin.h"
#include "platform/host_clock.h"
#include "vmm/machine.h"
#include "vmm/report/console_tail.h"
#include "vmm/report/report.h"

namespace seamless::cli {
namespace {

// Where the built-in demo finds its device, unless --device says otherwise.
constexpr vmm::MemoryRange kDefaultTestdev{0xfe000000, 0x2000};

class HostClock : public devices::Clock {
  public:
    i64 seconds() const override { return static_cast<i64>(std::time(nullptr)); }
    u64 nanoseconds() const override
    {
        return static_cast<u64>(std::chrono::steady_clock::now().time_since_epoch() /
                                std::chrono::nanoseconds(1));
    }
};

Result<std::unique_ptr<vmm::LinuxPayload>, Message> payload(const RunOptions& o)
{
    if (o.kernel.empty())
        return std::unique_ptr<vmm::LinuxPayload>();
    return std::make_unique<vmm::LinuxPayload>(TRY(vmm::load_linux(o.kernel, o.initrd, o.append)));
}

Result<vmm::MachinePlan, Message> plan(const RunOptions& o, const vmm::LinuxPayload* payload)
{
    vmm::MachineConfig config;
    config.kind = o.vm == "td" ? vmm::VmKind::td : vmm::VmKind::plain;
    config.memory = TRY(parse_size("--memory", o.memory, u64{1} << 20));
    config.cpus = o.cpus;
    for (const std::string& device : o.devices)
        config.testdevs.push_back(TRY(parse_device(device)));
    config.payload = payload;
    if (payload != nullptr && o.firmware.empty() && o.cpus > guest::kLinuxProcessors)
        return fail(Message{fmt::format("--cpus {}: the built-in firmware boots Linux on 1 to {} processors",
                                        o.cpus, guest::kLinuxProcessors)});
    config.firmware = TRY(firmware_image(o.firmware, !o.kernel.empty()));
    if (o.firmware.empty() && o.kernel.empty() && config.testdevs.empty())
        config.testdevs.push_back(kDefaultTestdev);
    return vmm::plan_machine(std::move(config));
}

std::string_view name_of(vmm::Outcome::Kind kind)
{
    switch (kind) {
    case vmm::Outcome::Kind::powered_off:
        return "powered_off";
    case vmm::Outcome::Kind::debug_exit:
        return "debug_exit";
    case vmm::Outcome::Kind::reset:
        return "reset";
    case vmm::Outcome::Kind::timeout:
        return "timeout";
    case vmm::Outcome::Kind::guest_died:
        return "guest_died";
    case vmm::Outcome::Kind::signal:
        return "signal";
    case vmm::Outcome::Kind::internal_error:
        break;
    }
    return "internal_error";
}

// The far end of the serial port: one of the two, and who reads along.
struct SerialPort {
    std::unique_ptr<SerialOutput> output;
    std::unique_ptr<Pty> pty;
    std::unique_ptr<vmm::report::ConsoleTail> tail;

    [[nodiscard]] devices::SerialSink& sink() const { return *tail; }
};

// What the machines of one run are made of, which only differ by the resets between them.
struct Parts {
    const RunOptions& options;
    const vmm::MachinePlan& plan;
    SoftwareHost& host;
    const SerialPort& serial;
    const devices::Clock& clock;
    GdbServer* gdb; // may be nullptr
    Symbols& symbols;
    devices::SerialSink* debug; // may be nullptr
    Log& log;
};

// The time that is left of --timeout, 0 without one.
class Timeout {
  public:
    explicit Timeout(double seconds)
        : limit_(std::chrono::milliseconds(static_cast<i64>(std::ceil(std::min(seconds, kLongest) * 1000))))
    {}
    [[nodiscard]] u64 left_ms() const
    {
        using std::chrono::milliseconds;
        if (limit_ == milliseconds(0))
            return 0;
        const auto passed =
            std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - start_);
        return static_cast<u64>(std::max(limit_ - passed, milliseconds(1)).count());
    }

  private:
    static constexpr double kLongest = 1e9; // seconds: what is longer counts as this
    std::chrono::milliseconds limit_;
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

struct Ended {
    vmm::Outcome outcome;
    bool stuck = false; // a thread still uses the machine, which stays: nothing may be taken from under it
    std::string text;   // the report of the guest's death, both empty if it has not died
    std::string json;
};

// A guest that has died, one that hangs, and one that panics and wants a reset, which a TD cannot have.
bool needs_report(const vmm::Outcome& outcome, const std::string& panic)
{
    using Kind = vmm::Outcome::Kind;
    return outcome.kind == Kind::guest_died || outcome.kind == Kind::timeout ||
           (outcome.kind == Kind::reset && !panic.empty());
}

Ended ended_with_report(const Parts& parts, const vmm::Machine& machine, vmm::Outcome outcome)
{
    const std::string panic = parts.serial.tail->panic();
    if (!needs_report(outcome, panic))
        return {.outcome = std::move(outcome), .text = {}, .json = {}};
    trace::Inspection& guests = parts.host.look_back();
    if (const auto registers = guests.registers(outcome.vcpu))
        parts.symbols.slide_by(kaslr_distance(parts.symbols, *registers));
    vmm::report::Facts facts = vmm::report::gather(machine, outcome, &guests, report_tools(parts.symbols));
    facts.panic = panic;
    const auto causes = vmm::report::diagnose(facts);
    return {.outcome = std::move(outcome),
            .text = vmm::report::as_text(facts, causes),
            .json = vmm::report::as_json(facts, causes)};
}

// Builds a machine and runs it, once more after each reset of a plain VM.
Result<Ended, Message> run_machines(const Parts& parts, vmm::VirtioBackends backends, RunningMachine& running)
{
    const RunOptions& o = parts.options;
    const Timeout timeout(o.timeout);
    for (;;) {
        auto machine = TRY(vmm::Machine::build(parts.host.kvm(), parts.plan, parts.serial.sink(), parts.clock,
                                               std::move(backends), parts.debug));
        parts.log.tell("the machine is built; its vCPUs start");
        running.set(machine.get());
        vmm::Outcome outcome =
            machine->run({.timeout_ms = timeout.left_ms(), .inspection = &parts.host.inspection()});
        running.set(nullptr);
        if (machine->stuck()) {
            (void)machine.release(); // it does not go, and neither does what watches it
            return Ended{.outcome = std::move(outcome), .stuck = true, .text = {}, .json = {}};
        }
        const bool resets = parts.plan.config.kind == vmm::VmKind::plain && !o.no_reboot &&
                            outcome.kind == vmm::Outcome::Kind::reset;
        Ended ended = resets ? Ended{} : ended_with_report(parts, *machine, std::move(outcome));
        parts.host.machine_goes();
        if (!resets)
            return ended;
        parts.log.say("the guest asked for a reset; it starts again");
        backends = machine->release_backends();
    }
}

Result<Ended, Message> run_connected(const Parts& parts, vmm::VirtioBackends backends)
{
    using Kind = vmm::Outcome::Kind;
    RunningMachine running;
    Pty* pty = parts.serial.pty.get();
    if (pty != nullptr)
        pty->listen([&](std::span<const u8> bytes) { return running.receive(bytes); });
    // One reader only: the terminal's keys go to the virtio console where that is on the terminal.
    const bool to_virtio = parts.options.console == "stdio";
    Console console(parts.options.serial == "stdio" || to_virtio,
                    {.input =
                         [&](std::span<const u8> bytes) {
                             return to_virtio ? running.receive_console(bytes) : running.receive(bytes);
                         },
                     .signal =
                         [&](int number) {
                             running.end(
                                 {.kind = Kind::signal, .value = static_cast<u32>(number), .report = {}});
                         },
                     .quit = [&] { running.end({.kind = Kind::powered_off, .value = 0, .report = {}}); }});
    if (parts.gdb != nullptr)
        parts.gdb->start(*parts.host.guests(),
                         [&] { running.end({.kind = Kind::powered_off, .value = 0, .report = {}}); });
    auto ended = run_machines(parts, std::move(backends), running);
    if (parts.gdb != nullptr)
        parts.gdb->stop(ended.ok() ? ended.value().outcome.exit_status() : kOurBug);
    if (pty != nullptr)
        pty->stop();
    return ended;
}

// Where a port's bytes go; no port if the option was not given.
Result<std::unique_ptr<SerialOutput>, Message> output(std::string_view option, const std::string& text)
{
    if (text.empty())
        return std::unique_ptr<SerialOutput>();
    return SerialOutput::open(option, TRY(parse_serial(option, text)));
}

Result<SerialPort, Message> open_serial(const RunOptions& o, Log& log)
{
    SerialPort port;
    if (o.serial == "pty") {
        port.pty = TRY(Pty::open());
        log.say("the serial port is " + port.pty->name());
    } else {
        port.output = TRY(SerialOutput::open("--serial", TRY(parse_serial("--serial", o.serial))));
    }
    devices::SerialSink& end = port.pty ? static_cast<devices::SerialSink&>(*port.pty) : *port.output;
    port.tail = std::make_unique<vmm::report::ConsoleTail>(end);
    return port;
}

std::string counted(const SoftwareHost::Counters& c)
{
    const std::string instructions =
        c.instructions ? fmt::format(",\"instructions\":{}", *c.instructions) : "";
    return fmt::format("{{\"vm_exits\":{},\"translations\":{}{}}}", c.vm_exits, c.translations, instructions);
}

void report(const Ended& ended, const RunOptions& o, SoftwareHost& host, Log& log)
{
    const vmm::Outcome& outcome = ended.outcome;
    if (!outcome.report.empty())
        log.say(outcome.report);
    log.lines(ended.text);
    log.tell(
        fmt::format("the run has ended: {}, exit status {}", name_of(outcome.kind), outcome.exit_status()));
    if (o.json)
        fmt::print("{{\"outcome\":\"{}\",\"exit_status\":{},\"report\":{}{}{}}}\n", name_of(outcome.kind),
                   outcome.exit_status(), json_string(outcome.report),
                   ended.json.empty() ? "" : ",\"death\":" + ended.json,
                   ended.stuck ? "" : ",\"counters\":" + counted(host.counters()));
    std::fflush(stdout);
}

// The port for gdb, or nullptr if nobody wants one.
Result<std::unique_ptr<GdbServer>, Message> open_gdb(const RunOptions& o, Log& log)
{
    const std::string where = !o.gdb.empty() ? o.gdb : o.gdb_default ? "1234" : "";
    if (where.empty() && o.gdb_wait)
        return fail(Message{"-S: it takes --gdb or -s, or nobody could let the guest go"});
    if (where.empty())
        return std::unique_ptr<GdbServer>();
    auto server = TRY(GdbServer::open(where));
    log.say("gdb can connect with: target remote " + server->name());
    return server;
}

// What will run.
void tell_plan(const vmm::MachinePlan& plan, const RunOptions& o, Log& log)
{
    const vmm::MachineConfig& config = plan.config;
    log.tell(fmt::format("a {} with {} vCPUs and {} MiB of memory, engine {}",
                         config.kind == vmm::VmKind::td ? "TD" : "plain VM", config.cpus, config.memory >> 20,
                         o.engine));
    log.tell(fmt::format("firmware: {}, {} KiB at {:#x}", o.firmware.empty() ? "built in" : o.firmware,
                         config.firmware.size() >> 10, plan.map.firmware.start));
    if (config.payload != nullptr)
        log.tell(fmt::format("kernel: {}, {} KiB; initrd: {}, {} KiB; command line: \"{}\"", o.kernel,
                             config.payload->kernel.bytes().size() >> 10,
                             o.initrd.empty() ? "none" : o.initrd,
                             config.payload->initrd.bytes().size() >> 10, o.append));
    for (const vmm::MemoryRange& device : config.testdevs)
        log.tell(fmt::format("testdev: {:#x} bytes at {:#x}", device.size, device.start));
    for (const std::string& disk : o.disks)
        log.tell("disk: " + disk);
    log.tell(fmt::format("serial port: {}; network: {}", o.serial, o.net));
}

} // namespace

int run_command(const RunOptions& o)
{
    auto opened_log = Log::open(o.log, o.verbose);
    if (!opened_log.ok())
        return complain(opened_log.error(), kUsage);
    Log& log = opened_log.value();
    const auto linux_payload = payload(o);
    if (!linux_payload.ok())
        return complain(linux_payload.error(), kUsage);
    const auto planned = plan(o, linux_payload.value().get());
    if (!planned.ok())
        return complain(planned.error(), kUsage);
    tell_plan(planned.value(), o, log);
    const auto serial = open_serial(o, log);
    if (!serial.ok())
        return complain(serial.error(), kUsage);
    auto console = output("--console", o.console);
    if (!console.ok())
        return complain(console.error(), kUsage);
    const auto debug = output("--debugcon", o.debugcon);
    if (!debug.ok())
        return complain(debug.error(), kUsage);
    platform::HostRandom random;
    auto backends = open_backends(o, console.value().get(), random);
    if (!backends.ok())
        return complain(backends.error(), kUsage);
    const auto trace = o.trace.empty() ? Result<TraceTarget, Message>(TraceTarget{}) : parse_trace(o.trace);
    if (!trace.ok())
        return complain(trace.error(), kUsage);
    const auto engine = platform::parse_engine(o.engine);
    if (!engine.ok())
        return complain(engine.error(), kUsage);
    auto symbols = o.symbols.empty() ? Result<Symbols, Message>(Symbols{}) : Symbols::load(o.symbols);
    if (!symbols.ok())
        return complain({"--symbols " + symbols.error().text}, kUsage);
    const auto key = read_platform_key(o.platform_key);
    if (!key.ok())
        return complain(key.error(), kUsage);
    const auto gdb = open_gdb(o, log);
    if (!gdb.ok())
        return complain(gdb.error(), kUsage);
    auto sink = SoftwareHost::open_trace(trace.value());
    if (!sink.ok())
        return complain(sink.error(), kUsage);
    block_ending_signals(); // before the first thread starts
    restore_terminal_on_death();
    auto host = SoftwareHost::make({.engine = engine.value(),
                                    .report_key = key.value(),
                                    .events = trace.value().events,
                                    .sink = std::move(sink).value(),
                                    .inspect = gdb.value() != nullptr,
                                    .hold = o.gdb_wait});
    if (!host.ok())
        return complain(host.error(), kOurBug);
    log.tell("the simulated host is up: KVM and the TDX module");
    const HostClock clock;
    const auto ended = run_connected({.options = o,
                                      .plan = planned.value(),
                                      .host = *host.value(),
                                      .serial = serial.value(),
                                      .clock = clock,
                                      .gdb = gdb.value().get(),
                                      .symbols = symbols.value(),
                                      .debug = debug.value().get(),
                                      .log = log},
                                     std::move(backends).value());
    if (!ended.ok())
        return complain(ended.error(), kOurBug);
    report(ended.value(), o, *host.value(), log);
    const int status = ended.value().outcome.exit_status();
    if (ended.value().stuck)
        _exit(status);
    return status;
}

} // namespace seamless::cli
