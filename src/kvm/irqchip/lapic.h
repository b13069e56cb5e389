// SPDX-License-Identifier: Apache-2.0
// A local APIC in xAPIC and x2APIC form. For a TD, KVM's copy only sends, times and says whether it is
// enabled: what is pending and in service is the processor's (posted interrupts). Any thread may call; one
// lock guards the registers. What every exit asks for is also kept where it is read without the lock.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>

#include "base/errno.h"
#include "base/host_ports.h"
#include "base/result.h"
#include "kvm/irqchip/host_timer.h"
#include "kvm/irqchip/irq.h"
#include "spec/kvm_abi_irq.h"

namespace seamless::kvm {

// What an APIC wants from its vCPU. Called without the APIC's lock.
class LapicPort {
  public:
    virtual ~LapicPort() = default;
    [[nodiscard]] virtual u64 guest_tsc() = 0;
    [[nodiscard]] virtual u64 guest_tsc_khz() = 0;
    [[nodiscard]] virtual u64 bus_cycle_ns() = 0;
    virtual void send_ipi(const Irq& irq) = 0;
    virtual void timer_interrupt(u8 vector) = 0;
    virtual void end_of_interrupt(u8 vector) = 0;
};

class Lapic {
  public:
    Lapic(LapicPort& port, base::Clock& clock, HostTimers& timers, u32 id, bool bsp);
    // Waits for the timer's callback. To be called before what the port leads to goes away.
    void shut_down();

    // What the guest's CPUID says. KVM_SET_CPUID2 sets it.
    void set_features(bool x2apic, bool tsc_deadline);
    // Reset by INIT: the mode and the id stay.
    void init();

    // IA32_APIC_BASE. EINVAL: reserved bits, an invalid mode, or a transition that a guest may not make.
    [[nodiscard]] u64 base() const { return shown_base_.load(); }
    [[nodiscard]] Result<void, Errno> set_base(u64 value, bool host);
    [[nodiscard]] ApicAddress address() const;

    // MSRs 800H to 8FFH. EINVAL: not in x2APIC mode, no such register, not readable or writable, reserved
    // bits.
    [[nodiscard]] Result<u64, Errno> read_msr(u32 index);
    [[nodiscard]] Result<void, Errno> write_msr(u32 index, u64 value);
    // The xAPIC page. False: the access is not for this APIC.
    [[nodiscard]] bool mmio_read(u64 gpa, unsigned len, void* data);
    [[nodiscard]] bool mmio_write(u64 gpa, unsigned len, const void* data);
    // IA32_TSC_DEADLINE: 0 and ignored while the timer is in another mode.
    [[nodiscard]] u64 tsc_deadline() const;
    void set_tsc_deadline(u64 value);
    // CR8 is bits 7:4.
    [[nodiscard]] u8 task_priority() const { return shown_priority_.load(); }
    void set_task_priority(u8 value);

    // An interrupt request; false: it was pending already. Only for APICs that the processor does not
    // virtualize.
    bool request(u8 vector, bool level_triggered);
    // The vector that the processor would be given, or -1.
    [[nodiscard]] int pending();
    // Moves what pending() tells into service.
    int acknowledge();
    // Interrupts of an 8259 pass through LINT0.
    [[nodiscard]] bool accepts_external() const { return shown_external_.load(); }

    // KVM_GET_LAPIC and KVM_SET_LAPIC; `ids_32bit`: KVM_X2APIC_API_USE_32BIT_IDS.
    void get_state(spec::kvm::kvm_lapic_state& state, bool ids_32bit);
    [[nodiscard]] Result<void, Errno> set_state(const spec::kvm::kvm_lapic_state& state, bool ids_32bit);

  private:
    // What a register access leads to once the lock is free.
    struct Effects {
        bool ipi = false;
        Irq irq;
        int timer_vector = -1;
        int eoi_vector = -1;
    };
    // Holds the lock for a change of what is shown without it.
    class Change;
    struct Register;
    static const Register kRegisters[];

    [[nodiscard]] u32& reg(u32 offset) { return reg_[offset >> 4]; }
    [[nodiscard]] u32 reg(u32 offset) const { return reg_[offset >> 4]; }
    [[nodiscard]] bool x2apic() const;
    [[nodiscard]] bool hardware_enabled() const;
    [[nodiscard]] bool software_enabled() const;
    [[nodiscard]] static bool is_page(u64 base, u64 gpa, unsigned len);
    [[nodiscard]] static const Register* find(u32 offset, bool x2apic);
    void reset_registers();
    void set_id();

    [[nodiscard]] u32 read_register(u32 offset);
    [[nodiscard]] Result<void, Errno> write_register(u32 offset, u32 value, Effects& effects);
    void write_icr(u32 low, u32 high, Effects& effects);
    void write_spurious(u32 value);
    void perform(const Effects& effects);

    [[nodiscard]] int highest(u32 base_offset) const;
    [[nodiscard]] bool test_vector(u32 base_offset, u8 vector) const;
    void assign_vector(u32 base_offset, u8 vector, bool value);
    void update_ppr();
    [[nodiscard]] int pending_locked();
    int end_of_interrupt();

    // lapic_timer.cpp
    void update_timer_mode();
    void stop_timer();
    void start_timer(u32 count);
    void set_divide(u32 value);
    void start_deadline(Effects& effects);
    void expire(Effects& effects);
    void timer_expired();
    [[nodiscard]] u64 divide() const;
    [[nodiscard]] u32 current_count();

    LapicPort& port_;
    base::Clock& clock_;
    const u32 id_;
    const bool bsp_;

    mutable std::mutex mutex_;
    u64 base_;
    std::array<u32, 64> reg_{}; // by offset / 16
    // Something may be in IRR. Read without the lock: who requests says so before he wakes the vCPU.
    std::atomic<bool> requested_ = false;
    std::atomic<u64> shown_base_ = 0;
    std::atomic<u8> shown_priority_ = 0;
    std::atomic<bool> shown_external_ = false;
    bool has_x2apic_ = true, has_tsc_deadline_ = true;
    struct {
        spec::apic::TimerMode mode = spec::apic::TimerMode::one_shot;
        bool armed = false;
        u64 target_ns = 0;
        u64 period_ns = 0;
        u64 tsc_deadline = 0;
    } timer_;
    std::unique_ptr<HostTimer> host_timer_;
};

} // namespace seamless::kvm
