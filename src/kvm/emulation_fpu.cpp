// SPDX-License-Identifier: Apache-2.0
// The vCPU's x87 and SSE state, for the emulator's moves between vector registers and devices.
#include <algorithm>

#include "kvm/backend_vmx/vmx.h"
#include "kvm/emulation.h"

namespace seamless::kvm {

namespace {

// A component whose bit in XSTATE_BV is clear has its initial state, whatever the area holds: it gets that
// and the bit, so that it can be read and written in place. SDM: "XSAVE-Managed State", "Legacy Region".
void make_valid(cpu::XsaveArea& area, unsigned offset)
{
    constexpr unsigned kXmm = 160, kXmmEnd = 416, kXstateBv = 512, kX87Registers = 32;
    const u8 component = offset < kXmm ? 1 : 2;
    u8& valid = area.bytes[kXstateBv];
    if (valid & component)
        return;
    valid |= component;
    if (component == 2) {
        std::fill(area.bytes + kXmm, area.bytes + kXmmEnd, u8{0});
        return;
    }
    const cpu::XsaveArea initial = [] {
        cpu::XsaveArea a;
        a.reset();
        return a;
    }();
    constexpr unsigned kMxcsr = 24; // to 31: SSE's
    std::copy_n(initial.bytes, kMxcsr, area.bytes);
    std::copy(initial.bytes + kX87Registers, initial.bytes + kXmm, area.bytes + kX87Registers);
}

} // namespace

void VcpuEmulation::read_fpu(unsigned offset, std::span<u8> bytes)
{
    cpu::XsaveArea& area = vcpu_.vmx->context.xsave;
    make_valid(area, offset);
    std::copy_n(area.bytes + offset, bytes.size(), bytes.begin());
}
void VcpuEmulation::write_fpu(unsigned offset, std::span<const u8> bytes)
{
    cpu::XsaveArea& area = vcpu_.vmx->context.xsave;
    make_valid(area, offset);
    std::copy(bytes.begin(), bytes.end(), area.bytes + offset);
}

} // namespace seamless::kvm
