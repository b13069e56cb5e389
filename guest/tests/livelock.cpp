// SPDX-License-Identifier: Apache-2.0
// MMIO inside the #VE handler before TDG.VP.VEINFO.GET: the processor cannot deliver a second #VE, exits
// instead, and the host has nothing to repair. No instruction retires any more.
#include "guest/firmware/access.h"
#include "guest/firmware/console.h"
#include "guest/firmware/exceptions.h"
#include "guest/firmware/memory.h"

namespace seamless::guest {
namespace {

u64 registers;

bool touch_device_first(Frame&)
{
    (void)load32(registers);
    return false; // the report that follows is the failure: the load must never end
}

} // namespace

bool guest_main(const Machine& machine)
{
    const MemoryRange device = find_resource(machine, ResourceType::MEMORY_MAPPED_IO);
    if (!machine.td || device.size == 0) {
        check(false, "a TD with a device");
        return false;
    }
    registers = map_device(machine, device.start);
    print("livelock\n"); // the last line: printing takes #VE too
    set_handler(kVirtualizationException, touch_device_first);
    (void)load32(registers);
    return false;
}

} // namespace seamless::guest
