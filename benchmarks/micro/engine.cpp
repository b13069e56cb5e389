// SPDX-License-Identifier: Apache-2.0
// Single costs of the processor, without KVM and TDX module: VM exit, TLB, page walks, translation,
// exceptions, #VE.
#include <benchmark/benchmark.h>

#include "fakes/guest_machine.h"

namespace seamless {
namespace {

using fakes::GuestMachine;
using spec::Gpr;

class Code {
  public:
    Code& bytes(std::initializer_list<u8> more)
    {
        code_.insert(code_.end(), more);
        return *this;
    }
    Code& number(u32 value)
    {
        for (int i = 0; i < 4; ++i)
            code_.push_back(static_cast<u8>(value >> 8 * i));
        return *this;
    }
    [[nodiscard]] std::size_t size() const { return code_.size(); }
    [[nodiscard]] std::span<const u8> all() const { return code_; }
    // DEC ECX, and back to `start` until it is zero; then VMCALL.
    Code& repeat_from(std::size_t start)
    {
        bytes({0xff, 0xc9, 0x0f, 0x85});
        number(static_cast<u32>(start - (size() + 4)));
        return bytes({0x0f, 0x01, 0xc1});
    }

  private:
    std::vector<u8> code_;
};

// Enters at `start` again and again; the guest must get to its VMCALL.
class Machine : public GuestMachine {
  public:
    Machine() { lp.trace = {}; }

