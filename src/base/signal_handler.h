// SPDX-License-Identifier: Apache-2.0
// Sets the handler of a signal that interrupts guest code. ThreadSanitizer keeps signals back until the
// thread calls a function that it knows, and guest code calls none: a vCPU would never hear of them. So its
// back is where they come.
#pragma once

#include <csignal>

#include "base/bits.h"

#ifdef __has_feature
#    if __has_feature(thread_sanitizer)
#        define SEAMLESS_SIGNALS_BY_SYSCALL
#    endif
#endif
#ifdef __SANITIZE_THREAD__
#    define SEAMLESS_SIGNALS_BY_SYSCALL
#endif

#ifdef SEAMLESS_SIGNALS_BY_SYSCALL
#    include <sys/syscall.h>
#    include <unistd.h>

asm(".section .text.seamless_signal_return,\"axG\",@progbits,seamless_signal_return,comdat\n"
    ".weak seamless_signal_return\n"
    ".hidden seamless_signal_return\n"
    "seamless_signal_return:\n"
    "mov $15, %eax\n" // rt_sigreturn
    "syscall\n"
    ".text");
extern "C" void seamless_signal_return();
#endif

namespace seamless::base {

inline void set_signal_handler(int signal, const struct sigaction& action)
{
#ifdef SEAMLESS_SIGNALS_BY_SYSCALL
    constexpr u64 kHasReturn = 0x04000000; // SA_RESTORER
    struct {                               // the kernel's own layout
        void (*handler)(int);
        u64 flags;
        void (*restorer)();
        u64 mask;
    } raw{.handler = action.sa_handler,
          .flags = static_cast<u64>(action.sa_flags) | kHasReturn,
          .restorer = seamless_signal_return,
          .mask = action.sa_mask.__val[0]};
    (void)syscall(SYS_rt_sigaction, signal, &raw, nullptr, sizeof(raw.mask));
#else
    (void)sigaction(signal, &action, nullptr);
#endif
}

} // namespace seamless::base
