// SPDX-License-Identifier: Apache-2.0
// A machine for tests of the processor: guest memory behind hand-written EPT tables, long mode with identity
// paging, a VMCS, and no KVM. Code is given as bytes.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <random>
#include <span>
#include <vector>
#include <x86intrin.h>

#include "base/host_ports.h"
#include "cpu/cpuid.h"
#include "cpu/package.h"
#include "cpu/processor.h"
#include "mem/guest_access.h"
#include "spec/ept.h"
#include "trace/trace.h"

namespace seamless::fakes {

class FixedClock : public base::Clock {
  public:
    u64 tsc() override
    {
        ++asked;
        if (line.rate == 0)
            return now_ += 100;
        const u64 host = __rdtsc();
        if (line.from != 0)
            line.base = line.at(host);
        line.from = host - age;
        return line.base;
    }
    u64 tsc_hz() override { return 1'000'000'000; }
    base::TscLine tsc_line() override { return line; }
    u64 monotonic_ns() override { return now_; }
    u64 realtime_ns() override { return now_; }

    // Set a rate, and tsc() begins a line at each look. A rate of 1 is too little to move within a line.
    base::TscLine line;
    u64 age = 0; // how much of each line is over already
    unsigned asked = 0;

  private:
    u64 now_ = 1000;
};

class SeededRandom : public base::Random {
  public:
    bool fill(std::span<u8> out) override
    {
        for (u8& byte : out)
            byte = static_cast<u8>(engine_());
        return true;
    }

  private:
    std::mt19937_64 engine_{1};
};

struct RecordingSink : trace::Sink {
    std::vector<trace::Record> records;
    void write(const trace::Record& record) override { records.push_back(record); }
    [[nodiscard]] unsigned count(trace::Event event) const
    {
        return static_cast<unsigned>(
            std::ranges::count_if(records, [&](const auto& r) { return r.event == event; }));
    }
};

// Guest-physical layout: everything is private memory from 0, one EPT of four levels.
class GuestMachine {
  public:
    static constexpr u64 kMemory = 8 << 20;
    static constexpr u64 kPml4 = 0x1000; // guest page tables
    static constexpr u64 kGdt = 0x5000;
    static constexpr u64 kIdt = 0x6000;
    static constexpr u64 kTss = 0x7000;
    static constexpr u64 kHandlers = 0x8000;
    static constexpr u64 kCode = 0x10000;
    static constexpr u64 kStack = 0x80000; // grows down
    static constexpr u64 kData = 0x100000;
    static constexpr u16 kCs = 0x08, kDs = 0x10, kUserDs = 0x1b, kUserCs = 0x23, kTr = 0x28;

    explicit GuestMachine(cpu::EngineMode mode = cpu::EngineMode::full, cpu::DebugPort* debug_port = nullptr)
        : host(mem::HostMemory::create(u64{1} << 30).value()),
          tracer(sink, [] { return u64{0}; }),
          package(1, cpu::make_processor(mode, {}, debug_port), *host, clock, random, tracer),
          lp(package.lp(0))
    {
        lp.trace = {.tracer = &tracer, .vcpu = 0};
        memory = host->alloc_range(kMemory).value();
        ept_root = host->alloc_page().value();
        for (u64 gpa = 0; gpa < kMemory; gpa += kPageSize)
            map(Gpa(gpa), memory + gpa, spec::ept::RWX);
        ve_info = host->alloc_page().value();
        build_guest_tables();
        reset_state();
    }

    // Sets the EPT entry for `gpa`; `entry` overrides address and permissions if `raw`.
    void map(Gpa gpa, Hpa hpa, u64 permissions)
    {
        set_entry(gpa, hpa.value() | permissions | spec::ept::MEMTYPE_WB << 3 | spec::ept::SUPPRESS_VE);
    }
    void set_entry(Gpa gpa, u64 entry) { mem::store<u64>(entry_at(gpa), entry); }

    Hpa entry_at(Gpa gpa, Hpa root = {})
    {
        Hpa table = root.value() ? root : ept_root;
        for (unsigned level = 3; level > 0; --level) {
            const Hpa at = table + u64{spec::ept::index(gpa.value(), level)} * 8;
            u64 entry = mem::load<u64>(at);
            if (!(entry & spec::ept::RWX)) {
                entry = host->alloc_page().value().value() | spec::ept::RWX;
                mem::store<u64>(at, entry);
            }
            table = Hpa(entry & spec::ept::ADDRESS);
        }
        return table + u64{spec::ept::index(gpa.value(), 0)} * 8;
    }

    // Where the guest's page table maps `gva`.
    [[nodiscard]] static constexpr u64 guest_pte(u64 gva)
    {
        return kMemory - ((gva >> 21) + 1) * kPageSize + 8 * (gva >> 12 & 511);
    }

    u8* at(u64 gpa) { return mem::host_ptr<u8>(memory + gpa); }
    template <typename T>
    T get(u64 gpa)
    {
        T value;
        std::memcpy(&value, at(gpa), sizeof value);
        return value;
    }
    template <typename T>
    void put(u64 gpa, T value)
    {
        std::memcpy(at(gpa), &value, sizeof value);
    }
    void code(u64 gpa, std::span<const u8> bytes)
    {
        std::ranges::copy(bytes, at(gpa));
        lp.code_may_have_changed();
    }

