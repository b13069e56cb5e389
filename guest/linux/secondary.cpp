// SPDX-License-Identifier: Apache-2.0
// The other processors: each watches the mailbox until the operating system names it.
#include "guest/firmware/machine.h"
#include "guest/linux/mailbox.h"

namespace seamless::guest {

volatile Mailbox mailbox;

namespace {

// The command comes last, and is read first.
bool called(u32 id)
{
    return __atomic_load_n(&mailbox.command, __ATOMIC_ACQUIRE) == kMailboxWakeup && mailbox.apic_id == id;
}

} // namespace
} // namespace seamless::guest

// Processors are numbered as their APICs are.
void secondary_main(unsigned index)
{
    using namespace seamless::guest;
    while (!called(index))
        asm volatile("pause" : : : "memory");
    const seamless::u64 vector = mailbox.vector;
    __atomic_store_n(&mailbox.command, kMailboxNoop, __ATOMIC_RELEASE); // heard
    asm volatile("jmp *%0" : : "r"(vector) : "memory");
    __builtin_unreachable();
}
