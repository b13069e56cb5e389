// SPDX-License-Identifier: Apache-2.0
// Fuzzes the processor with instruction streams in a plain VM: any bytes in 64-bit, 32-bit and 16-bit code,
// at CPL 0 and 3, in both engine modes, through KVM with its emulator.
#include "fuzz/input.h"
#include "fuzz/kvm_host.h"
#include "fuzz/target.h"

namespace seamless::fuzz {
namespace {

constexpr u64 kRam = 0x20000, kCode = 0x1000, kStack = 0x8000, kGdt = 0x9000, kIdt = 0xa000,
              kHandlers = 0xb000, kTables = 0xc000, kData = 0x10000, kDevice = 0xfeb00000;
constexpr unsigned kMostExits = 48;

kvm_segment segment(u16 selector, u8 type, bool longer, bool wide, u8 dpl)
{
    kvm_segment s{};
    s.limit = 0xffffffff;
    s.selector = static_cast<u16>(selector | dpl);
    s.type = type;
    s.present = s.s = s.g = 1;
    s.l = longer;
    s.db = wide && !longer;
    s.dpl = dpl;
    return s;
}

class Machine {
  public:
    Machine(Input& in, KvmHost& host) : in_(in), host_(host)
    {
        files_.add_slot(0, 0, memory_);
        files_.add_vcpu();
        const u8 mode = in.byte();
        long_mode_ = mode & 1;
        user_ = (mode & 6) == 6;
        set_tables();
        set_system(mode);
        set_registers();
    }

    void run()
    {
        in_.fill(memory_.at + kData, in_.below(64));
        in_.fill(memory_.at + kCode, 0x800);
        run_bounded(host_, files_, kMostExits, [&](kvm_run& exit) {
            const u64 value = in_.number();
            if (exit.exit_reason == KVM_EXIT_MMIO && !exit.mmio.is_write)
                std::memcpy(exit.mmio.data, &value, sizeof value);
        });
    }

  private:
    // Descriptors, handlers that go on behind two bytes of the code (32-bit: HLT), identity pages.
    void set_tables()
    {
        constexpr u64 gdt[] = {0,
                               0x00af9b000000ffff,
                               0x00cf93000000ffff,
                               0x00cf9b000000ffff,
                               0x00affb000000ffff,
                               0x00cff3000000ffff};
        for (unsigned i = 0; i < std::size(gdt); ++i)
            memory_.put<u64>(kGdt + 8 * i, gdt[i]);
        for (u64 v = 0; v < 32; ++v) {
            const u64 handler = kHandlers + 16 * v;
            const u64 gate = (handler & 0xffff) | u64{long_mode_ ? 8u : 24u} << 16 | u64{0x8e00} << 32;
            memory_.put<u64>(kIdt + (long_mode_ ? 16 : 8) * v, gate);
            memory_.at[handler] = 0xf4;
        }
        memory_.put<u64>(kTables, (kTables + 0x1000) | 7);
        memory_.put<u64>(kTables + 0x1000, (kTables + 0x2000) | 7);
        for (u64 i = 0; i < 4; ++i)
            memory_.put<u64>(kTables + 0x1000 + 8 * i, (kTables + 0x2000) | 7);
        for (u64 i = 0; i < 512; ++i) // 0 and the devices' page at 2 MiB; a hole; more of the same
            memory_.put<u64>(kTables + 0x2000 + 8 * i, (i % 4 == 1 ? kDevice & ~u64{0x1fffff} : 0) | 0x87);
        memory_.put<u64>(kTables + 0x2000 + 8 * 2, 0);
    }

    void set_system(u8 mode)
    {
        kvm_sregs s{};
        (void)host_.ioctl(files_.vcpu, KVM_GET_SREGS, &s);
        const u8 dpl = user_ ? 3 : 0;
        const bool wide = (mode & 8) == 0;
        s.cs = segment(user_ ? 32 : 8, 11, long_mode_, wide, dpl);
        for (kvm_segment* data : {&s.ds, &s.es, &s.fs, &s.gs, &s.ss})
            *data = segment(user_ ? 40 : 16, 3, false, true, dpl);
        s.gdt = {.base = kGdt, .limit = 6 * 8 - 1, .padding = {}};
        s.idt = {.base = kIdt, .limit = 0x1ff, .padding = {}};
        s.cr0 = 0x31;
        s.cr4 = 0x40600;
        if (long_mode_) {
            s.cr0 |= 0x80000000;
            s.cr3 = kTables;
            s.cr4 |= 0x20;
            s.efer = 0xd01;
        }
        if (mode & 16) // flags of the control registers that make no sense are refused
            s.cr4 |= in_.number() & 0x73ffff;
        if (mode & 32)
            s.cr0 ^= in_.number() & 0x5005000e;
        (void)host_.ioctl(files_.vcpu, KVM_SET_SREGS, &s);
    }

    void set_registers()
    {
        kvm_regs r{};
        constexpr u64 places[] = {kData, kCode, kTables, kData + 0xff8, kRam - 4, kRam, 0x200000, kDevice};
        for (u64* reg :
             {&r.rax, &r.rbx, &r.rcx, &r.rdx, &r.rsi, &r.rdi, &r.rbp, &r.r8, &r.r9, &r.r10, &r.r11})
            *reg = in_.flag() ? in_.pick(places) + in_.below(16) : in_.number();
        r.rsp = kStack;
        r.rip = kCode;
        r.rflags = 2 | (in_.take<u32>() & 0x47fd5);
        (void)host_.ioctl(files_.vcpu, KVM_SET_REGS, &r);
    }

    Input& in_;
    KvmHost& host_;
    Memory memory_{kRam};
    VmFiles files_{host_, KVM_X86_DEFAULT_VM};
    bool long_mode_ = false, user_ = false;
};

} // namespace
} // namespace seamless::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    using namespace seamless;
    fuzz::Input in(data, size);
    fuzz::Machine(in, fuzz::KvmHost::with(in.flag() ? cpu::EngineMode::step : cpu::EngineMode::full)).run();
    return 0;
}
