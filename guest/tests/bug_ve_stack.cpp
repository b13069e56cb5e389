// SPDX-License-Identifier: Apache-2.0
// A planted bug: a #VE handler that writes to a port, which is a #VE again, until its stack is used up. Below
// the stack nothing is mapped: neither the next #VE nor the double fault can be delivered.
#include "guest/firmware/console.h"
#include "guest/firmware/memory.h"
#include "guest/firmware/x86.h"
#include "guest/tests/give_up.h"

extern "C" {
extern seamless::u64 page_tables[]; // image.ld
}

namespace seamless::guest {
namespace {

constexpr u16 kPort = 0x80;
constexpr u64 kMemory = 0x2000000, kLarge = 0x200000, kStack = 0x4000;

bool says_so_on_a_port(Frame& frame)
{
    VeInfo info;
    if (read_ve_info(info) != kSuccess)
        return false;
    out8(kPort, 1);
    frame.rip += info.instruction_length;
    return true;
}

// 2 MiB of private memory, in the last entry of the directory that devices are mapped by; the one before it
// is empty.
u64 map_stack(const Machine& machine)
{
    constexpr u64 kEntry = 511, kPresentWritableLarge = 0x83;
    (void)map_device(machine, find_resource(machine, ResourceType::MEMORY_MAPPED_IO).start);
    u64* directory = page_tables + 6 * 512;
    directory[kEntry] = kMemory | kPresentWritableLarge;
    return (u64{256} << 30) + kEntry * kLarge;
}

} // namespace

bool guest_main(const Machine& machine)
{
    (void)accept({.start = kMemory, .size = kLarge});
    const u64 stack = map_stack(machine);
    print("a #VE handler without end\n");
    set_handler(kVirtualizationException, says_so_on_a_port);
    asm volatile("mov %0, %%rsp\n\t"
                 "out %%al, %1"
                 :
                 : "r"(stack + kStack), "Nd"(kPort), "a"(0)
                 : "memory");
    return false;
}

} // namespace seamless::guest