    void load(const Code& program) { code(kCode, program.all()); }
    bool go()
    {
        vmcs.rip = start;
        return enter() == spec::ExitReason::VMCALL && handled_vector() < 0;
    }
    void measure(benchmark::State& state, u64 items, const auto& before)
    {
        bool right = go();
        for ([[maybe_unused]] auto _ : state) {
            before();
            right &= go();
        }
        if (!right)
            state.SkipWithError("the guest went astray");
        state.counters["each"] =
            benchmark::Counter(static_cast<double>(items),
                               benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
    }
    void measure(benchmark::State& state, u64 items)
    {
        measure(state, items, [] {});
    }

    u64 start = kCode;
};

void vm_exit_round_trip(benchmark::State& state)
{
    Machine machine;
    machine.load(Code().bytes({0x0f, 0x01, 0xc1}));
    machine.measure(state, 1);
}
BENCHMARK(vm_exit_round_trip);

// MOV RBX, kData; MOV ECX, pages; then a load from each page.
Code touching(u32 pages, std::initializer_list<u8> first = {})
{
    Code program;
    program.bytes(first).bytes({0xbb}).number(GuestMachine::kData).bytes({0xb9}).number(pages);
    const std::size_t start = program.size();
    program.bytes({0x48, 0x8b, 0x03, 0x48, 0x81, 0xc3}).number(kPageSize);
    return program.repeat_from(start);
}

// Few pages stay in the inline TLB; many do not, but their translations are known.
void tlb(benchmark::State& state)
{
    Machine machine;
    const auto pages = static_cast<u32>(state.range(0));
    machine.load(touching(pages));
    machine.measure(state, pages);
}
BENCHMARK(tlb)->ArgName("pages")->Arg(64)->Arg(256)->Arg(1024);

// MOV RAX, CR3; MOV CR3, RAX: without PCIDs nothing but global translations stays.
void walk_after_cr3_load(benchmark::State& state)
{
    Machine machine;
    const auto pages = static_cast<u32>(state.range(0));
    machine.load(touching(pages, {0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8}));
    machine.measure(state, pages);
}
BENCHMARK(walk_after_cr3_load)->ArgName("pages")->Arg(64)->Arg(1024);

// Guest tables and EPT, four levels each.
void walk_of_two_dimensions(benchmark::State& state)
{
    Machine machine;
    const auto pages = static_cast<u32>(state.range(0));
    machine.load(touching(pages));
    machine.measure(state, pages, [&] { machine.lp.invept_all(); });
}
BENCHMARK(walk_of_two_dimensions)->ArgName("pages")->Arg(64)->Arg(1024);

constexpr u64 kBlocks = 200, kBlockSize = 17;
constexpr unsigned kPagesOfCode = 200;

// Blocks of five instructions; then VMCALL.
Code page_of_blocks()
{
    Code program;
    for (u64 i = 0; i < kBlocks; ++i)
        program.bytes({0x05, 1, 2, 3, 4, 0x48, 0x89, 0xc3, 0x48, 0x8d, 0x4b, 8, 0x48, 0x31, 0xc8, 0xeb, 0});
    return program.bytes({0x0f, 0x01, 0xc1});
}

void expect_translated(benchmark::State& state, const Machine& machine)
{
    if (machine.lp.counters().translations < kBlocks * (state.iterations() + 1))
        state.SkipWithError("blocks were not translated");
}

// A new page of code in each turn.
void translation_of_a_block(benchmark::State& state)
{
    Machine machine;
    const Code program = page_of_blocks();
    u64 page = GuestMachine::kCode;
    machine.load(program);
    for (u64 to = GuestMachine::kData; to < GuestMachine::kData + kPageSize * kPagesOfCode; to += kPageSize)
        machine.code(to, program.all());
    const auto next = [&] {
        page = page == GuestMachine::kCode ? GuestMachine::kData : page + kPageSize;
        machine.start = page;
    };
    machine.measure(state, kBlocks, next);
    expect_translated(state, machine);
}
BENCHMARK(translation_of_a_block)->Iterations(kPagesOfCode);

// In each block a byte has changed since its translation, which is dropped first.
void translation_of_changed_code(benchmark::State& state)
{
    Machine machine;
    machine.load(page_of_blocks());
    u8 changing = 1; // as it is
    machine.measure(state, kBlocks, [&] {
        ++changing;
        for (u64 i = 0; i < kBlocks; ++i)
            machine.put<u8>(GuestMachine::kCode + kBlockSize * i + 1, changing);
        machine.lp.code_may_have_changed();
    });
    expect_translated(state, machine);
}
BENCHMARK(translation_of_changed_code);

constexpr u32 kTurns = 1000;

// What goes on at the instruction after the one of `length` bytes that raised the exception.
Code handler(u8 length)
{
    return Code().bytes({0x48, 0x83, 0x04, 0x24, length}); // add qword ptr [rsp], length
}

Code raising(std::initializer_list<u8> instruction)
{
    Code program;
    program.bytes({0xbb}).number(GuestMachine::kData).bytes({0xb9}).number(kTurns);
    const std::size_t start = program.size();
    return program.bytes(instruction).repeat_from(start);
}

// UD2, delivery of #UD, IRET.
void exception_and_iret(benchmark::State& state)
{
    Machine machine;
    machine.code(GuestMachine::kHandlers + 16 * 6, handler(2).bytes({0x48, 0xcf}).all());
    machine.load(raising({0x0f, 0x0b}));
    machine.measure(state, kTurns);
}
BENCHMARK(exception_and_iret);

// A load from a page whose EPT entry is not present, with bit 63 clear; the handler clears the information's
// second word, which says that it was not read yet, and returns by IRET.
void ve_and_iret(benchmark::State& state)
{
    constexpr u32 kVeInfo = GuestMachine::kData - kPageSize;
    Machine machine;
    machine.vmcs.proc_based2 |= spec::proc2::EPT_VIOLATION_VE;
    machine.map(Gpa(kVeInfo), machine.ve_info, spec::ept::RWX);
    machine.set_entry(Gpa(GuestMachine::kData), 0);
    const Code clear_and_return =
        handler(3).bytes({0xc7, 0x04, 0x25}).number(kVeInfo + 4).number(0).bytes({0x48, 0xcf});
    machine.code(GuestMachine::kHandlers + 16 * 20, clear_and_return.all());
    machine.load(raising({0x48, 0x8b, 0x03}));
    machine.measure(state, kTurns);
}
BENCHMARK(ve_and_iret);

} // namespace
} // namespace seamless
