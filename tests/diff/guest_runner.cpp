// SPDX-License-Identifier: Apache-2.0
// The guest's pages lie apart in physical memory, so that what crosses a page also crosses host pointers.
#include "diff/guest_runner.h"

#include "spec/vmx.h"

namespace seamless::diff {
namespace {

using fakes::GuestMachine;
using spec::Gpr;

constexpr u64 kPresent = 1, kWritable = 2, kUser = 4;
constexpr u64 kFrames[] = {0x350000, 0x310000, 0x330000}; // data, data, read-only: not in linear order
constexpr u64 kCodeFrames[] = {0x390000, 0x370000};

bool has_error_code(int vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21;
}

} // namespace

GuestRunner::GuestRunner(cpu::EngineMode mode, u64 fs_base) : machine_(mode), fs_base_(fs_base)
{
    for (u64 at = 0; at < GuestMachine::kMemory; at += kPageSize)
        map_page(at, at, at < 0x100000 ? kPresent | kWritable : 0); // handlers and tables: the supervisor's
    map_page(kData, kFrames[0], kPresent | kWritable | kUser);
    map_page(kData + kPageSize, kFrames[1], kPresent | kWritable | kUser);
    map_page(kReadOnly, kFrames[2], kPresent | kUser);
    for (unsigned i = 0; i < 2; ++i) {
        map_page(kCode + i * kPageSize, kCodeFrames[i], kPresent | kWritable | kUser);
        std::memset(machine_.at(kCodeFrames[i]), 0xcc, kPageSize);
    }
    machine_.lp.invept_all();
}

void GuestRunner::map_page(u64 linear, u64 physical, u64 page_table_flags)
{
    const u64 table = GuestMachine::kMemory - ((linear >> 21) + 1) * kPageSize;
    machine_.put<u64>(table + 8 * (linear >> 12 & 511), physical | page_table_flags);
}

void GuestRunner::enter(const Inputs& in)
{
    cpu::Vmcs& vmcs = machine_.vmcs;
    vmcs.seg[static_cast<unsigned>(spec::Seg::ss)] = {
        .base = 0, .limit = 0xffffffff, .ar = 0xc0f3, .selector = GuestMachine::kUserDs};
    vmcs.seg[static_cast<unsigned>(spec::Seg::cs)] = {
        .base = 0, .limit = 0xffffffff, .ar = 0xa0fb, .selector = GuestMachine::kUserCs};
    vmcs.seg[static_cast<unsigned>(spec::Seg::fs)].base = fs_base_;
    vmcs.seg[static_cast<unsigned>(spec::Seg::gs)].base = kGsBase;
    vmcs.interruptibility = 0;
    vmcs.rip = in.rip;
    vmcs.rflags = in.rflags;
    for (unsigned i = 0; i < spec::kGprCount; ++i)
        machine_.context.gpr[i] = in.gpr[i];
    vmcs.rsp = in.gpr[static_cast<unsigned>(Gpr::rsp)];
    machine_.context.xsave = in.xsave;
    machine_.context.cr2 = 0;
    machine_.enter();
}

u8* GuestRunner::code_at(u64 linear)
{
    return machine_.at(kCodeFrames[(linear - kCode) / kPageSize] + linear % kPageSize);
}

void GuestRunner::load_code(const Inputs& in)
{
    if (in.rip == loaded_rip_ && in.code == loaded_)
        return;
    for (u64 i = 0; i < loaded_.size(); ++i)
        *code_at(loaded_rip_ + i) = 0xcc;
    loaded_rip_ = in.rip;
    loaded_ = in.code;
    for (u64 i = 0; i < loaded_.size(); ++i)
        *code_at(in.rip + i) = in.code[i];
    machine_.lp.code_may_have_changed();
}

void GuestRunner::run(const Inputs& in, Outcome& out)
{
    load_code(in);
    for (unsigned i = 0; i < 2; ++i)
        std::memcpy(machine_.at(kFrames[i]), in.data.data() + i * kPageSize, kPageSize);
    enter(in);
    for (unsigned i = 0; i < 2; ++i)
        std::memcpy(out.data.data() + i * kPageSize, machine_.at(kFrames[i]), kPageSize);

    for (unsigned i = 0; i < spec::kGprCount; ++i)
        out.gpr[i] = machine_.context.gpr[i];
    out.xsave = machine_.context.xsave;
    normalize(out.xsave);
    out.vector = machine_.handled_vector();
    if (out.vector < 0) { // no exception at all: a triple fault, an exit
        out.rip = machine_.vmcs.rip;
        return;
    }
    u64 frame = machine_.vmcs.rsp;
    out.error_code = 0;
    if (has_error_code(out.vector)) {
        out.error_code = machine_.get<u64>(frame);
        frame += 8;
    }
    out.rip = machine_.get<u64>(frame);
    out.rflags = machine_.get<u64>(frame + 16);
    out.gpr[static_cast<unsigned>(Gpr::rsp)] = machine_.get<u64>(frame + 24);
    out.cr2 = out.vector == 14 ? machine_.context.cr2 : 0;
}

} // namespace seamless::diff
