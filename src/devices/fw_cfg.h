// SPDX-License-Identifier: Apache-2.0
// QEMU's firmware configuration device: numbered items and named files that firmware reads through ports,
// byte by byte or by DMA. QEMU: "QEMU Firmware Configuration (fw_cfg) Device".
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "devices/bus.h"
#include "devices/dma_memory.h"

namespace seamless::devices {

enum class FwCfgKey : u16 {
    SIGNATURE = 0x00,
    ID = 0x01,
    RAM_SIZE = 0x03,
    NB_CPUS = 0x05,
    KERNEL_SIZE = 0x08,
    INITRD_SIZE = 0x0b,
    MAX_CPUS = 0x0f,
    KERNEL_DATA = 0x11,
    INITRD_DATA = 0x12,
    CMDLINE_SIZE = 0x14,
    CMDLINE_DATA = 0x15,
    SETUP_SIZE = 0x17,
    SETUP_DATA = 0x18,
    FILE_DIR = 0x19,
    FILE_FIRST = 0x20,
};

class FwCfg : public BusDevice {
  public:
    static constexpr u64 kPort = 0x510;
    static constexpr u64 kPorts = 12;
    static constexpr std::size_t kMaxName = 55;

    explicit FwCfg(DmaMemory& memory);

    // An item that is kept here, or one that stays where it is and must outlive the device.
    void add(FwCfgKey key, std::vector<u8> content);
    // `was_read` hears of each part that the guest has got, so that its owner need not keep it at hand.
    using WasRead = std::function<void(std::span<const u8> part)>;
    void add_external(FwCfgKey key, std::span<const u8> content, WasRead was_read = {});
    // Little-endian, `bytes` wide.
    void add_number(FwCfgKey key, u64 value, unsigned bytes);
    // A named file; names are at most kMaxName bytes and unique.
    void add_file(const std::string& name, std::vector<u8> content);

    void read(u64 offset, std::span<u8> data) override;
    void write(u64 offset, std::span<const u8> data) override;

  private:
    struct Item {
        std::vector<u8> owned;
        std::span<const u8> external;
        WasRead was_read;
        [[nodiscard]] std::span<const u8> bytes() const { return external.empty() ? owned : external; }
    };
    struct File {
        u16 key;
        u32 size;
    };

    void select(u16 key);
    // What is left of the selected item.
    [[nodiscard]] std::span<const u8> rest() const;
    [[nodiscard]] u8 next_byte();
    [[nodiscard]] u8 address_byte(u64 offset) const;
    void run_dma();
    [[nodiscard]] bool transfer(u32 control, u64 address, u32 length);
    [[nodiscard]] bool read_to(u64 address, u32 length);
    void write_directory();

    DmaMemory& memory_;
    std::map<u16, Item> items_;
    std::map<std::string, File> files_;
    u16 selected_ = 0;
    u64 position_ = 0;
    u64 dma_address_ = 0;
};

} // namespace seamless::devices
