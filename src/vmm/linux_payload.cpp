// SPDX-License-Identifier: Apache-2.0
// Reads the setup header of a Linux kernel and checks what a boot would stumble over.
#include "vmm/linux_payload.h"

#include <cstring>
#include <fmt/format.h>

namespace seamless::vmm {
namespace {

// Offsets of the setup header's fields in the image.
constexpr u64 kSetupSects = 0x1f1, kSyssize = 0x1f4, kBootFlag = 0x1fe, kHeaderMagic = 0x202,
              kVersion = 0x206, kXloadflags = 0x236, kCmdlineSize = 0x238, kInitSize = 0x260,
              kHeaderEnd = 0x264;
constexpr u16 kBootFlagValue = 0xaa55;
constexpr u32 kHdrS = 0x53726448;   // "HdrS"
constexpr u16 kMinVersion = 0x020c; // xloadflags
constexpr u16 XLF_KERNEL_64 = 1;    // has the 64-bit entry point
constexpr u64 kSector = 512, kParagraph = 16;
constexpr u64 kDefaultSetupSects = 4;   // what 0 stands for
constexpr u64 kMaxPayload = 0xffffffff; // fw_cfg gives sizes in 32 bits

template <typename T>
T load(std::span<const u8> image, u64 offset)
{
    T value;
    std::memcpy(&value, image.data() + offset, sizeof(T));
    return value;
}

Result<MappedFile, Message> open_payload(std::string_view option, const std::string& path)
{
    auto file = MappedFile::open(path);
    if (!file.ok())
        return fail(Message{fmt::format("{} {}", option, file.error().text)});
    if (file.value().bytes().size() > kMaxPayload)
        return fail(Message{fmt::format("{} {}: the file is larger than 4 GiB", option, path)});
    return file;
}

} // namespace

Result<KernelHeader, Message> parse_kernel(std::span<const u8> image)
{
    if (image.size() < kHeaderEnd || load<u16>(image, kBootFlag) != kBootFlagValue ||
        load<u32>(image, kHeaderMagic) != kHdrS)
        return fail(Message{"not a Linux kernel image (bzImage): it has no setup header"});
    const u16 version = load<u16>(image, kVersion);
    if (version < kMinVersion)
        return fail(Message{fmt::format("the kernel has boot protocol {}.{:02}; 2.12 or later is needed",
                                        version >> 8, version & 0xff)});
    if ((load<u16>(image, kXloadflags) & XLF_KERNEL_64) == 0)
        return fail(Message{"the kernel has no 64-bit entry point; only 64-bit kernels can be booted"});
    const u64 sectors = image[kSetupSects] == 0 ? kDefaultSetupSects : image[kSetupSects];
    const KernelHeader header{.setup_size = (sectors + 1) * kSector,
                              .init_size = load<u32>(image, kInitSize),
                              .command_line_max = load<u32>(image, kCmdlineSize)};
    const u64 needed = header.setup_size + load<u32>(image, kSyssize) * kParagraph;
    if (image.size() < needed || image.size() <= header.setup_size)
        return fail(Message{fmt::format("the kernel is truncated: {} bytes of {}", image.size(), needed)});
    return header;
}

Result<LinuxPayload, Message> load_linux(const std::string& kernel, const std::string& initrd,
                                         std::string command_line)
{
    LinuxPayload payload;
    payload.kernel = TRY(open_payload("--kernel", kernel));
    const auto header = parse_kernel(payload.kernel.bytes());
    if (!header.ok())
        return fail(Message{fmt::format("--kernel {}: {}", kernel, header.error().text)});
    payload.header = header.value();
    if (!initrd.empty())
        payload.initrd = TRY(open_payload("--initrd", initrd));
    if (command_line.size() > payload.header.command_line_max)
        return fail(Message{fmt::format("--append: {} bytes; the kernel takes at most {}",
                                        command_line.size(), payload.header.command_line_max)});
    payload.command_line = std::move(command_line);
    return payload;
}

} // namespace seamless::vmm