    // Runs `bytes`, then VMCALL, from kCode.
    spec::ExitReason run(std::span<const u8> bytes)
    {
        code(kCode, bytes);
        constexpr u8 vmcall[] = {0x0f, 0x01, 0xc1};
        code(kCode + bytes.size(), vmcall);
        vmcs.rip = kCode;
        return enter();
    }
    spec::ExitReason run(std::initializer_list<u8> bytes)
    {
        return run(std::span(bytes.begin(), bytes.size()));
    }

    spec::ExitReason enter()
    {
        lp.vm_enter(vmcs, context);
        return static_cast<spec::ExitReason>(vmcs.exit_reason & 0xffff);
    }

    // Where exception `vector` went: its handler is VMCALL at kHandlers + 16 * vector.
    [[nodiscard]] int handled_vector() const
    {
        return vmcs.rip >= kHandlers && vmcs.rip < kHandlers + 0x1000
                   ? static_cast<int>((vmcs.rip - kHandlers) / 16)
                   : -1;
    }

    u64& gpr(spec::Gpr r) { return r == spec::Gpr::rsp ? vmcs.rsp : context[r]; }

    void reset_state()
    {
        using namespace spec;
        vmcs = {};
        context = {};
        vmcs.proc_based = proc::SECONDARY_CONTROLS | proc::HLT_EXITING;
        vmcs.proc_based2 =
            proc2::EPT | proc2::VPID | proc2::RDTSCP | proc2::INVPCID | proc2::UNRESTRICTED_GUEST;
        vmcs.vpid = 1;
        vmcs.ept_pointer = ept_root.value() | ept::EPTP_WB | ept::eptp_walk_length(4);
        vmcs.ve_information_address = ve_info.value();
        vmcs.cr0 = cr0::PE | cr0::PG | cr0::NE | cr0::ET | cr0::WP | cr0::MP;
        vmcs.cr3 = kPml4;
        vmcs.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::OSXSAVE | cr4::PGE;
        vmcs.efer = efer::SCE | efer::LME | efer::LMA | efer::NXE;
        context.xcr0 = cpu::supported_xcr0();
        const auto flat = [](u16 selector, u32 ar) {
            return Segment{.base = 0, .limit = 0xffffffff, .ar = ar, .selector = selector};
        };
        for (auto seg : {Seg::es, Seg::ss, Seg::ds, Seg::fs, Seg::gs})
            vmcs.seg[static_cast<int>(seg)] = flat(kDs, 0xc093);
        vmcs.seg[static_cast<int>(Seg::cs)] = flat(kCs, 0xa09b);
        vmcs.seg[static_cast<int>(Seg::ldtr)] = flat(0, segment_ar::UNUSABLE);
        vmcs.seg[static_cast<int>(Seg::tr)] = {.base = kTss, .limit = 0x67, .ar = 0x8b, .selector = kTr};
        vmcs.gdtr = {.base = kGdt, .limit = 0x3f};
        vmcs.idtr = {.base = kIdt, .limit = 0xfff};
        vmcs.rsp = kStack;
        vmcs.rip = kCode;
        lp.invept_all();
    }

    // Makes the machine enter at CPL 3 with the user segments.
    void user_mode()
    {
        vmcs.seg[static_cast<int>(spec::Seg::cs)].ar = 0xa0fb;
        vmcs.seg[static_cast<int>(spec::Seg::cs)].selector = kUserCs;
        vmcs.seg[static_cast<int>(spec::Seg::ss)].ar = 0xc0f3;
        vmcs.seg[static_cast<int>(spec::Seg::ss)].selector = kUserDs;
    }

    std::unique_ptr<mem::HostMemory> host;
    FixedClock clock;
    SeededRandom random;
    RecordingSink sink;
    trace::Tracer tracer;
    cpu::Package package;
    cpu::LogicalProcessor& lp;
    Hpa memory;
    Hpa ept_root;
    Hpa ve_info;
    cpu::Vmcs vmcs;
    cpu::GuestContext context;

  private:
    void build_guest_tables()
    {
        constexpr u64 kUserRw = 7;
        put<u64>(kPml4, (kPml4 + 0x1000) | kUserRw);
        put<u64>(kPml4 + 0x1000, (kPml4 + 0x2000) | kUserRw);
        for (u64 i = 0; i < kMemory >> 21; ++i) { // page tables of 4 KiB pages, at the top of memory
            const u64 table = kMemory - (i + 1) * kPageSize;
            put<u64>(kPml4 + 0x2000 + 8 * i, table | kUserRw);
            for (u64 j = 0; j < 512; ++j)
                put<u64>(table + 8 * j, (i << 21 | j << 12) | kUserRw);
        }
        constexpr u64 gdt[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x00cff3000000ffff,
                               0x00affb000000ffff};
        for (unsigned i = 0; i < 5; ++i)
            put<u64>(kGdt + 8 * i, gdt[i]);
        put<u64>(kGdt + kTr, 0x00008b0000000067 | (kTss & 0xffffff) << 16);
        put<u64>(kGdt + kTr + 8, 0);
        for (u64 v = 0; v < 256; ++v) {
            const u64 handler = kHandlers + 16 * v;
            put<u64>(kIdt + 16 * v, (handler & 0xffff) | u64{kCs} << 16 |
                                        u64{v == 3 || v == 0x80 ? 0xee00u : 0x8e00u} << 32 |
                                        (handler >> 16 & 0xffff) << 48);
            put<u64>(kIdt + 16 * v + 8, 0);
            constexpr u8 vmcall[] = {0x0f, 0x01, 0xc1};
            code(handler, vmcall);
        }
        put<u64>(kTss + 4, kStack - 0x10000); // RSP0
    }
};

} // namespace seamless::fakes
