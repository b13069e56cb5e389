// SPDX-License-Identifier: Apache-2.0
// Fills EFI's tables. UEFI: "EFI System Table"; Linux: "Zero Page", efi_info.
#include "guest/linux/efi.h"

#include "guest/linux/kernel.h"
#include "guest/linux/layout.h"

// efi_runtime.S
extern "C" const char efi_page[], efi_page_end[], efi_reset_system[], efi_set_virtual_address_map[],
    efi_unsupported[], efi_seal[];

namespace seamless::guest {
namespace {

struct Guid {
    u32 a;
    u16 b, c;
    u8 d[8];
};
constexpr Guid kAcpi20{0x8868e871, 0xe4f1, 0x11d3, {0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81}};
constexpr Guid kProperties{0xeb66918a, 0x7eef, 0x402a, {0x84, 0x2e, 0x93, 0x1d, 0x21, 0xc3, 0x8a, 0xe9}};

struct TableHeader {
    u64 signature;
    u32 revision;
    u32 size;
    u32 checksum;
    u32 reserved;
};

struct ConfigurationTable {
    Guid guid;
    u64 table;
};

// Its services, in the order of the specification.
enum Service : unsigned { kSetVirtualAddressMap = 4, kResetSystem = 10, kServices = 14 };

// The beginning of the page; efi_runtime.S has the same.
struct EfiPage {
    TableHeader header;
    u64 vendor;
    u32 vendor_revision;
    u32 padding;
    u64 consoles[6];
    u64 runtime;
    u64 boot_services;
    u64 table_count;
    u64 tables;

    TableHeader services_header;
    u64 services[kServices];

    ConfigurationTable configuration[2];
    struct {
        u16 version, length;
        u32 supported;
    } properties;
    u16 reset_port, sleep_port;
    u8 reset_value, sleep_value;
    u8 unused[2];
    char16_t name[12];
};
static_assert(sizeof(EfiPage) == 344);

constexpr u32 kRevision = 2 << 16 | 100; // 2.10
constexpr u64 kSystemTable = 0x5453595320494249, kRuntimeServices = 0x56524553544e5552;

u64 placed(const char* symbol) { return layout::kEfi + static_cast<u64>(symbol - efi_page); }

void fill(EfiPage& page, u64 rsdp, const FixedHardware& hardware)
{
    constexpr char16_t kName[] = u"Seamless";
    copy(page.name, kName, sizeof kName);
    page.header = {kSystemTable, kRevision, __builtin_offsetof(EfiPage, services_header), 0, 0};
    page.vendor = reinterpret_cast<u64>(page.name);
    page.runtime = reinterpret_cast<u64>(&page.services_header);
    page.table_count = 2;
    page.tables = reinterpret_cast<u64>(page.configuration);
    page.services_header = {kRuntimeServices, kRevision, sizeof page.services_header + sizeof page.services,
                            0, 0};
    for (u64& service : page.services)
        service = placed(efi_unsupported);
    page.services[kSetVirtualAddressMap] = placed(efi_set_virtual_address_map);
    page.services[kResetSystem] = placed(efi_reset_system);
    page.configuration[0] = {kAcpi20, rsdp};
    page.configuration[1] = {kProperties, reinterpret_cast<u64>(&page.properties)};
    constexpr u32 kSupported = 0x80 | 0x400; // EFI_RT_SUPPORTED_SET_VIRTUAL_ADDRESS_MAP, ..._RESET_SYSTEM
    page.properties = {1, sizeof page.properties, kSupported};
    page.reset_port = hardware.reset_port;
    page.reset_value = hardware.reset_value;
    page.sleep_port = hardware.sleep_port;
    page.sleep_value = hardware.sleep_value;
}

enum class MemoryType : u32 {
    RESERVED = 0,
    RUNTIME_SERVICES_CODE = 5,
    CONVENTIONAL = 7,
    ACPI_RECLAIM = 9,
    ACPI_NVS = 10
};
constexpr u64 kWriteBack = bit(3), kRuntime = bit(63);
constexpr unsigned kPageShift = 12;

struct Descriptor {
    MemoryType type;
    u32 padding;
    u64 physical, virtual_address, pages, attribute;
};
static_assert(sizeof(Descriptor) == 40);

MemoryType type_of(const E820Entry& entry)
{
    switch (entry.type) {
    case E820Type::ram:
        return MemoryType::CONVENTIONAL;
    case E820Type::acpi:
        return MemoryType::ACPI_RECLAIM;
    case E820Type::nvs:
        return MemoryType::ACPI_NVS;
    case E820Type::reserved:
        break;
    }
    return entry.start == layout::kEfi ? MemoryType::RUNTIME_SERVICES_CODE : MemoryType::RESERVED;
}

// Returns the map's size.
u32 describe_memory()
{
    auto* map = reinterpret_cast<Descriptor*>(layout::kEfiMap);
    const unsigned count = e820_count();
    for (unsigned i = 0; i < count; ++i) {
        const E820Entry entry = e820_entry(i);
        const MemoryType type = type_of(entry);
        map[i] = {.type = type,
                  .padding = 0,
                  .physical = entry.start,
                  .virtual_address = 0,
                  .pages = entry.size >> kPageShift,
                  .attribute = kWriteBack | (type == MemoryType::RUNTIME_SERVICES_CODE ? kRuntime : 0)};
    }
    return static_cast<u32>(count * sizeof(Descriptor));
}

} // namespace

void offer_efi(u64 rsdp, const FixedHardware& hardware)
{
    clear(reinterpret_cast<void*>(layout::kEfi), layout::kEfiEnd - layout::kEfi);
    copy(reinterpret_cast<void*>(layout::kEfi), efi_page, static_cast<u64>(efi_page_end - efi_page));
    fill(*reinterpret_cast<EfiPage*>(layout::kEfi), rsdp, hardware);
    reinterpret_cast<void (*)()>(placed(efi_seal))();
    struct {
        u32 signature, system_table, descriptor_size, descriptor_version, map, map_size, high[2];
    } const info{.signature = 0x34364c45, // "EL64"
                 .system_table = static_cast<u32>(layout::kEfi),
                 .descriptor_size = sizeof(Descriptor),
                 .descriptor_version = 1,
                 .map = static_cast<u32>(layout::kEfiMap),
                 .map_size = describe_memory(),
                 .high = {}};
    constexpr u64 kEfiInfo = 0x1c0, kSecureBoot = 0x1ec;
    constexpr u8 kSecureBootDisabled = 2;
    copy(reinterpret_cast<void*>(layout::kBootParameters + kEfiInfo), &info, sizeof info);
    *reinterpret_cast<u8*>(layout::kBootParameters + kSecureBoot) = kSecureBootDisabled;
}

} // namespace seamless::guest
