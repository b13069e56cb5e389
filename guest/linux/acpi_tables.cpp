// SPDX-License-Identifier: Apache-2.0
// The table loader (QEMU: "etc/table-loader"), and the MADT's multiprocessor wakeup structure. ACPI:
// "Multiple APIC Description Table".
#include "guest/linux/acpi_tables.h"

#include "guest/linux/layout.h"
#include "guest/linux/mailbox.h"
#include "guest/linux/sha384.h"

extern "C" const char offline_entry[]; // reset_entry.S

namespace seamless::guest {
namespace {

constexpr unsigned kNameSize = 56;

struct [[gnu::packed]] Command {
    u32 type;
    union {
        struct [[gnu::packed]] {
            char file[kNameSize];
            u32 align;
            u8 zone;
        } allocate;
        struct [[gnu::packed]] {
            char file[kNameSize];
            char target[kNameSize];
            u32 offset;
            u8 size;
        } pointer;
        struct [[gnu::packed]] {
            char file[kNameSize];
            u32 offset;
            u32 start;
            u32 length;
        } checksum;
        u8 bytes[124];
    };
};
static_assert(sizeof(Command) == 128);
enum CommandType : u32 { kAllocate = 1, kAddPointer = 2, kAddChecksum = 3 };

struct Blob {
    char name[kNameSize];
    u64 at;
    u64 size;
};

struct [[gnu::packed]] Rsdp {
    char signature[8];
    u8 checksum;
    char oem[6];
    u8 revision;
    u32 rsdt;
    u32 length;
    u64 xsdt;
    u8 extended_checksum;
    u8 reserved[3];
};

struct [[gnu::packed]] TableHeader {
    char signature[4];
    u32 length;
    u8 revision;
    u8 checksum;
    u8 other[26];
};
static_assert(sizeof(TableHeader) == 36);

struct [[gnu::packed]] MultiprocessorWakeup {
    u8 type = 0x10;
    u8 length = 24;
    u16 version = 1;
    u32 reserved = 0;
    u64 mailbox = 0;
    u64 reset_vector = 0;
};

u8 sum(u64 at, u64 size)
{
    u8 total = 0;
    for (u64 i = 0; i < size; ++i)
        total = static_cast<u8>(total + *reinterpret_cast<const u8*>(at + i));
    return total;
}

constexpr u64 kMostCommands = 128;
Command commands[kMostCommands];

class Loader {
  public:
    explicit Loader(FwCfg& fw_cfg) : fw_cfg_(fw_cfg) {}

    [[nodiscard]] bool read_script();
    // First all files are fetched, then they are linked.
    [[nodiscard]] bool run(bool allocations);
    [[nodiscard]] const Blob* find(const char* name) const
    {
        for (unsigned i = 0; i < count_; ++i)
            if (same_text(blobs_[i].name, name, kNameSize))
                return &blobs_[i];
        return nullptr;
    }
    [[nodiscard]] u64 take(u64 size, u64 align);
    void measure(u8* digest);

  private:
    bool execute(const Command& command);
    bool allocate(const Command& command);
    bool add_pointer(const Command& command);
    bool add_checksum(const Command& command);

