// SPDX-License-Identifier: Apache-2.0
// Fuzzes the report of a guest's death: a guest that leaves any registers, stacks and code behind, and any
// exits. Whatever it was, the text is lines that a terminal does not obey, and the object is JSON.
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/report_tools.h"
#include "fakes/scripted_guests.h"
#include "fuzz/depth.h"
#include "fuzz/input.h"
#include "fuzz/target.h"
#include "spec/tdx_abi.h"
#include "vmm/report/console_tail.h"
#include "vmm/report/diagnosis.h"
#include "vmm/report/history.h"
#include "vmm/report/report.h"

namespace seamless::fuzz {
namespace {

using namespace vmm::report;
using fakes::ScriptedGuests;
using spec::Gpr;
using spec::Seg;

constexpr u64 kSharedBit = u64{1} << 47;

// A number that means something to a report, or any.
u64 draw_value(Input& in)
{
    constexpr u64 kValues[] = {0,
                               1,
                               ScriptedGuests::kLinear + 0x1000,
                               ScriptedGuests::kLinear + 0x2000,
                               ScriptedGuests::kLinear + 0x3ff8,
                               ScriptedGuests::kLinear - 8,
                               ~u64{0},
                               0xfe000000,
                               kSharedBit | 0xfe000000,
                               kSharedBit | 0x4000000,
                               0x4000000};
    return in.flag() ? in.pick(kValues) : in.number();
}

void draw_registers(Input& in, trace::VcpuRegisters& r)
{
    for (u64& value : r.gpr)
        value = draw_value(in);
    r.rip = draw_value(in);
    r.rflags = in.flag() ? 0x202 : in.take<u32>();
    r.efer = in.byte() < 192 ? spec::efer::LMA : in.number();
    spec::Segment& cs = r.seg[static_cast<unsigned>(Seg::cs)];
    cs.selector = in.flag() ? u16{0x10} : in.take<u16>();
    cs.ar = in.byte() < 192 ? spec::segment_ar::L : in.take<u32>();
    cs.base = in.flag() ? 0 : in.number();
    r.idtr.limit = in.take<u16>();
    r.cr2 = draw_value(in);
    r.lstar = draw_value(in);
    r.halted = in.flag();
}

// Code with calls, and a stack of words that may be frames.
void draw_memory(Input& in, std::vector<u8>& memory)
{
    for (u64 i = in.below(8); i > 0; --i)
        in.fill(memory.data() + 0x1000 + in.below(0x40), 1 + in.below(16));
    const auto put = [&](u64 word, u64 value) {
        std::memcpy(memory.data() + 0x2000 + word * 8, &value, sizeof(value));
    };
    const auto return_address = [&] { return ScriptedGuests::kLinear + 0x1005 + in.below(8) * 16; };
    if (in.flag())
        for (u64 i = 0; i < 8; ++i)
            memory[0x1000 + i * 16] = 0xe8; // CALL
    for (u64 i = in.below(64); i > 0; --i)
        put(in.below(0x80), in.flag() ? return_address() : draw_value(in));
    for (u64 i = 0, frames = in.below(8); i < frames; ++i) { // each names the next, mostly
        put(i * 4, in.byte() < 240 ? ScriptedGuests::kLinear + 0x2000 + (i + 1) * 32 : draw_value(in));
        put(i * 4 + 1, return_address());
    }
    if (in.flag()) { // an exception's frame: RIP, CS, RFLAGS, RSP, SS
        const u64 frame[] = {draw_value(in), 0x10, 0x202, draw_value(in), 0x18};
        std::memcpy(memory.data() + 0x2000 + in.below(0x40) * 8, frame, sizeof(frame));
    }
}

trace::Crossing draw_crossing(Input& in)
{
    constexpr u32 kReasons[] = {77, 77, 77, 77, 48, 49, 12, 2, 10, 30, 31, 32, 1, 0};
    constexpr u64 kLeaves[] = {0, 0, 0, 3, 6, 7};
    constexpr u64 kRequests[] = {10, 12, 30, 31, 32, 48, 0x10001, 0x10003};
    trace::Crossing c{.number = in.number(),
                      .exit_reason = in.byte() < 224 ? in.pick(kReasons) : in.take<u32>(),
                      .qualification = in.number(),
                      .gla = draw_value(in),
                      .gpa = draw_value(in),
                      .rip = draw_value(in),
                      .rsp = draw_value(in)};
    for (unsigned i = 0; i < spec::kGprCount; ++i)
        c.gpr[i] = in.byte() < 128 ? draw_value(in) : 0;
    c.gpr[static_cast<unsigned>(Gpr::rax)] = in.byte() < 224 ? in.pick(kLeaves) : in.number();
    c.gpr[static_cast<unsigned>(Gpr::r11)] = in.byte() < 224 ? in.pick(kRequests) : in.number();
    c.gpr[static_cast<unsigned>(Gpr::r10)] = in.byte() < 224 ? 0 : in.number();
    c.resumed = in.byte() < 192;
    c.injected = in.flag() ? 0 : in.flag() ? u32{0x80000300} | in.byte() : in.take<u32>();
    for (u64& value : c.next_gpr)
        value = in.byte() < 96 ? draw_value(in) : 0;
    return c;
}

trace::ApicState draw_apic(Input& in)
{
    trace::ApicState apic{.task_priority = in.byte(), .software_enabled = in.flag()};
    for (auto* set : {&apic.requested, &apic.in_service, &apic.posted})
        if (in.flag())
            set->at(in.below(4)) = in.number();
    return apic;
}

VcpuFacts draw_vcpu(Input& in, u32 id, bool td, const Tools& tools)
{
    VcpuFacts facts{.id = id, .inspected = in.byte() < 224};
    std::vector<trace::Crossing> crossings;
    for (u64 i = in.below(6); i > 0; --i)
        crossings.push_back(draw_crossing(in));
    facts.events = events_of(crossings);
    facts.entered = facts.inspected && in.byte() < 224;
    if (td) {
        facts.td.emplace().shared_bit = kSharedBit;
        facts.td->ve_info.valid = in.byte() < 64 ? 0xffffffff : 0;
        facts.td->ve_info.exit_reason = in.pick(std::array<u32, 4>{48, 30, 31, 10});
        facts.td->ve_info.gpa = draw_value(in);
    }
    if (in.flag())
        facts.apic = draw_apic(in);
    if (!facts.entered)
        return facts;
    ScriptedGuests guests;
    draw_registers(in, facts.registers.emplace());
    draw_memory(in, guests.memory);
    look_inside(facts, guests, tools);
    for (const vmm::report::Frame& frame : facts.backtrace)
        Depth::reached("frames", std::to_string(static_cast<unsigned>(frame.how)));
    if (!facts.interrupted.empty())
        Depth::reached("frames", "of an exception");
    return facts;
}

void draw_devices(Input& in, Facts& facts)
{
    for (u64 i = in.below(3); i > 0; --i) {
        devices::Ioapic::Pin pin{.vector = in.byte()};
        const u8 bits = in.byte();
        pin.masked = bits & 1;
        pin.level = bits & 2;
        pin.remote_irr = bits & 4;
        pin.asserted = bits & 8;
        pin.lost = bits & 16;
        facts.pins.push_back({static_cast<unsigned>(i), "virtio-mmio transport 0", pin});
    }
    for (u64 i = in.below(3); i > 0; --i)
        facts.dma.push_back({draw_value(in), in.number(), in.flag()});
    if (in.byte() < 32)
        facts.panic = printable({reinterpret_cast<const char*>(in.rest().data()), in.rest().size()}, 300);
}

Facts draw_facts(Input& in, const Tools& tools)
{
    Facts facts;
    facts.outcome.kind = static_cast<vmm::Outcome::Kind>(in.below(7));
    facts.outcome.death = static_cast<vmm::Death>(in.below(10));
    facts.outcome.vcpu = static_cast<u32>(in.below(4));
    facts.outcome.gpa = draw_value(in);
    facts.outcome.private_ = in.flag();
    facts.td = in.byte() < 192;
    facts.shared_bit = facts.td && in.byte() < 240 ? kSharedBit : 0;
    const u64 vcpus = in.below(4);
    draw_devices(in, facts);
    for (u32 i = 0; i < vcpus; ++i)
        facts.vcpus.push_back(draw_vcpu(in, i, facts.td, tools));
    facts.owner = [](u64 gpa) { return gpa == 0xfe000000 ? "testdev" : gpa < 0x10000000 ? "memory" : ""; };
    facts.symbol = tools.symbol;
    const u8 state = in.byte();
    facts.sept_state = [state](u32, u64) { return state < 16 ? std::optional(state) : std::nullopt; };
    return facts;
}

void run(Input in)
{
    constexpr const char* kFile = "ffff800000001000 T start\nffff800000001020 T \x1b[2J\"\\\x80\n";
    std::istringstream stream(kFile);
    const bool has_symbols = in.flag();
    cli::Symbols symbols;
    if (has_symbols)
        symbols = cli::Symbols::read(stream, "symbols").value();
    const Facts facts = draw_facts(in, cli::report_tools(symbols));
    const std::vector<Diagnosis> causes = diagnose(facts);
    for (const Diagnosis& cause : causes)
        Depth::reached("causes", cause.name);
    if (causes.empty())
        Depth::reached("causes", "none");
    const std::string text = as_text(facts, causes);
    for (const char c : text)
        if (c != '\n' && (c < ' ' || c > '~'))
            std::abort();
    if (!nlohmann::json::accept(as_json(facts, causes)))
        std::abort();
}

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::run({data, size});
    return 0;
}
