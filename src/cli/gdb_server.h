// SPDX-License-Identifier: Apache-2.0
// The port that gdb connects to: one debugger at a time, on a thread of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/message.h"
#include "base/result.h"
#include "gdb/session.h"

namespace seamless::cli {

class GdbServer : private gdb::Host {
  public:
    // "[host:]port", on loopback unless a host is named; port 0 takes a free one.
    [[nodiscard]] static Result<std::unique_ptr<GdbServer>, Message> open(const std::string& where);
    ~GdbServer();
    GdbServer(const GdbServer&) = delete;
    GdbServer& operator=(const GdbServer&) = delete;

    // "127.0.0.1:1234".
    [[nodiscard]] const std::string& name() const { return name_; }
    // `end_run` is for a debugger that kills the guest.
    void start(trace::Inspection& guests, std::function<void()> end_run);
    // Tells the debugger, and closes. Nothing is asked of the guests after this.
    void stop(int exit_status);

  private:
    GdbServer(int listener, int wake, std::string name);
    void send(std::string_view bytes) override;
    void end_run() override { end_run_(); }

    void serve();
    void accept_debugger();
    [[nodiscard]] bool receive(); // false: the debugger is gone
    void disconnect();

    int listener_;
    int wake_; // eventfd: guests have stopped, or the run has ended
    int client_ = -1;
    std::string name_;
    trace::Inspection* guests_ = nullptr;
    std::function<void()> end_run_;
    std::unique_ptr<gdb::Session> session_;
    std::atomic<int> exit_status_ = -1; // of the run, once it has ended
    std::thread thread_;
};

} // namespace seamless::cli
