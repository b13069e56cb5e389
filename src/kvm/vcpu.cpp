// SPDX-License-Identifier: Apache-2.0
// The run loop: requests, entry, exit, and leaving to user space for signals, exits and errors.
#include "kvm/vcpu.h"

#include <algorithm>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/backend_tdx/tdx.h"
#include "kvm/backend_vmx/vmx.h"
#include "kvm/kvm.h"
#include "kvm/vm.h"

namespace seamless::kvm {

using namespace spec::kvm;

namespace {

constexpr u8 kRescheduleVector = 0xfd;

} // namespace

Vcpu::Vcpu(Vm& vm, u32 vcpu_id)
    : id(vcpu_id),
      lapic(apic_port, vm.kvm().package().clock(), vm.kvm().timers(), vcpu_id, vcpu_id == vm.bsp_vcpu_id),
      vm_(vm),
      trace_{&vm.kvm().package().tracer(), vcpu_id},
      requests_(KVM_REQ_LOAD_MMU_PGD | KVM_REQ_TLB_FLUSH | KVM_REQ_MSR_FILTER_CHANGED),
      mp_state_(vcpu_id == vm.bsp_vcpu_id || !vm.irqchip_split ? KVM_MP_STATE_RUNNABLE
                                                               : KVM_MP_STATE_UNINITIALIZED)
{}

Vcpu::~Vcpu()
{
    lapic.shut_down(); // its timer must not find half a vCPU
    vm_.ops.vcpu_free(*this);
    if (pages_)
        munmap(pages_, kVcpuMmapSize);
    if (run_fd_ >= 0)
        close(run_fd_);
    if (wake_fd_ >= 0)
        close(wake_fd_);
}

Result<void, Errno> Vcpu::map_run_pages()
{
    wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    run_fd_ = memfd_create("kvm-vcpu", MFD_CLOEXEC);
    if (wake_fd_ < 0 || run_fd_ < 0 || ftruncate(run_fd_, kVcpuMmapSize) != 0)
        return fail(Errno{errno});
    void* at = mmap(nullptr, kVcpuMmapSize, PROT_READ | PROT_WRITE, MAP_SHARED, run_fd_, 0);
    if (at == MAP_FAILED)
        return fail(Errno{errno});
    pages_ = at;
    return {};
}

void Vcpu::signal_arrived()
{
    signal_.store(true);
    if (cpu::LogicalProcessor* lp = running_on.load())
        lp->send_interrupt(kRescheduleVector);
    const u64 one = 1;
    [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
}

u32 Vcpu::make_request(u32 request)
{
    requests_.fetch_or(request);
    const u32 entry = guest_mode_.load();
    if (cpu::LogicalProcessor* lp = running_on.load(); lp && (entry & 1))
        lp->send_interrupt(kRescheduleVector);
    if ((request & (KVM_REQ_UNBLOCK | KVM_REQ_VM_DEAD | KVM_REQ_EVENT)) && blocking_.load()) {
        const u64 one = 1;
        [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
    }
    return entry;
}

void Vcpu::wait_until_left(u32 entry)
{
    if (entry & 1)
        guest_mode_.wait(entry);
}

void Vcpu::set_mp_state(u32 state)
{
    mp_state_.store(state);
    if (state == KVM_MP_STATE_RUNNABLE)
        make_request(KVM_REQ_UNBLOCK);
}

bool Vcpu::runnable() const { return mp_state_.load() == KVM_MP_STATE_RUNNABLE; }

// Halted, or waiting for its start: no processor is held meanwhile. Ends when that state does.
void Vcpu::block()
{
    const u32 waiting_in = mp_state();
    for (;;) {
        blocking_.store(true); // before the look: from now on news come with a wake-up
        accept_apic_events();
        if (mp_state_.load() == KVM_MP_STATE_HALTED && vm_.ops.has_events(*this))
            mp_state_.store(KVM_MP_STATE_RUNNABLE);
        if (signal_pending() || vm_.dead() || mp_state() != waiting_in) {
            blocking_.store(false);
            return;
        }
        pollfd wake{.fd = wake_fd_, .events = POLLIN, .revents = 0};
        if (poll(&wake, 1, -1) < 0 && errno == EINTR)
            signal_.store(true); // a handler ran on this thread: as a kernel's wait, ours ends
        u64 count;
        [[maybe_unused]] const ssize_t n = read(wake_fd_, &count, sizeof count);
    }
}

void Vcpu::load(cpu::LogicalProcessor& lp)
{
    lp.trace = trace_;
    if (cpu != lp.id()) {
        requests_.fetch_or(KVM_REQ_TLB_FLUSH);
        cpu = lp.id();
    }
    if (!vm_.ops.vcpu_load(*this, lp))
        vm_.mark_bugged();
    running_on.store(&lp);
}

void Vcpu::put(cpu::LogicalProcessor&) { running_on.store(nullptr); }

Handled Vcpu::with_processor(const std::function<Handled(cpu::LogicalProcessor&)>& action)
{
    LoadedLp lp(vm_.kvm().processors(), cpu == ~0u ? id : cpu);
    load(*lp);
    const Handled result = action(*lp);
    put(*lp);
    return result;
}

void Vcpu::serve_requests(cpu::LogicalProcessor& lp)
{
    constexpr u32 kNotHere = KVM_REQ_CLOCK_UPDATE; // that one takes slots_lock
    if (!has_request(~kNotHere)) [[likely]]
        return;
    const u32 requests = requests_.fetch_and(kNotHere);
    if (requests & KVM_REQ_LOAD_MMU_PGD)
        vm_.ops.load_mmu_pgd(*this, lp);
    if (requests & KVM_REQ_TLB_FLUSH)
        vm_.ops.flush_tlb_all(*this, lp);
    if (requests & KVM_REQ_MSR_FILTER_CHANGED)
        vm_.ops.msr_filter_changed(*this);
}

Handled Vcpu::vcpu_enter_guest(cpu::LogicalProcessor& lp)
{
    accept_apic_events();
    if (!runnable())
        return kResume;
    if (pending_ioapic_eoi >= 0) {
        run().exit_reason = KVM_EXIT_IOAPIC_EOI;
        run().eoi.vector = static_cast<u8>(std::exchange(pending_ioapic_eoi, -1));
        return kToUser;
    }
    if (has_request(KVM_REQ_CLOCK_UPDATE) &&
        (requests_.fetch_and(~KVM_REQ_CLOCK_UPDATE) & KVM_REQ_CLOCK_UPDATE))
        kvm_guest_time_update(*this);
    // Interrupts of the host that came meanwhile; from here on one that arrives ends the entry at once.
    if (lp.acknowledge_interrupts())
        vm_.kvm().processors().serve_calls(lp);
    guest_mode_.fetch_add(1);
    serve_requests(lp);
    Fastpath fastpath = Fastpath::EXIT_FASTPATH_EXIT_HANDLED;
    const bool enter =
        !signal_pending() && !vm_.dead() && !has_init_or_sipi() && !has_request(KVM_REQ_CLOCK_UPDATE);
    if (enter)
        fastpath = vm_.ops.vcpu_run(*this, lp);
    guest_mode_.fetch_add(1);
    guest_mode_.notify_all();
    if (lp.acknowledge_interrupts())
        vm_.kvm().processors().serve_calls(lp);
    if (!enter)
        return kResume;
    ran_once = true;
    if (const auto gone = lp.take_host_fault(); gone && !vm_.host_memory_gone(*gone))
        return fail(Errno{EFAULT});
    return vm_.ops.handle_exit(*this, fastpath);
}

Handled Vcpu::run_on(cpu::LogicalProcessor& lp)
{
    if (vmx) // user space can write what a plain VM executes, and has had the time
        lp.code_may_have_changed();
    for (;;) {
        const Handled r = vcpu_enter_guest(lp);
        if (!r || r.value() <= 0)
            return r;
        if (signal_pending() || vm_.dead() || !runnable())
            return kResume;
    }
}

Handled Vcpu::run_loaded()
{
    LoadedLp lp(vm_.kvm().processors(), cpu == ~0u ? id : cpu);
    load(*lp);
    const Handled result = run_on(*lp);
    put(*lp);
    return result;
}

Handled Vcpu::vcpu_run_loop()
{
    for (;;) {
        if (runnable()) {
            const Handled r = run_loaded();
            if (!r || r.value() <= 0)
                return r;
        } else {
            block();
        }
        if (vm_.dead())
            return fail(Errno{EIO});
        if (signal_pending()) {
            run().exit_reason = KVM_EXIT_INTR;
            return fail(Errno{EINTR});
        }
    }
}

Handled Vcpu::run_ioctl()
{
    run().flags = 0;
    if (mp_state() == KVM_MP_STATE_UNINITIALIZED) {
        if (run().immediate_exit)
            return fail(Errno{EINTR});
        block();
        if (!signal_pending())
            return fail(Errno{EAGAIN});
        run().exit_reason = KVM_EXIT_INTR;
        return fail(Errno{EINTR});
    }
    if (run().kvm_valid_regs || run().kvm_dirty_regs) // KVM_CAP_SYNC_REGS is 0
        return fail(Errno{EINVAL});
    // Without an APIC here, user space keeps the task priority.
    if (vmx && !vm_.irqchip_split) {
        if (run().cr8 > 15)
            return fail(Errno{EINVAL});
        vmx_set_cr8(*this, run().cr8);
    }
    // What the last exit left to do is done even if the VMM wants to leave at once: it reads the state
    // afterwards.
    if (complete_userspace_io) {
        const auto complete = std::move(complete_userspace_io);
        complete_userspace_io = nullptr;
        const int r = TRY(complete(*this));
        if (r <= 0)
            return r;
    }
    if (run().immediate_exit)
        return fail(Errno{EINTR});
    const int r = TRY(vm_.ops.vcpu_pre_run(*this));
    return r <= 0 ? Handled{r} : vcpu_run_loop();
}

Result<void, Errno> Vcpu::kvm_run_ioctl()
{
    if (vm_.dead())
        return fail(Errno{EIO});
    const Handled r = run_ioctl();
    if (vmx)
        vmx_post_run(*this);
    if (!r) {
        if (r.error() == Errno{EINTR})
            clear_signal();
        return fail(r.error());
    }
    TRACE(trace_, trace::Event::kvm_userspace_exit, kvm_exit_name(run().exit_reason));
    return {};
}

const char* kvm_exit_name(u32 reason)
{
    // clang-format off
    static constexpr struct { u32 number; const char* name; } kNames[] = {
        {KVM_EXIT_UNKNOWN, "KVM_EXIT_UNKNOWN"}, {KVM_EXIT_EXCEPTION, "KVM_EXIT_EXCEPTION"}, {KVM_EXIT_IO, "KVM_EXIT_IO"},
        {KVM_EXIT_HYPERCALL, "KVM_EXIT_HYPERCALL"}, {KVM_EXIT_DEBUG, "KVM_EXIT_DEBUG"}, {KVM_EXIT_HLT, "KVM_EXIT_HLT"},
        {KVM_EXIT_MMIO, "KVM_EXIT_MMIO"}, {KVM_EXIT_IRQ_WINDOW_OPEN, "KVM_EXIT_IRQ_WINDOW_OPEN"},
        {KVM_EXIT_SHUTDOWN, "KVM_EXIT_SHUTDOWN"}, {KVM_EXIT_FAIL_ENTRY, "KVM_EXIT_FAIL_ENTRY"},
        {KVM_EXIT_INTR, "KVM_EXIT_INTR"}, {KVM_EXIT_INTERNAL_ERROR, "KVM_EXIT_INTERNAL_ERROR"},
        {KVM_EXIT_IOAPIC_EOI, "KVM_EXIT_IOAPIC_EOI"}, {KVM_EXIT_SYSTEM_EVENT, "KVM_EXIT_SYSTEM_EVENT"}, {KVM_EXIT_X86_RDMSR, "KVM_EXIT_X86_RDMSR"},
        {KVM_EXIT_X86_WRMSR, "KVM_EXIT_X86_WRMSR"}, {KVM_EXIT_MEMORY_FAULT, "KVM_EXIT_MEMORY_FAULT"},
        {KVM_EXIT_TDX, "KVM_EXIT_TDX"},
    };
    // clang-format on
    for (const auto& row : kNames)
        if (row.number == reason)
            return row.name;
    return "KVM_EXIT_OTHER";
}

const kvm_cpuid_entry2* find_cpuid_entry(const Vcpu& vcpu, u32 function, u32 index)
{
    for (const kvm_cpuid_entry2& e : vcpu.cpuid)
        if (e.function == function && (!(e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e.index == index))
            return &e;
    return nullptr;
}

void kvm_cpuid(const Vcpu& vcpu, u32& eax, u32& ebx, u32& ecx, u32& edx)
{
    const u32 function = eax, index = ecx;
    const kvm_cpuid_entry2* entry = find_cpuid_entry(vcpu, function, index);
    if (!entry) {
        // Intel's rule: a leaf beyond its range reads as the highest basic leaf.
        const kvm_cpuid_entry2* basic = find_cpuid_entry(vcpu, 0, 0);
        const kvm_cpuid_entry2* range = find_cpuid_entry(vcpu, function & 0xffff0000, 0);
        const bool beyond = basic && (!range || function > range->eax);
        entry = beyond ? find_cpuid_entry(vcpu, basic->eax, index) : nullptr;
    }
    if (entry) {
        eax = entry->eax;
        ebx = entry->ebx;
        ecx = entry->ecx;
        edx = entry->edx;
        return;
    }
    eax = ebx = ecx = edx = 0;
    if (function == 0xb || function == 0x1f) { // sub-leaves past the last keep the index and the x2APIC id
        if (const kvm_cpuid_entry2* first = find_cpuid_entry(vcpu, function, 0)) {
            ecx = index & 0xff;
            edx = first->edx;
        }
    }
}

unsigned cpuid_maxphyaddr(const Vcpu& vcpu)
{
    constexpr u32 kExtended = 0x80000000, kAddressSizes = 0x80000008;
    constexpr unsigned kWithoutLeaf = 36;
    const kvm_cpuid_entry2* range = find_cpuid_entry(vcpu, kExtended, 0);
    const kvm_cpuid_entry2* sizes = find_cpuid_entry(vcpu, kAddressSizes, 0);
    return range && range->eax >= kAddressSizes && sizes ? sizes->eax & 0xff : kWithoutLeaf;
}

} // namespace seamless::kvm
