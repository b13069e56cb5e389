// SPDX-License-Identifier: Apache-2.0
// One simulated TDX host: memory, clock, entropy, processors, TDX module, KVM. Everything that such a host
// would report is fixed by its parameters.
#pragma once

#include <array>
#include <memory>
#include <optional>

#include "base/message.h"
#include "cpu/package.h"
#include "cpu/seam_port.h"
#include "kvm/kvm.h"
#include "mem/host_memory.h"
#include "trace/trace.h"

namespace seamless::tdx {
class TdxModule;
}

namespace seamless::platform {

struct Parameters {
    cpu::LpFactory make_lp; // cpu::make_processor(mode), or a test's own
    unsigned logical_processors = cpu::kLogicalProcessors;
    u64 memory_bytes =
        u64{64} << 30; // address space of the convertible memory: what all VMs can have together
    trace::Sink* trace_sink = nullptr; // null: nothing is traced; else it outlives the platform
    std::bitset<64> trace_events = std::bitset<64>().set();
    bool tdx = true; // without, the host has no TDX module
    kvm::x86_ops ops = kvm::vt_x86_ops;
    // The key of TDREPORTs' MACs; none: a random one. Hosts with the same key are one platform to whoever
    // verifies.
    std::optional<std::array<u8, 32>> report_key;
    base::Clock* clock = nullptr; // null: the host's; else they outlive the platform
    base::Random* random = nullptr;
};

class Platform {
  public:
    // Builds the host and brings TDX up.
    [[nodiscard]] static Result<std::unique_ptr<Platform>, Message> create(const Parameters& parameters);
    ~Platform();
    Platform(const Platform&) = delete;
    Platform& operator=(const Platform&) = delete;

    [[nodiscard]] kvm::Kvm& kvm() { return *kvm_; }
    [[nodiscard]] cpu::Package& package() { return *package_; }
    [[nodiscard]] mem::HostMemory& memory() { return *memory_; }
    [[nodiscard]] trace::Tracer& tracer() { return *tracer_; }
    // The TDX module as SEAMCALL reaches it, or nullptr.
    [[nodiscard]] cpu::SeamPort* seam();
    // The module itself, for inspection; or nullptr.
    [[nodiscard]] tdx::TdxModule* tdx_module() { return seam_.get(); }

  private:
    Platform() = default;

    std::unique_ptr<base::Clock> own_clock_;
    std::unique_ptr<base::Random> own_random_;
    std::unique_ptr<mem::HostMemory> memory_;
    std::unique_ptr<trace::Tracer> tracer_;
    std::unique_ptr<cpu::Package> package_;
    std::unique_ptr<tdx::TdxModule> seam_;
    std::unique_ptr<kvm::Kvm> kvm_;
};

} // namespace seamless::platform
