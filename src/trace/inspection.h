// SPDX-License-Identifier: Apache-2.0
// The inspection port: what tools may see of guests, and how they stop them, whatever KVM and the TDX module
// let their own callers see. `platform` implements it, `cli` hands it to the tools; another KVM has none.
// Guests notice nothing of it but the time that passes, and what a tool writes.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "spec/vmx.h"
#include "spec/x86.h"
#include "trace/crossing.h"
#include "trace/trace.h"

namespace seamless::trace {

// x87, SSE and what came after, by XSAVE's components. What the processor lacks is zero.
struct VectorState {
    std::array<u8, 512> legacy{}; // FXSAVE's image: x87, MXCSR, XMM0 to XMM15
    std::array<u8, 16 * 16> ymm_high{};
    std::array<u8, 8 * 8> opmask{};
    std::array<u8, 16 * 32> zmm_high{};
    std::array<u8, 16 * 64> zmm_upper{}; // ZMM16 to ZMM31

    friend bool operator==(const VectorState&, const VectorState&) = default;
};

struct VcpuRegisters {
    u64 gpr[spec::kGprCount] = {}; // by spec::Gpr
    u64 rip = 0;
    u64 rflags = 0;
    spec::Segment seg[spec::kSegCount]; // by spec::Seg
    spec::DescriptorTable gdtr, idtr;
    u64 cr0 = 0, cr2 = 0, cr3 = 0, cr4 = 0, cr8 = 0, xcr0 = 0;
    u64 dr[4] = {};
    u64 dr6 = 0, dr7 = 0;
    u64 efer = 0, pat = 0, debugctl = 0, star = 0, lstar = 0, cstar = 0, fmask = 0, kernel_gs_base = 0;
    u64 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0, tsc_aux = 0, spec_ctrl = 0, xss = 0;
    u32 pkru = 0;
    u32 interruptibility = 0;
    bool halted = false;
    VectorState vector;
};

// `stopped`: in the guest, between two instructions. `outside`: the host does something for it, or lets it
// wait; its registers are those of its last VM exit.
struct VcpuStatus {
    u32 id = 0;
    bool td = false;
    bool stopped = false;
    u32 exit_reason = 0; // outside: the last exit
};

enum class StopReason : u8 { asked, stepped, breakpoint, watchpoint };

struct VcpuStop {
    u32 vcpu = 0;
    StopReason reason = StopReason::asked;
    u64 address = 0; // breakpoint: where; watchpoint: what was accessed
};

struct Watchpoint {
    u64 start = 0;
    u64 bytes = 0;
    bool reads = false;
    bool writes = false;

    friend bool operator==(const Watchpoint&, const Watchpoint&) = default;
};

// How a vCPU goes on. Those that no action names stay where they are.
struct Resume {
    u32 vcpu = 0;
    bool step = false;
};

// One entry that a walk went through.
struct WalkStep {
    enum class Table : u8 { guest, plain_ept, shared_ept, secure_ept } table = Table::guest;
    unsigned level = 0; // from the leaf: 0 = 4 KiB
    u64 address = 0;    // of the entry: guest-physical in guest tables, else the host's
    u64 entry = 0;
    bool readable = true; // false: there is no such memory
    bool narrow = false;  // 4 bytes
    u8 state = 0;         // secure EPT: spec::SeptState
};

struct Walk {
    std::vector<WalkStep> steps;
    std::optional<u64> gpa;   // what the guest's tables say
    std::optional<u64> host;  // where that is, without key id
    unsigned guest_level = 0; // size of the guest's page
};

// What the TDX module holds about the TD of a vCPU.
struct TdFacts {
    u64 attributes = 0, xfam = 0, config_flags = 0, td_ctls = 0, notify_enables = 0;
    u64 tdr = 0, sept_root = 0, shared_bit = 0;
    u16 hkid = 0;
    u8 op_state = 0; // spec::TdOpState
    bool fatal = false;
    unsigned vcpus = 0, max_vcpus = 0;
    using Digest = std::array<u8, 48>;
    Digest mrtd{}, mrconfigid{}, mrowner{}, mrownerconfig{};
    Digest rtmr[4]{};
    // Of the vCPU.
    u64 tdvpr = 0;
    u8 vcpu_state = 0; // spec::TdVcpuState
    spec::VeInfo ve_info{};
};

// Everything but `listen` is for one thread. Guests must stand still, unless said otherwise.
class Inspection {
  public:
    virtual ~Inspection() = default;

    // `stopped` is called, from any thread, when a guest has stopped by itself, and when the first vCPU
    // comes.
    virtual void listen(std::function<void()> stopped) = 0;
    // At any time: makes guests stand still. What they do in the host goes on.
    virtual void stop() = 0;
    // At any time: whether a guest has stopped by itself since the last resume; then all stand still.
    [[nodiscard]] virtual std::optional<VcpuStop> take_stop() = 0;
    virtual void resume(std::span<const Resume> actions) = 0;

    // The vCPUs that have been in the guest, ascending. At any time.
    [[nodiscard]] virtual std::vector<VcpuStatus> vcpus() = 0;
    [[nodiscard]] virtual std::optional<VcpuRegisters> registers(u32 vcpu) = 0;
    // False: the vCPU is outside, or no guest can have such registers.
    [[nodiscard]] virtual bool set_registers(u32 vcpu, const VcpuRegisters& registers) = 0;

    // How many bytes were there, from the first one on. Linear addresses are those of the vCPU.
    [[nodiscard]] virtual u64 read(u32 vcpu, Gva from, std::span<u8> to) = 0;
    [[nodiscard]] virtual u64 read(u32 vcpu, Gpa from, std::span<u8> to) = 0;
    [[nodiscard]] virtual u64 write(u32 vcpu, Gva to, std::span<const u8> from) = 0;
    [[nodiscard]] virtual u64 write(u32 vcpu, Gpa to, std::span<const u8> from) = 0;
    [[nodiscard]] virtual Walk walk(u32 vcpu, Gva gva) = 0;
    [[nodiscard]] virtual Walk walk(u32 vcpu, Gpa gpa) = 0;

    // What processors of this host can have in XCR0. At any time.
    [[nodiscard]] virtual u64 components() = 0;

    virtual void set_points(std::span<const u64> breakpoints, std::span<const Watchpoint> watchpoints) = 0;

    [[nodiscard]] virtual std::optional<TdFacts> td_facts(u32 vcpu) = 0;
    // What has been traced of late, oldest first; those about memory are kept for longer.
    [[nodiscard]] virtual std::vector<Record> recent_events() = 0;
    [[nodiscard]] virtual std::vector<Record> memory_events(u64 gpa) = 0;

    // Of a run that is over: the last VM exits, oldest first, and the APIC of a vCPU that has a virtual one.
    [[nodiscard]] virtual std::vector<Crossing> crossings(u32) { return {}; }
    [[nodiscard]] virtual std::optional<ApicState> apic(u32) { return {}; }
};

} // namespace seamless::trace
