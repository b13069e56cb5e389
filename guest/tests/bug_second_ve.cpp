// SPDX-License-Identifier: Apache-2.0
// A planted bug: the #VE handler executes CPUID, whose leaf is a #VE again, before TDG.VP.VEINFO.GET. The
// same with MMIO is `livelock`.
#include "guest/firmware/console.h"
#include "guest/firmware/x86.h"
#include "guest/tests/give_up.h"

namespace seamless::guest {
namespace {

constexpr u32 kHypervisorLeaf = 0x40000000;
constexpr unsigned kDoubleFault = 8;

bool asks_who_the_hypervisor_is(Frame& frame)
{
    (void)cpuid(kHypervisorLeaf);
    return handle_ve(frame);
}

bool on_double_fault(Frame&) { give_up("double fault"); }

} // namespace

bool guest_main(const Machine&)
{
    print("second #VE\n");
    set_handler(kDoubleFault, on_double_fault);
    set_handler(kVirtualizationException, asks_who_the_hypervisor_is);
    (void)cpuid(kHypervisorLeaf);
    return false;
}

} // namespace seamless::guest
