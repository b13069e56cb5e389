// SPDX-License-Identifier: Apache-2.0
// A virtual CPU: the page it shares with its VMM, the run loop, and what both back ends need. The state of
// each back end is its own (backend_vmx/, backend_tdx/).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "kvm/fault.h"
#include "kvm/irqchip/vcpu_apic.h"
#include "kvm/kvmclock.h"
#include "kvm/memslots.h"
#include "spec/kvm_abi.h"
#include "trace/trace.h"

namespace seamless::cpu {
class LogicalProcessor;
}

namespace seamless::kvm {

class Vm;
struct VcpuVmx;
struct VcpuTdx;

// KVM_REQ_*: what a vCPU must do before it enters the guest again.
inline constexpr u32 KVM_REQ_TLB_FLUSH = 1u << 0, KVM_REQ_LOAD_MMU_PGD = 1u << 1,
                     KVM_REQ_OUTSIDE_GUEST_MODE = 1u << 2, KVM_REQ_VM_DEAD = 1u << 3, KVM_REQ_EVENT = 1u << 4,
                     KVM_REQ_UNBLOCK = 1u << 5, KVM_REQ_MSR_FILTER_CHANGED = 1u << 6,
                     KVM_REQ_CLOCK_UPDATE = 1u << 7;

class Vcpu {
  public:
    Vcpu(Vm& vm, u32 id);
    ~Vcpu();
    Vcpu(const Vcpu&) = delete;
    Vcpu& operator=(const Vcpu&) = delete;

    // The pages shared with the VMM: a real memfd, so that anyone can map it.
    [[nodiscard]] Result<void, Errno> map_run_pages();
    [[nodiscard]] int run_fd() const { return run_fd_; }
    [[nodiscard]] spec::kvm::kvm_run& run() { return *static_cast<spec::kvm::kvm_run*>(pages_); }
    [[nodiscard]] u8* pio_data()
    {
        return static_cast<u8*>(pages_) + kPageSize * spec::kvm::KVM_PIO_PAGE_OFFSET;
    }

    [[nodiscard]] Vm& vm() { return vm_; }
    [[nodiscard]] const trace::Context& trace() const { return trace_; }

    // KVM_RUN. Errors are what the ioctl fails with.
    [[nodiscard]] Result<void, Errno> kvm_run_ioctl();
    // Runs `action` with a logical processor loaded: ioctls that execute SEAMCALL for this vCPU.
    Handled with_processor(const std::function<Handled(cpu::LogicalProcessor&)>& action);

    // Async-signal-safe: this vCPU's thread has a signal to handle. KVM_RUN ends with EINTR.
    void signal_arrived();
    void clear_signal() { signal_.store(false, std::memory_order_release); }
    [[nodiscard]] bool signal_pending() const { return signal_.load(std::memory_order_acquire); }
    // Any thread: do `request` before the next entry, and leave the guest for it. Gives the entry that was
    // told to, for wait_until_left(): one that began later has seen the request already.
    u32 make_request(u32 request);
    [[nodiscard]] bool in_guest() const { return guest_mode_.load() & 1; }
    void wait_until_left(u32 entry);

    [[nodiscard]] u32 mp_state() const { return mp_state_.load(); }
    void set_mp_state(u32 state);
    // Interrupts that are no fixed ones, from any thread (irqchip/vcpu_apic.cpp).
    void inject_nmi();
    void receive_init();
    void receive_sipi(u8 vector);
    [[nodiscard]] bool has_init_or_sipi() const { return apic_events_.load() != 0; }
    // On the vCPU's own thread: INIT resets it, a SIPI then starts it.
    void accept_apic_events();
    // KVM's devices on the MMIO bus, its APIC first; for plain VMs. False: nobody claims the access.
    [[nodiscard]] bool mmio_bus_read(u64 gpa, unsigned len, void* data);
    [[nodiscard]] bool mmio_bus_write(u64 gpa, unsigned len, const void* data);
    // What depends on CPUID after KVM_SET_CPUID2.
    void cpuid_changed();
    [[nodiscard]] u8 sipi_vector() const { return sipi_vector_.load(); }
    void set_sipi_vector(u8 vector) { sipi_vector_.store(vector); }

