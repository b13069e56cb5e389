// SPDX-License-Identifier: Apache-2.0
// Chrome's trace events, which Perfetto reads too: what `--trace FILE.json` and `seamless trace --perfetto`
// write. A vCPU is a thread. Its time in the guest, after an exit and in the VMM are slices; a #VE until its
// answer is a span with arrows from the guest to who answers; everything else is an instant.
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
    // Ends the file; false if something could not be written.
    bool finish();

  private:
    struct Thread {
        bool named = false;
        bool in_slice = false;
        bool in_user = false; // a slice inside that one
        u64 last_ts = 0;
        u64 ve = 0;          // number of the span that is open, or 0
        std::string ve_name; // its name, quoted
    };

    void append(const std::string& event);
    void name(u32 vcpu);
    void slice(Thread& thread, const Record& record);
    void end_slice(u32 vcpu, bool& open, u64 ts);
    void ve(Thread& thread, const Record& record);
    void ve_step(char phase, const Thread& thread, const Record& record);
    void end_ve(u32 vcpu, Thread& thread);
    void flush();

    std::mutex mutex_;
    int fd_;
    std::string pending_; // not in the file yet
    u64 written_ = 0;     // bytes in the file that stay
    u64 ves_ = 0;
    bool first_ = true;
    bool good_ = true;
    std::map<u32, Thread> threads_;
};

} // namespace seamless::trace
