// SPDX-License-Identifier: Apache-2.0
// The block device. VIRTIO 1.2: "Block Device".
#pragma once

#include <array>
#include <string>

#include "devices/virtio/device.h"

namespace seamless::devices::virtio {

// What a block device keeps its sectors in. Ranges lie within size(); false is an I/O error.
class Disk {
  public:
    virtual ~Disk() = default;
    [[nodiscard]] virtual u64 size() const = 0; // a multiple of Block::kSector
    [[nodiscard]] virtual bool read_only() const = 0;
    [[nodiscard]] virtual bool read(u64 offset, std::span<const std::span<u8>> to) = 0;
    [[nodiscard]] virtual bool write(u64 offset, std::span<const std::span<u8>> from) = 0;
    // What was written before will outlive the machine and a loss of power.
    [[nodiscard]] virtual bool flush() = 0;
    // Makes a range read as zeros; its storage may be given back if `discard`.
    [[nodiscard]] virtual bool zero(u64 offset, u64 size, bool discard) = 0;
};

class Block : public Device {
  public:
    static constexpr u64 kSector = 512;
    static constexpr u32 kMostSegments = 254; // with header and status byte they fill a queue
    static constexpr u32 kMostSegmentSize = 1 << 20;
    static constexpr u32 kMostZeroSectors = 1 << 22;

    // `name` is what the driver gets for a serial number; 20 characters count.
    Block(Disk& disk, std::string name);

    DeviceId id() const override { return DeviceId::block; }
    u64 features() const override;
    unsigned queues() const override { return 1; }
    std::span<const u8> config() const override { return config_; }
    void start(u64 features) override;
    bool take() override;
    void perform() override;
    void finish() override;

  private:
    enum class Status : u8 { OK = 0, IOERR = 1, UNSUPP = 2 };

    [[nodiscard]] Status run(u32 type, u64 sector);
    [[nodiscard]] Status read(u64 sector);
    [[nodiscard]] Status write(u64 sector);
    [[nodiscard]] Status flush() { return disk_.flush() ? Status::OK : Status::IOERR; }
    [[nodiscard]] Status get_id();
    [[nodiscard]] Status zero(bool discard);
    // The status of a change that was made, or not: without a write-back cache it must last.
    [[nodiscard]] Status changed(bool done);
    [[nodiscard]] bool within(u64 sector, u64 bytes) const;
    void take_status_byte();

    Disk& disk_;
    std::string name_;
    std::array<u8, 60> config_{};
    bool write_back_ = false; // the driver flushes

    Chain chain_;
    u8* status_ = nullptr; // where the driver wants the status
    Status result_ = Status::OK;
    u64 written_ = 0; // bytes of data given to the driver
};

} // namespace seamless::devices::virtio