    [[nodiscard]] bool has_request(u32 request) const { return requests_.load() & request; }

    // Handlers of a back end that leave to user space may leave work for the next KVM_RUN.
    std::function<Handled(Vcpu&)> complete_userspace_io;

    struct MmioCache {
        Gfn gfn;
        u64 generation = 0;
        bool valid = false;
    };
    MmioCache mmio_cache;

    const u32 id;
    std::mutex mutex; // one ioctl at a time
    std::vector<spec::kvm::kvm_cpuid_entry2> cpuid;
    bool ran_once = false;
    bool guest_mode = false; // it runs a guest of its guest: KVM's is_guest_mode(). Nothing sets it yet
    VcpuApic apic_port{*this};
    Lapic lapic;
    u64 pat = 0x0007040600070406;
    PvTime pv_time;
    // NMIs that wait for delivery: one, and a second while the first is being handled.
    std::atomic<u32> nmi_pending{0};
    int pending_ioapic_eoi = -1; // a vector whose end user space's IOAPIC must hear of
    std::unique_ptr<VcpuVmx> vmx;
    std::unique_ptr<VcpuTdx> tdx;
    unsigned cpu = ~0u; // the logical processor it last ran on
    std::atomic<cpu::LogicalProcessor*> running_on{nullptr};
    std::unordered_map<u32, u64> msrs; // emulated MSRs that are plain state

    std::optional<u64> run_signal_mask; // KVM_SET_SIGNAL_MASK: what is blocked during KVM_RUN
    // Interrupt that user space injects (KVM_INTERRUPT), not yet delivered; -1: none.
    int external_vector = -1;

  private:
    [[nodiscard]] Handled run_ioctl();
    [[nodiscard]] Handled vcpu_run_loop();
    [[nodiscard]] Handled vcpu_enter_guest(cpu::LogicalProcessor& lp);
    void serve_requests(cpu::LogicalProcessor& lp);
    void load(cpu::LogicalProcessor& lp);
    void put(cpu::LogicalProcessor& lp);
    void block();
    [[nodiscard]] Handled run_loaded();
    [[nodiscard]] Handled run_on(cpu::LogicalProcessor& lp);
    [[nodiscard]] bool runnable() const;

    Vm& vm_;
    trace::Context trace_;
    int run_fd_ = -1;
    int wake_fd_ = -1;
    void* pages_ = nullptr;
    std::atomic<bool> signal_{false};
    std::atomic<u32> requests_{0};
    std::atomic<bool> blocking_{false}; // sleeps, or is about to: whoever has news must wake it
    std::atomic<u32> apic_events_{0};
    std::atomic<u8> sipi_vector_{0};
    std::atomic<u32> mp_state_;
    std::atomic<u32> guest_mode_{0}; // counts entries and exits: odd while in the guest
};

// Name of a KVM_EXIT_* number, for the trace.
[[nodiscard]] const char* kvm_exit_name(u32 reason);
// The CPUID entry that SET_CPUID2 gave for the leaf, or nullptr.
[[nodiscard]] const spec::kvm::kvm_cpuid_entry2* find_cpuid_entry(const Vcpu& vcpu, u32 function, u32 index);
// CPUID with KVM's redirection of leaves beyond the maximum.
void kvm_cpuid(const Vcpu& vcpu, u32& eax, u32& ebx, u32& ecx, u32& edx);
// The width of the guest's physical addresses, as its CPUID says.
[[nodiscard]] unsigned cpuid_maxphyaddr(const Vcpu& vcpu);

} // namespace seamless::kvm
