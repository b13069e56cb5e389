// SPDX-License-Identifier: Apache-2.0
// Guests that do what a test says, behind the inspection port; what is asked of them is on record.
#pragma once

#include <algorithm>
#include <map>

#include "trace/inspection.h"

namespace seamless::fakes {

class ScriptedGuests : public trace::Inspection {
  public:
    struct Vcpu {
        bool stopped = true;
        trace::VcpuRegisters registers;
    };

    std::map<u32, Vcpu> list{{0, {}}, {1, {}}};
    bool td = true;
    bool running = true;
    std::vector<trace::VcpuStop> stops; // that wait to be taken
    std::vector<std::vector<trace::Resume>> resumed;
    std::vector<u64> breakpoints;
    std::vector<trace::Watchpoint> watchpoints;
    std::vector<u8> memory = std::vector<u8>(0x4000); // linear from kLinear, physical from 0
    static constexpr u64 kLinear = 0xffff'8000'0000'0000;
    std::vector<trace::Record> events;
    std::function<void()> listener;

    void listen(std::function<void()> stopped) override { listener = std::move(stopped); }
    void stop() override { running = false; }
    std::optional<trace::VcpuStop> take_stop() override
    {
        if (stops.empty())
            return {};
        const trace::VcpuStop stop = stops.front();
        stops.erase(stops.begin());
        running = false;
        return stop;
    }
    void resume(std::span<const trace::Resume> actions) override
    {
        resumed.emplace_back(actions.begin(), actions.end());
        running = true;
    }
    std::vector<trace::VcpuStatus> vcpus() override
    {
        std::vector<trace::VcpuStatus> out;
        for (const auto& [id, vcpu] : list)
            out.push_back({.id = id, .td = td, .stopped = vcpu.stopped, .exit_reason = 12});
        return out;
    }
    std::optional<trace::VcpuRegisters> registers(u32 vcpu) override
    {
        const auto at = list.find(vcpu);
        return at == list.end() ? std::nullopt : std::optional(at->second.registers);
    }
    bool set_registers(u32 vcpu, const trace::VcpuRegisters& registers) override
    {
        const auto at = list.find(vcpu);
        if (at == list.end() || !at->second.stopped || registers.cr0 != at->second.registers.cr0)
            return false;
        at->second.registers = registers;
        return true;
    }
    u64 read(u32, Gva from, std::span<u8> to) override { return copy(from.value() - kLinear, to); }
    u64 read(u32, Gpa from, std::span<u8> to) override { return copy(from.value(), to); }
    u64 write(u32, Gva to, std::span<const u8> from) override { return put(to.value() - kLinear, from); }
    u64 write(u32, Gpa to, std::span<const u8> from) override { return put(to.value(), from); }
    trace::Walk walk(u32, Gva gva) override
    {
        trace::Walk walk{.gpa = gva.value() & 0xfff};
        walk.steps.push_back({.level = 0, .address = 0x1000, .entry = 0x8000000000000063});
        walk.steps.push_back(
            {.table = trace::WalkStep::Table::secure_ept, .address = 0x2000, .entry = bit(63), .state = 2});
        return walk;
    }
    trace::Walk walk(u32, Gpa gpa) override
    {
        trace::Walk walk{.gpa = gpa.value()};
        walk.steps.push_back(
            {.table = trace::WalkStep::Table::shared_ept, .address = 0x3000, .entry = 0xfe000});
        return walk;
    }
    u64 components() override { return 7; }
    void set_points(std::span<const u64> b, std::span<const trace::Watchpoint> w) override
    {
        breakpoints.assign(b.begin(), b.end());
        watchpoints.assign(w.begin(), w.end());
    }
    std::optional<trace::TdFacts> td_facts(u32) override
    {
        if (!td)
            return {};
        trace::TdFacts facts{
            .attributes = bit(28), .shared_bit = bit(47), .op_state = 2, .vcpus = 2, .max_vcpus = 2};
        facts.mrtd[0] = 0xab;
        facts.ve_info = {.exit_reason = 48, .valid = ~0u, .gpa = bit(47) | 0xfe000000};
        return facts;
    }
    std::vector<trace::Record> recent_events() override { return events; }
    std::vector<trace::Record> memory_events(u64) override { return events; }

  private:
    u64 copy(u64 at, std::span<u8> to)
    {
        const u64 n = at < memory.size() ? std::min<u64>(to.size(), memory.size() - at) : 0;
        std::copy_n(memory.begin() + static_cast<std::ptrdiff_t>(n != 0 ? at : 0), n, to.begin());
        return n;
    }
    u64 put(u64 at, std::span<const u8> from)
    {
        const u64 n = at < memory.size() ? std::min<u64>(from.size(), memory.size() - at) : 0;
        std::copy_n(from.begin(), n, memory.begin() + static_cast<std::ptrdiff_t>(n != 0 ? at : 0));
        return n;
    }
};

} // namespace seamless::fakes
