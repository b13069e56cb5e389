// SPDX-License-Identifier: Apache-2.0
// Runs one instruction on this host, with the registers, flags and memory of a FakeCpu: what the emulator
// must have made of it. Addresses are those of the FakeCpu plus where its memory is copied to.
#pragma once

#include <sys/mman.h>

#include <cstring>
#include <initializer_list>

#include "unit/emul/fake_cpu.h"

namespace seamless::fakes {

class NativeRun {
  public:
    NativeRun()
        : page_(static_cast<u8*>(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE | PROT_EXEC,
                                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)))
    {}
    ~NativeRun() { ::munmap(page_, kBytes); }
    NativeRun(const NativeRun&) = delete;
    NativeRun& operator=(const NativeRun&) = delete;

    // RSI, RDI, RSP and RBP are addresses, the others are values.
    void run(const FakeCpu& before, std::initializer_list<u8> code)
    {
        std::memcpy(memory(), before.memory, FakeCpu::kMemory);
        for (unsigned i = 0; i < 16; ++i)
            put(kRegs + 8 * i, before.regs[i] + (is_address(i) ? base() : 0));
        put(kFlags, before.flags);
        std::memcpy(page_ + kFpu, before.fpu, sizeof before.fpu);
        assemble(code);
        reinterpret_cast<void (*)()>(page_)();
    }

    [[nodiscard]] u64 gpr(unsigned i) const { return get(kRegs + 8 * i) - (is_address(i) ? base() : 0); }
    [[nodiscard]] u64 flags() const { return get(kFlags); }
    [[nodiscard]] u8* memory() const { return page_ + kMemoryAt; }
    [[nodiscard]] const u8* fpu() const { return page_ + kFpu; }

  private:
    static constexpr unsigned kRegs = 0x800, kFlags = 0x880, kHostRsp = 0x888, kFpu = 0x900, kHostFpu = 0xb00,
                              kMemoryAt = 0x1000, kBytes = kMemoryAt + FakeCpu::kMemory;
    static constexpr unsigned kRsp = 4;

    static bool is_address(unsigned i) { return i >= 4 && i <= 7; }
    [[nodiscard]] u64 base() const { return reinterpret_cast<u64>(memory()); }
    void put(unsigned at, u64 value) { std::memcpy(page_ + at, &value, sizeof value); }
    [[nodiscard]] u64 get(unsigned at) const
    {
        u64 value;
        std::memcpy(&value, page_ + at, sizeof value);
        return value;
    }

    void emit(std::initializer_list<u8> bytes)
    {
        for (const u8 b : bytes)
            page_[end_++] = b;
    }
    // The ModRM and displacement of [rip + ...] for a slot of the page.
    void rip_relative(unsigned reg, unsigned slot)
    {
        emit({static_cast<u8>(reg << 3 | 5)});
        const u32 displacement = slot - (end_ + 4);
        std::memcpy(page_ + end_, &displacement, 4);
        end_ += 4;
    }
    void move(u8 opcode, unsigned reg, unsigned slot)
    {
        emit({static_cast<u8>(0x48 | (reg >> 3) << 2), opcode});
        rip_relative(reg & 7, slot);
    }
    void fx(unsigned operation, unsigned slot)
    {
        emit({0x48, 0x0f, 0xae});
        rip_relative(operation, slot);
    }

    void assemble(std::initializer_list<u8> code)
    {
        constexpr u8 kLoad = 0x8b, kStore = 0x89, kCalleeSaved[] = {3, 5, 12, 13, 14, 15};
        end_ = 0;
        for (const u8 r : kCalleeSaved)
            emit({static_cast<u8>(r >= 8 ? 0x41 : 0x40), static_cast<u8>(0x50 | (r & 7))});
        fx(0, kHostFpu);
        fx(1, kFpu);
        emit({0xff}); // push flags; popfq
        rip_relative(6, kFlags);
        emit({0x9d});
        move(kStore, kRsp, kHostRsp);
        for (unsigned i = 0; i < 16; ++i)
            move(kLoad, i, kRegs + 8 * i);
        emit(code);
        for (unsigned i = 0; i < 16; ++i)
            move(kStore, i, kRegs + 8 * i);
        move(kLoad, kRsp, kHostRsp);
        emit({0x9c, 0x8f}); // pushfq; pop flags
        rip_relative(0, kFlags);
        emit({0xfc});
        fx(0, kFpu);
        fx(1, kHostFpu);
        for (unsigned i = 6; i-- > 0;)
            emit({static_cast<u8>(kCalleeSaved[i] >= 8 ? 0x41 : 0x40),
                  static_cast<u8>(0x58 | (kCalleeSaved[i] & 7))});
        emit({0xc3});
    }

    u8* page_;
    unsigned end_ = 0;
};

} // namespace seamless::fakes
