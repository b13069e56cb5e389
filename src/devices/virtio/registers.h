// SPDX-License-Identifier: Apache-2.0
// Numbers of virtio: registers of the MMIO transport, status and feature bits, the split ring.
// VIRTIO 1.2: "Virtio Over MMIO", "Device Status Field", "Reserved Feature Bits", "Split Virtqueues".
#pragma once

#include "base/bits.h"

namespace seamless::devices::virtio {

enum class Register : u32 {
    MagicValue = 0x000,
    Version = 0x004,
    DeviceID = 0x008,
    VendorID = 0x00c,
    DeviceFeatures = 0x010,
    DeviceFeaturesSel = 0x014,
    DriverFeatures = 0x020,
    DriverFeaturesSel = 0x024,
    QueueSel = 0x030,
    QueueSizeMax = 0x034,
    QueueSize = 0x038,
    QueueReady = 0x044,
    QueueNotify = 0x050,
    InterruptStatus = 0x060,
    InterruptACK = 0x064,
    Status = 0x070,
    QueueDescLow = 0x080,
    QueueDescHigh = 0x084,
    QueueDriverLow = 0x090,
    QueueDriverHigh = 0x094,
    QueueDeviceLow = 0x0a0,
    QueueDeviceHigh = 0x0a4,
    SHMLenLow = 0x0b0,
    SHMLenHigh = 0x0b4,
    SHMBaseLow = 0x0b8,
    SHMBaseHigh = 0x0bc,
    ConfigGeneration = 0x0fc,
    Config = 0x100,
};

enum class DeviceId : u32 { none = 0, network = 1, block = 2, console = 3, entropy = 4 };

inline constexpr u32 kMagic = 0x74726976; // "virt"
inline constexpr u32 kVersion = 2;
inline constexpr u32 kVendor = 0x4d414553; // "SEAM"

namespace status {
inline constexpr u8 ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, DEVICE_NEEDS_RESET = 64,
                    FAILED = 128;
} // namespace status

namespace interrupt {
inline constexpr u32 USED_BUFFER = 1, CONFIG_CHANGE = 2;
} // namespace interrupt

namespace feature {
inline constexpr u64 RING_INDIRECT_DESC = bit(28), RING_EVENT_IDX = bit(29), VERSION_1 = bit(32),
                     ACCESS_PLATFORM = bit(33);
} // namespace feature

namespace ring {
inline constexpr u16 DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4;
inline constexpr u16 AVAIL_NO_INTERRUPT = 1;
} // namespace ring

} // namespace seamless::devices::virtio
