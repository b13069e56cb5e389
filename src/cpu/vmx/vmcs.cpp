// SPDX-License-Identifier: Apache-2.0
// VMCS fields by encoding: one row for each field, which VMREAD, VMWRITE and the TDX metadata accesses share.
#include "cpu/vmx/vmcs.h"

#include <cstddef>

#include "base/table.h"

namespace seamless::cpu {
namespace {

using spec::VmcsField;

struct FieldRow {
    u32 encoding;
    u16 offset; // in Vmcs
    u8 size;    // bytes
    bool read_only = false;
};

#define FIELD(field, member)                                                                                 \
    {                                                                                                        \
        static_cast<u32>(VmcsField::field), offsetof(Vmcs, member), sizeof(Vmcs::member)                     \
    }
#define EXIT_INFO(field, member)                                                                             \
    {                                                                                                        \
        static_cast<u32>(VmcsField::field), offsetof(Vmcs, member), sizeof(Vmcs::member), true               \
    }
// One row for each of the eight segment registers; VMX orders them ES CS SS DS FS GS LDTR TR, as spec::Seg
// does.
#define SEGMENT(first, i, member)                                                                            \
    {                                                                                                        \
        static_cast<u32>(VmcsField::first) + 2 * i,                                                          \
            offsetof(Vmcs, seg) + i * sizeof(spec::Segment) + offsetof(spec::Segment, member),               \
            sizeof(spec::Segment::member)                                                                    \
    }
#define SEGMENTS(first, member)                                                                              \
    SEGMENT(first, 0, member), SEGMENT(first, 1, member), SEGMENT(first, 2, member),                         \
        SEGMENT(first, 3, member), SEGMENT(first, 4, member), SEGMENT(first, 5, member),                     \
        SEGMENT(first, 6, member), SEGMENT(first, 7, member)

constexpr FieldRow kFields[] = {
    FIELD(VIRTUAL_PROCESSOR_ID, vpid),
    FIELD(POSTED_INTR_NV, posted_intr_nv),
    SEGMENTS(GUEST_ES_SELECTOR, selector),
    FIELD(GUEST_INTR_STATUS, guest_intr_status),
    FIELD(TSC_OFFSET, tsc_offset),
    FIELD(VIRTUAL_APIC_PAGE_ADDR, virtual_apic_page),
    FIELD(POSTED_INTR_DESC_ADDR, posted_intr_desc),
    FIELD(EPT_POINTER, ept_pointer),
    FIELD(VE_INFORMATION_ADDRESS, ve_information_address),
    FIELD(XSS_EXIT_BITMAP, xss_exit_bitmap),
    FIELD(TSC_MULTIPLIER, tsc_multiplier),
    FIELD(SHARED_EPT_POINTER, shared_ept_pointer),
    EXIT_INFO(GUEST_PHYSICAL_ADDRESS, guest_physical_address),
    FIELD(GUEST_IA32_DEBUGCTL, debugctl),
    FIELD(GUEST_IA32_PAT, pat),
    FIELD(GUEST_IA32_EFER, efer),
    FIELD(PIN_BASED_VM_EXEC_CONTROL, pin_based),
    FIELD(CPU_BASED_VM_EXEC_CONTROL, proc_based),
    FIELD(EXCEPTION_BITMAP, exception_bitmap),
    FIELD(VM_EXIT_CONTROLS, exit_controls),
    FIELD(VM_ENTRY_CONTROLS, entry_controls),
    FIELD(VM_ENTRY_INTR_INFO, entry_intr_info),
    FIELD(VM_ENTRY_EXCEPTION_ERROR_CODE, entry_exception_error_code),
    FIELD(VM_ENTRY_INSTRUCTION_LEN, entry_instruction_len),
    FIELD(SECONDARY_VM_EXEC_CONTROL, proc_based2),
    EXIT_INFO(VM_EXIT_REASON, exit_reason),
    EXIT_INFO(VM_EXIT_INTR_INFO, exit_intr_info),
    EXIT_INFO(VM_EXIT_INTR_ERROR_CODE, exit_intr_error_code),
    EXIT_INFO(IDT_VECTORING_INFO, idt_vectoring_info),
    EXIT_INFO(IDT_VECTORING_ERROR_CODE, idt_vectoring_error_code),
    EXIT_INFO(VM_EXIT_INSTRUCTION_LEN, exit_instruction_len),
    EXIT_INFO(VMX_INSTRUCTION_INFO, instruction_info),
    SEGMENTS(GUEST_ES_LIMIT, limit),
    FIELD(GUEST_GDTR_LIMIT, gdtr.limit),
    FIELD(GUEST_IDTR_LIMIT, idtr.limit),
    SEGMENTS(GUEST_ES_AR_BYTES, ar),
    FIELD(GUEST_INTERRUPTIBILITY_INFO, interruptibility),
    FIELD(GUEST_ACTIVITY_STATE, activity),
    FIELD(GUEST_SYSENTER_CS, sysenter_cs),
    FIELD(CR0_GUEST_HOST_MASK, cr0_guest_host_mask),
    FIELD(CR4_GUEST_HOST_MASK, cr4_guest_host_mask),
    FIELD(CR0_READ_SHADOW, cr0_read_shadow),
    FIELD(CR4_READ_SHADOW, cr4_read_shadow),
    EXIT_INFO(EXIT_QUALIFICATION, exit_qualification),
    EXIT_INFO(GUEST_LINEAR_ADDRESS, guest_linear_address),
    FIELD(GUEST_CR0, cr0),
    FIELD(GUEST_CR3, cr3),
    FIELD(GUEST_CR4, cr4),
    SEGMENTS(GUEST_ES_BASE, base),
    FIELD(GUEST_GDTR_BASE, gdtr.base),
    FIELD(GUEST_IDTR_BASE, idtr.base),
    FIELD(GUEST_DR7, dr7),
    FIELD(GUEST_RSP, rsp),
    FIELD(GUEST_RIP, rip),
    FIELD(GUEST_RFLAGS, rflags),
    FIELD(GUEST_PENDING_DBG_EXCEPTIONS, pending_dbg_exceptions),
    FIELD(GUEST_SYSENTER_ESP, sysenter_esp),
    FIELD(GUEST_SYSENTER_EIP, sysenter_eip),
};
static_assert(strictly_ascending(kFields, &FieldRow::encoding));

} // namespace

Result<u64, VmcsError> vmread(const Vmcs& vmcs, u32 encoding)
{
    const FieldRow* row = find_row(kFields, &FieldRow::encoding, encoding);
    if (!row)
        return fail(VmcsError::unsupported_field);
    u64 value = 0;
    __builtin_memcpy(&value, reinterpret_cast<const u8*>(&vmcs) + row->offset, row->size);
    return value;
}

Result<void, VmcsError> vmwrite(Vmcs& vmcs, u32 encoding, u64 value)
{
    const FieldRow* row = find_row(kFields, &FieldRow::encoding, encoding);
    if (!row)
        return fail(VmcsError::unsupported_field);
    if (row->read_only)
        return fail(VmcsError::read_only_field);
    __builtin_memcpy(reinterpret_cast<u8*>(&vmcs) + row->offset, &value, row->size);
    return {};
}

} // namespace seamless::cpu
