// SPDX-License-Identifier: Apache-2.0
// A TD that verifies the TDREPORT of another one: --initrd is the report. It checks the MAC with
// TDG.MR.VERIFYREPORT, for which both must run on one platform (--platform-key), and the hashes by which the
// MAC covers the rest.
#include "guest/firmware/console.h"
#include "guest/firmware/tdx.h"
#include "guest/linux/fw_cfg.h"
#include "guest/linux/sha384.h"

namespace seamless::guest {
namespace {

constexpr u64 kVerifyReport = 22; // TDG.MR.VERIFYREPORT
// TDX ABI: "REPORTMACSTRUCT", "TDREPORT_STRUCT".
constexpr unsigned kTcbHash = 32, kTdHash = 80, kReportData = 128, kReportDataSize = 64;
constexpr unsigned kTcbInfo = 256, kTcbInfoSize = 239, kTdInfo = 512, kTdInfoSize = 512;

alignas(1024) TdReport report;

bool has_hash(unsigned at, const void* data, unsigned size)
{
    Sha384 sha;
    sha.update(data, size);
    u8 digest[kMeasurementSize];
    sha.finish(digest);
    for (unsigned i = 0; i < kMeasurementSize; ++i)
        if (digest[i] != report.mac_structure[at + i])
            return false;
    return true;
}

bool fetch(const Machine& machine)
{
    FwCfg fw_cfg;
    u32 size = 0;
    return fw_cfg.open(machine) && fw_cfg.read_u32(FwCfgItem::INITRD_SIZE, size) && size == sizeof report &&
           fw_cfg.read(FwCfgItem::INITRD_DATA, &report, sizeof report) && fw_cfg.close();
}

} // namespace

bool guest_main(const Machine& machine)
{
    check(machine.td, "this is a TD");
    const bool fetched = machine.td && fetch(machine);
    check(fetched, "--initrd is a TDREPORT's size");
    if (!fetched)
        return false;
    TdcallRegisters registers{.rcx = reinterpret_cast<u64>(&report)};
    check_equal(tdcall(kVerifyReport, registers), kSuccess, "the MAC is this platform's");
    const auto* bytes = reinterpret_cast<const u8*>(&report);
    check(has_hash(kTcbHash, bytes + kTcbInfo, kTcbInfoSize), "it covers the TCB");
    check(has_hash(kTdHash, bytes + kTdInfo, kTdInfoSize), "it covers the TD");
    print("MRTD ", Bytes{report.mrtd, kMeasurementSize}, "\n");
    for (unsigned i = 0; i < 4; ++i)
        print("RTMR", Dec{i}, " ", Bytes{report.rtmr[i], kMeasurementSize}, "\n");
    print("REPORTDATA ", Bytes{report.mac_structure + kReportData, kReportDataSize}, "\n");
    print(failures() == 0 ? "VERIFIED\n" : "NOT VERIFIED\n");
    return failures() == 0;
}

} // namespace seamless::guest
