// SPDX-License-Identifier: Apache-2.0
// KVM_CHECK_EXTENSION and KVM_ENABLE_CAP. A capability that no row names is not there.
#include "base/table.h"
#include "kvm/backend_tdx/tdx.h"
#include "kvm/kvm.h"
#include "kvm/vm.h"

namespace seamless::kvm {

using namespace spec::kvm;

namespace {

struct CapRow {
    u32 cap;
    int value;
    int td = -1; // where a TD's VM differs
};

// clang-format off
constexpr CapRow kCaps[] = {
    {KVM_CAP_IRQCHIP, 1}, {KVM_CAP_HLT, 1}, {KVM_CAP_USER_MEMORY, 1}, {KVM_CAP_SET_TSS_ADDR, 1},
    {KVM_CAP_EXT_CPUID, 1}, {KVM_CAP_NR_MEMSLOTS, 32764}, {KVM_CAP_MP_STATE, 1}, {KVM_CAP_COALESCED_MMIO, 2},
    {KVM_CAP_SYNC_MMU, 1}, {KVM_CAP_DESTROY_MEMORY_REGION_WORKS, 1}, {KVM_CAP_USER_NMI, 1},
    {KVM_CAP_SET_GUEST_DEBUG, 1},
    {KVM_CAP_IRQ_ROUTING, 4096}, {KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, 1}, {KVM_CAP_IRQFD, 1},
    {KVM_CAP_SET_BOOT_CPU_ID, 1}, {KVM_CAP_IOEVENTFD, 1}, {KVM_CAP_SET_IDENTITY_MAP_ADDR, 1},
    {KVM_CAP_ADJUST_CLOCK, KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC},
    {KVM_CAP_INTERNAL_ERROR_DATA, 1}, {KVM_CAP_VCPU_EVENTS, 1}, {KVM_CAP_DEBUGREGS, 1},
    {KVM_CAP_X86_ROBUST_SINGLESTEP, 1}, {KVM_CAP_ENABLE_CAP, 1}, {KVM_CAP_XSAVE, 1}, {KVM_CAP_XCRS, 1},
    {KVM_CAP_GET_TSC_KHZ, 1}, {KVM_CAP_TSC_DEADLINE_TIMER, 1}, {KVM_CAP_KVMCLOCK_CTRL, 1}, {KVM_CAP_SIGNAL_MSI, 1},
    {KVM_CAP_READONLY_MEM, 1, 0}, {KVM_CAP_IRQFD_RESAMPLE, 1}, {KVM_CAP_ENABLE_CAP_VM, 1},
    {KVM_CAP_IOEVENTFD_NO_LENGTH, 1}, {KVM_CAP_CHECK_EXTENSION_VM, 1}, {KVM_CAP_MULTI_ADDRESS_SPACE, 1},
    {KVM_CAP_SPLIT_IRQCHIP, 1}, {KVM_CAP_IOEVENTFD_ANY_LENGTH, 1}, {KVM_CAP_MAX_VCPU_ID, 4096},
    {KVM_CAP_X2APIC_API, 3}, {KVM_CAP_IMMEDIATE_EXIT, 1}, {KVM_CAP_COALESCED_PIO, 1},
    {KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 3},
    {KVM_CAP_X86_USER_SPACE_MSR, 1}, {KVM_CAP_X86_MSR_FILTER, 1}, {KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1},
    {KVM_CAP_SET_GUEST_DEBUG2, KVM_GUESTDBG_VALID_MASK}, {KVM_CAP_SREGS2, 1},
    {KVM_CAP_EXIT_HYPERCALL, 0x1000}, {KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1},
    {KVM_CAP_XSAVE2, sizeof(kvm_xsave)}, {KVM_CAP_VM_TSC_CONTROL, 1},
    {KVM_CAP_SYSTEM_EVENT_DATA, 1}, {KVM_CAP_USER_MEMORY2, 1}, {KVM_CAP_MEMORY_FAULT_INFO, 1},
    {KVM_CAP_MEMORY_ATTRIBUTES, 8}, {KVM_CAP_GUEST_MEMFD, 1}, {KVM_CAP_PRE_FAULT_MEMORY, 1},
    {KVM_CAP_X86_APIC_BUS_CYCLES_NS, 1},
};
// clang-format on
static_assert(base::strictly_ascending(kCaps, &CapRow::cap));

constexpr u32 kMaxIoapicPins = 4096;

} // namespace

int Kvm::check_extension(u32 cap) const
{
    if (cap == KVM_CAP_NR_VCPUS)
        return static_cast<int>(package_.count());
    if (cap == KVM_CAP_MAX_VCPUS)
        return 1024;
    if (cap == KVM_CAP_VM_TYPES)
        return static_cast<int>(bit(KVM_X86_DEFAULT_VM) | (tdx_ready_ ? bit(KVM_X86_TDX_VM) : 0));
    const CapRow* row = base::find_row(kCaps, &CapRow::cap, cap);
    return row ? row->value : 0;
}

int Vm::check_extension(u32 cap) const
{
    if (cap == KVM_CAP_MAX_VCPUS)
        return static_cast<int>(max_vcpus);
    if (!has_private_mem && (cap == KVM_CAP_GUEST_MEMFD || cap == KVM_CAP_MEMORY_ATTRIBUTES))
        return 0;
    const CapRow* row = base::find_row(kCaps, &CapRow::cap, cap);
    if (row && is_td() && row->td >= 0)
        return row->td;
    return kvm_.check_extension(cap);
}

Result<void, Errno> Vm::enable_cap(const kvm_enable_cap& cap)
{
    const std::lock_guard guard(lock);
    if (cap.flags != 0)
        return fail(Errno{EINVAL});
    const u64 arg = cap.args[0];
    switch (cap.cap) {
    case KVM_CAP_SPLIT_IRQCHIP:
        if (arg > kMaxIoapicPins)
            return fail(Errno{EINVAL});
        if (irqchip_split || !vcpus().empty())
            return fail(Errno{EEXIST});
        irqchip_split = true;
        nr_reserved_ioapic_pins = static_cast<u32>(arg);
        return {};
    case KVM_CAP_X2APIC_API:
        if (arg & ~u64{3})
            return fail(Errno{EINVAL});
        x2apic_format = arg;
        return {};
    case KVM_CAP_EXIT_HYPERCALL:
        if (arg & ~bit(KVM_HC_MAP_GPA_RANGE))
            return fail(Errno{EINVAL});
        hypercall_exit_enabled = arg;
        return {};
    case KVM_CAP_X86_APIC_BUS_CYCLES_NS:
        if (arg == 0 || arg > ~u64{0} >> 39)
            return fail(Errno{EINVAL});
        if (!irqchip_split)
            return fail(Errno{ENXIO});
        if (!vcpus().empty())
            return fail(Errno{EINVAL});
        apic_bus_cycles_ns = arg;
        return {};
    case KVM_CAP_X86_USER_SPACE_MSR:
        if (arg & ~u64{7})
            return fail(Errno{EINVAL});
        user_space_msr_mask = arg;
        return {};
    case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2: {
        const bool enable = arg & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
        if (arg & ~(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | (enable ? KVM_DIRTY_LOG_INITIALLY_SET : 0)))
            return fail(Errno{EINVAL});
        manual_dirty_log_protect = arg;
        return {};
    }
    case KVM_CAP_EXIT_ON_EMULATION_FAILURE:
        if (arg & ~u64{1})
            return fail(Errno{EINVAL});
        exit_on_emulation_error = arg;
        return {};
    default:
        return fail(Errno{EINVAL});
    }
}

} // namespace seamless::kvm
