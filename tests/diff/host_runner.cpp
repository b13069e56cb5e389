// SPDX-License-Identifier: Apache-2.0
// A signal frame holds every register there is, and returning from the handler loads them. So a case starts
// with an INT3 whose handler puts the case's registers into the frame, and ends with the next signal: the
// INT3 behind the case, or the exception it raised. No register has to be spared for a way in or out.
#include "diff/host_runner.h"

#include <asm/prctl.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "cpu/cpuid.h"

namespace seamless::diff {
namespace {

constexpr int kSignals[] = {SIGTRAP, SIGSEGV, SIGFPE, SIGBUS, SIGILL};
constexpr u64 kAltStackBytes = 256 << 10;
constexpr int kRegisters[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

enum class Phase { idle, starting, running };

// What the signal handler works on; one case runs at a time.
struct Exchange {
    volatile Phase phase = Phase::idle;
    const Inputs* in = nullptr;
    Outcome* out = nullptr;
    HostRunner* runner = nullptr;
    gregset_t host_registers{};
    cpu::XsaveArea host_xsave;
} exchange;

// The frame's image begins with the legacy region, whose last 48 bytes are the kernel's.
constexpr unsigned kLegacyEnd = 416, kHeader = 512;

template <typename Copy>
void each_part(const Copy& copy)
{
    copy(0, kLegacyEnd);
    copy(kHeader, 8);
    for (unsigned i = 2; i < 8; ++i)
        if (test(cpu::supported_xcr0(), i)) {
            const cpu::CpuidResult r = cpu::native_cpuid(0xd, i);
            copy(r.ebx, r.eax);
        }
}

void load(ucontext_t& uc, const Inputs& in)
{
    Exchange& x = exchange;
    std::memcpy(x.host_registers, uc.uc_mcontext.gregs, sizeof x.host_registers);
    auto* frame = reinterpret_cast<u8*>(uc.uc_mcontext.fpregs);
    each_part([&](unsigned at, unsigned size) {
        std::memcpy(x.host_xsave.bytes + at, frame + at, size);
        std::memcpy(frame + at, in.xsave.bytes + at, size);
    });
    // What else the host has enabled (PKRU) keeps the frame's value.
    u64 bv = 0;
    std::memcpy(&bv, x.host_xsave.bytes + kHeader, sizeof bv);
    bv |= cpu::supported_xcr0();
    std::memcpy(frame + kHeader, &bv, sizeof bv);
    auto& gregs = uc.uc_mcontext.gregs;
    for (unsigned i = 0; i < spec::kGprCount; ++i)
        gregs[kRegisters[i]] = static_cast<long long>(in.gpr[i]);
    gregs[REG_RIP] = static_cast<long long>(in.rip);
    gregs[REG_EFL] = static_cast<long long>(in.rflags);
}

void store(ucontext_t& uc, Outcome& out)
{
    auto& gregs = uc.uc_mcontext.gregs;
    for (unsigned i = 0; i < spec::kGprCount; ++i)
        out.gpr[i] = static_cast<u64>(gregs[kRegisters[i]]);
    out.rip = static_cast<u64>(gregs[REG_RIP]);
    out.rflags = static_cast<u64>(gregs[REG_EFL]);
    out.vector = static_cast<int>(gregs[REG_TRAPNO]);
    out.error_code = static_cast<u64>(gregs[REG_ERR]);
    out.cr2 = out.vector == 14 ? static_cast<u64>(gregs[REG_CR2]) : 0;
    Exchange& x = exchange;
    auto* frame = reinterpret_cast<u8*>(uc.uc_mcontext.fpregs);
    each_part([&](unsigned at, unsigned size) {
        std::memcpy(out.xsave.bytes + at, frame + at, size);
        std::memcpy(frame + at, x.host_xsave.bytes + at, size);
    });
    std::memcpy(uc.uc_mcontext.gregs, x.host_registers, sizeof x.host_registers);
}

[[noreturn]] void die(int signal, const ucontext_t& uc)
{
    const auto& gregs = uc.uc_mcontext.gregs;
    std::fprintf(stderr, "signal %d (vector %lld) at %#llx, address %#llx, outside any case\n%s\n", signal,
                 gregs[REG_TRAPNO], gregs[REG_RIP], gregs[REG_CR2],
                 exchange.runner ? exchange.runner->last_words.c_str() : "");
    std::abort();
}

void on_signal(int signal, siginfo_t*, void* context)
{
    auto& uc = *static_cast<ucontext_t*>(context);
    switch (exchange.phase) {
    case Phase::starting:
        exchange.phase = Phase::running;
        return load(uc, *exchange.in);
    case Phase::running:
        exchange.phase = Phase::idle;
        return store(uc, *exchange.out);
    case Phase::idle:
        die(signal, uc);
    }
}

void map(u64 at, u64 bytes, int protection)
{
    void* const wanted = reinterpret_cast<void*>(at);
    if (mmap(wanted, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1,
             0) != wanted) {
        std::perror("mmap");
        std::abort();
    }
}

} // namespace

HostRunner::HostRunner()
{
    exchange.runner = this;
    map(kData, kDataBytes, PROT_READ | PROT_WRITE);
    map(kReadOnly, kPageSize, PROT_READ | PROT_WRITE);
    std::memset(reinterpret_cast<void*>(kReadOnly), 0, kPageSize);
    mprotect(reinterpret_cast<void*>(kReadOnly), kPageSize, PROT_READ);
    map(kCode, kCodeBytes, PROT_READ | PROT_WRITE | PROT_EXEC);
    std::memset(reinterpret_cast<void*>(kCode), 0xcc, kCodeBytes);
    syscall(SYS_arch_prctl, ARCH_SET_GS, kGsBase);

    stack_t stack = {};
    stack.ss_sp = mmap(nullptr, kAltStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    stack.ss_size = kAltStackBytes;
    sigaltstack(&stack, nullptr);
    struct sigaction action = {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (const int signal : kSignals)
        sigaction(signal, &action, nullptr);
}

HostRunner::~HostRunner()
{
    exchange.runner = nullptr;
    munmap(reinterpret_cast<void*>(kData), kDataBytes + kPageSize);
    munmap(reinterpret_cast<void*>(kCode), kCodeBytes);
}

u64 HostRunner::fs_base()
{
    u64 base = 0;
    syscall(SYS_arch_prctl, ARCH_GET_FS, &base);
    return base;
}

void HostRunner::run(const Inputs& in, Outcome& out)
{
    auto* const data = reinterpret_cast<u8*>(kData);
    auto* const code = reinterpret_cast<u8*>(in.rip);
    std::memcpy(data, in.data.data(), kDataBytes);
    std::memcpy(code, in.code.data(), in.code.size());
    exchange.in = &in;
    exchange.out = &out;
    exchange.phase = Phase::starting;
    __asm__ volatile("int3" ::: "memory");
    std::memcpy(out.data.data(), data, kDataBytes);
    std::memset(code, 0xcc, in.code.size());
    normalize(out.xsave);
}

} // namespace seamless::diff
