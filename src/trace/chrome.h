// SPDX-License-Identifier: Apache-2.0
// Chrome's trace events, which Perfetto reads too: what `--trace FILE.json` writes. A vCPU is a thread; the
// time in the guest and the time after an exit are slices, everything else is an instant.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "trace/trace.h"

namespace seamless::trace {

class ChromeSink : public Sink {
  public:
    // Takes the open descriptor over and closes it.
    explicit ChromeSink(int fd) : fd_(fd) {}
    ~ChromeSink() override;
    ChromeSink(const ChromeSink&) = delete;
    ChromeSink& operator=(const ChromeSink&) = delete;

    void write(const Record& record) override;

  private:
    struct Thread {
        bool named = false;
        bool in_slice = false;
        u64 last_ts = 0;
    };

    void append(const std::string& event);
    void slice(Thread& thread, const Record& record);
    void end_slice(u32 vcpu, const Thread& thread);
    void flush();

    std::mutex mutex_;
    int fd_;
    std::string pending_; // not in the file yet
    u64 written_ = 0;     // bytes in the file that stay
    bool first_ = true;
    std::map<u32, Thread> threads_;
};

} // namespace seamless::trace