    static constexpr unsigned kMostBlobs = 8;
    FwCfg& fw_cfg_;
    Blob blobs_[kMostBlobs] = {};
    unsigned count_ = 0;
    u64 command_count_ = 0;
    u64 next_ = layout::kTables;
};

u64 Loader::take(u64 size, u64 align)
{
    if (align == 0 || (align & (align - 1)) != 0)
        return 0;
    const u64 at = align_up(next_, align);
    if (size > layout::kTablesEnd || at + size > layout::kTablesEnd)
        return 0;
    next_ = at + size;
    return at;
}

bool Loader::allocate(const Command& command)
{
    const FwCfgFile file = fw_cfg_.find(command.allocate.file);
    if (!file.found() || count_ == kMostBlobs)
        return false;
    Blob& blob = blobs_[count_];
    blob.size = file.size;
    blob.at = take(file.size, command.allocate.align);
    if (blob.at == 0 || !fw_cfg_.read(file.item, reinterpret_cast<void*>(blob.at), file.size))
        return false;
    copy(blob.name, command.allocate.file, kNameSize);
    ++count_;
    return true;
}

bool Loader::add_pointer(const Command& command)
{
    const Blob* in = find(command.pointer.file);
    const Blob* target = find(command.pointer.target);
    const u64 size = command.pointer.size, offset = command.pointer.offset;
    if (in == nullptr || target == nullptr || (size != 4 && size != 8) || offset + size > in->size)
        return false;
    u64 value = 0;
    copy(&value, reinterpret_cast<const void*>(in->at + offset), size);
    value += target->at;
    copy(reinterpret_cast<void*>(in->at + offset), &value, size);
    return true;
}

bool Loader::add_checksum(const Command& command)
{
    const Blob* in = find(command.checksum.file);
    const u64 start = command.checksum.start, length = command.checksum.length;
    if (in == nullptr || start + length > in->size || command.checksum.offset >= in->size)
        return false;
    u8& place = *reinterpret_cast<u8*>(in->at + command.checksum.offset);
    place = static_cast<u8>(place - sum(in->at + start, length));
    return true;
}

bool Loader::execute(const Command& command)
{
    switch (command.type) {
    case kAllocate:
        return allocate(command);
    case kAddPointer:
        return add_pointer(command);
    case kAddChecksum:
        return add_checksum(command);
    default:
        return true; // commands that a loader does not know are none of its business
    }
}

bool Loader::read_script()
{
    const FwCfgFile script = fw_cfg_.find("etc/table-loader");
    if (!script.found() || script.size > sizeof commands || !fw_cfg_.read(script.item, commands, script.size))
        return false;
    command_count_ = script.size / sizeof(Command);
    return true;
}

bool Loader::run(bool allocations)
{
    for (u64 i = 0; i < command_count_; ++i)
        if ((commands[i].type == kAllocate) == allocations && !execute(commands[i]))
            return false;
    return true;
}

void Loader::measure(u8* digest)
{
    Sha384 hash;
    if (const Blob* tables = find("etc/acpi/tables"))
        hash.update(reinterpret_cast<const void*>(tables->at), tables->size);
    hash.finish(digest);
}

bool inside_tables(u64 at, u64 size)
{
    return at >= layout::kTables && at < layout::kTablesEnd && size <= layout::kTablesEnd - at;
}

// The address of the XSDT's entry for the table with this signature.
u64* find_entry(TableHeader& xsdt, const char* signature)
{
    const u64 count = xsdt.length < sizeof xsdt ? 0 : (xsdt.length - sizeof xsdt) / sizeof(u64);
    u64* entries = reinterpret_cast<u64*>(&xsdt + 1);
    for (u64 i = 0; i < count; ++i)
        if (inside_tables(entries[i], sizeof xsdt) &&
            same_text(reinterpret_cast<const char*>(entries[i]), signature, 4))
            return &entries[i];
    return nullptr;
}

void fix_checksum(TableHeader& table)
{
    table.checksum = static_cast<u8>(table.checksum - sum(reinterpret_cast<u64>(&table), table.length));
}

bool add_wakeup(Loader& loader, const Rsdp& rsdp)
{
    if (!inside_tables(rsdp.xsdt, sizeof(TableHeader)))
        return false;
    auto& xsdt = *reinterpret_cast<TableHeader*>(rsdp.xsdt);
    if (!inside_tables(rsdp.xsdt, xsdt.length))
        return false;
    u64* entry = find_entry(xsdt, "APIC");
    if (entry == nullptr || !inside_tables(*entry, sizeof(TableHeader)))
        return false;
    const auto& old = *reinterpret_cast<const TableHeader*>(*entry);
    const u64 length = old.length;
    if (!inside_tables(*entry, length))
        return false;
    const u64 at = loader.take(length + sizeof(MultiprocessorWakeup), 8);
    if (at == 0)
        return false;
    copy(reinterpret_cast<void*>(at), &old, length);
    MultiprocessorWakeup wakeup;
    wakeup.mailbox = reinterpret_cast<u64>(&mailbox);
    wakeup.reset_vector = reinterpret_cast<u64>(offline_entry);
    copy(reinterpret_cast<void*>(at + length), &wakeup, sizeof wakeup);
    auto& madt = *reinterpret_cast<TableHeader*>(at);
    madt.length = static_cast<u32>(length + sizeof wakeup);
    fix_checksum(madt);
    *entry = at;
    fix_checksum(xsdt);
    return true;
}

// ACPI: "Fixed ACPI Description Table", up to the last field that is of interest here.
struct [[gnu::packed]] GenericAddress {
    u8 space, width, offset, access;
    u64 address;
};
struct [[gnu::packed]] Fadt {
    TableHeader header;
    u8 other[76];
    u32 flags;
    GenericAddress reset_register;
    u8 reset_value;
    u8 more[115];
    GenericAddress sleep_control;
};
static_assert(sizeof(Fadt) == 256);

u16 port_of(const GenericAddress& address)
{
    constexpr u8 kSystemIo = 1;
    return address.space == kSystemIo ? static_cast<u16>(address.address) : u16{0};
}

} // namespace

FixedHardware fixed_hardware(u64 at)
{
    constexpr u32 kResetRegister = 1u << 10, kHardwareReduced = 1u << 20;
    constexpr u8 kSleepEnable = 1u << 5, kPowerOffType = 5 << 2; // the type of our machine's and QEMU's S5
    const auto& rsdp = *reinterpret_cast<const Rsdp*>(at);
    const u64* entry = find_entry(*reinterpret_cast<TableHeader*>(rsdp.xsdt), "FACP");
    if (entry == nullptr || !inside_tables(*entry, sizeof(Fadt)))
        return {};
    const auto& fadt = *reinterpret_cast<const Fadt*>(*entry);
    if (fadt.header.length < sizeof(Fadt) || !(fadt.flags & kHardwareReduced))
        return {};
    FixedHardware hardware{.reduced = true,
                           .sleep_port = port_of(fadt.sleep_control),
                           .sleep_value = kSleepEnable | kPowerOffType};
    if (fadt.flags & kResetRegister) {
        hardware.reset_port = port_of(fadt.reset_register);
        hardware.reset_value = fadt.reset_value;
    }
    return hardware;
}

u64 install_acpi(FwCfg& fw_cfg, u8* digest)
{
    Loader loader(fw_cfg);
    if (!loader.read_script() || !loader.run(true))
        return 0;
    loader.measure(digest);
    const Blob* rsdp = loader.find("etc/acpi/rsdp");
    if (!loader.run(false) || rsdp == nullptr || rsdp->size < sizeof(Rsdp))
        return 0;
    return add_wakeup(loader, *reinterpret_cast<const Rsdp*>(rsdp->at)) ? rsdp->at : 0;
}

} // namespace seamless::guest
