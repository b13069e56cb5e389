// SPDX-License-Identifier: Apache-2.0
// What a vCPU does with INIT, SIPI and NMI, and its APIC's port.
#include "kvm/irqchip/vcpu_apic.h"

#include "kvm/backend_tdx/tdx.h"
#include "kvm/backend_vmx/vmx.h"
#include "kvm/kvm.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"

namespace seamless::kvm {

using namespace spec::kvm;

namespace {

constexpr u32 kInit = 1, kSipi = 2;
constexpr u32 kMostNmis = 2;

bool cpuid_ecx_bit(const Vcpu& vcpu, unsigned n)
{
    const kvm_cpuid_entry2* entry = find_cpuid_entry(vcpu, 1, 0);
    return entry && test(entry->ecx, n);
}

} // namespace

u64 VcpuApic::guest_tsc()
{
    const u64 tsc = vcpu_.vm().kvm().package().clock().tsc();
    if (vcpu_.vmx)
        return tsc + vcpu_.vmx->vmcs.tsc_offset;
    const KvmTdx& td = *vcpu_.vm().tdx;
    constexpr unsigned kFractionBits = 48;
    return static_cast<u64>(static_cast<unsigned __int128>(tsc) * td.tsc_multiplier >> kFractionBits) +
           td.tsc_offset;
}

u64 VcpuApic::guest_tsc_khz() { return vcpu_.vm().default_tsc_khz; }
u64 VcpuApic::bus_cycle_ns() { return vcpu_.vm().apic_bus_cycles_ns; }
void VcpuApic::send_ipi(const Irq& irq) { (void)kvm_irq_delivery_to_apic(vcpu_.vm(), &vcpu_, irq); }
void VcpuApic::timer_interrupt(u8 vector) { vcpu_.vm().ops.deliver_interrupt(vcpu_, vector, false); }

// Told to the VMM, whose IOAPIC may have more to send. The guest's own thread calls: the exit is its next
// one.
void VcpuApic::end_of_interrupt(u8 vector)
{
    if (vcpu_.vm().irq_routing.ioapic_handles(vcpu_.vm(), vcpu_, vector))
        vcpu_.pending_ioapic_eoi = vector;
}

void Vcpu::cpuid_changed()
{
    constexpr unsigned kX2apic = 21, kTscDeadline = 24;
    lapic.set_features(cpuid_ecx_bit(*this, kX2apic), cpuid_ecx_bit(*this, kTscDeadline));
}

void Vcpu::inject_nmi()
{
    u32 waiting = nmi_pending.load();
    while (waiting < kMostNmis && !nmi_pending.compare_exchange_weak(waiting, waiting + 1)) {
    }
    make_request(KVM_REQ_EVENT);
}

void Vcpu::receive_init()
{
    apic_events_.store(kInit); // an older SIPI is forgotten
    make_request(KVM_REQ_EVENT);
}

void Vcpu::receive_sipi(u8 vector)
{
    sipi_vector_.store(vector);
    apic_events_.fetch_or(kSipi);
    make_request(KVM_REQ_EVENT);
}

void Vcpu::accept_apic_events()
{
    if (!has_init_or_sipi())
        return;
    if (apic_events_.fetch_and(~kInit) & kInit) {
        vm_.ops.vcpu_init(*this);
        lapic.init();
        set_mp_state(id == vm_.bsp_vcpu_id ? KVM_MP_STATE_RUNNABLE : KVM_MP_STATE_INIT_RECEIVED);
    }
    if ((apic_events_.fetch_and(~kSipi) & kSipi) && mp_state() == KVM_MP_STATE_INIT_RECEIVED) {
        vm_.ops.vcpu_deliver_sipi_vector(*this, sipi_vector_.load());
        set_mp_state(KVM_MP_STATE_RUNNABLE);
    }
}

bool Vcpu::mmio_bus_read(u64 gpa, unsigned len, void* data)
{
    return (vm_.irqchip_split && lapic.mmio_read(gpa, len, data)) ||
           vm_.bus(BusId::KVM_MMIO_BUS).read(gpa, len, data);
}

bool Vcpu::mmio_bus_write(u64 gpa, unsigned len, const void* data)
{
    return (vm_.irqchip_split && lapic.mmio_write(gpa, len, data)) ||
           vm_.bus(BusId::KVM_MMIO_BUS).write(gpa, len, data);
}

} // namespace seamless::kvm
