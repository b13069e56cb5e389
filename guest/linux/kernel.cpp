// SPDX-License-Identifier: Apache-2.0
// Loads a bzImage. Linux: "The Linux/x86 Boot Protocol", "64-bit Boot Protocol"; "Zero Page".
#include "guest/linux/kernel.h"

#include "guest/firmware/console.h"
#include "guest/linux/layout.h"
#include "guest/linux/sha384.h"

namespace seamless::guest {
namespace {

// Offsets in the setup part and, from the setup header on, in the zero page alike.
enum Offset : u64 {
    kRsdpAddress = 0x070,
    kE820Count = 0x1e8,
    kHeader = 0x1f1,
    kHeaderMagic = 0x202,
    kHeaderJump = 0x201, // its operand: the header's length
    kVersion = 0x206,
    kLoaderType = 0x210,
    kLoadFlags = 0x211,
    kInitrdAddress = 0x218,
    kInitrdSize = 0x21c,
    kCommandLinePointer = 0x228,
    kInitrdMax = 0x22c,
    kXloadFlags = 0x236,
    kCommandLineSize = 0x238,
    kPreferredAddress = 0x258,
    kInitSize = 0x260,
    kE820Table = 0x2d0,
};
constexpr u32 kMagic = 0x53726448; // "HdrS"
constexpr u16 kOldestVersion = 0x20c;
constexpr u8 kUndefinedLoader = 0xff;
constexpr u16 kXlf64 = 1;
constexpr u64 kZeroPageSize = 4096;
constexpr u64 kEntry64 = 0x200;
constexpr u64 kPage = 4096;

constexpr unsigned kMostE820 = 128;

template <typename T>
T field_of(u64 base, Offset offset)
{
    T value;
    copy(&value, reinterpret_cast<const void*>(base + offset), sizeof value);
    return value;
}
template <typename T>
void set_field(Offset offset, T value)
{
    copy(reinterpret_cast<void*>(layout::kBootParameters + offset), &value, sizeof value);
}

bool refuse(const char* why)
{
    print("seamless firmware: cannot boot the kernel: ", why, "\n");
    return false;
}

bool inside_ram(const RamRange* ram, unsigned count, u64 start, u64 end)
{
    for (unsigned i = 0; i < count; ++i)
        if (start >= ram[i].start && end <= ram[i].end && start < end)
            return true;
    return false;
}

// Usable memory that the firmware has not put something into.
class E820 {
  public:
    void add(u64 start, u64 end, E820Type type)
    {
        if (start >= end || count_ == kMostE820)
            return;
        const E820Entry entry{start, end - start, type};
        copy(reinterpret_cast<void*>(layout::kBootParameters + kE820Table + count_ * sizeof entry), &entry,
             sizeof entry);
        ++count_;
        set_field<u8>(kE820Count, static_cast<u8>(count_));
    }
    void add_ram(RamRange ram)
    {
        constexpr RamRange kHoles[] = {{layout::kLowRamEnd, layout::kLowRamResume},
                                       {layout::kFirmware, layout::kEfiEnd}};
        for (const RamRange& hole : kHoles) {
            if (hole.end <= ram.start || hole.start >= ram.end)
                continue;
            add(ram.start, hole.start, E820Type::ram);
            ram.start = hole.end;
        }
        add(ram.start, ram.end, E820Type::ram);
    }

