// SPDX-License-Identifier: Apache-2.0
// TDG.MR.REPORT, MR.VERIFYREPORT and MR.RTMR.EXTEND: run-time measurement and the report that a quote is made
// of.
#include <algorithm>
#include <cstring>

#include "mem/guest_access.h"
#include "tdx/tdg/leaves.h"

namespace seamless::tdx {

using spec::Gpr;
using spec::TdReport;

namespace {

constexpr u64 kReportDataBytes = 64;

template <std::size_t N>
void put(u8 (&to)[N], const Sha384Digest& from)
{
    static_assert(N == spec::kSha384Bytes);
    std::memcpy(to, from.data(), N);
}

template <typename T>
std::span<const u8> bytes_of(const T& object)
{
    return {reinterpret_cast<const u8*>(&object), sizeof(object)};
}

void fill_td_info(const Td& td, spec::TdInfo& info)
{
    info.attributes = td.attributes;
    info.xfam = td.xfam;
    put(info.mrtd, td.mrtd);
    put(info.mrconfigid, td.mrconfigid);
    put(info.mrowner, td.mrowner);
    put(info.mrownerconfig, td.mrownerconfig);
    for (unsigned i = 0; i < kRtmrs; ++i)
        put(info.rtmr[i], td.rtmr_value(i));
    put(info.servtd_hash, td.servtd_hash);
}

// The platform below is software: its SVNs and SEAM measurements are zero, and say so through VALID.
void fill_tcb_info(TdReport& report)
{
    constexpr u64 kValid = 0x301ff;
    std::memcpy(report.tee_tcb_info, &kValid, sizeof(kValid));
}

// What this platform's key makes of the part of the report that it protects.
std::array<u8, 32> mac_of(const TdxModule& module, const spec::ReportMac& report)
{
    return hmac_sha256(module.key(), bytes_of(report).first(offsetof(spec::ReportMac, mac)));
}

} // namespace

TdgOutcome tdg_mr_report(TdgCall& call)
{
    GuestRun& run = call.run;
    const u64 report_gpa = call.reg(Gpr::rcx), data_gpa = call.reg(Gpr::rdx);
    const u64 gpa_limit = 2 * run.td.shared_bit();
    if (!aligned<u64>(report_gpa, sizeof(TdReport)) || report_gpa >= gpa_limit)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    if (!aligned<u64>(data_gpa, kReportDataBytes) || data_gpa >= gpa_limit)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RDX;
    if (call.reg(Gpr::r8) != 0)
        return TdxStatus::OPERAND_INVALID | TdxOperand::R8;
    Hpa to, data;
    if (const auto stopped = guest_operand(call, report_gpa, paging::Access::write, to))
        return *stopped;
    if (const auto stopped = guest_operand(call, data_gpa, paging::Access::read, data))
        return *stopped;
    const Held rtmr(run.td.rtmr_lock, LockMode::shared);
    if (!rtmr)
        return TdxStatus::OPERAND_BUSY | TdxOperand::RTMR;
    TdReport report{};
    report.mac.report_type.type = spec::kReportTypeTdx;
    mem::copy_from(report.mac.reportdata, data);
    fill_td_info(run.td, report.td_info);
    fill_tcb_info(report);
    put(report.mac.tee_tcb_info_hash, sha384(report.tee_tcb_info));
    put(report.mac.tee_info_hash, sha384(bytes_of(report.td_info)));
    const auto mac = mac_of(run.module, report.mac);
    std::copy(mac.begin(), mac.end(), report.mac.mac);
    mem::copy_to(to, bytes_of(report));
    return TdxStatus::SUCCESS;
}

TdgOutcome tdg_mr_verifyreport(TdgCall& call)
{
    const u64 gpa = call.reg(Gpr::rcx);
    if (!aligned<u64>(gpa, sizeof(spec::ReportMac)) || !call.run.td.private_gpa(gpa))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    Hpa from;
    if (const auto stopped = guest_operand(call, gpa, paging::Access::read, from))
        return *stopped;
    u8 bytes[sizeof(spec::ReportMac)]; // read once: the guest's other vCPUs may change it meanwhile
    mem::copy_from(bytes, from);
    spec::ReportMac report;
    std::memcpy(&report, bytes, sizeof(report));
    const auto zero = [](u8 byte) { return byte == 0; };
    if (!std::all_of(std::begin(report.cpusvn), std::end(report.cpusvn), zero)) // not this platform's
        return TdxStatus::INVALID_CPUSVN;
    const auto mac = mac_of(call.run.module, report);
    return std::equal(mac.begin(), mac.end(), std::begin(report.mac)) ? TdxStatus::SUCCESS
                                                                      : TdxStatus::INVALID_REPORTMACSTRUCT;
}

TdgOutcome tdg_mr_rtmr_extend(TdgCall& call)
{
    Td& td = call.run.td;
    const u64 gpa = call.reg(Gpr::rcx), index = call.reg(Gpr::rdx);
    if (!aligned<u64>(gpa, 64) || !td.private_gpa(gpa))
        return TdxStatus::OPERAND_INVALID | TdxOperand::RCX;
    if (index >= kRtmrs)
        return TdxStatus::OPERAND_INVALID | TdxOperand::RDX;
    Hpa from;
    if (const auto stopped = guest_operand(call, gpa, paging::Access::read, from))
        return *stopped;
    const Held rtmr(td.rtmr_lock, LockMode::exclusive);
    if (!rtmr)
        return TdxStatus::OPERAND_BUSY | TdxOperand::RTMR;
    u8 joined[2 * spec::kSha384Bytes];
    const Sha384Digest before = td.rtmr_value(static_cast<unsigned>(index));
    std::memcpy(joined, before.data(), before.size());
    mem::copy_from(std::span(joined).subspan<spec::kSha384Bytes>(), from);
    td.set_rtmr(static_cast<unsigned>(index), sha384(joined));
    return TdxStatus::SUCCESS;
}

} // namespace seamless::tdx
