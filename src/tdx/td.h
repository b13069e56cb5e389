// SPDX-License-Identifier: Apache-2.0
// What the module keeps for a TD (TDR and TDCS) and for a vCPU of it (TDVPS). The host owns and donates the
// pages; secure EPT, MSR bitmaps, VE_INFO and the virtual-APIC page live in them, the rest in these objects.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "cpu/cpuid.h"
#include "cpu/guest_context.h"
#include "cpu/vmx/vmcs.h"
#include "mem/host_memory.h"
#include "paging/ept_walk.h"
#include "spec/tdx_abi.h"
#include "tdx/measurement.h"
#include "tdx/pamt.h"
#include "tdx/try_lock.h"

namespace seamless::tdx {

struct Vcpu;

// TDCX pages of a TDCS by index.
inline constexpr unsigned kTdcsMsrBitmap = 5, kTdcsSeptRoot = 6, kTdcsZeroPage = 7;
inline constexpr unsigned kMaxVcpusPerTd = 576;
inline constexpr unsigned kRtmrs = 4;

// A virtual CPUID leaf of a TD. `subleaf` is -1 where the leaf has none.
struct VirtualCpuid {
    u32 leaf, subleaf;
    cpu::CpuidResult values;
};

struct Td {
    explicit Td(Hpa page);
    ~Td();

    // TDR: guarded by the lock of its PAMT entry.
    const Hpa tdr;
    u16 hkid = 0;
    spec::TdLifecycle lifecycle = spec::TdLifecycle::HKID_ASSIGNED;
    std::atomic<bool> fatal = false;
    std::atomic<u64> chldcnt = 0; // in 4 KiB pages
    u8 uuid[32] = {};
    unsigned num_tdcx = 0;
    Hpa tdcx[spec::kTdcsPages];

    // TDCS.
    TryLock op_state_lock;
    std::atomic<spec::TdOpState> op_state = spec::TdOpState::UNINITIALIZED;
    TryLock sept_lock;
    TryLock epoch_lock;
    std::atomic<u64> td_epoch = 1;
    std::atomic<u64> refcount[2] = {0, 0}; // vCPUs that entered in an even or odd epoch

    // Set by TDH.MNG.INIT.
    u64 attributes = 0, xfam = 0, config_flags = 0, eptp_controls = 0;
    u16 max_vcpus = 0, tsc_frequency = 0;
    u64 tsc_multiplier = u64{1} << 48, tsc_offset = 0;
    u64 arch_capabilities = 0;
    bool topology_enum_configured = false;
    std::vector<VirtualCpuid> cpuid;
    Sha384Digest mrconfigid{}, mrowner{}, mrownerconfig{};

    TryLock mrtd_lock;
    std::unique_ptr<Sha384> mrtd_context;
    Sha384Digest mrtd{}, servtd_hash{};
    TryLock rtmr_lock;
    // Changed under the lock; in words, because the host reads one word at a time and takes no lock.
    std::atomic<u64> rtmr[kRtmrs][spec::kSha384Bytes / sizeof(u64)] = {};

    // Written by the guest.
    std::atomic<u64> td_ctls = 0, notify_enables = 0, feature_paravirt_ctls = 0;

    // Written by the host. No lock is ever held against the guest for long, so nothing waits for it.
    std::atomic<u64> hp_lock_timeout = 0;

    std::mutex vcpus_mutex;
    std::vector<std::unique_ptr<Vcpu>> vcpus;
    std::atomic<u32> num_vcpus = 0; // that VP.INIT has numbered
    std::atomic<u32> num_associated = 0;
    std::vector<u32> x2apic_ids; // by VCPU_INDEX

    [[nodiscard]] bool debug() const { return attributes & spec::td_attributes::DEBUG; }
    [[nodiscard]] bool reduce_ve() const { return td_ctls & spec::td_ctls::REDUCE_VE; }
    [[nodiscard]] bool tlb_tracking_required() const { return op_state == spec::TdOpState::RUNNABLE; }
    [[nodiscard]] unsigned ept_levels() const { return spec::ept::eptp_levels(eptp_controls); }
    [[nodiscard]] unsigned gpaw() const { return config_flags & spec::config_flags::GPAW ? 52 : 48; }
    [[nodiscard]] u64 shared_bit() const { return bit(gpaw() - 1); }
    [[nodiscard]] Hpa sept_root() const { return tdcx[kTdcsSeptRoot]; }
    [[nodiscard]] u64 eptp() const { return sept_root().value() | eptp_controls; }
    // A private GPA that this TD can have.
    [[nodiscard]] bool private_gpa(u64 gpa) const { return gpa < shared_bit(); }
    [[nodiscard]] Sha384Digest rtmr_value(unsigned index) const;
    void set_rtmr(unsigned index, const Sha384Digest& value);
    [[nodiscard]] u64 virtual_tsc(u64 tsc) const
    {
        return static_cast<u64>(static_cast<unsigned __int128>(tsc) * tsc_multiplier >> 48) + tsc_offset;
    }
    // The virtual CPUID values, or nullptr.
    [[nodiscard]] const cpu::CpuidResult* find_cpuid(u32 leaf, u32 subleaf) const;
};

enum class LastTdExit : u8 { async_fault = 0, async_trap = 1, tdvmcall = 2 };
inline constexpr int kNoLp = -1;

struct Vcpu {
    Vcpu(Hpa page, Td& owner) : tdvpr(page), td(owner) {}

    const Hpa tdvpr;
    Td& td;
    unsigned num_pages = 1; // TDVPR included
    Hpa tdcx[spec::kTdvpsPages - 1];

    std::atomic<spec::TdVcpuState> state = spec::TdVcpuState::UNINITIALIZED;
    std::atomic<int> lp = kNoLp; // associated logical processor
    u32 index = 0, x2apic_id = 0;
    u64 epoch = 0; // of the last entry; 0: flush
    LastTdExit last_exit = LastTdExit::async_fault;
    u64 tdvmcall_mask = 0;
    u64 last_exit_tsc = 0;
    std::atomic<bool> cpuid_supervisor_ve = false, cpuid_user_ve = false;
    std::atomic<bool> pend_nmi = false;
    u64 misc_enable = 0, smi_count = 0;

    cpu::Vmcs vmcs;
    cpu::GuestContext context;

    [[nodiscard]] spec::VeInfo& ve_info() const { return *mem::host_ptr<spec::VeInfo>(tdvpr); }
    [[nodiscard]] Hpa virtual_apic_page() const { return tdcx[0]; }
    [[nodiscard]] bool complete() const { return num_pages == spec::kTdvpsPages; }
    // How the processor translates this vCPU's GPAs.
    [[nodiscard]] paging::EptRoot ept_root() const;
};

} // namespace seamless::tdx
