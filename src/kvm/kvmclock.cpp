// SPDX-License-Identifier: Apache-2.0
// The arithmetic of kvmclock, its MSRs, and the structures it keeps in a guest's memory.
#include "kvm/kvmclock.h"

#include <cstring>
#include <utility>

#include "kvm/backend_vmx/vmx.h"
#include "kvm/guest_memory.h"
#include "kvm/kvm.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"

namespace seamless::kvm {

using namespace spec::kvm;

namespace {

constexpr u64 kNsPerSecond = 1'000'000'000;

struct ClockMsr {
    u32 index;
    unsigned feature; // that offers it
    bool system_time; // else the wall clock
    bool old;
};

constexpr ClockMsr kClockMsrs[] = {
    {MSR_KVM_WALL_CLOCK, KVM_FEATURE_CLOCKSOURCE, false, true},
    {MSR_KVM_SYSTEM_TIME, KVM_FEATURE_CLOCKSOURCE, true, true},
    {MSR_KVM_WALL_CLOCK_NEW, KVM_FEATURE_CLOCKSOURCE2, false, false},
    {MSR_KVM_SYSTEM_TIME_NEW, KVM_FEATURE_CLOCKSOURCE2, true, false},
};

const ClockMsr* find(u32 index)
{
    for (const ClockMsr& row : kClockMsrs)
        if (row.index == index)
            return &row;
    return nullptr;
}

// Guests that were never told of an MSR may use it all the same, unless the VMM wants the table to bind.
bool guest_pv_has(const Vcpu& vcpu, unsigned feature)
{
    if (!vcpu.pv_time.enforce_cpuid)
        return true;
    const kvm_cpuid_entry2* features = find_cpuid_entry(vcpu, KVM_CPUID_FEATURES, 0);
    return features && test(features->eax, feature);
}

// The guest may read at any moment: the version is odd while the rest changes. x86 keeps stores in order, and
// each copy is one or more of them; the fences are for the compiler.
bool write_versioned(Vm& vm, u64 gpa, u32 odd_version, void* structure, std::size_t bytes)
{
    std::memcpy(structure, &odd_version, sizeof odd_version); // the version comes first in both structures
    if (!kvm_write_guest(vm, gpa, &odd_version, sizeof odd_version) ||
        !kvm_write_guest(vm, gpa, structure, bytes))
        return false;
    const u32 even = odd_version + 1;
    return kvm_write_guest(vm, gpa, &even, sizeof even);
}

void write_wall_clock(Vm& vm, u64 gpa)
{
    u32 version = 0;
    if (gpa == 0 || !kvm_read_guest(vm, gpa, &version, sizeof version))
        return;
    const u64 ns = vm.kvmclock.wall_clock_epoch();
    pvclock_wall_clock wall{.version = 0,
                            .sec = static_cast<u32>(ns / kNsPerSecond),
                            .nsec = static_cast<u32>(ns % kNsPerSecond)};
    const u32 even = version + (version & 1); // what was there before may be anything
    (void)write_versioned(vm, gpa, even + 1, &wall, sizeof wall);
}

void set_system_time(Vcpu& vcpu, u64 data, bool old, bool host)
{
    if (vcpu.id == 0 && !host)
        vcpu.vm().kvmclock.boot_vcpu_uses_old_msr(old);
    PvTime& time = vcpu.pv_time;
    time.msr = data;
    // The structure must lie within a page; KVM does not say so to whoever writes the MSR.
    const u64 gpa = data & ~KVM_MSR_ENABLED;
    time.active = (data & KVM_MSR_ENABLED) && gpa % kPageSize + sizeof(pvclock_vcpu_time_info) <= kPageSize;
    vcpu.make_request(KVM_REQ_CLOCK_UPDATE);
}

} // namespace

TimeScale TimeScale::of(u64 hz)
{
    // The multiplier keeps 32 significant bits: hz is brought into (10^9, 2 * 10^9].
    int shift = 0;
    while (hz > 2 * kNsPerSecond) {
        hz >>= 1;
        --shift;
    }
    while (hz <= kNsPerSecond) {
        hz <<= 1;
        ++shift;
    }
    return {.mul = static_cast<u32>((kNsPerSecond << 32) / hz), .shift = static_cast<i8>(shift)};
}

u64 TimeScale::ns(u64 ticks) const
{
    const u64 shifted = shift < 0 ? ticks >> -shift : ticks << shift;
    return static_cast<u64>(static_cast<unsigned __int128>(shifted) * mul >> 32);
}

KvmClock::KvmClock(Vm& vm, base::Clock& clock)
    : vm_(vm), clock_(clock), scale_(TimeScale::of(clock.tsc_hz())), start_tsc_(clock.tsc())
{}

// With mutex_ held. KVM's master clock: one pair of TSC and ns for all vCPUs.
bool KvmClock::stable() const
{
    if (old_msr_)
        return false;
    for (const auto& vcpu : vm_.vcpus())
        if (!vcpu->pv_time.tsc_matches)
            return false;
    return true;
}

u64 KvmClock::at(u64 tsc) const { return offset_ns_ + scale_.ns(tsc - start_tsc_); }

kvm_clock_data KvmClock::get() const
{
    const std::lock_guard guard(mutex_);
    kvm_clock_data data{};
    const u64 tsc = clock_.tsc();
    data.clock = at(tsc);
    if (stable()) {
        data.flags = KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC;
        data.host_tsc = tsc;
        data.realtime = clock_.realtime_ns();
    }
    return data;
}

Result<void, Errno> KvmClock::set(const kvm_clock_data& data)
{
    // Only REALTIME means something; the others are taken because KVM_GET_CLOCK gives them.
    if (data.flags & ~(KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC))
        return fail(Errno{EINVAL});
    {
        const std::lock_guard guard(mutex_);
        u64 wanted = data.clock;
        if (data.flags & KVM_CLOCK_REALTIME)
            if (const u64 now = clock_.realtime_ns(); now > data.realtime) // the clock never goes back
                wanted += now - data.realtime;
        offset_ns_ += wanted - at(clock_.tsc());
    }
    request_updates();
    return {};
}

u64 KvmClock::wall_clock_epoch() const
{
    const std::lock_guard guard(mutex_);
    return clock_.realtime_ns() - at(clock_.tsc());
}

pvclock_vcpu_time_info KvmClock::time_info(u64 tsc_offset) const
{
    const std::lock_guard guard(mutex_);
    const bool shared = stable();
    const u64 tsc = shared ? start_tsc_ : clock_.tsc();
    return {.version = 0,
            .pad0 = 0,
            .tsc_timestamp = tsc + tsc_offset,
            .system_time = at(tsc),
            .tsc_to_system_mul = scale_.mul,
            .tsc_shift = scale_.shift,
            .flags = shared ? PVCLOCK_TSC_STABLE_BIT : u8{0},
            .pad = {}};
}

void KvmClock::boot_vcpu_uses_old_msr(bool old_msr)
{
    {
        const std::lock_guard guard(mutex_);
        if (std::exchange(old_msr_, old_msr) == old_msr)
            return;
    }
    request_updates();
}

u64 KvmClock::wall_clock_msr() const
{
    const std::lock_guard guard(mutex_);
    return wall_clock_msr_;
}

void KvmClock::set_wall_clock_msr(u64 gpa)
{
    const std::lock_guard guard(mutex_);
    wall_clock_msr_ = gpa;
}

void KvmClock::request_updates()
{
    for (const auto& vcpu : vm_.vcpus())
        vcpu->make_request(KVM_REQ_CLOCK_UPDATE);
}

bool is_kvmclock_msr(u32 index) { return find(index) != nullptr; }

Result<u64, Errno> kvmclock_get_msr(Vcpu& vcpu, u32 index)
{
    const ClockMsr* row = find(index);
    if (!row || !guest_pv_has(vcpu, row->feature))
        return fail(Errno{EINVAL});
    return row->system_time ? vcpu.pv_time.msr : vcpu.vm().kvmclock.wall_clock_msr();
}

Result<void, Errno> kvmclock_set_msr(Vcpu& vcpu, u32 index, u64 data, bool host)
{
    const ClockMsr* row = find(index);
    if (!row || !guest_pv_has(vcpu, row->feature))
        return fail(Errno{EINVAL});
    if (row->system_time) {
        set_system_time(vcpu, data, row->old, host);
        return {};
    }
    vcpu.vm().kvmclock.set_wall_clock_msr(data);
    write_wall_clock(vcpu.vm(), data);
    return {};
}

void kvm_guest_time_update(Vcpu& vcpu)
{
    PvTime& time = vcpu.pv_time;
    if (!time.active || !vcpu.vmx)
        return;
    const u64 gpa = time.msr & ~KVM_MSR_ENABLED;
    pvclock_vcpu_time_info info{};
    if (!kvm_read_guest(vcpu.vm(), gpa, &info, sizeof info))
        return;
    const u32 odd = (info.version + 1) | 1;
    // The guest clears the word that it was stopped, once it has seen it.
    const auto stopped =
        static_cast<u8>((info.flags & PVCLOCK_GUEST_STOPPED) |
                        (std::exchange(time.guest_stopped, false) ? PVCLOCK_GUEST_STOPPED : 0));
    info = vcpu.vm().kvmclock.time_info(vcpu.vmx->vmcs.tsc_offset);
    info.flags = static_cast<u8>(info.flags | stopped);
    (void)write_versioned(vcpu.vm(), gpa, odd, &info, sizeof info);
}

Result<void, Errno> kvm_set_guest_paused(Vcpu& vcpu)
{
    if (!vcpu.pv_time.active)
        return fail(Errno{EINVAL});
    vcpu.pv_time.guest_stopped = true;
    vcpu.make_request(KVM_REQ_CLOCK_UPDATE);
    return {};
}

} // namespace seamless::kvm
