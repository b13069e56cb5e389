// SPDX-License-Identifier: Apache-2.0
// A vCPU for the emulator: 64 KiB of memory, a page of device registers above it whose reads user space must
// answer, and a record of every access.
#pragma once

#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "emul/emulator.h"

namespace seamless::fakes {

class FakeCpu : public emul::EmulatedCpu {
  public:
    static constexpr u64 kCode = 0x1000, kData = 0x2000, kDevice = 0x10000, kMemory = 0x20000;

    FakeCpu()
    {
        for (spec::Segment& s : segments)
            s = {.base = 0, .limit = 0xffffffff, .ar = 0xc093, .selector = 0};
        segments[1].ar = 0xa09b; // 64-bit code
    }

    // Runs `code` once through, answering for user space; the emulator's result of the last pass.
    emul::Emulation run(std::initializer_list<u8> code)
    {
        rip_value = kCode;
        std::copy(code.begin(), code.end(), memory + kCode);
        const emul::Emulation decoded = emulator.decode({});
        if (decoded != emul::Emulation::OK)
            return decoded;
        return finish();
    }
    emul::Emulation finish()
    {
        for (passes = 1;; ++passes) {
            const emul::Emulation r = emulator.execute();
            if (emulator.retired()) {
                rip_value = emulator.new_rip();
                flags = emulator.new_rflags();
            }
            if (r == emul::Emulation::RESTART)
                continue;
            if (!pending || passes > 1000)
                return r;
            pending = false;
            answered = true;
        }
    }

    u64 gpr(spec::Gpr r) override { return regs[static_cast<unsigned>(r)]; }
    void set_gpr(spec::Gpr r, u64 v) override { regs[static_cast<unsigned>(r)] = v; }
    u64& operator[](spec::Gpr r) { return regs[static_cast<unsigned>(r)]; }
    u64 rip() override { return rip_value; }
    u64 rflags() override { return flags; }
    u64 cr0() override { return cr0_value; }
    u64 cr4() override { return cr4_value; }
    u64 efer() override { return efer_value; }
    spec::Segment segment(spec::Seg seg) override { return segments[static_cast<unsigned>(seg)]; }

    emul::X86Emul fetch(u64 linear, std::span<u8> bytes) override
    {
        fetches.push_back(linear);
        if (linear > fetch_limit || bytes.size() > fetch_limit - linear)
            return fault(false);
        std::memcpy(bytes.data(), memory + linear, bytes.size());
        return emul::X86EMUL_CONTINUE;
    }
    emul::X86Emul read_emulated(emul::LinearAccess access, std::span<u8> bytes) override
    {
        sole.push_back(access.sole);
        if (access.linear > kMemory - bytes.size()) // the sum could wrap around
            return fault(access.modify);
        if (access.linear >= kDevice && !answered) {
            log.push_back("ask " + std::to_string(access.linear - kDevice));
            pending = true;
            return emul::X86EMUL_IO_NEEDED;
        }
        if (access.linear >= kDevice)
            answered = false;
        std::memcpy(bytes.data(), memory + access.linear, bytes.size());
        return emul::X86EMUL_CONTINUE;
    }
    emul::X86Emul write_emulated(emul::LinearAccess access, std::span<const u8> bytes) override
    {
        sole.push_back(access.sole);
        if (access.linear > kMemory - bytes.size()) // the sum could wrap around
            return fault(true);
        if (access.linear >= kDevice)
            log.push_back("write " + std::to_string(access.linear - kDevice));
        std::memcpy(memory + access.linear, bytes.data(), bytes.size());
        return emul::X86EMUL_CONTINUE;
    }
    emul::X86Emul pio_in(u16 port, unsigned size, std::span<u8> bytes) override
    {
        if (!answered) {
            log.push_back("in " + std::to_string(port) + " x" + std::to_string(bytes.size() / size));
            pending = true;
            return emul::X86EMUL_IO_NEEDED;
        }
        answered = false;
        std::memset(bytes.data(), 0x5a, bytes.size());
        return emul::X86EMUL_CONTINUE;
    }
    emul::X86Emul pio_out(u16 port, std::span<const u8> bytes) override
    {
        log.push_back("out " + std::to_string(port) + " " + std::to_string(bytes[0]));
        return emul::X86EMUL_CONTINUE;
    }
    void set_cr0(u64 value) override { cr0_value = value; }
    void read_fpu(unsigned offset, std::span<u8> bytes) override
    {
        std::memcpy(bytes.data(), fpu + offset, bytes.size());
    }
    void write_fpu(unsigned offset, std::span<const u8> bytes) override
    {
        std::memcpy(fpu + offset, bytes.data(), bytes.size());
    }
    void queue_exception(spec::Vector vector, u32 error_code) override
    {
        exception = static_cast<int>(vector);
        exception_error = error_code;
    }
    bool in_guest_mode() override { return guest_mode; }
    emul::X86Emul check_intercept(const emul::Intercept& intercept) override
    {
        stages.push_back(intercept.stage);
        return static_cast<int>(intercept.stage) == intercept_at ? emul::X86EMUL_INTERCEPTED
                                                                 : emul::X86EMUL_CONTINUE;
    }

    template <typename T>
    T get(u64 at) const
    {
        T value;
        std::memcpy(&value, memory + at, sizeof value);
        return value;
    }
    template <typename T>
    void put(u64 at, T value)
    {
        std::memcpy(memory + at, &value, sizeof value);
    }

    u64 regs[spec::kGprCount] = {};
    u64 rip_value = 0, flags = 2, cr0_value = 0x80000031, cr4_value = 0x220, efer_value = 0xd00;
    spec::Segment segments[spec::kSegCount];
    u8 memory[kMemory] = {};
    u8 fpu[512] = {};
    u64 fetch_limit = kMemory;
    std::vector<u64> fetches;
    std::vector<bool> sole;
    std::vector<std::string> log;
    int exception = -1;
    u32 exception_error = 0;
    bool guest_mode = false;
    int intercept_at = -1;
    std::vector<emul::InterceptStage> stages;
    bool pending = false, answered = false;
    int passes = 0;
    emul::Emulator emulator{*this};

  private:
    emul::X86Emul fault(bool write)
    {
        queue_exception(spec::Vector::PF, write ? spec::pferr::W : 0);
        return emul::X86EMUL_PROPAGATE_FAULT;
    }
};

} // namespace seamless::fakes
