// SPDX-License-Identifier: Apache-2.0
// Remembers what was traced of late, for those who look at a guest afterwards; and passes it on to a trace,
// if one is written.
#pragma once

#include <bitset>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "trace/trace.h"

namespace seamless::platform {

class EventMemory : public trace::Sink {
  public:
    // `next` gets the events of `wanted`; it may be nullptr.
    EventMemory(std::unique_ptr<trace::Sink> next, std::bitset<64> wanted);

    void write(const trace::Record& record) override;

    // Oldest first.
    [[nodiscard]] std::vector<trace::Record> recent();
    // What happened to the page of `gpa`, key and shared bits apart; kept for longer.
    [[nodiscard]] std::vector<trace::Record> of_page(u64 gpa, u64 shared_bit);

  private:
    class Ring {
      public:
        explicit Ring(std::size_t size) : size_(size) {}
        void add(const trace::Record& record);
        template <typename Take>
        void each(const Take& take) const;

      private:
        std::size_t size_;
        std::size_t next_ = 0;
        std::vector<trace::Record> records_;
    };

    std::unique_ptr<trace::Sink> next_;
    std::bitset<64> wanted_;
    std::mutex mutex_; // guards what follows
    Ring recent_;
    Ring memory_;
};

// The guest-physical page that the event is about, and how many bytes from there; nothing for other events.
struct EventPages {
    u64 start = 0;
    u64 bytes = 0;
};
[[nodiscard]] std::optional<EventPages> pages_of(const trace::Record& record);

} // namespace seamless::platform
