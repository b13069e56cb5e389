// SPDX-License-Identifier: Apache-2.0
// Names for a guest's addresses, from a kernel's System.map, the output of nm, or an ELF file's symbols.
#pragma once

#include <istream>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "base/bits.h"
#include "base/message.h"
#include "base/result.h"

namespace seamless::cli {

class Symbols {
  public:
    // Reads "address type name" lines. `name` is for messages.
    [[nodiscard]] static Result<Symbols, Message> read(std::istream& stream, const std::string& name);
    // The same from a file, which may also be ELF.
    [[nodiscard]] static Result<Symbols, Message> load(const std::string& path);
    [[nodiscard]] static Result<Symbols, Message> read_elf(std::span<const u8> image,
                                                           const std::string& name);

    // "name+0x12", or nothing if no symbol is close below.
    [[nodiscard]] std::string at(u64 address) const;
    [[nodiscard]] std::optional<u64> address_of(std::string_view name) const;
    [[nodiscard]] bool empty() const { return names_.empty(); }
    // The guest runs this far above (modulo 2^64) where the file says: KASLR.
    void slide_by(u64 distance) { slide_ = distance; }

  private:
    std::map<u64, std::string> names_;
    u64 slide_ = 0;
};

} // namespace seamless::cli
