// SPDX-License-Identifier: Apache-2.0
// Fuzzes the instruction emulator: any bytes, in any mode, with any registers, on a vCPU of 64 KiB of memory
// and a page of device registers.
#include "decode/instruction.h"
#include "fuzz/depth.h"
#include "fuzz/input.h"
#include "fuzz/target.h"
#include "unit/emul/fake_cpu.h"

namespace seamless::fuzz {
namespace {

using fakes::FakeCpu;

void draw_mode(FakeCpu& cpu, Input& in)
{
    constexpr u32 code16 = 0x009b, code32 = 0xc09b;
    const u8 mode = in.byte();
    switch (mode % 4) {
    case 0: // real mode
        cpu.cr0_value = 0x10;
        cpu.efer_value = 0;
        cpu.segments[1].ar = code16;
        break;
    case 1:
        cpu.efer_value = 0;
        cpu.segments[1].ar = mode & 4 ? code16 : code32;
        break;
    case 2: // compatibility mode
        cpu.segments[1].ar = code32;
        break;
    default:
        break;
    }
    if (mode & 8) // one segment that is not flat
        cpu.segments[in.below(spec::kSegCount)] = {.base = in.number(),
                                                   .limit = static_cast<u32>(in.number()),
                                                   .ar = static_cast<u32>(in.number()),
                                                   .selector = static_cast<u16>(in.number())};
    if (mode & 16) {
        cpu.guest_mode = true;
        cpu.intercept_at = static_cast<int>(in.below(4)) - 1;
    }
    if (mode & 32)
        cpu.cr4_value = in.number();
    if (mode & 64)
        cpu.fetch_limit = FakeCpu::kCode + in.below(16);
}

// Instructions that were emulated to their end.
void note_depth(FakeCpu& cpu)
{
    const bool wide = cpu.segments[1].ar & bit(14), long_mode = cpu.efer_value & spec::efer::LMA;
    const auto size = long_mode && (cpu.segments[1].ar & bit(13)) ? decode::CodeSize::bits64
                      : wide                                      ? decode::CodeSize::bits32
                                                                  : decode::CodeSize::bits16;
    decode::Instruction insn;
    if (decode::decode(cpu.emulator.insn(), size, insn) == decode::DecodeStatus::ok)
        Depth::reached("instructions", ZydisMnemonicGetString(insn.z.mnemonic));
}

void run(Input in)
{
    FakeCpu cpu;
    draw_mode(cpu, in);
    constexpr u64 places[] = {FakeCpu::kData, FakeCpu::kDevice, FakeCpu::kMemory - 8, FakeCpu::kDevice - 4,
                              0};
    for (u64& reg : cpu.regs)
        reg = in.flag() ? in.pick(places) + in.below(256) : in.number();
    cpu.flags = 2 | (in.take<u32>() & 0x40fd7);
    in.fill(cpu.memory + FakeCpu::kData, in.below(32));
    cpu.rip_value = FakeCpu::kCode;
    in.fill(cpu.memory + FakeCpu::kCode, 15);
    const auto known = std::span<const u8>(cpu.memory + FakeCpu::kCode, in.below(16));
    if (cpu.emulator.decode(known) == emul::Emulation::OK && cpu.finish() == emul::Emulation::OK)
        note_depth(cpu);
}

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    seamless::fuzz::run({data, size});
    return 0;
}
