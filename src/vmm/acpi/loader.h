// SPDX-License-Identifier: Apache-2.0
// The script that firmware plays to place ACPI tables: allocate a file's memory, add a file's address to a
// pointer, compute a checksum. QEMU: "etc/table-loader".
#pragma once

#include <string_view>
#include <vector>

#include "base/bits.h"

namespace seamless::vmm::acpi {

class Loader {
  public:
    enum class Zone : u8 { high = 1, fseg = 2 };

    void allocate(std::string_view file, u32 alignment, Zone zone);
    // Adds the address of `source` to the pointer of `size` bytes at `offset` of `file`.
    void add_pointer(std::string_view file, std::string_view source, u32 offset, u8 size);
    // Bytes [start, start + length) of `file` shall sum to zero with the byte at `offset`.
    void add_checksum(std::string_view file, u32 offset, u32 start, u32 length);

    [[nodiscard]] const std::vector<u8>& bytes() const { return bytes_; }

  private:
    std::vector<u8> bytes_;
};

} // namespace seamless::vmm::acpi
