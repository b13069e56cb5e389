// SPDX-License-Identifier: Apache-2.0
// RSDP, XSDT, FADT, MADT and DSDT, laid out one after the other in one file.
#include "vmm/acpi/tables.h"

#include <string_view>

#include "base/check.h"
#include "devices/ioapic.h"
#include "devices/machine_end.h"
#include "devices/rtc.h"
#include "vmm/acpi/dsdt.h"
#include "vmm/acpi/loader.h"

namespace seamless::vmm::acpi {
namespace {

constexpr std::string_view kOem = "SEAMLS", kOemTable = "SEAMLESS", kCreator = "SEAM";
constexpr std::size_t kHeaderSize = 36, kChecksum = 9, kAlignment = 8;

// A table under construction: fields go to the end, or to offsets of the specification's.
class Table {
  public:
    Table(std::string_view signature, u8 revision)
    {
        text(signature).put(0, 4).put(revision, 1).put(0, 1); // length and checksum come later
        text(kOem).text(kOemTable).put(1, 4).text(kCreator).put(1, 4);
        CHECK(bytes_.size() == kHeaderSize);
    }

    Table& put(u64 value, unsigned bytes)
    {
        for (unsigned i = 0; i < bytes; ++i)
            bytes_.push_back(static_cast<u8>(value >> (8 * i)));
        return *this;
    }
    Table& text(std::string_view t)
    {
        bytes_.insert(bytes_.end(), t.begin(), t.end());
        return *this;
    }
    Table& raw(std::span<const u8> data)
    {
        bytes_.insert(bytes_.end(), data.begin(), data.end());
        return *this;
    }
    // Zeros up to `offset`, where the next field begins.
    Table& at(std::size_t offset)
    {
        CHECK(offset >= bytes_.size());
        bytes_.resize(offset);
        return *this;
    }
    // ACPI: "Generic Address Structure": one byte of I/O space.
    Table& io_byte(u64 port) { return put(1, 1).put(8, 1).put(0, 1).put(1, 1).put(port, 8); }

    [[nodiscard]] std::vector<u8> finish()
    {
        for (unsigned i = 0; i < 4; ++i)
            bytes_[4 + i] = static_cast<u8>(bytes_.size() >> (8 * i));
        return std::move(bytes_);
    }

