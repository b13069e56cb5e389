// SPDX-License-Identifier: Apache-2.0
// Sockets of the gdb port.
#include "cli/gdb_server.h"

#include <array>
#include <csignal>
#include <cstring>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace seamless::cli {
namespace {

struct Place {
    std::string host = "127.0.0.1";
    std::string port;
};

// Also "[::1]:1234", and "tcp:" before it all, as QEMU has it.
Result<Place, Message> parse(std::string_view text)
{
    Place place;
    std::string_view rest = text;
    if (rest.starts_with("tcp:"))
        rest.remove_prefix(4);
    if (const std::size_t colon = rest.rfind(':'); colon != std::string_view::npos) {
        std::string_view host = rest.substr(0, colon);
        if (host.starts_with('[') && host.ends_with(']'))
            host = host.substr(1, host.size() - 2);
        if (!host.empty())
            place.host = host;
        rest.remove_prefix(colon + 1);
    }
    place.port = rest;
    const bool digits = rest.find_first_not_of("0123456789") == std::string_view::npos;
    if (rest.empty() || rest.size() > 5 || !digits || std::stoul(place.port) > 65535)
        return fail(
            Message{fmt::format("--gdb \"{}\": it is [HOST:]PORT, with a port of at most 65535", text)});
    return place;
}

std::string name_of(int socket)
{
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?";
    if (getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0)
        (void)getnameinfo(reinterpret_cast<sockaddr*>(&address), size, host, sizeof host, port, sizeof port,
                          NI_NUMERICHOST | NI_NUMERICSERV);
    return address.ss_family == AF_INET6 ? fmt::format("[{}]:{}", host, port)
                                         : fmt::format("{}:{}", host, port);
}

// A socket that listens, or -errno.
int listen_at(const addrinfo& at)
{
    const int fd = socket(at.ai_family, at.ai_socktype | SOCK_CLOEXEC, at.ai_protocol);
    if (fd < 0)
        return -errno;
    const int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, at.ai_addr, at.ai_addrlen) == 0 && listen(fd, 1) == 0)
        return fd;
    const int error = errno;
    close(fd);
    return -error;
}

} // namespace

GdbServer::GdbServer(int listener, int wake, std::string name)
    : listener_(listener), wake_(wake), name_(std::move(name))
{}

GdbServer::~GdbServer()
{
    stop(0);
    close(listener_);
    close(wake_);
}

Result<std::unique_ptr<GdbServer>, Message> GdbServer::open(const std::string& where)
{
    const Place place = TRY(parse(where));
    addrinfo hints{}, *found = nullptr;
    hints.ai_socktype = SOCK_STREAM;
    if (const int error = getaddrinfo(place.host.c_str(), place.port.c_str(), &hints, &found); error != 0)
        return fail(Message{fmt::format("--gdb {}: {}", where, gai_strerror(error))});
    int fd = -EADDRNOTAVAIL;
    for (const addrinfo* at = found; at != nullptr && fd < 0; at = at->ai_next)
        fd = listen_at(*at);
    freeaddrinfo(found);
    if (fd < 0)
        return fail(Message{fmt::format("--gdb {}: {}", where, std::strerror(-fd))});
    const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0) {
        close(fd);
        return fail(Message{fmt::format("--gdb {}: {}", where, std::strerror(errno))});
    }
    return std::unique_ptr<GdbServer>(new GdbServer(fd, wake, name_of(fd)));
}

void GdbServer::start(trace::Inspection& guests, std::function<void()> end_run)
{
    guests_ = &guests;
    end_run_ = std::move(end_run);
    guests.listen([this] { eventfd_write(wake_, 1); });
    sigset_t all, old; // signals are the console's and the vCPUs'; faults are this thread's own
    sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL})
        sigdelset(&all, fault);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    thread_ = std::thread([this] { serve(); });
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

void GdbServer::stop(int exit_status)
{
    if (!thread_.joinable())
        return;
    exit_status_ = exit_status & 0xff;
    eventfd_write(wake_, 1);
    thread_.join();
    guests_->listen({});
}

void GdbServer::serve()
{
    while (exit_status_ < 0) {
        std::array<pollfd, 3> fds{pollfd{.fd = wake_, .events = POLLIN, .revents = 0},
                                  pollfd{.fd = listener_, .events = POLLIN, .revents = 0},
                                  pollfd{.fd = client_, .events = POLLIN, .revents = 0}};
        if (poll(fds.data(), fds.size(), -1) < 0)
            continue;
        eventfd_t count = 0;
        if (fds[0].revents != 0 && eventfd_read(wake_, &count) == 0 && session_)
            session_->guests_changed();
        if (fds[2].revents != 0 && (!receive() || session_->over()))
            disconnect();
        if (fds[1].revents != 0)
            accept_debugger();
    }
    if (session_)
        session_->run_ended(exit_status_);
    disconnect();
}

void GdbServer::accept_debugger()
{
    constexpr timeval kPatience{.tv_sec = 5, .tv_usec = 0}; // for a debugger that does not read
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    if (session_) { // one at a time
        close(fd);
        return;
    }
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kPatience, sizeof kPatience);
    client_ = fd;
    gdb::Host& host = *this;
    session_ = std::make_unique<gdb::Session>(*guests_, host);
}

bool GdbServer::receive()
{
    std::array<u8, 65536> bytes;
    const ssize_t count = recv(client_, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR;
    if (count == 0)
        return false;
    session_->receive(std::span(bytes).first(static_cast<std::size_t>(count)));
    return true;
}

void GdbServer::disconnect()
{
    session_.reset(); // guests go on
    if (client_ >= 0)
        close(client_);
    client_ = -1;
}

// A debugger that takes nothing any more is gone: receive() will notice.
void GdbServer::send(std::string_view bytes)
{
    while (!bytes.empty()) {
        const ssize_t count = ::send(client_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0) {
            (void)shutdown(client_, SHUT_RDWR);
            return;
        }
        bytes.remove_prefix(static_cast<std::size_t>(count));
    }
}

} // namespace seamless::cli
