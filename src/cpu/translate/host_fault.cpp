// SPDX-License-Identifier: Apache-2.0
// Host signals in translated code: a division by zero or a misaligned vector access of the guest's arrives as
// SIGFPE or SIGSEGV, and leaves the block as the exception it is, with the guest's registers as they were. A
// page fault means that the VMM has taken memory away, and becomes a VM exit in the same way.
#include <csignal>
#include <mutex>
#include <ucontext.h>

#include "cpu/translate/engine.h"

namespace seamless::cpu {
namespace {

constexpr long long kPageFault = 14;
constexpr int kSignals[] = {SIGFPE, SIGSEGV, SIGBUS, SIGILL};
struct sigaction previous[NSIG];

// ucontext's register for each host register the guest's live in.
constexpr int kContextRegister[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                      REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

u64 host_register(const ucontext_t& context, int host)
{
    return static_cast<u64>(context.uc_mcontext.gregs[kContextRegister[host]]);
}

void pass_on(int signal, siginfo_t* info, void* context)
{
    const struct sigaction& old = previous[signal];
    if (old.sa_flags & SA_SIGINFO)
        return old.sa_sigaction(signal, info, context);
    if (old.sa_handler != SIG_DFL && old.sa_handler != SIG_IGN)
        return old.sa_handler(signal);
    ::signal(signal, SIG_DFL); // the instruction runs again and takes the default action
}

} // namespace

void Engine::on_signal(int signal, void* info, void* context)
{
    if (running_ && running_->host_fault(context))
        return;
    auto& gregs = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
    u64 rip = static_cast<u64>(gregs[REG_RIP]);
    if (gregs[REG_TRAPNO] == kPageFault && mem::recover_access(rip)) { // of C++, on behalf of the guest
        gregs[REG_RIP] = static_cast<greg_t>(rip);
        return;
    }
    pass_on(signal, static_cast<siginfo_t*>(info), context);
}

void Engine::install_signal_handlers()
{
    static std::once_flag once;
    std::call_once(once, [] {
        struct sigaction action = {};
        action.sa_sigaction = [](int signal, siginfo_t* info, void* context) {
            on_signal(signal, info, context);
        };
        action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
        for (const int signal : kSignals)
            sigaction(signal, &action, &previous[signal]);
    });
}

bool Engine::host_fault(void* context)
{
    auto& uc = *static_cast<ucontext_t*>(context);
    const u64 at = static_cast<u64>(uc.uc_mcontext.gregs[REG_RIP]);
    if (!cache_->contains(at))
        return false;
    const Block* block = cache_->containing(at);
    if (!block)
        return false;
    const u32 offset = static_cast<u32>(at - cache_->address());
    const NativeRange* range = nullptr;
    for (const NativeRange& candidate : block->native)
        if (offset >= candidate.start && offset < candidate.end)
            range = &candidate;
    const long long trap = uc.uc_mcontext.gregs[REG_TRAPNO];
    const bool guests = trap == 0 || trap == 6 || trap == 13 || trap == 16 || trap == 17 || trap == 19;
    if (!range || !(guests || trap == kPageFault))
        return false;
    take_registers(&uc, *range);
    const u64 address = static_cast<u64>(uc.uc_mcontext.gregs[REG_CR2]);
    pending_fault_ =
        guests ? raise(static_cast<spec::Vector>(trap), 0) : port_.host_memory_gone(Hpa(address));
    fault_in_block(at, range->index);
    uc.uc_mcontext.gregs[REG_RIP] = static_cast<greg_t>(stubs_.exit_registers_saved);
    return true;
}

// The guest's registers, as they are within `range`.
void Engine::take_registers(void* context, const NativeRange& range)
{
    const auto& uc = *static_cast<ucontext_t*>(context);
    u64* gpr = frame_.state.gpr;
    for (int host = 0; host < 13; ++host)
        if (host != 4)
            gpr[host] = host_register(uc, host);
    gpr[4] = host_register(uc, 13);
    if (range.spilled >= 0)
        gpr[range.spilled] = frame_.spill[0];
    if (range.swapped_a >= 0) {
        gpr[range.swapped_b] = host_register(uc, range.swapped_a);
        if (range.swapped_a == static_cast<int>(kGuestRsp))
            gpr[4] = host_register(uc, range.swapped_b);
    }
    frame_.host_flags = static_cast<u64>(uc.uc_mcontext.gregs[REG_EFL]);
}

} // namespace seamless::cpu
