// SPDX-License-Identifier: Apache-2.0
// The built-in program of `seamless run`: what kind of VM this is, what a TD knows of itself, and device
// registers driven with every size and form of MOV. It says PASS or FAIL for all it checks.
#include "guest/firmware/console.h"
#include "guest/firmware/memory.h"
#include "guest/firmware/registers.h"
#include "guest/firmware/tdx.h"
#include "guest/firmware/ve.h"
#include "guest/firmware/x86.h"

namespace seamless::guest {
namespace {

constexpr u64 kPage = 4096;

// Of all unaccepted memory the demo accepts this much: enough to show both page sizes, little enough to be
// quick.
constexpr u64 kAcceptLimit = u64{4} << 20;

alignas(1024) TdReport report;
alignas(64) const u8 report_data[64] = {};
alignas(64) const u8 event[kMeasurementSize + 1] = "seamless demo: one event, measured by the guest.";
// SHA-384 of 48 zero bytes and the event.
constexpr u8 kExtendedRtmr[kMeasurementSize + 1] =
    "\xf3\x66\xd7\x10\x70\x50\xed\x99\xe5\xd7\xd6\x18\xee\x5a\x3b\x5d\xaf\xa0\x56\x0a\x81\xd7\x7d\xdd"
    "\x13\x65\xb9\xe4\xb8\xa7\x8e\x83\x5a\x86\x81\x0e\x09\x16\xd3\x65\xc8\x70\xdd\xe5\x4f\x95\xd4\xb2";

void show_td()
{
    const TdInfo info = td_info();
    print("TD: attributes ", Hex{info.attributes}, ", GPAW ", Dec{info.gpaw}, ", vCPUs ", Dec{info.vcpus},
          " of ", Dec{info.max_vcpus}, "\n");
    check_equal(make_report(report, report_data), kSuccess, "TDG.MR.REPORT");
    print("MRTD ", Bytes{report.mrtd, kMeasurementSize}, "\n");
    check_equal(report.attributes, info.attributes, "the report has the TD's attributes");
}

bool same(const u8* left, const u8* right, unsigned size)
{
    u8 difference = 0;
    for (unsigned i = 0; i < size; ++i)
        difference |= static_cast<u8>(left[i] ^ right[i]);
    return difference == 0;
}

void extend_measurement()
{
    constexpr unsigned kIndex = 3;
    check_equal(extend_rtmr(kIndex, event), kSuccess, "TDG.MR.RTMR.EXTEND");
    check_equal(make_report(report, report_data), kSuccess, "TDG.MR.REPORT after it");
    print("RTMR[3] ", Bytes{report.rtmr[kIndex], kMeasurementSize}, "\n");
    check(same(report.rtmr[kIndex], kExtendedRtmr, kMeasurementSize),
          "RTMR[3] is the digest of old value and event");
}

void accept_memory(const Machine& machine)
{
    MemoryRange range = find_resource(machine, ResourceType::MEMORY_UNACCEPTED);
    if (range.size == 0) {
        print("no unaccepted memory\n");
        return;
    }
    if (range.size > kAcceptLimit)
        range.size = kAcceptLimit;
    const u64 begin = rdtsc();
    const Accepted done = accept(range);
    const u64 cycles = rdtsc() - begin;
    check_equal(done.failure, kSuccess, "TDG.MEM.PAGE.ACCEPT");
    print("accepted ", Hex{range.start}, " to ", Hex{range.start + range.size}, ": ", Dec{done.large},
          " pages of 2 MiB, ", Dec{done.small}, " of 4 KiB, ", Dec{cycles}, " cycles\n");
    if (done.failure != kSuccess || range.size < 2 * kPage || range.start + range.size > u64{1} << 32)
        return;                                                         // only the first 4 GiB are mapped
    auto* first = reinterpret_cast<volatile u64*>(range.start + kPage); // address 0 is no object in C++
    auto* last = reinterpret_cast<volatile u64*>(range.start + range.size - sizeof(u64));
    check(*first == 0 && *last == 0, "accepted memory is zero");
    *first = 0x0123456789abcdef;
    *last = ~u64{0};
    check(*first == 0x0123456789abcdef && *last == ~u64{0}, "accepted memory holds what is written");
}

// Without a HOB list there is no device to be found: then RAM takes its place, which tests the program.
constexpr u64 kRamInstead = 0x900000;
constexpr u64 kPages = 2;

void drive_device(const Machine& machine)
{
    MemoryRange device = find_resource(machine, ResourceType::MEMORY_MAPPED_IO);
    u64 registers = kRamInstead;
    if (device.size < kPages * kPage) {
        if (machine.hob_list != 0)
            check(false, "the HOB list describes a device of two pages");
        print("no device: the same accesses go to RAM at ", Hex{registers}, "\n");
    } else {
        registers = map_device(machine, device.start);
        print("device registers at GPA ", Hex{device.start | machine.shared_bit}, ", ", Dec{device.size},
              " bytes\n");
    }
    Timings timings[kPages];
    for (u64 page = 0; page < kPages; ++page)
        timings[page] = time_accesses(registers + page * kPage); // nothing touches a page before this
    for (u64 page = 0; page < kPages; ++page) {
        const Timings& t = timings[page];
        print("page ", Dec{page}, ": first access ", Dec{t.first}, " cycles, second ", Dec{t.second},
              ", then ", Dec{t.later}, " on average\n");
        check(t.values_good, "each access has its value");
        if (machine.td && device.size != 0)
            check_equal(t.exceptions, t.accesses, "one #VE for each access");
    }
    check_registers(registers);
    check_registers(registers + kPage);
}

} // namespace

bool guest_main(const Machine& machine)
{
    print("Seamless guest: ", machine.td ? "a TD" : "a plain VM", "\n");
    if (machine.td) {
        show_td();
        extend_measurement();
    }
    drive_device(machine);
    if (machine.td)
        accept_memory(machine);
    print(failures() == 0 ? "ALL PASS\n" : "SOME FAIL\n");
    return failures() == 0;
}

} // namespace seamless::guest
