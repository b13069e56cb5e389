// SPDX-License-Identifier: Apache-2.0
// The firmware that starts a Linux kernel directly: it accepts memory, fetches kernel, initrd, command line
// and ACPI tables from the host, measures all of them, and jumps.
#include "guest/firmware/console.h"
#include "guest/firmware/memory.h"
#include "guest/firmware/tdx.h"
#include "guest/linux/acpi_tables.h"
#include "guest/linux/efi.h"
#include "guest/linux/kernel.h"

namespace seamless::guest {
namespace {

constexpr unsigned kMostRanges = 32;
RamRange ram[kMostRanges];
unsigned ram_count;

// Pieces that touch become one: the HOB list splits RAM where memory is there from the start.
void add_ram(MemoryRange range)
{
    if (range.size == 0)
        return;
    if (ram_count != 0 && ram[ram_count - 1].end == range.start)
        ram[ram_count - 1].end += range.size;
    else if (ram_count < kMostRanges)
        ram[ram_count++] = {range.start, range.start + range.size};
}

// Both kinds are in ascending order; merge them.
void find_ram(const Machine& machine)
{
    unsigned present = 0, unaccepted = 0;
    for (;;) {
        const MemoryRange a = find_resource(machine, ResourceType::SYSTEM_MEMORY, present);
        const MemoryRange b = find_resource(machine, ResourceType::MEMORY_UNACCEPTED, unaccepted);
        if (a.size == 0 && b.size == 0)
            return;
        const bool first = b.size == 0 || (a.size != 0 && a.start < b.start);
        add_ram(first ? a : b);
        ++(first ? present : unaccepted);
    }
}

// Without a HOB list the machine is QEMU's, or one like it, and tells by a file.
void find_ram(FwCfg& fw_cfg)
{
    struct [[gnu::packed]] Entry {
        u64 start, size;
        u32 type;
    };
    constexpr u32 kRam = 1;
    static Entry entries[kMostRanges];
    const FwCfgFile file = fw_cfg.find("etc/e820");
    if (!file.found() || file.size > sizeof entries || !fw_cfg.read(file.item, entries, file.size))
        return;
    for (u64 i = 0; i < file.size / sizeof(Entry); ++i)
        if (entries[i].type == kRam)
            add_ram({.start = entries[i].start, .size = entries[i].size});
}

bool accept_all(const Machine& machine)
{
    for (unsigned i = 0;; ++i) {
        const MemoryRange range = find_resource(machine, ResourceType::MEMORY_UNACCEPTED, i);
        if (range.size == 0)
            return true;
        const Accepted done = accept(range);
        if (done.failure != kSuccess) {
            print("seamless firmware: accepting memory failed with ", Hex{done.failure}, "\n");
            return false;
        }
    }
}

bool extend(unsigned index, const u8* digest)
{
    alignas(64) static u8 value[kMeasurementSize];
    copy(value, digest, sizeof value);
    return extend_rtmr(index, value) == kSuccess;
}

bool measure(const u8* tables, const KernelDigests& digests)
{
    constexpr unsigned kConfiguration = 0, kLoaded = 1, kParameters = 2;
    return extend(kConfiguration, tables) && extend(kLoaded, digests.kernel) &&
           extend(kParameters, digests.command_line) &&
           (!digests.has_initrd || extend(kParameters, digests.initrd));
}

} // namespace

bool guest_main(const Machine& machine)
{
    find_ram(machine);
    if (machine.td && !accept_all(machine))
        return false;
    FwCfg fw_cfg;
    if (!fw_cfg.open(machine)) {
        print("seamless firmware: the machine has no fw_cfg device to get a kernel from\n");
        return false;
    }
    if (ram_count == 0)
        find_ram(fw_cfg);
    u8 tables[kMeasurementSize];
    const u64 rsdp = install_acpi(fw_cfg, tables);
    if (rsdp == 0) {
        print("seamless firmware: the host's ACPI tables are unusable\n");
        return false;
    }
    Kernel kernel;
    KernelDigests digests{};
    if (!load_kernel(fw_cfg, ram, ram_count, rsdp, kernel, digests) || !fw_cfg.close())
        return false;
    if (const FixedHardware hardware = fixed_hardware(rsdp); hardware.reduced)
        offer_efi(rsdp, hardware);
    if (machine.td && !measure(tables, digests)) {
        print("seamless firmware: extending the measurement registers failed\n");
        return false;
    }
    start_kernel(kernel);
}

} // namespace seamless::guest