  private:
    std::vector<u8> bytes_;
};

std::vector<u8> dsdt(const MachineDescription& machine)
{
    return Table("DSDT", 2).raw(dsdt_body(machine)).finish();
}

constexpr std::size_t kFadtXDsdt = 140;

// `dsdt` is its offset in the file, to which firmware adds the file's address.
std::vector<u8> fadt(u64 dsdt)
{
    constexpr u64 WBINVD = bit(0), PWR_BUTTON = bit(4), SLP_BUTTON = bit(5), RESET_REG_SUP = bit(10),
                  HW_REDUCED_ACPI = bit(20);
    constexpr u64 kNoVga = bit(2);
    Table table("FACP", 6);
    table.at(108).put(devices::Rtc::kCentury, 1).put(kNoVga, 2);
    table.at(112).put(WBINVD | PWR_BUTTON | SLP_BUTTON | RESET_REG_SUP | HW_REDUCED_ACPI, 4);
    table.io_byte(devices::ResetPort::kPort)
        .put(devices::ResetPort::kReset | devices::ResetPort::kSystemReset, 1);
    table.at(131).put(5, 1); // minor version
    table.at(kFadtXDsdt).put(dsdt, 8);
    table.at(244).io_byte(devices::SleepPorts::kControl).io_byte(devices::SleepPorts::kStatus);
    return table.text(kOemTable).finish(); // hypervisor vendor
}

std::vector<u8> madt(unsigned cpus)
{
    constexpr u64 kLocalApicAddress = 0xfee00000, kEnabled = 1;
    constexpr u8 kLocalApic = 0, kIoApic = 1, kLocalX2Apic = 9;
    constexpr unsigned kFirstX2ApicId = 255; // an id that the older entry cannot hold
    Table table("APIC", 5);
    table.put(kLocalApicAddress, 4).put(0, 4); // no 8259
    for (unsigned id = 0; id < cpus; ++id) {
        if (id < kFirstX2ApicId)
            table.put(kLocalApic, 1).put(8, 1).put(id, 1).put(id, 1).put(kEnabled, 4);
        else
            table.put(kLocalX2Apic, 1).put(16, 1).put(0, 2).put(id, 4).put(kEnabled, 4).put(id, 4);
    }
    table.put(kIoApic, 1).put(12, 1).put(0, 2).put(devices::Ioapic::kBase, 4).put(0, 4);
    return table.finish();
}

std::vector<u8> xsdt(std::span<const u64> entries)
{
    Table table("XSDT", 1);
    for (const u64 entry : entries)
        table.put(entry, 8);
    return table.finish();
}

constexpr std::size_t kRsdpSize = 36, kRsdp1Size = 20, kRsdpChecksum = 8, kRsdpXsdt = 24,
                      kRsdpExtendedChecksum = 32;

std::vector<u8> rsdp(u64 xsdt)
{
    std::vector<u8> out;
    for (const std::string_view part : {std::string_view("RSD PTR "), std::string_view("\0", 1), kOem})
        out.insert(out.end(), part.begin(), part.end());
    out.push_back(2); // revision
    out.resize(kRsdpSize);
    out[20] = kRsdpSize;
    for (unsigned i = 0; i < 8; ++i)
        out[kRsdpXsdt + i] = static_cast<u8>(xsdt >> (8 * i));
    return out;
}

// Puts tables into the file and remembers what firmware must do to each.
class Files {
  public:
    Files()
    {
        loader_.allocate(kRsdpFile, 16, Loader::Zone::fseg);
        loader_.allocate(kTablesFile, 64, Loader::Zone::high);
    }

    // The table's offset in the file.
    u64 add(std::span<const u8> table)
    {
        tables_.resize(align_up(tables_.size(), kAlignment));
        const u64 offset = tables_.size();
        tables_.insert(tables_.end(), table.begin(), table.end());
        placed_.push_back({offset, table.size()});
        return offset;
    }
    void pointer(u64 offset) { loader_.add_pointer(kTablesFile, kTablesFile, static_cast<u32>(offset), 8); }

    [[nodiscard]] TableFiles finish(u64 xsdt)
    {
        loader_.add_pointer(kRsdpFile, kTablesFile, kRsdpXsdt, 8);
        for (const MemoryRange& table : placed_) // what a checksum covers is complete by now
            loader_.add_checksum(kTablesFile, static_cast<u32>(table.start + kChecksum),
                                 static_cast<u32>(table.start), static_cast<u32>(table.size));
        loader_.add_checksum(kRsdpFile, kRsdpChecksum, 0, kRsdp1Size);
        loader_.add_checksum(kRsdpFile, kRsdpExtendedChecksum, 0, kRsdpSize);
        return {.rsdp = rsdp(xsdt), .tables = std::move(tables_), .loader = loader_.bytes()};
    }

  private:
    Loader loader_;
    std::vector<u8> tables_;
    std::vector<MemoryRange> placed_;
};

} // namespace

TableFiles build_tables(const MachineDescription& machine)
{
    Files files;
    const u64 dsdt_at = files.add(dsdt(machine));
    const u64 fadt_at = files.add(fadt(dsdt_at));
    files.pointer(fadt_at + kFadtXDsdt);
    const u64 entries[] = {fadt_at, files.add(madt(machine.cpus))};
    const u64 xsdt_at = files.add(xsdt(entries));
    for (u64 i = 0; i < std::size(entries); ++i)
        files.pointer(xsdt_at + kHeaderSize + 8 * i);
    return files.finish(xsdt_at);
}

} // namespace seamless::vmm::acpi
