// SPDX-License-Identifier: Apache-2.0
// The other processors: each watches the mailbox until the operating system names it.
#include "guest/firmware/machine.h"
#include "guest/linux/mailbox.h"

namespace seamless::guest {

volatile Mailbox mailbox;

namespace {

// The command comes last, and is read first.
u16 command_for(u32 id)
{
    const u16 command = __atomic_load_n(&mailbox.command, __ATOMIC_ACQUIRE);
    return mailbox.apic_id == id ? command : kMailboxNoop;
}

void heard() { __atomic_store_n(&mailbox.command, kMailboxNoop, __ATOMIC_RELEASE); }

} // namespace
} // namespace seamless::guest

// Processors are numbered as their APICs are.
void secondary_main(unsigned index)
{
    using namespace seamless::guest;
    for (;;) {
        const auto command = command_for(index);
        if (command == kMailboxTest) // is it here?
            heard();
        if (command == kMailboxWakeup)
            break;
        asm volatile("pause" : : : "memory");
    }
    const seamless::u64 vector = mailbox.vector;
    heard();
    asm volatile("jmp *%0" : : "r"(vector) : "memory");
    __builtin_unreachable();
}
