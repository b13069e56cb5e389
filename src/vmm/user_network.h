// SPDX-License-Identifier: Apache-2.0
// A network in user mode: a guest behind a router that is this process, by libslirp. The router is 10.0.2.2
// and stands for the host, 10.0.2.3 answers DNS, the guest gets 10.0.2.15 by DHCP.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <poll.h>
#include <string>
#include <thread>

#include "base/message.h"
#include "base/result.h"
#include "devices/virtio/net.h"

struct Slirp;
struct SlirpCb;

namespace seamless::vmm {

// Connections to the host's address and port go to the guest's.
struct HostForward {
    bool udp = false;
    std::string host_address = "0.0.0.0";
    u16 host_port = 0;
    std::string guest_address = "10.0.2.15";
    u16 guest_port = 0;
};

class UserNetwork : public devices::virtio::Network, public devices::virtio::Worker {
  public:
    [[nodiscard]] static Result<std::unique_ptr<UserNetwork>, Message>
    open(std::span<const HostForward> forwards);
    ~UserNetwork() override; // calls stop()
    UserNetwork(const UserNetwork&) = delete;
    UserNetwork& operator=(const UserNetwork&) = delete;

    // The thread that carries frames between `device` and the network; `machine` is the machine's lock. After
    // stop() it can be started for another machine, which gets none of the frames that came for the last.
    void start(std::mutex& machine, devices::virtio::Net& device);
    // Ends it; needs the lock to be free. The device is not used any more.
    void stop();

    void send(std::span<const u8> frame) override;
    void wake() override;
    void quiesce() override;

  private:
    UserNetwork();
    [[nodiscard]] Result<void, Message> forward(const HostForward& rule);
    void serve();
    void carry_out();
    void carry_in();
    void wait();
    static const SlirpCb& callbacks();

    Slirp* slirp_ = nullptr;
    int wake_; // an eventfd

    // The thread's own.
    std::deque<std::vector<u8>> arrived_; // frames that the driver had no buffer for
    std::vector<pollfd> polled_;

    std::mutex* machine_ = nullptr; // guards what follows
    devices::virtio::Net* device_ = nullptr;
    bool performing_ = false;
    bool stopped_ = false;
    std::condition_variable idle_;
    std::thread thread_;
};

} // namespace seamless::vmm
