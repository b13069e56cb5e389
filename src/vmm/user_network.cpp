// SPDX-License-Identifier: Apache-2.0
// The thread between libslirp and the network device. libslirp knows no threads: once that thread runs, no
// other calls it.
#include "vmm/user_network.h"

#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fmt/format.h>
#include <pthread.h>
#include <slirp/libslirp.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/device_thread.h"

namespace seamless::vmm {
namespace {

constexpr std::size_t kMostArrived = 256; // frames; sockets are not read while so many wait
constexpr u32 kLongestSleepMs = 1000;

struct Flag {
    short poll;
    int slirp;
};
constexpr Flag kFlags[] = {{POLLIN, SLIRP_POLL_IN},
                           {POLLOUT, SLIRP_POLL_OUT},
                           {POLLPRI, SLIRP_POLL_PRI},
                           {POLLERR, SLIRP_POLL_ERR},
                           {POLLHUP, SLIRP_POLL_HUP}};

in_addr ipv4(const char* text)
{
    in_addr address{};
    (void)inet_pton(AF_INET, text, &address);
    return address;
}

SlirpConfig configuration()
{
    SlirpConfig config{};
    config.version = 1;
    config.in_enabled = true;
    config.vnetwork = ipv4("10.0.2.0");
    config.vnetmask = ipv4("255.255.255.0");
    config.vhost = ipv4("10.0.2.2");
    config.vdhcp_start = ipv4("10.0.2.15");
    config.vnameserver = ipv4("10.0.2.3");
    config.if_mtu = devices::virtio::Net::kMtu;
    config.if_mru = devices::virtio::Net::kMtu;
    return config;
}

std::int64_t now_ns(void*)
{
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

// Timers are libslirp's for router advertisements, which IPv4 has none of.
void* new_timer(SlirpTimerCb, void*, void*) { return nullptr; }
void free_timer(void*, void*) {}
void set_timer(void*, std::int64_t, void*) {}

void ignore_descriptor(int, void*) {}
void ignore_error(const char*, void*) {} // a guest may cause any number of them
void ignore_notice(void*) {}             // comes from our own thread, which is awake

int add_poll(int fd, int events, void* opaque)
{
    auto& polled = *static_cast<std::vector<pollfd>*>(opaque);
    short wanted = 0;
    for (const Flag& flag : kFlags)
        if ((events & flag.slirp) != 0)
            wanted = static_cast<short>(wanted | flag.poll);
    polled.push_back({fd, wanted, 0});
    return static_cast<int>(polled.size() - 1);
}

int poll_result(int index, void* opaque)
{
    const auto& polled = *static_cast<std::vector<pollfd>*>(opaque);
    int events = 0;
    for (const Flag& flag : kFlags)
        if ((polled[static_cast<std::size_t>(index)].revents & flag.poll) != 0)
            events |= flag.slirp;
    return events;
}

} // namespace

const SlirpCb& UserNetwork::callbacks()
{
    static const SlirpCb kCallbacks{
        .send_packet = [](const void* frame, std::size_t size, void* opaque) -> ssize_t {
            auto& arrived = static_cast<UserNetwork*>(opaque)->arrived_;
            const auto* bytes = static_cast<const u8*>(frame);
            if (arrived.size() < 2 * kMostArrived) // else lost, as on a busy wire
                arrived.emplace_back(bytes, bytes + size);
            return static_cast<ssize_t>(size);
        },
        .guest_error = ignore_error,
        .clock_get_ns = now_ns,
        .timer_new = new_timer,
        .timer_free = free_timer,
        .timer_mod = set_timer,
        .register_poll_fd = ignore_descriptor,
        .unregister_poll_fd = ignore_descriptor,
        .notify = ignore_notice,
        .init_completed = nullptr,
        .timer_new_opaque = nullptr,
    };
    return kCallbacks;
}

UserNetwork::UserNetwork() : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

UserNetwork::~UserNetwork()
{
    stop();
    if (slirp_ != nullptr)
        slirp_cleanup(slirp_);
    ::close(wake_);
}

Result<std::unique_ptr<UserNetwork>, Message> UserNetwork::open(std::span<const HostForward> forwards)
{
    std::unique_ptr<UserNetwork> network(new UserNetwork());
    const SlirpConfig config = configuration();
    network->slirp_ = slirp_new(&config, &callbacks(), network.get());
    if (network->slirp_ == nullptr || network->wake_ < 0)
        return fail(Message{"--net user: libslirp does not start"});
    for (const HostForward& rule : forwards)
        TRY(network->forward(rule));
    return network;
}

Result<void, Message> UserNetwork::forward(const HostForward& rule)
{
    in_addr host{}, guest{};
    for (const auto& [text, address] : {std::pair(&rule.host_address, &host), {&rule.guest_address, &guest}})
        if (inet_pton(AF_INET, text->c_str(), address) != 1)
            return fail(Message{fmt::format("--net: \"{}\" is no IPv4 address", *text)});
    if (slirp_add_hostfwd(slirp_, rule.udp, host, rule.host_port, guest, rule.guest_port) != 0)
        return fail(
            Message{fmt::format("--net: cannot listen on {} port {} of {}: {}", rule.udp ? "UDP" : "TCP",
                                rule.host_port, rule.host_address, std::strerror(errno))});
    return {};
}

void UserNetwork::start(std::mutex& machine, devices::virtio::Net& device)
{
    machine_ = &machine;
    device_ = &device;
    stopped_ = false;
    arrived_.clear();
    thread_ = std::thread([this] { serve(); });
    pthread_setname_np(thread_.native_handle(), "network");
}

void UserNetwork::stop()
{
    if (!thread_.joinable())
        return;
    {
        const std::lock_guard lock(*machine_);
        stopped_ = true;
    }
    wake();
    thread_.join();
}

void UserNetwork::wake()
{
    const u64 one = 1;
    (void)!::write(wake_, &one, sizeof(one));
}

void UserNetwork::quiesce()
{
    std::unique_lock lock(*machine_, std::adopt_lock);
    idle_.wait(lock, [this] { return !performing_; });
    lock.release();
}

// Called by the device as this thread performs its work.
void UserNetwork::send(std::span<const u8> frame)
{
    slirp_input(slirp_, frame.data(), static_cast<int>(frame.size()));
}

void UserNetwork::serve()
{
    block_signals();
    for (;;) {
        {
            const std::lock_guard lock(*machine_);
            if (stopped_)
                return;
        }
        carry_out();
        carry_in();
        wait();
    }
}

// At most one ring of frames, so that the guest cannot keep the other direction, or the end, waiting.
void UserNetwork::carry_out()
{
    std::unique_lock lock(*machine_);
    for (unsigned i = 0; i < devices::virtio::Queue::kMaxSize && !stopped_; ++i) {
        if (!device_->take())
            return;
        performing_ = true;
        lock.unlock();
        device_->perform();
        lock.lock();
        performing_ = false;
        device_->finish();
        idle_.notify_all();
    }
    wake(); // perhaps there are more
}

void UserNetwork::carry_in()
{
    const std::lock_guard lock(*machine_);
    while (!arrived_.empty() && device_->receive(arrived_.front()))
        arrived_.pop_front();
}

void UserNetwork::wait()
{
    polled_.clear();
    polled_.push_back({wake_, POLLIN, 0});
    u32 timeout = kLongestSleepMs;
    const bool listen = arrived_.size() < kMostArrived;
    if (listen)
        slirp_pollfds_fill(slirp_, &timeout, add_poll, &polled_);
    const int result = ::poll(polled_.data(), polled_.size(), static_cast<int>(timeout));
    u64 count = 0;
    if (polled_.front().revents != 0)
        (void)!::read(wake_, &count, sizeof(count));
    if (listen)
        slirp_pollfds_poll(slirp_, result < 0, poll_result, &polled_);
    if (!arrived_.empty())
        carry_in();
}

} // namespace seamless::vmm
