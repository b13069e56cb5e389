// SPDX-License-Identifier: Apache-2.0
// The virtual-machine control structure, in the form this processor keeps it (SDM: "Virtual Machine Control
// Structures": the format is the implementation's own). Software goes through vmread() and vmwrite(), or the
// members.
#pragma once

#include "base/address.h"
#include "base/result.h"
#include "spec/vmx.h"
#include "spec/x86.h"

namespace seamless::cpu {

struct Vmcs {
    // Execution controls.
    u32 pin_based = 0;
    u32 proc_based = 0;
    u32 proc_based2 = 0;
    u32 exception_bitmap = 0;
    u32 exit_controls = 0;
    u32 entry_controls = 0;
    u16 vpid = 0;
    u16 posted_intr_nv = 0;
    u64 ept_pointer = 0;        // SDM: "Extended-Page-Table Pointer"
    u64 shared_ept_pointer = 0; // TDs only: the table for GPAs with the shared bit set
    u64 msr_bitmap = 0;         // Hpa of the bitmap page; used while proc::MSR_BITMAPS is set
    u64 tsc_offset = 0;
    u64 tsc_multiplier = u64{1} << 48;
    u64 virtual_apic_page = 0;
    u64 posted_intr_desc = 0;
    u64 ve_information_address = 0; // Hpa of a spec::VeInfo
    u64 xss_exit_bitmap = 0;
    u64 cr0_guest_host_mask = 0;
    u64 cr4_guest_host_mask = 0;
    u64 cr0_read_shadow = 0;
    u64 cr4_read_shadow = 0;

    // Set by the TDX module only: TDCALL exits instead of #UD, and this GPA bit selects the shared EPT.
    u64 td_shared_bit = 0; // mask; 0 outside TDs

    // Event injection, consumed by the next VM entry. SDM: "VM-Entry Controls for Event Injection".
    u32 entry_intr_info = 0;
    u32 entry_exception_error_code = 0;
    u32 entry_instruction_len = 0;

    // Guest-state area.
    spec::Segment seg[spec::kSegCount];
    spec::DescriptorTable gdtr;
    spec::DescriptorTable idtr;
    u64 cr0 = 0;
    u64 cr3 = 0;
    u64 cr4 = 0;
    u64 dr7 = spec::dr7::kReset;
    u64 rsp = 0;
    u64 rip = 0;
    u64 rflags = spec::rflags::FIXED1;
    u64 efer = 0;
    u64 pat = spec::kPatReset;
    u64 debugctl = 0;
    u64 sysenter_cs = 0;
    u64 sysenter_esp = 0;
    u64 sysenter_eip = 0;
    u64 pending_dbg_exceptions = 0;
    u32 interruptibility = 0;
    spec::Activity activity = spec::Activity::active;
    u16 guest_intr_status = 0;

    // VM-exit information. exit_reason: basic reason 15:0, VM-entry failure 31.
    u32 exit_reason = 0;
    u64 exit_qualification = 0;
    u64 guest_linear_address = 0;
    u64 guest_physical_address = 0;
    u32 exit_intr_info = 0;
    u32 exit_intr_error_code = 0;
    u32 idt_vectoring_info = 0;
    u32 idt_vectoring_error_code = 0;
    u32 exit_instruction_len = 0; // also valid for EPT violations and misconfigurations, as KVM relies on
    u32 instruction_info = 0;
};

enum class VmcsError : u8 { unsupported_field, read_only_field };

// By encoding (spec::VmcsField, or any number a host passes).
[[nodiscard]] Result<u64, VmcsError> vmread(const Vmcs& vmcs, u32 encoding);
[[nodiscard]] Result<void, VmcsError> vmwrite(Vmcs& vmcs, u32 encoding, u64 value);

} // namespace seamless::cpu
