// SPDX-License-Identifier: Apache-2.0
// The user-mode network with frames of our own: address by DHCP, servers on the host's loopback, ports of the
// host that lead to the guest.
#include "vmm/user_network.h"

#include <arpa/inet.h>
#include <chrono>
#include <functional>
#include <gtest/gtest.h>
#include <list>
#include <sys/socket.h>
#include <unistd.h>

#include "unit/vmm/frames.h"

namespace seamless::vmm {
namespace {

using namespace test;
using devices::virtio::Chain;
using devices::virtio::Net;

constexpr std::size_t kHeader = 12; // before each frame of a virtio network device
constexpr auto kPatience = std::chrono::seconds(60);

// A socket of the host on its loopback.
class HostSocket {
  public:
    explicit HostSocket(int type) : fd_(::socket(AF_INET, type | SOCK_CLOEXEC, 0))
    {
        const timeval patience{60, 0};
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        address_.sin_family = AF_INET;
        address_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    }
    explicit HostSocket(HostSocket& listening) : fd_(::accept(listening.fd_, nullptr, nullptr)) {}
    ~HostSocket() { ::close(fd_); }
    HostSocket(const HostSocket&) = delete;
    HostSocket& operator=(const HostSocket&) = delete;

    // A port that nobody else has.
    u16 bind()
    {
        socklen_t size = sizeof(address_);
        EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address_), size), 0);
        EXPECT_EQ(::getsockname(fd_, reinterpret_cast<sockaddr*>(&address_), &size), 0);
        return ntohs(address_.sin_port);
    }
    void listen() const { EXPECT_EQ(::listen(fd_, 1), 0); }
    bool connect(u16 port)
    {
        address_.sin_port = htons(port);
        return ::connect(fd_, reinterpret_cast<sockaddr*>(&address_), sizeof(address_)) == 0;
    }
    void send(std::string_view text) const
    {
        EXPECT_EQ(::send(fd_, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    }
    std::string receive() const
    {
        char buffer[2048];
        const ssize_t size = ::recv(fd_, buffer, sizeof(buffer), 0);
        return size < 0 ? "nothing came" : std::string(buffer, static_cast<std::size_t>(size));
    }
    // Receives and answers the sender.
    std::string receive_and_answer(std::string_view answer) const
    {
        char buffer[2048];
        sockaddr_in from{};
        socklen_t length = sizeof(from);
        const ssize_t size =
            ::recvfrom(fd_, buffer, sizeof(buffer), 0, reinterpret_cast<sockaddr*>(&from), &length);
        if (size < 0)
            return "nothing came";
        ::sendto(fd_, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from), length);
        return {buffer, static_cast<std::size_t>(size)};
    }

  private:
    int fd_;
    sockaddr_in address_{};
};

u16 free_port(int type) { return HostSocket(type).bind(); }

// The guest: gives frames, has buffers for those that come, and answers whoever asks for its address.
class Guest : devices::virtio::Port {
  public:
    explicit Guest(std::span<const HostForward> forwards = {})
    {
        auto opened = UserNetwork::open(forwards);
        EXPECT_TRUE(opened.ok()) << (opened.ok() ? "" : opened.error().text);
        network_ = std::move(opened).value();
        start();
    }
    // Another machine takes the place of this one.
    void reset()
    {
        network_->stop();
        received_.clear();
        waiting_ = 0;
        start();
    }
    void send(const Frame& frame)
    {
        const std::lock_guard lock(machine_);
        Frame& buffer = sent_.emplace_back(kHeader);
        buffer.insert(buffer.end(), frame.begin(), frame.end());
        ++waiting_;
        network_->wake();
    }
    // The next frame for which `wanted` holds; an empty one if none comes.
    Frame receive(const std::function<bool(const Frame&)>& wanted)
    {
        const auto end = std::chrono::steady_clock::now() + kPatience;
        while (std::chrono::steady_clock::now() < end) {
            const Frame frame = next();
            if (at16(frame, 12) == kArp && at16(frame, 20) == 1 && at32(frame, 38) == kGuest)
                send(arp(2, {frame.begin() + 6, frame.begin() + 12}, at32(frame, 28)));
            if (!frame.empty() && wanted(frame))
                return frame;
        }
        ADD_FAILURE() << "no such frame";
        return Frame(kPorts + 20);
    }
    // The router's hardware address.
    Frame router()
    {
        send(arp(1, broadcast(), kRouter));
        const Frame f = receive([](const Frame& g) { return at16(g, 12) == kArp && at16(g, 20) == 2; });
        return {f.begin() + 22, f.begin() + 28};
    }
    Segment receive_segment(u16 port, const std::function<bool(const Segment&)>& wanted)
    {
        return segment_of(receive([&](const Frame& f) {
            return is(f, kTcp) && at16(f, kPorts + 2) == port && wanted(segment_of(f));
        }));
    }
    void have_buffers(bool have)
    {
        const std::lock_guard lock(machine_);
        buffers_ = have;
        network_->wake();
    }
    UserNetwork& network() { return *network_; }
    std::mutex& machine() { return machine_; }