  private:
    u64 count_ = 0;
};

void write_e820(const RamRange* ram, unsigned count)
{
    E820 e820;
    for (unsigned i = 0; i < count; ++i)
        e820.add_ram(ram[i]);
    e820.add(layout::kFirmware, layout::kFirmwareEnd, E820Type::nvs); // with the mailbox
    e820.add(layout::kTables, layout::kTablesEnd, E820Type::acpi);
    e820.add(layout::kEfi, layout::kEfiEnd, E820Type::reserved);
}

struct Sizes {
    u32 setup, kernel, initrd, command_line;
};

bool read_sizes(FwCfg& fw_cfg, Sizes& sizes)
{
    return fw_cfg.read_u32(FwCfgItem::SETUP_SIZE, sizes.setup) &&
           fw_cfg.read_u32(FwCfgItem::KERNEL_SIZE, sizes.kernel) &&
           fw_cfg.read_u32(FwCfgItem::INITRD_SIZE, sizes.initrd) &&
           fw_cfg.read_u32(FwCfgItem::CMDLINE_SIZE, sizes.command_line);
}

bool load_initrd(FwCfg& fw_cfg, const RamRange* ram, unsigned count, const Sizes& sizes, u64 kernel_end,
                 KernelDigests& digests)
{
    digests.has_initrd = sizes.initrd != 0;
    if (sizes.initrd == 0)
        return true;
    const u64 most = field_of<u32>(layout::kBootParameters, kInitrdMax) + u64{1};
    u64 top = 0;
    for (unsigned i = 0; i < count; ++i)
        if (ram[i].start < most)
            top = ram[i].end < most ? ram[i].end : most;
    const u64 start = top > sizes.initrd ? align_down(top - sizes.initrd, kPage) : 0;
    if (start < kernel_end || !inside_ram(ram, count, start, start + sizes.initrd))
        return refuse("the initrd does not fit into memory");
    auto* to = reinterpret_cast<void*>(start);
    if (!fw_cfg.read(FwCfgItem::INITRD_DATA, to, sizes.initrd))
        return refuse("the host does not deliver the initrd");
    set_field<u32>(kInitrdAddress, static_cast<u32>(start));
    set_field<u32>(kInitrdSize, sizes.initrd);
    Sha384 hash;
    hash.update(to, sizes.initrd);
    hash.finish(digests.initrd);
    return true;
}

bool load_command_line(FwCfg& fw_cfg, u32 size, KernelDigests& digests)
{
    auto* line = reinterpret_cast<char*>(layout::kCommandLine);
    if (size > layout::kCommandLineLimit ||
        size > field_of<u32>(layout::kBootParameters, kCommandLineSize) + 1)
        return refuse("the command line is too long");
    line[0] = 0;
    if (size != 0 && !fw_cfg.read(FwCfgItem::CMDLINE_DATA, line, size))
        return refuse("the host does not deliver the command line");
    const u64 length = size == 0 ? 1 : size;
    line[length - 1] = 0;
    set_field<u32>(kCommandLinePointer, static_cast<u32>(layout::kCommandLine));
    Sha384 hash;
    hash.update(line, length);
    hash.finish(digests.command_line);
    return true;
}

// The zero page begins with nothing but the kernel's own setup header.
bool take_setup(FwCfg& fw_cfg, u32 size)
{
    clear(reinterpret_cast<void*>(layout::kBootParameters), kZeroPageSize);
    if (size < kInitSize + sizeof(u32) || size > layout::kSetupLimit)
        return refuse("its setup part has no sensible size");
    if (!fw_cfg.read(FwCfgItem::SETUP_DATA, reinterpret_cast<void*>(layout::kSetup), size))
        return refuse("the host does not deliver it");
    if (field_of<u32>(layout::kSetup, kHeaderMagic) != kMagic ||
        field_of<u16>(layout::kSetup, kVersion) < kOldestVersion ||
        !(field_of<u16>(layout::kSetup, kXloadFlags) & kXlf64))
        return refuse("it is no 64-bit bzImage");
    const u64 end = kHeaderMagic + field_of<u8>(layout::kSetup, kHeaderJump);
    copy(reinterpret_cast<void*>(layout::kBootParameters + kHeader),
         reinterpret_cast<const void*>(layout::kSetup + kHeader), end - kHeader);
    set_field<u8>(kLoaderType, kUndefinedLoader);
    return true;
}

} // namespace

bool load_kernel(FwCfg& fw_cfg, const RamRange* ram, unsigned ram_count, u64 rsdp, Kernel& kernel,
                 KernelDigests& digests)
{
    Sizes sizes{};
    if (!read_sizes(fw_cfg, sizes))
        return refuse("the host does not say how large it is");
    if (!take_setup(fw_cfg, sizes.setup))
        return false;
    const u64 start = field_of<u64>(layout::kBootParameters, kPreferredAddress);
    const u64 init_size = field_of<u32>(layout::kBootParameters, kInitSize);
    const u64 end = start + (init_size > sizes.kernel ? init_size : sizes.kernel);
    if (start < layout::kShared + layout::kSharedSize || end < start ||
        !inside_ram(ram, ram_count, start, end))
        return refuse("it does not fit into memory");
    if (!fw_cfg.read(FwCfgItem::KERNEL_DATA, reinterpret_cast<void*>(start), sizes.kernel))
        return refuse("the host does not deliver it");
    Sha384 hash;
    hash.update(reinterpret_cast<const void*>(layout::kSetup), sizes.setup);
    hash.update(reinterpret_cast<const void*>(start), sizes.kernel);
    hash.finish(digests.kernel);
    if (!load_command_line(fw_cfg, sizes.command_line, digests) ||
        !load_initrd(fw_cfg, ram, ram_count, sizes, end, digests))
        return false;
    set_field<u64>(kRsdpAddress, rsdp);
    write_e820(ram, ram_count);
    kernel = {.entry = start + kEntry64, .boot_parameters = layout::kBootParameters};
    return true;
}

unsigned e820_count() { return field_of<u8>(layout::kBootParameters, kE820Count); }

E820Entry e820_entry(unsigned index)
{
    return field_of<E820Entry>(layout::kBootParameters + index * sizeof(E820Entry), kE820Table);
}

void start_kernel(const Kernel& kernel)
{
    // The protocol's selectors: 10H for code, 18H for data.
    alignas(16) static const u64 gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    struct [[gnu::packed]] {
        u16 limit;
        const void* base;
    } pointer{sizeof gdt - 1, gdt};
    asm volatile("cli\n\t"
                 "lgdt %0\n\t"
                 "mov $0x18, %%eax\n\t"
                 "mov %%eax, %%ds\n\t"
                 "mov %%eax, %%es\n\t"
                 "mov %%eax, %%ss\n\t"
                 "pushq $0x10\n\t"
                 "pushq %1\n\t"
                 "xor %%ebp, %%ebp\n\t"
                 "xor %%edi, %%edi\n\t"
                 "xor %%ebx, %%ebx\n\t"
                 "lretq"
                 :
                 : "m"(pointer), "r"(kernel.entry), "S"(kernel.boot_parameters)
                 : "rax", "memory");
    __builtin_unreachable();
}

} // namespace seamless::guest
