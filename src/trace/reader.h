// SPDX-License-Identifier: Apache-2.0
// Reads what the JSON-lines writer wrote, line by line. The file is untrusted input.
#pragma once

#include <istream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/message.h"
#include "base/result.h"
#include "trace/event.h"

namespace seamless::trace {

// One line of a trace: the common fields, and the others by name.
class Line {
  public:
    u64 ts = 0;
    u32 vcpu = 0;
    const EventRow* row = nullptr; // null: an event that this version does not know

    // The field's text without quotes, or an empty one if it is absent.
    [[nodiscard]] std::string_view text(std::string_view name) const;
    // Its value, hex or decimal; nothing if it is absent or no number.
    [[nodiscard]] std::optional<u64> number(std::string_view name) const;

  private:
    friend class Reader;
    friend class LineParser;
    struct Item {
        std::string name, value;
    };
    std::vector<Item> items_; // only the first count_ are this line's: their memory is used again
    std::size_t count_ = 0;
};

class Reader {
  public:
    // `name` is for messages.
    Reader(std::istream& stream, std::string name) : stream_(stream), name_(std::move(name)) {}

    // The next line, or null at the end; a message with the line's number if it is damaged.
    [[nodiscard]] Result<const Line*, Message> next();

  private:
    std::istream& stream_;
    std::string name_;
    std::string buffer_;
    u64 number_ = 0;
    Line line_;
};

} // namespace seamless::trace