  private:
    void start()
    {
        device_.emplace(*network_, devices::virtio::MacAddress{});
        device_->attach(*this, *network_);
        network_->start(machine_, *device_);
    }
    Frame next()
    {
        std::unique_lock lock(machine_);
        arrival_.wait_for(lock, std::chrono::milliseconds(100), [this] { return !received_.empty(); });
        if (received_.empty())
            return {};
        Frame frame = std::move(received_.front());
        received_.pop_front();
        return frame;
    }
    bool pop(unsigned queue, Chain& chain) override
    {
        chain.clear();
        if (queue == Net::kReceive) {
            if (buffers_)
                chain.writable.emplace_back(buffer_);
            return buffers_;
        }
        if (waiting_ == 0)
            return false;
        chain.readable.emplace_back(*std::prev(sent_.end(), static_cast<long>(waiting_--)));
        return true;
    }
    void push(unsigned queue, const Chain&, u64 written) override
    {
        if (queue != Net::kReceive)
            return;
        received_.emplace_back(buffer_ + kHeader, buffer_ + written);
        arrival_.notify_all();
    }
    void needs_reset() override { ADD_FAILURE() << "the device gave up"; }

    std::mutex machine_;
    std::condition_variable arrival_;
    u8 buffer_[2048];
    bool buffers_ = true;
    std::list<Frame> sent_; // the last `waiting_` of them are not taken yet
    std::size_t waiting_ = 0;
    std::deque<Frame> received_;
    std::optional<Net> device_;
    std::unique_ptr<UserNetwork> network_; // last: its thread ends first
};

TEST(UserNetwork, GivesTheGuestAnAddress)
{
    Guest guest;
    const auto answers = [](const Frame& f) { return is(f, kUdp) && at16(f, kPorts + 2) == 68; };
    guest.send(dhcp(1, 0));
    const Frame offer = guest.receive(answers);
    EXPECT_EQ(at32(offer, kUdpData + 4), 0x5ea31e55u);
    EXPECT_EQ(at32(offer, kUdpData + 16), kGuest);
    EXPECT_EQ(offer.at(kUdpData + 242), 2); // DHCPOFFER
    guest.send(dhcp(3, kGuest));
    const Frame ack = guest.receive(answers);
    EXPECT_EQ(at32(ack, kUdpData + 16), kGuest);
    EXPECT_EQ(ack.at(kUdpData + 242), 5); // DHCPACK
    const std::string options = text_from(ack, kUdpData + 240);
    EXPECT_NE(options.find(std::string("\3\4\x0a\0\2\2", 6)), std::string::npos) << "router";
    EXPECT_NE(options.find(std::string("\6\4\x0a\0\2\3", 6)), std::string::npos) << "name server";
}

TEST(UserNetwork, DatagramsReachTheHostsLoopbackAndComeBack)
{
    HostSocket server(SOCK_DGRAM);
    const u16 port = server.bind();
    Guest guest;
    guest.send(udp(guest.router(), kGuest, kRouter, {4000, port}, "question"));
    EXPECT_EQ(server.receive_and_answer("answer"), "question");
    const Frame f = guest.receive([](const Frame& g) { return is(g, kUdp) && at16(g, kPorts + 2) == 4000; });
    EXPECT_EQ(at16(f, kPorts), port);
    EXPECT_EQ(at32(f, kEthernet + 12), kRouter);
    EXPECT_EQ(text_from(f, kUdpData).substr(0, 6), "answer");
}

