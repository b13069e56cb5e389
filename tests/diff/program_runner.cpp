// SPDX-License-Identifier: Apache-2.0
// The software around random programs. It does the same on every processor: what it does depends on the
// program and on how many events there have been. Only interrupts come when they like.
#include "diff/program_runner.h"

#include <algorithm>
#include <cstring>

#include "decode/instruction.h"
#include "diff/state.h"
#include "spec/vmx.h"

namespace seamless::diff {
namespace {

using namespace layout;
using fakes::GuestMachine;
using spec::ExitReason;

constexpr u64 kFaultStack = 0x80000, kInterruptStack = 0x7e000; // by IST
constexpr u64 kInterruptHandler = 0xb000, kInterruptCount = 0xc000;
constexpr u8 kGuestVector = 0x41;
constexpr std::size_t kMostEvents = 300;
constexpr u64 kMostInstructions = 400'000;
constexpr u64 kMostInterrupts = 3'000; // seconds: where the engine does not count instructions
constexpr u64 kPageTables = 0x7f0000;  // the last of them, from the end of memory down
constexpr u64 kTablePage = GuestMachine::guest_pte(kRegion);

bool has_error_code(int vector) { return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17; }

u64 digest(cpu::XsaveArea area)
{
    normalize(area);
    u64 hash = 0;
    for (u64 at = 0; at < 0xa80; at += 8) { // up to AVX-512
        u64 word = 0;
        std::memcpy(&word, area.bytes + at, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15;
        hash ^= hash >> 29;
    }
    return hash;
}

} // namespace

u64 program_table_entry(u64 linear) { return GuestMachine::guest_pte(linear); }

bool ProgramOutcome::changes_code(const Program& program) const
{
    for (unsigned i = 0; i * kPageSize < program.code.size(); ++i) {
        const u64 bytes = std::min(kPageSize, program.code.size() - i * kPageSize);
        if (std::memcmp(memory.data() + (frame(kCodeFrame + i) - kFrames),
                        program.code.data() + i * kPageSize, bytes) != 0)
            return true;
    }
    return false;
}

u64 InterruptingClock::tsc()
{
    constexpr u64 kNow = 0x123456789;
    constexpr u8 kVector = 0x31;
    if (lp && period && ++reads_ % period == 0)
        lp->send_interrupt(kVector);
    return kNow;
}

ProgramRunner::ProgramRunner(cpu::EngineMode mode, const cpu::Optimizations& optimizations)
    : package_(1, cpu::make_processor(mode, optimizations), *machine_.host, clock_, machine_.random,
               machine_.tracer),
      lp_(package_.lp(0))
{
    clock_.lp = &lp_;
    make_handlers();
    for (const auto& [begin, end] :
         {std::pair{u64{0}, u64{0x100000}}, std::pair{kPageTables, GuestMachine::kMemory}})
        software_.emplace_back(begin, std::vector(machine_.at(begin), machine_.at(begin) + (end - begin)));
}

// Exceptions come on a stack of their own: what RSP points to is the program's business.
void ProgramRunner::make_handlers()
{
    for (u64 v = 0; v < 256; ++v) {
        const u64 gate = GuestMachine::kIdt + 16 * v;
        machine_.put<u64>(gate, machine_.get<u64>(gate) | bit(32 + (v == kGuestVector ? 1 : 0)));
    }
    for (u64 at = 0; at < GuestMachine::kMemory; at += kPageSize) { // so that no program breaks the next one
        const bool written = (at >= kInterruptStack - kPageSize && at < kFaultStack) ||
                             at == kInterruptCount || at == align_down(kTablePage, kPageSize);
        machine_.put<u64>(GuestMachine::guest_pte(at),
                          at | page_bits::kPresent | (written ? page_bits::kWritable : 0));
    }
    machine_.put<u64>(GuestMachine::kTss + 36, kFaultStack);
    machine_.put<u64>(GuestMachine::kTss + 44, kInterruptStack);
    const u64 entry = GuestMachine::kHandlers + 16 * kGuestVector;
    const u8 jump[] = {0xe9, 0, 0, 0, 0};
    machine_.code(entry, jump);
    machine_.put<u32>(entry + 1, static_cast<u32>(kInterruptHandler - (entry + 5)));
    // push rax; push rcx; mov ecx, 3; l: call f; dec ecx; jnz l; pop rcx; pop rax; iretq; f: inc qword
    // [count]; ret
    const u8 handler[] = {0x50, 0x51, 0xb9, 3,    0,    0,    0,    0xe8, 8,    0, 0,    0, 0xff, 0xc9, 0x75,
                          0xf7, 0x59, 0x58, 0x48, 0xcf, 0x48, 0xff, 0x04, 0x25, 0, 0xc0, 0, 0,    0xc3};
    static_assert(kInterruptCount == 0xc000);
    machine_.code(kInterruptHandler, handler);
}

void ProgramRunner::load(const Program& program)
{
    const auto fill = [this](unsigned first, unsigned count, const u8* bytes, u64 size, u8 rest) {
        for (unsigned i = 0; i < count; ++i) {
            u8* const page = machine_.at(frame(first + i));
            const u64 here = std::min(kPageSize, size - std::min(size, i * kPageSize));
            std::memset(page, rest, kPageSize);
            if (here)
                std::memcpy(page, bytes + i * kPageSize, here);
        }
    };
    fill(0, kDataPages, program.data.data(), program.data.size(), 0);
    fill(kStackFrame, kStackPages, nullptr, 0, 0x5a);
    fill(kTableFrame, 1, reinterpret_cast<const u8*>(program.table.data()), 8 * program.table.size(), 0);
    fill(kCodeFrame, kCodePages, program.code.data(), program.code.size(), 0xcc);
    // Where only wild code comes; but what it left must not be the next program's: not all engines run all.
    fill(kCodeFrame + kCodePages, kFrameCount - kCodeFrame - kCodePages, nullptr, 0, 0);
    for (const auto& [at, bytes] : software_)
        std::memcpy(machine_.at(at), bytes.data(), bytes.size());
    std::memcpy(machine_.at(kTablePage), program.entries.data(), kPageSize);
    lp_.invept_all();
    lp_.code_may_have_changed();
}

void ProgramRunner::set_registers(const Program& program)
{
    machine_.reset_state();
    cpu::Vmcs& vmcs = machine_.vmcs;
    vmcs.pin_based |= spec::pin::EXTERNAL_INTERRUPT_EXITING;
    if (program.user) {
        machine_.user_mode();
        // An IRET to users takes away what is not theirs: a program that looks would see whether one came.
        for (const spec::Seg seg : {spec::Seg::ds, spec::Seg::es, spec::Seg::fs, spec::Seg::gs})
            vmcs.seg[static_cast<unsigned>(seg)] = vmcs.seg[static_cast<unsigned>(spec::Seg::ss)];
    }
    vmcs.seg[static_cast<unsigned>(spec::Seg::fs)].base = program.fs_base;
    vmcs.seg[static_cast<unsigned>(spec::Seg::gs)].base = program.gs_base;
    vmcs.rip = program.start;
    vmcs.rflags = program.rflags;
    for (unsigned i = 0; i < spec::kGprCount; ++i)
        machine_.context.gpr[i] = program.gpr[i];
    vmcs.rsp = program.gpr[static_cast<unsigned>(spec::Gpr::rsp)];
    machine_.context.xsave = program.xsave;
    clock_.period = program.interrupt_period;
    timing_ = Rng(program.seed);
    events_ = 0;
}

void ProgramRunner::run(const Program& program, ProgramOutcome& out)
{
    load(program);
    set_registers(program);
    out = {};
    const u64 before = lp_.counters().instructions;
    while (step(program, out)) {
        if (out.events.size() >= kMostEvents)
            out.end = ProgramEnd::many_events;
        else if (lp_.counters().instructions - before > kMostInstructions || out.interrupts > kMostInterrupts)
            out.end = ProgramEnd::long_run;
        else
            continue;
        break;
    }
    out.instructions = lp_.counters().instructions - before;
    save_memory(out.memory);
}

// False: this is the end.
bool ProgramRunner::step(const Program& program, ProgramOutcome& out)
{
    lp_.vm_enter(machine_.vmcs, machine_.context);
    const auto reason = static_cast<ExitReason>(machine_.vmcs.exit_reason & 0xffff);
    if (reason == ExitReason::EXTERNAL_INTERRUPT) {
        ++out.interrupts;
        external_interrupt();
        return true;
    }
    const int vector = machine_.handled_vector();
    if (reason == ExitReason::VMCALL && vector >= 0) {
        exception(vector, out);
        const u64 rip = out.events.back().rip;
        if (rip != layout::kCode + program.end && rip != kCodeAlias + program.end)
            return true;
        out.end = ProgramEnd::halted;
        return false;
    }
    record(out, -1);
    if (reason == ExitReason::VMCALL) {
        hypercall(program);
        return true;
    }
    out.end = reason == ExitReason::HLT ? ProgramEnd::halted : ProgramEnd::lost;
    return false;
}

void ProgramRunner::record(ProgramOutcome& out, int vector)
{
    ProgramEvent& e = out.events.emplace_back();
    const cpu::Vmcs& vmcs = machine_.vmcs;
    e.vector = vector;
    e.rip = vmcs.rip;
    e.rflags = vmcs.rflags;
    for (unsigned i = 0; i < spec::kGprCount; ++i)
        e.gpr[i] = machine_.context.gpr[i];
    e.gpr[static_cast<unsigned>(spec::Gpr::rsp)] = vmcs.rsp;
    e.extended = digest(machine_.context.xsave);
}

// Takes the frame off and goes on: at the instruction where it can be mended, else behind it.
void ProgramRunner::exception(int vector, ProgramOutcome& out)
{
    record(out, vector);
    ProgramEvent& e = out.events.back();
    u64 at = machine_.vmcs.rsp;
    if (has_error_code(vector)) {
        e.error_code = machine_.get<u64>(at);
        at += 8;
    }
    e.cr2 = vector == 14 ? machine_.context.cr2 : 0;
    e.rip = machine_.get<u64>(at);
    const u64 rflags = machine_.get<u64>(at + 16);
    e.rflags = rflags & ~spec::rflags::kArithmetic;
    e.gpr[static_cast<unsigned>(spec::Gpr::rsp)] = machine_.get<u64>(at + 24);
    cpu::Vmcs& vmcs = machine_.vmcs;
    const bool user = machine_.get<u64>(at + 8) & 3;
    const u32 dpl = user ? 0x60 : 0;
    vmcs.seg[static_cast<unsigned>(spec::Seg::cs)] = {.base = 0,
                                                      .limit = 0xffffffff,
                                                      .ar = 0xa09b | dpl,
                                                      .selector =
                                                          user ? GuestMachine::kUserCs : GuestMachine::kCs};
    vmcs.seg[static_cast<unsigned>(spec::Seg::ss)] = {.base = 0,
                                                      .limit = 0xffffffff,
                                                      .ar = 0xc093 | dpl,
                                                      .selector =
                                                          user ? GuestMachine::kUserDs : GuestMachine::kDs};
    vmcs.rip = e.rip;
    vmcs.rflags = rflags;
    vmcs.rsp = e.gpr[static_cast<unsigned>(spec::Gpr::rsp)];
    vmcs.interruptibility = 0;
    if (!mend(e))
        skip(e);
    ++events_;
}

bool ProgramRunner::decode_at(u64 linear, decode::Instruction& insn)
{
    const u64 base = linear >= kCodeAlias ? kCodeAlias : layout::kCode;
    std::array<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> bytes{};
    for (u64 i = 0; i < bytes.size(); ++i) {
        const u64 offset = linear - base + i;
        bytes[i] = offset < layout::kCodeBytes
                       ? *machine_.at(frame(kCodeFrame + static_cast<unsigned>(offset / kPageSize)) +
                                      offset % kPageSize)
                       : u8{0xcc};
    }
    return decode::decode(bytes, decode::CodeSize::bits64, insn) == decode::DecodeStatus::ok;
}

// Most page faults in the region: the page is mapped, sometimes for reading only. What moves the stack
// pointer must be mended: without it the program would not end.
bool ProgramRunner::mend(const ProgramEvent& e)
{
    using namespace page_bits;
    if (e.vector != 14 || e.cr2 < kRegion || e.cr2 >= kRegionEnd)
        return false;
    constexpr u32 kWrite = 2;
    decode::Instruction insn;
    const bool plain = decode_at(e.rip, insn) && insn.execution == decode::Execution::native;
    const bool data = e.cr2 >= layout::kData && e.cr2 < layout::kData + kDataPages * kPageSize;
    const bool stack = e.cr2 >= kStack && e.cr2 < kStackTop;
    if (plain && !stack && (!data || events_ % 7 == 3))
        return false;
    const u64 at = program_table_entry(e.cr2);
    const u64 old = machine_.get<u64>(at);
    const u64 entry = old ? old & ~u64{0xfff} : frame(static_cast<unsigned>(e.cr2 / kPageSize % kDataPages));
    const bool writable = (e.error_code & kWrite) || events_ % 3 == 0 || !data;
    machine_.put<u64>(at,
                      entry | kPresent | kUser | (writable ? kWritable : 0) | (old & (kAccessed | kDirty)));
    return true;
}

// What was dead before the instruction is not dead behind it.
void ProgramRunner::skip(const ProgramEvent& e)
{
    decode::Instruction insn;
    cpu::Vmcs& vmcs = machine_.vmcs;
    const bool trap = e.vector == 3; // RIP is behind it
    if (!trap)
        vmcs.rip += decode_at(e.rip, insn) ? insn.length() : 1u;
    vmcs.rflags &= ~(spec::rflags::kArithmetic | spec::rflags::RF);
    vmcs.rflags |= events_ * 0x55 & spec::rflags::kArithmetic;
}

void ProgramRunner::hypercall(const Program& program)
{
    constexpr u64 kVmcallBytes = 3;
    machine_.vmcs.rip += kVmcallBytes;
    Rng rng(program.seed ^ ++events_);
    switch (rng.below(4)) {
    case 0:
    case 1: { // writes code
        const PatchSlot& slot = program.slots[rng.below(program.slots.size())];
        *machine_.at(frame(kCodeFrame + static_cast<unsigned>(slot.offset / kPageSize)) +
                     slot.offset % kPageSize) = slot.value(rng);
        lp_.code_may_have_changed();
        break;
    }
    case 2: { // takes a page away
        using namespace page_bits;
        const u64 at = program_table_entry(layout::kData + rng.below(kDataPages) * kPageSize);
        machine_.put<u64>(at, machine_.get<u64>(at) & (rng.percent(50) ? ~kWritable : ~kPresent));
        lp_.invept_all();
        break;
    }
    default:
        lp_.invvpid(1);
    }
}

// Here the software may do what it likes: the program must not notice.
void ProgramRunner::external_interrupt()
{
    lp_.acknowledge_interrupts();
    cpu::Vmcs& vmcs = machine_.vmcs;
    switch (timing_.below(6)) {
    case 0:
        lp_.invept_all();
        break;
    case 1:
        lp_.code_may_have_changed();
        break;
    case 2:
        lp_.invvpid(1);
        break;
    case 3:
    case 4:
        // Where a program has run away, RIP may be no address: IRET would fault on it.
        if (vmcs.rip < kRegionEnd && (vmcs.rflags & spec::rflags::IF) && !(vmcs.interruptibility & 3))
            vmcs.entry_intr_info = spec::intr_info::VALID | spec::intr_info::EXTERNAL | kGuestVector;
        break;
    default:
        break;
    }
}

void ProgramRunner::save_memory(std::vector<u8>& out)
{
    out.resize((kFrameCount + 1) * kPageSize);
    std::memcpy(out.data(), machine_.at(kFrames), kFrameCount * kPageSize);
    u8* const entries = out.data() + kFrameCount * kPageSize;
    std::memcpy(entries, machine_.at(kTablePage), kPageSize);
    // Known gap: a block that reaches into a second page does not always set its accessed bit.
    for (u64 at = layout::kCode; at < kRegionEnd; at += kPageSize)
        entries[(at - kRegion) / kPageSize * 8] &= static_cast<u8>(~page_bits::kAccessed);
}

} // namespace seamless::diff
