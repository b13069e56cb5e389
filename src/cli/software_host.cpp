// SPDX-License-Identifier: Apache-2.0
// Builds the simulated host and hands out its ports.
#include "cli/software_host.h"

#include <cstring>
#include <fmt/format.h>

#include "cli/software_kvm.h"
#include "platform/platform.h"
#include "platform/stall_watch.h"
#include "trace/writer.h"

namespace seamless::cli {
namespace {

class Inspection : public vmm::InspectionPort {
  public:
    explicit Inspection(const platform::StallWatch& watch) : watch_(watch) {}
    Stall stall(unsigned index) override
    {
        const platform::StallWatch::Stall s = watch_.stall(index);
        return {s.fruitless_entries,
                fmt::format("rip {:#x}, guest-physical address {:#x}, exit reason {} ({})", s.rip, s.gpa,
                            s.exit_reason,
                            spec::exit_reason_name(static_cast<spec::ExitReason>(s.exit_reason)))};
    }

  private:
    const platform::StallWatch& watch_;
};

// Members are destroyed in reverse: the device before the platform, the platform before what it writes to.
class Host : public SoftwareHost {
  public:
    vmm::IoctlPort& kvm() override { return *kvm_; }
    vmm::InspectionPort& inspection() override { return inspection_; }
    trace::Inspection* guests() override { return inspects_ ? inspector_.get() : nullptr; }
    trace::Inspection& look_back() override
    {
        inspector_->look_back(watch_);
        return *inspector_;
    }
    void machine_goes() override
    {
        inspector_->forget_vcpus();
        watch_.forget();
    }
    Counters counters() override
    {
        Counters sum;
        u64 instructions = 0;
        for (unsigned id = 0; id < platform_->package().count(); ++id) {
            const cpu::LogicalProcessor::Counters counted = platform_->package().lp(id).counters();
            sum.vm_exits += counted.vm_exits;
            sum.translations += counted.translations;
            instructions += counted.instructions;
        }
        if (counts_)
            sum.instructions = instructions;
        return sum;
    }

    Result<void, Message> start(Options options)
    {
        platform::Parameters parameters;
        counts_ = options.engine.mode == cpu::EngineMode::step || !options.engine.optimizations.uncounted;
        inspects_ = options.inspect;
        inspector_ = std::make_unique<platform::Inspector>(options.hold);
        platform::Inspector* port = inspects_ ? inspector_.get() : nullptr;
        parameters.make_lp = watch_.watch(platform::make_engine(options.engine, port));
        parameters.report_key = options.report_key;
        platform::EventMemory* events = nullptr;
        if (options.inspect) {
            auto memory = std::make_unique<platform::EventMemory>(std::move(options.sink), options.events);
            events = memory.get();
            sink_ = std::move(memory);
        } else {
            sink_ = std::move(options.sink);
            parameters.trace_events = options.events;
        }
        parameters.trace_sink = sink_.get();
        platform_ = TRY(platform::Platform::create(parameters));
        device_ = std::make_unique<uapi::Device>(*platform_);
        kvm_ = std::make_unique<SoftwareKvm>(*device_, port);
        inspector_->look_at(platform_->tdx_module(), events);
        return {};
    }

  private:
    std::unique_ptr<trace::Sink> sink_;
    platform::StallWatch watch_;
    Inspection inspection_{watch_};
    std::unique_ptr<platform::Inspector> inspector_;
    std::unique_ptr<platform::Platform> platform_;
    std::unique_ptr<uapi::Device> device_;
    std::unique_ptr<SoftwareKvm> kvm_;
    bool counts_ = false;
    bool inspects_ = false; // while guests run
};

} // namespace

Result<std::unique_ptr<trace::Sink>, Message> SoftwareHost::open_trace(const TraceTarget& target)
{
    if (target.path.empty())
        return std::unique_ptr<trace::Sink>();
    auto sink = trace::open_writer(target.path);
    if (!sink.ok())
        return fail(Message{fmt::format("--trace {}: {}", target.path, std::strerror(sink.error().value))});
    return std::move(sink).value();
}

Result<std::unique_ptr<SoftwareHost>, Message> SoftwareHost::make(Options options)
{
    auto host = std::make_unique<Host>();
    TRY(host->start(std::move(options)));
    return std::unique_ptr<SoftwareHost>(std::move(host));
}

} // namespace seamless::cli