TEST(UserNetwork, AConnectionToTheHostsLoopback)
{
    HostSocket server(SOCK_STREAM);
    const u16 port = server.bind();
    server.listen();
    Guest guest;
    const Frame mac = guest.router();
    const Ports ports{5000, port};
    guest.send(tcp(mac, kRouter, ports, {.sequence = 100, .flags = SYN}));
    Segment in = guest.receive_segment(5000, [](const Segment& s) { return s.flags == (SYN | ACK); });
    EXPECT_EQ(in.acknowledged, 101u);
    u32 theirs = in.sequence + 1;
    guest.send(tcp(mac, kRouter, ports, {101, theirs, ACK, ""}));
    guest.send(tcp(mac, kRouter, ports, {101, theirs, ACK | PSH, "GET /"}));
    {
        HostSocket connection(server);
        EXPECT_EQ(connection.receive(), "GET /");
        connection.send("200 OK");
        in = guest.receive_segment(5000, [](const Segment& s) { return !s.data.empty(); });
        EXPECT_EQ(in.data, "200 OK");
        EXPECT_EQ(in.acknowledged, 106u);
        theirs += 6;
        guest.send(tcp(mac, kRouter, ports, {106, theirs, ACK, ""}));
    }
    in = guest.receive_segment(5000, [](const Segment& s) { return (s.flags & FIN) != 0; });
    EXPECT_EQ(in.sequence, theirs);
}

TEST(UserNetwork, NobodyListensOnTheHost)
{
    Guest guest;
    guest.send(tcp(guest.router(), kRouter, {5001, free_port(SOCK_STREAM)}, {.sequence = 7, .flags = SYN}));
    const Segment in = guest.receive_segment(5001, [](const Segment& s) { return s.flags != 0; });
    EXPECT_NE(in.flags & RST, 0);
}

TEST(UserNetwork, APortOfTheHostLeadsToTheGuest)
{
    const HostForward rule{
        .host_address = "127.0.0.1", .host_port = free_port(SOCK_STREAM), .guest_port = 22};
    Guest guest({&rule, 1});
    guest.send(dhcp(3, kGuest)); // from now on the guest has its address
    HostSocket client(SOCK_STREAM);
    ASSERT_TRUE(client.connect(rule.host_port));
    const Frame opening = guest.receive([](const Frame& f) {
        return is(f, kTcp) && at16(f, kPorts + 2) == 22 && segment_of(f).flags == SYN;
    });
    const Frame mac(opening.begin() + 6, opening.begin() + 12);
    const Ports ports{22, at16(opening, kPorts)};
    const u32 them = at32(opening, kEthernet + 12), theirs = segment_of(opening).sequence + 1;
    guest.send(tcp(mac, them, ports, {500, theirs, SYN | ACK, ""}));
    (void)guest.receive_segment(22, [](const Segment& s) { return s.flags == ACK && s.acknowledged == 501; });
    client.send("hello");
    const Segment in = guest.receive_segment(22, [](const Segment& s) { return !s.data.empty(); });
    EXPECT_EQ(in.data, "hello");
    guest.send(tcp(mac, them, ports, {501, theirs + 5, ACK | PSH, "SSH-2.0"}));
    EXPECT_EQ(client.receive(), "SSH-2.0");
}

TEST(UserNetwork, ADatagramPortOfTheHostLeadsToTheGuest)
{
    const HostForward rule{
        .udp = true, .host_address = "127.0.0.1", .host_port = free_port(SOCK_DGRAM), .guest_port = 53};
    Guest guest({&rule, 1});
    guest.send(dhcp(3, kGuest));
    (void)guest.router();
    HostSocket client(SOCK_DGRAM);
    ASSERT_TRUE(client.connect(rule.host_port));
    client.send("name?");
    const Frame f = guest.receive([](const Frame& g) { return is(g, kUdp) && at16(g, kPorts + 2) == 53; });
    EXPECT_EQ(text_from(f, kUdpData).substr(0, 5), "name?");
    const Frame mac(f.begin() + 6, f.begin() + 12);
    guest.send(udp(mac, kGuest, at32(f, kEthernet + 12), {53, at16(f, kPorts)}, "address"));
    EXPECT_EQ(client.receive(), "address");
}

