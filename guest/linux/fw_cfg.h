// SPDX-License-Identifier: Apache-2.0
// QEMU's firmware configuration device, by DMA: how the host hands over kernel, initrd, command line and
// ACPI tables. What comes from it is the host's word: sizes are checked, contents measured.
#pragma once

#include "guest/firmware/machine.h"

namespace seamless::guest {

enum class FwCfgItem : u16 {
    SIGNATURE = 0,
    KERNEL_SIZE = 0x08,
    INITRD_SIZE = 0x0b,
    KERNEL_DATA = 0x11,
    INITRD_DATA = 0x12,
    CMDLINE_SIZE = 0x14,
    CMDLINE_DATA = 0x15,
    SETUP_SIZE = 0x17,
    SETUP_DATA = 0x18,
    FILE_DIR = 0x19,
};

struct FwCfgFile {
    u16 item = 0;
    u64 size = 0;
    [[nodiscard]] bool found() const { return item != 0; }
};

class FwCfg {
  public:
    // Shares memory with the host (in a TD), and looks whether the device is there.
    [[nodiscard]] bool open(const Machine& machine);
    // Takes that memory back.
    [[nodiscard]] bool close();

    [[nodiscard]] bool read(FwCfgItem item, void* to, u64 size)
    {
        return read(static_cast<u16>(item), to, size);
    }
    [[nodiscard]] bool read(u16 item, void* to, u64 size);
    [[nodiscard]] bool read_u32(FwCfgItem item, u32& value) { return read(item, &value, sizeof value); }
    [[nodiscard]] FwCfgFile find(const char* name);

  private:
    [[nodiscard]] bool transfer(u32 control, u64 size);

    u64 shared_bit_ = 0;
    u64 window_ = 0; // linear address of the shared memory
};

void copy(void* to, const void* from, u64 size);
void clear(void* to, u64 size);
// Up to the end of the text, or `limit` characters.
[[nodiscard]] bool same_text(const char* left, const char* right, u64 limit);

} // namespace seamless::guest
