// SPDX-License-Identifier: Apache-2.0
// Packs numbers into bytes, and bytes into data blocks of an HTML page. Base64 holds nothing that could end a
// block, whatever the bytes are.
#pragma once

#include <ostream>
#include <string>
#include <string_view>

#include "base/bits.h"

namespace seamless::trace {

// Seven bits a byte, low ones first; bit 7: more follow.
void append_varint(std::string& bytes, u64 value);
// Small for small differences of either sign.
void append_signed(std::string& bytes, i64 value);

// Writes `bytes` as base64 with padding.
void write_base64(std::ostream& out, std::string_view bytes);

// Collects bytes and writes them, piece by piece, as data blocks of one class.
class PackedStream {
  public:
    // `name`: the class of the blocks.
    PackedStream(std::ostream& out, std::string_view name) : out_(out), name_(name) {}
    void append(std::string_view bytes);
    void finish();

  private:
    void flush();

    std::ostream& out_;
    std::string_view name_;
    std::string pending_;
};

} // namespace seamless::trace
