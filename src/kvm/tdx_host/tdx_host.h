// SPDX-License-Identifier: Apache-2.0
// The host kernel's side of the TDX module: bringing it up, its global metadata, key ids, and SEAMCALL.
#pragma once

#include <array>
#include <mutex>
#include <vector>

#include "base/message.h"
#include "cpu/seam_port.h"
#include "kvm/processors.h"
#include "mem/host_memory.h"
#include "spec/tdx_abi.h"

namespace seamless::kvm {

// What TDH.SYS.RD told.
struct TdxSysInfo {
    u64 features0 = 0;
    u64 attributes_fixed0 = 0, attributes_fixed1 = 0;
    u64 xfam_fixed0 = 0, xfam_fixed1 = 0;
    u64 tdcs_base_size = 0, tdvps_base_size = 0;
    u64 max_vcpus_per_td = 0;
    struct CpuidConfig {
        u32 leaf, subleaf; // subleaf all-ones: the leaf has none
        spec::CpuidValues mask;
    };
    std::vector<CpuidConfig> cpuid_config;
};

class TdxHost {
  public:
    TdxHost(Processors& processors, cpu::SeamPort* seam) : processors_(processors), seam_(seam) {}

    // Linux's order: SYS.INIT, LP.INIT everywhere, SYS.RD, TDMRs, SYS.CONFIG, KEY.CONFIG, TDMR.INIT.
    [[nodiscard]] Result<void, Message> bring_up();
    [[nodiscard]] const TdxSysInfo& info() const { return info_; }
    [[nodiscard]] unsigned global_hkid() const { return kFirstPrivateHkid; }

    // ENOSPC when all are taken: the key ids bound the number of TDs.
    [[nodiscard]] Result<unsigned, Errno> alloc_hkid();
    void free_hkid(unsigned hkid);

    // SEAMCALL of `leaf` on this CPU, or on one borrowed for it. The status is returned and in regs.rax.
    u64 seamcall(spec::TdhLeaf leaf, cpu::SeamRegs& regs, unsigned version = 0);
    u64 seamcall_on(cpu::LogicalProcessor& lp, spec::TdhLeaf leaf, cpu::SeamRegs& regs, unsigned version = 0);
    u64 seamcall(spec::TdhLeaf leaf, u64 rcx, u64 rdx = 0, u64 r8 = 0, u64 r9 = 0, unsigned version = 0);

    [[nodiscard]] mem::HostMemory& memory() { return processors_.package().memory(); }
    [[nodiscard]] Processors& processors() { return processors_; }

  private:
    // The upper half of the key ids is private to TDX; the first of them is the module's own.
    static constexpr unsigned kKeyIds = 1u << mem::kHkidBits, kFirstPrivateHkid = kKeyIds / 2;

    [[nodiscard]] Result<u64, Message> sys_rd(u64 field);
    [[nodiscard]] Result<void, Message> read_sys_info();
    [[nodiscard]] Result<void, Message> configure_tdmrs();
    [[nodiscard]] Result<void, Message> initialize_tdmr(Hpa base, u64 size);

    Processors& processors_;
    cpu::SeamPort* seam_;
    TdxSysInfo info_;
    std::mutex hkid_mutex_;
    std::array<bool, kKeyIds> hkid_taken_{};
};

// TDX_SW_ERROR: what the host's SEAMCALL wrapper answers when the instruction itself fails.
inline constexpr u64 TDX_SW_ERROR = 0x8000ff0000000000;
inline constexpr u64 TDX_SEAMCALL_VMFAILINVALID = TDX_SW_ERROR | 0xffff0000;

[[nodiscard]] constexpr bool is_busy(u64 status)
{
    return spec::status_of(status) == spec::TdxStatus::OPERAND_BUSY;
}

} // namespace seamless::kvm
