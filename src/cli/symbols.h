// SPDX-License-Identifier: Apache-2.0
// Names for a guest's addresses, from a kernel's System.map or the output of nm.
#pragma once

#include <istream>
#include <map>
#include <string>

#include "base/bits.h"
#include "base/message.h"
#include "base/result.h"

namespace seamless::cli {

class Symbols {
  public:
    // Reads "address type name" lines. `name` is for messages.
    [[nodiscard]] static Result<Symbols, Message> read(std::istream& stream, const std::string& name);

    // "name+0x12", or nothing if no symbol is close below.
    [[nodiscard]] std::string at(u64 address) const;

  private:
    std::map<u64, std::string> names_;
};

} // namespace seamless::cli
