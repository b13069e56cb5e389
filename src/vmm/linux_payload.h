// SPDX-License-Identifier: Apache-2.0
// A Linux kernel to boot: the bzImage, its initial RAM disk and its command line, as firmware finds them in
// fw_cfg. Linux: "The Linux/x86 Boot Protocol". The files are untrusted input.
#pragma once

#include <string>

#include "vmm/mapped_file.h"

namespace seamless::vmm {

// What the setup header says, as far as the VMM needs it.
struct KernelHeader {
    u64 setup_size = 0;       // the boot sector and the setup code; the kernel itself follows
    u64 init_size = 0;        // memory the kernel needs to unpack itself
    u64 command_line_max = 0; // bytes, without the terminating zero
};

[[nodiscard]] Result<KernelHeader, Message> parse_kernel(std::span<const u8> image);

struct LinuxPayload {
    MappedFile kernel;
    MappedFile initrd; // may be none
    std::string command_line;
    KernelHeader header;

    [[nodiscard]] std::span<const u8> setup() const { return kernel.bytes().first(header.setup_size); }
    [[nodiscard]] std::span<const u8> rest() const { return kernel.bytes().subspan(header.setup_size); }
    // The command line as it is delivered: with its terminating zero.
    [[nodiscard]] std::span<const u8> command_line_bytes() const
    {
        return {reinterpret_cast<const u8*>(command_line.c_str()), command_line.size() + 1};
    }
};

// `initrd` may be empty: none.
[[nodiscard]] Result<LinuxPayload, Message> load_linux(const std::string& kernel, const std::string& initrd,
                                                       std::string command_line);

} // namespace seamless::vmm
