// SPDX-License-Identifier: Apache-2.0
// One connection of a debugger: what it asks, what the guests do. All-stop: while one guest stands still, all
// do. GDB manual: "Remote Protocol".
#pragma once

#include <map>
#include <memory>
#include <string>

#include "gdb/monitor.h"
#include "gdb/packet.h"
#include "gdb/registers.h"
#include "trace/inspection.h"

namespace seamless::gdb {

// Who talks to the debugger, and can end the run.
class Host {
  public:
    virtual void send(std::string_view bytes) = 0;
    // The user is done with the guest.
    virtual void end_run() = 0;

  protected:
    ~Host() = default;
};

class Session {
  public:
    // Stops the guests. When the session ends they go on, without breakpoints.
    Session(trace::Inspection& guests, Host& host);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    void receive(std::span<const u8> bytes);
    // The inspection port's listener was called.
    void guests_changed();
    // The machine is gone; there is no more to be said behind it.
    void run_ended(int exit_status);
    // The debugger has said goodbye.
    [[nodiscard]] bool over() const { return over_; }

  private:
    struct Row {
        std::string_view name; // what the packet begins with
        void (Session::*handle)(PacketText);
    };
    static const Row kPackets[];

    void packet(const std::string& data);
    void reply(std::string_view data);
    void ok() { reply("OK"); }
    void error(u8 number); // as errno
    void interrupt();

    // session.cpp
    void why(PacketText);
    void detach(PacketText);
    void kill(PacketText);
    void no_acks(PacketText);
    void empty(PacketText);
    // query.cpp
    void supported(PacketText);
    void attached(PacketText);
    void current_thread(PacketText);
    void first_threads(PacketText);
    void more_threads(PacketText);
    void thread_text(PacketText);
    void transfer_features(PacketText);
    void transfer_threads(PacketText);
    void transfer(PacketText range, const std::string& document);
    void command(PacketText);
    void physical_memory(PacketText);
    void is_physical(PacketText);
    // state.cpp
    void choose_thread(PacketText);
    void thread_alive(PacketText);
    void read_registers(PacketText);
    void write_registers(PacketText);
    void read_register(PacketText);
    void write_register(PacketText);
    void read_memory(PacketText);
    void write_memory(PacketText);
    void write_binary(PacketText);
    void write_to(u64 address, u64 bytes, std::string_view data);
    void insert_point(PacketText);
    void remove_point(PacketText);
    // running.cpp
    void continue_all(PacketText);
    void step_one(PacketText);
    void actions_known(PacketText);
    void actions(PacketText);
    void go(std::vector<trace::Resume> actions);
    void report(const trace::VcpuStop& stop);
    [[nodiscard]] bool goes_on_in_range(const trace::VcpuStop& stop);
    void let_all_go();

    [[nodiscard]] std::vector<trace::Resume> everybody() const;
    [[nodiscard]] std::string description(const trace::VcpuStatus& vcpu);
    [[nodiscard]] std::string stop_reply(const trace::VcpuStop& stop) const;
    [[nodiscard]] const std::vector<Register>& table();
    // The vCPU of a thread id: an id, 0 for any, nothing if there is none.
    [[nodiscard]] std::optional<u32> thread(PacketText& text) const;
    [[nodiscard]] bool exists(u32 vcpu) const;

    struct Point {
        unsigned type = 0; // 0 software, 1 hardware, 2 write, 3 read, 4 access
        u64 address = 0;
        u64 bytes = 0;
        friend bool operator==(const Point&, const Point&) = default;
    };
    [[nodiscard]] static std::optional<Point> point(PacketText& text);

    struct Range {
        u64 start = 0, end = 0;
    };

    // Of vCont.
    struct Action {
        bool step = false;
        std::optional<Range> range;
        std::optional<u32> vcpu; // nothing: all
    };
    [[nodiscard]] std::optional<Action> action(PacketText one) const;

    trace::Inspection& guests_;
    Host& host_;
    Monitor monitor_;
    PacketReader reader_;
    std::string last_sent_;
    bool acks_ = true;
    bool over_ = false;
    bool running_ = false;
    bool asked_why_ = false; // before there was any vCPU
    bool physical_ = false;  // addresses of memory are guest-physical
    u32 current_ = 0;        // the vCPU that packets are about
    std::optional<trace::VcpuStop> last_stop_;
    std::vector<Point> points_;
    std::vector<trace::Resume> last_actions_;
    std::map<u32, Range> ranges_; // vCPUs that are stepped until they leave it
    std::vector<Register> table_;
};

} // namespace seamless::gdb