TEST(UserNetwork, FramesWaitForADriverWithoutBuffers)
{
    HostSocket server(SOCK_DGRAM);
    const u16 port = server.bind();
    Guest guest;
    const Frame mac = guest.router();
    guest.have_buffers(false);
    guest.send(udp(mac, kGuest, kRouter, {4001, port}, "1"));
    EXPECT_EQ(server.receive_and_answer("first"), "1");
    guest.send(udp(mac, kGuest, kRouter, {4001, port}, "2"));
    EXPECT_EQ(server.receive_and_answer("second"), "2");
    guest.have_buffers(true);
    for (const std::string_view expected : {"first", "second"}) {
        const Frame f =
            guest.receive([](const Frame& g) { return is(g, kUdp) && at16(g, kPorts + 2) == 4001; });
        EXPECT_EQ(text_from(f, kUdpData).substr(0, expected.size()), expected);
    }
}

TEST(UserNetwork, ServesTheMachineAfterAResetButNotWithTheLastOnesFrames)
{
    HostSocket server(SOCK_DGRAM);
    const u16 port = server.bind();
    const HostForward rule{
        .host_address = "127.0.0.1", .host_port = free_port(SOCK_STREAM), .guest_port = 22};
    Guest guest({&rule, 1});
    guest.have_buffers(false);
    guest.send(arp(1, broadcast(), kRouter));
    guest.send(udp(broadcast(), kGuest, kRouter, {4001, port}, "before"));
    EXPECT_EQ(server.receive_and_answer("late"), "before");
    guest.reset();
    guest.have_buffers(true);
    guest.send(udp(guest.router(), kGuest, kRouter, {4002, port}, "after"));
    EXPECT_EQ(server.receive_and_answer("in time"), "after");
    const Frame f = guest.receive([port](const Frame& g) { return is(g, kUdp) && at16(g, kPorts) == port; });
    EXPECT_EQ(at16(f, kPorts + 2), 4002);
    EXPECT_TRUE(HostSocket(SOCK_STREAM).connect(rule.host_port)) << "the host still listens";
}

TEST(UserNetwork, NonsenseHarmsNobody)
{
    Guest guest;
    const Frame mac = guest.router();
    guest.send({});
    guest.send({1});
    guest.send(Frame(70000, 0xff));
    Frame broken = udp(mac, kGuest, kRouter, {1, 2}, "x");
    broken.resize(kPorts + 3);
    guest.send(broken);
    broken[kEthernet] = 0x4f; // a header longer than the frame
    guest.send(broken);
    guest.send(dhcp(1, 0));
    const Frame offer = guest.receive([](const Frame& f) { return is(f, kUdp); });
    EXPECT_EQ(at32(offer, kUdpData + 16), kGuest);
}

TEST(UserNetwork, QuiescesAndEndsInTheMidstOfWork)
{
    for (unsigned round = 0; round < 20; ++round) {
        Guest guest;
        for (unsigned i = 0; i < 50; ++i)
            guest.send(arp(1, broadcast(), kRouter));
        {
            const std::lock_guard lock(guest.machine());
            guest.network().quiesce();
        }
        guest.network().stop();
        guest.network().stop(); // a second time changes nothing
    }
}

TEST(UserNetwork, ForwardsThatCannotBeAreRefused)
{
    HostSocket taken(SOCK_STREAM);
    const HostForward used{.host_address = "127.0.0.1", .host_port = taken.bind(), .guest_port = 80};
    taken.listen();
    const HostForward named{.host_address = "localhost", .host_port = 1, .guest_port = 1};
    const HostForward named_guest{.host_address = "127.0.0.1", .host_port = 1, .guest_address = "x"};
    const HostForward foreign{.host_address = "192.0.2.1", .host_port = 5000, .guest_port = 80};
    for (const auto& [rule, words] : {std::pair(&used, "cannot listen on TCP"),
                                      {&named, "\"localhost\" is no IPv4 address"},
                                      {&named_guest, "\"x\" is no IPv4 address"},
                                      {&foreign, "of 192.0.2.1"}}) {
        const auto network = UserNetwork::open({rule, 1});
        ASSERT_FALSE(network.ok());
        EXPECT_NE(network.error().text.find(words), std::string::npos) << network.error().text;
    }
}

} // namespace
} // namespace seamless::vmm
