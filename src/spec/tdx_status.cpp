// SPDX-License-Identifier: Apache-2.0
// Names of completion statuses, for messages and traces.
#include "spec/tdx_status.h"

#include "base/table.h"

namespace seamless::spec {
namespace {

struct StatusRow {
    TdxStatus status;
    const char* name;
};

#define ROW(name)                                                                                            \
    {                                                                                                        \
        TdxStatus::name, #name                                                                               \
    }
// clang-format off
constexpr StatusRow kStatuses[] = {
    ROW(SUCCESS),
    ROW(PAGE_ALREADY_FREE),
    ROW(KEY_CONFIGURED),
    ROW(NO_HKID_READY_TO_WBCACHE),
    ROW(TDMR_ALREADY_INITIALIZED),
    ROW(GPA_RANGE_ALREADY_BLOCKED),
    ROW(PAGE_ALREADY_ACCEPTED),
    ROW(METADATA_FIRST_FIELD_ID_IN_CONTEXT),
    ROW(METADATA_FIELD_SKIP),
    ROW(NON_RECOVERABLE_VCPU),
    ROW(NON_RECOVERABLE_TD),
    ROW(NON_RECOVERABLE_TD_NON_ACCESSIBLE),
    ROW(INTERRUPTED_RESUMABLE),
    ROW(INTERRUPTED_RESTARTABLE),
    ROW(OPERAND_BUSY),
    ROW(PREVIOUS_TLB_EPOCH_BUSY),
    ROW(SYS_BUSY),
    ROW(RND_NO_ENTROPY),
    ROW(VCPU_ASSOCIATED),
    ROW(VCPU_NOT_ASSOCIATED),
    ROW(KEY_GENERATION_FAILED),
    ROW(TD_KEYS_NOT_CONFIGURED),
    ROW(WBCACHE_NOT_COMPLETE),
    ROW(FLUSHVP_NOT_DONE),
    ROW(OPERAND_INVALID),
    ROW(OPERAND_ADDR_RANGE_ERROR),
    ROW(PAGE_METADATA_INCORRECT),
    ROW(PAGE_NOT_OWNED_BY_TD),
    ROW(PAGE_NOT_FREE),
    ROW(TD_ASSOCIATED_PAGES_EXIST),
    ROW(SYS_INIT_NOT_PENDING),
    ROW(SYS_LP_INIT_NOT_DONE),
    ROW(SYS_LP_INIT_DONE),
    ROW(SYS_NOT_READY),
    ROW(SYS_SHUTDOWN),
    ROW(SYS_KEY_CONFIG_NOT_PENDING),
    ROW(SYS_STATE_INCORRECT),
    ROW(SYS_LP_INIT_NOT_PENDING),
    ROW(SYS_CONFIG_NOT_PENDING),
    ROW(TD_NON_DEBUG),
    ROW(TDCS_NOT_ALLOCATED),
    ROW(LIFECYCLE_STATE_INCORRECT),
    ROW(OP_STATE_INCORRECT),
    ROW(NO_VCPUS),
    ROW(TDCX_NUM_INCORRECT),
    ROW(X2APIC_ID_NOT_UNIQUE),
    ROW(VCPU_STATE_INCORRECT),
    ROW(NO_VALID_VE_INFO),
    ROW(MAX_VCPUS_EXCEEDED),
    ROW(TSC_ROLLBACK),
    ROW(TD_VMCS_FIELD_NOT_INITIALIZED),
    ROW(TD_VMCS_FIELD_ERROR),
    ROW(KEY_STATE_INCORRECT),
    ROW(HKID_NOT_FREE),
    ROW(WBCACHE_RESUME_ERROR),
    ROW(INCONSISTENT_MSR),
    ROW(INVALID_TDMR),
    ROW(NON_ORDERED_TDMR),
    ROW(TDMR_OUTSIDE_CMRS),
    ROW(INVALID_PAMT),
    ROW(PAMT_OUTSIDE_CMRS),
    ROW(PAMT_OVERLAP),
    ROW(INVALID_RESERVED_IN_TDMR),
    ROW(NON_ORDERED_RESERVED_IN_TDMR),
    ROW(EPT_WALK_FAILED),
    ROW(EPT_ENTRY_NOT_PRESENT),
    ROW(GPA_RANGE_NOT_BLOCKED),
    ROW(TLB_TRACKING_NOT_DONE),
    ROW(EPT_INVALID_PROMOTE_CONDITIONS),
    ROW(PAGE_SIZE_MISMATCH),
    ROW(EPT_ENTRY_STATE_INCORRECT),
    ROW(EPT_PAGE_NOT_FREE),
    ROW(METADATA_FIELD_ID_INCORRECT),
    ROW(METADATA_FIELD_NOT_WRITABLE),
    ROW(METADATA_FIELD_NOT_READABLE),
    ROW(METADATA_FIELD_VALUE_NOT_VALID),
    ROW(METADATA_WR_MASK_NOT_VALID),
    ROW(INVALID_CPUSVN),
    ROW(INVALID_REPORTMACSTRUCT),
    ROW(NON_RECOVERABLE_TD_WRONG_APIC_MODE),
    ROW(TD_FATAL),
};
// clang-format on
#undef ROW
static_assert(strictly_ascending(kStatuses, &StatusRow::status));

} // namespace

const char* tdx_status_name(u64 rax)
{
    const StatusRow* row = find_row(kStatuses, &StatusRow::status, status_of(rax));
    return row ? row->name : "UNKNOWN";
}

} // namespace seamless::spec
