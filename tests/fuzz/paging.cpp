// SPDX-License-Identifier: Apache-2.0
// Fuzzes page walks: guest page tables with any entries, EPT entries with any bits but the host's addresses,
// any control registers, and an instruction stream whose accesses walk them. The processor alone, without
// KVM.
#include "fakes/guest_machine.h"
#include "fuzz/budget.h"
#include "fuzz/depth.h"
#include "fuzz/input.h"
#include "fuzz/target.h"

namespace seamless::fuzz {
namespace {

using fakes::GuestMachine;

constexpr unsigned kMostEntries = 32;

// One machine for each engine; what an input spoils, the next one puts in order.
class PagingMachine {
  public:
    explicit PagingMachine(cpu::EngineMode mode) : machine_(mode), memory_(GuestMachine::kMemory)
    {
        std::memcpy(memory_.data(), machine_.at(0), memory_.size());
        machine_.tracer.set_filter({});
    }
    static PagingMachine& with(bool step)
    {
        static PagingMachine full(cpu::EngineMode::full), single(cpu::EngineMode::step);
        return step ? single : full;
    }

    void run(Input& in)
    {
        reset();
        const u8 kind = in.byte();
        set_system(in, kind);
        for (u64 i = in.below(16); i > 0; --i)
            spoil_tables(in);
        for (u64 i = in.below(8); i > 0; --i)
            spoil_ept(in);
        set_registers(in);
        u8 code[64] = {};
        in.fill(code, sizeof code);
        machine_.code(GuestMachine::kCode, code);
        enter(in);
    }

  private:
    void reset()
    {
        std::memcpy(machine_.at(0), memory_.data(), memory_.size());
        for (const u64 gpa : spoiled_)
            machine_.map(Gpa(gpa), machine_.memory + gpa, spec::ept::RWX);
        spoiled_.clear();
        machine_.reset_state();
        machine_.vmcs.pin_based |= spec::pin::EXTERNAL_INTERRUPT_EXITING;
        machine_.lp.code_may_have_changed();
    }
    void set_system(Input& in, u8 kind)
    {
        using namespace spec;
        cpu::Vmcs& v = machine_.vmcs;
        if (kind & 1) // anything that VM entry lets through, and what it refuses
            v.cr4 ^= in.number() & 0x7fffff;
        if (kind & 2)
            v.cr0 ^= in.number() & 0xe005003f;
        if (kind & 4)
            v.cr3 = in.number();
        if (kind & 8)
            v.efer ^= in.number() & 0xd01;
        if (kind & 16)
            machine_.user_mode();
        if (kind & 32)
            v.proc_based2 |= proc2::EPT_VIOLATION_VE;
        if (kind & 64)
            v.ept_pointer |= ept::EPTP_AD;
        if (kind & 128) { // 32-bit code and paging
            v.efer = 0;
            v.cr4 &= ~cr4::PAE;
            v.seg[static_cast<int>(Seg::cs)].ar = 0xc09b;
        }
    }
    // An entry of one of the tables in use: mostly one that points into memory, with any flags.
    void spoil_tables(Input& in)
    {
        constexpr u64 tables[] = {GuestMachine::kPml4,          GuestMachine::kPml4 + 0x1000,
                                  GuestMachine::kPml4 + 0x2000, GuestMachine::kMemory - 0x1000,
                                  GuestMachine::kIdt,           GuestMachine::kGdt};
        const u64 at = in.pick(tables) + (in.flag() ? in.below(4) : in.below(512)) * 8;
        u64 entry = in.number();
        if (in.flag())
            entry = (entry & ~bits(47, 23)) | (in.flag() ? 7 : 0);
        machine_.put<u64>(at, entry);
    }
    void spoil_ept(Input& in)
    {
        const u64 gpa = in.below(GuestMachine::kMemory / kPageSize) * kPageSize;
        const u64 flags = in.number() & ~spec::ept::ADDRESS;
        spoiled_.push_back(gpa);
        machine_.set_entry(Gpa(gpa), (machine_.memory + gpa).value() | flags);
    }
    void set_registers(Input& in)
    {
        constexpr u64 places[] = {GuestMachine::kData,
                                  GuestMachine::kData + 0xffc,
                                  GuestMachine::kPml4,
                                  GuestMachine::kMemory - 4,
                                  0xffffffffffffff00,
                                  0x7fffffffff00,
                                  0};
        for (unsigned i = 0; i < spec::kGprCount; ++i)
            machine_.gpr(static_cast<spec::Gpr>(i)) = in.flag() ? in.pick(places) + in.below(8) : in.number();
        if (in.flag())
            machine_.vmcs.rsp = GuestMachine::kStack;
        machine_.vmcs.rflags = 2 | (in.take<u32>() & 0x47fd5);
    }
    void enter(Input& in)
    {
        const Budget budget([](void* lp) { static_cast<cpu::LogicalProcessor*>(lp)->send_interrupt(0x20); },
                            &machine_.lp);
        unsigned interrupted = 0;
        for (unsigned i = 0; i < kMostEntries; ++i) {
            const spec::ExitReason reason = machine_.enter();
            Depth::reached("exits", std::to_string(static_cast<u32>(reason)));
            if (machine_.handled_vector() >= 0)
                Depth::reached("exceptions", std::to_string(machine_.handled_vector()));
            if (machine_.vmcs.exit_reason >> 31 || reason == spec::ExitReason::TRIPLE_FAULT ||
                machine_.handled_vector() >= 0)
                return;
            if (reason == spec::ExitReason::EXTERNAL_INTERRUPT) {
                (void)machine_.lp.acknowledge_interrupts();
                if (++interrupted == 2)
                    return;
                continue;
            }
            machine_.vmcs.rip += in.below(4);
            machine_.vmcs.entry_intr_info = 0;
        }
    }

    GuestMachine machine_;
    std::vector<u8> memory_;
    std::vector<u64> spoiled_;
};

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::Input in(data, size);
    seamless::fuzz::PagingMachine::with(in.flag()).run(in);
    return 0;
}
