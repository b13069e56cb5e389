// SPDX-License-Identifier: Apache-2.0
// The ioctls of the system descriptor and of VMs: tables of requests, and the copying that each needs.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/table.h"
#include "kvm/backend_tdx/tdx.h"
#include "kvm/backend_vmx/vmx.h"
#include "uapi/files.h"
#include "uapi/interrupt_ioctls.h"
#include "uapi/memory_ioctls.h"

namespace seamless::uapi {

using namespace spec::kvm;

namespace {

// Numbers travel as unsigned long; KVM looks at the low 32 bits.
struct IoctlRow {
    u32 request;
    IoctlResult (*run)(const Call&);
};

template <std::size_t N>
constexpr bool sorted(const IoctlRow (&table)[N])
{
    return base::strictly_ascending(table, &IoctlRow::request);
}

Result<int, Errno> new_descriptor()
{
    const int fd = eventfd(0, EFD_CLOEXEC);
    if (fd < 0)
        return fail(Errno{errno});
    return fd;
}

IoctlResult get_api_version(const Call& c)
{
    return c.arg ? IoctlResult(fail(Errno{EINVAL})) : IoctlResult(KVM_API_VERSION);
}
IoctlResult get_mmap_size(const Call& c)
{
    return c.arg ? IoctlResult(fail(Errno{EINVAL})) : IoctlResult(kVcpuMmapSize);
}
IoctlResult system_check_extension(const Call& c) { return c.kvm.check_extension(static_cast<u32>(c.arg)); }

IoctlResult create_vm(const Call& c)
{
    auto vm = TRY(c.kvm.create_vm(c.arg));
    const int fd = TRY(new_descriptor());
    auto file = std::make_shared<File>();
    file->kind = File::Kind::vm;
    file->vm = std::move(vm);
    c.files.install(fd, std::move(file));
    return fd;
}

IoctlResult get_supported_cpuid(const Call& c)
{
    auto header = TRY(get_user<kvm_cpuid2>(c.arg));
    const auto entries = c.kvm.supported_cpuid();
    if (header.nent < entries.size())
        return fail(Errno{E2BIG});
    header.nent = static_cast<u32>(entries.size());
    TRY(put_user(c.arg, header));
    TRY(copy_to_user(c.arg + sizeof header, entries.data(), entries.size() * sizeof entries[0]));
    return 0;
}

IoctlResult get_msr_index_list(const Call& c)
{
    const auto list = kvm::vmx_msr_index_list();
    const u32 room = TRY(get_user<u32>(c.arg)), count = static_cast<u32>(list.size());
    TRY(put_user(c.arg, count));
    if (room < count)
        return fail(Errno{E2BIG});
    TRY(copy_to_user(c.arg + sizeof count, list.data(), list.size_bytes()));
    return 0;
}

IoctlResult get_msr_feature_index_list(const Call& c)
{
    TRY(get_user<u32>(c.arg));
    TRY(put_user(c.arg, u32{0})); // no feature MSRs
    return 0;
}

// clang-format off
constexpr IoctlRow kSystemIoctls[] = {
    {KVM_GET_API_VERSION,            get_api_version},
    {KVM_CREATE_VM,                  create_vm},
    {KVM_CHECK_EXTENSION,            system_check_extension},
    {KVM_GET_VCPU_MMAP_SIZE,         get_mmap_size},
    {KVM_GET_MSR_INDEX_LIST,         get_msr_index_list},
    {KVM_GET_MSR_FEATURE_INDEX_LIST, get_msr_feature_index_list},
    {KVM_GET_SUPPORTED_CPUID,        get_supported_cpuid},
};
// clang-format on
static_assert(sorted(kSystemIoctls));

IoctlResult vm_check_extension(const Call& c) { return c.file.vm->check_extension(static_cast<u32>(c.arg)); }

IoctlResult create_vcpu(const Call& c)
{
    kvm::Vcpu* vcpu = TRY(c.file.vm->create_vcpu(static_cast<u32>(c.arg)));
    // The descriptor is the memfd of its pages, so that any mmap() of it shows them.
    const int fd = fcntl(vcpu->run_fd(), F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return fail(Errno{errno});
    auto file = std::make_shared<File>();
    file->kind = File::Kind::vcpu;
    file->vm = c.file.vm;
    file->vcpu = vcpu;
    c.files.install(fd, std::move(file));
    return fd;
}

IoctlResult enable_cap(const Call& c)
{
    TRY(c.file.vm->enable_cap(TRY(get_user<kvm_enable_cap>(c.arg))));
    return 0;
}

IoctlResult ioeventfd(const Call& c)
{
    TRY(c.file.vm->ioeventfds.ioctl(TRY(get_user<kvm_ioeventfd>(c.arg))));
    return 0;
}

// Unrestricted guests need neither a TSS nor an identity map; the addresses are accepted, as VMMs insist.
IoctlResult set_tss_addr(const Call& c)
{
    return c.arg > 0xffffffff - 3 * kPageSize ? IoctlResult(fail(Errno{EINVAL})) : IoctlResult(0);
}

IoctlResult set_identity_map_addr(const Call& c)
{
    TRY(get_user<u64>(c.arg));
    if (!c.file.vm->vcpus().empty())
        return fail(Errno{EINVAL});
    return 0;
}

IoctlResult set_boot_cpu_id(const Call& c)
{
    const std::lock_guard guard(c.file.vm->lock);
    if (!c.file.vm->vcpus().empty())
        return fail(Errno{EBUSY});
    c.file.vm->bsp_vcpu_id = static_cast<u32>(c.arg);
    return 0;
}

IoctlResult set_tsc_khz(const Call& c)
{
    const std::lock_guard guard(c.file.vm->lock);
    if (c.arg == 0 || c.arg > 10'000'000 || !c.file.vm->vcpus().empty())
        return fail(Errno{EINVAL});
    if (!c.file.vm->is_td() && c.arg != c.kvm.tsc_khz()) // DEVIATION: plain VMs run at the host's frequency
        return fail(Errno{EINVAL});
    c.file.vm->default_tsc_khz = static_cast<u32>(c.arg);
    return 0;
}

IoctlResult get_tsc_khz(const Call& c) { return c.file.vm->default_tsc_khz; }

IoctlResult register_coalesced_mmio(const Call& c)
{
    TRY(c.file.vm->coalesced_mmio.register_zone(TRY(get_user<kvm_coalesced_mmio_zone>(c.arg))));
    return 0;
}

IoctlResult unregister_coalesced_mmio(const Call& c)
{
    TRY(c.file.vm->coalesced_mmio.unregister_zone(TRY(get_user<kvm_coalesced_mmio_zone>(c.arg))));
    return 0;
}

IoctlResult set_msr_filter(const Call& c)
{
    const auto filter = TRY(get_user<kvm_msr_filter>(c.arg));
    TRY(kvm::MsrFilter::check(filter));
    kvm::MsrFilter::Bitmaps bitmaps;
    for (std::size_t i = 0; i < bitmaps.size(); ++i) {
        bitmaps[i].resize(TRY(kvm::MsrFilter::bitmap_bytes(filter.ranges[i])));
        TRY(copy_from_user(bitmaps[i].data(), filter.ranges[i].bitmap, bitmaps[i].size()));
    }
    TRY(c.file.vm->set_msr_filter(filter, std::move(bitmaps)));
    return 0;
}

IoctlResult get_clock(const Call& c)
{
    TRY(put_user(c.arg, c.file.vm->kvmclock.get()));
    return 0;
}

IoctlResult set_clock(const Call& c)
{
    TRY(c.file.vm->kvmclock.set(TRY(get_user<kvm_clock_data>(c.arg))));
    return 0;
}

IoctlResult set_nr_mmu_pages(const Call& c)
{
    constexpr u64 kLeast = 64;
    return c.arg < kLeast ? IoctlResult(fail(Errno{EINVAL})) : IoctlResult(0); // tables are not shadowed
}

// No 8254 without an 8259, no IOAPIC, and no devices of other kinds: what KVM says then.
IoctlResult create_pit2(const Call& c)
{
    u8 config[64];
    TRY(copy_from_user(config, c.arg, sizeof config));
    return fail(Errno{ENOENT});
}
IoctlResult no_irqchip(const Call&) { return fail(Errno{ENXIO}); }
IoctlResult create_device(const Call& c)
{
    u8 args[12];
    TRY(copy_from_user(args, c.arg, sizeof args));
    return fail(Errno{ENODEV});
}

IoctlResult vm_memory_encrypt_op(const Call& c)
{
    if (!c.file.vm->is_td())
        return fail(Errno{ENOTTY});
    return tdx_vm_ioctl(c);
}

// clang-format off
constexpr IoctlRow kVmIoctls[] = {
    {KVM_CHECK_EXTENSION,           vm_check_extension},
    {KVM_CREATE_VCPU,               create_vcpu},
    {KVM_SET_NR_MMU_PAGES,          set_nr_mmu_pages},
    {KVM_SET_TSS_ADDR,              set_tss_addr},
    {KVM_CREATE_IRQCHIP,            create_irqchip},
    {KVM_SET_BOOT_CPU_ID,           set_boot_cpu_id},
    {KVM_SET_TSC_KHZ,               set_tsc_khz},
    {KVM_GET_TSC_KHZ,               get_tsc_khz},
    {KVM_SET_IDENTITY_MAP_ADDR,     set_identity_map_addr},
    {KVM_IRQ_LINE,                  irq_line},
    {KVM_SET_GSI_ROUTING,           set_gsi_routing},
    {KVM_GET_DIRTY_LOG,             get_dirty_log},
    {KVM_REGISTER_COALESCED_MMIO,   register_coalesced_mmio},
    {KVM_UNREGISTER_COALESCED_MMIO, unregister_coalesced_mmio},
    {KVM_SET_USER_MEMORY_REGION,    set_user_memory_region},
    {KVM_IRQFD,                     irqfd},
    {KVM_SIGNAL_MSI,                signal_msi},
    {KVM_SET_MEMORY_ATTRIBUTES,     set_memory_attributes},
    {KVM_SET_CLOCK,                 set_clock},
    {KVM_CREATE_PIT2,               create_pit2},
    {KVM_IOEVENTFD,                 ioeventfd},
    {KVM_ENABLE_CAP,                enable_cap},
    {KVM_SET_USER_MEMORY_REGION2,   set_user_memory_region2},
    {KVM_X86_SET_MSR_FILTER,        set_msr_filter},
    {KVM_GET_CLOCK,                 get_clock},
    {KVM_SET_IRQCHIP,               no_irqchip},
    {KVM_IRQ_LINE_STATUS,           irq_line_status},
    {KVM_MEMORY_ENCRYPT_OP,         vm_memory_encrypt_op},
    {KVM_CREATE_DEVICE,             create_device},
    {KVM_CLEAR_DIRTY_LOG,           clear_dirty_log},
    {KVM_CREATE_GUEST_MEMFD,        create_guest_memfd},
    {KVM_GET_IRQCHIP,               no_irqchip},
};
// clang-format on
static_assert(sorted(kVmIoctls));

} // namespace

IoctlResult system_ioctl(const Call& call)
{
    const IoctlRow* row = base::find_row(kSystemIoctls, &IoctlRow::request, static_cast<u32>(call.request));
    return row ? row->run(call) : IoctlResult(fail(Errno{EINVAL}));
}

IoctlResult vm_ioctl(const Call& call)
{
    if (call.file.vm->dead())
        return fail(Errno{EIO});
    const IoctlRow* row = base::find_row(kVmIoctls, &IoctlRow::request, static_cast<u32>(call.request));
    return row ? row->run(call) : IoctlResult(fail(Errno{ENOTTY}));
}

} // namespace seamless::uapi
