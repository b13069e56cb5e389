// SPDX-License-Identifier: Apache-2.0
// Opens a pseudo-terminal and carries bytes to and from it.
#include "cli/pty.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>
#include <vector>

#include "vmm/device_thread.h"

namespace seamless::cli {
namespace {

constexpr int kPatienceMs = 1000; // with a reader that has stopped
constexpr int kRetryMs = 20;      // while the guest has no room

// The guest echoes and edits, not the terminal.
bool make_raw(int fd)
{
    termios mode{};
    if (tcgetattr(fd, &mode) != 0)
        return false;
    cfmakeraw(&mode);
    return tcsetattr(fd, TCSANOW, &mode) == 0;
}

} // namespace

Pty::Pty()
    : master_(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)), stop_(::eventfd(0, EFD_CLOEXEC))
{}

Result<std::unique_ptr<Pty>, Message> Pty::open()
{
    std::unique_ptr<Pty> pty(new Pty());
    char name[64];
    if (pty->master_ < 0 || ::grantpt(pty->master_) != 0 || ::unlockpt(pty->master_) != 0 ||
        ::ptsname_r(pty->master_, name, sizeof(name)) != 0)
        return fail(Message{fmt::format("--serial pty: {}", std::strerror(errno))});
    pty->terminal_ = ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (pty->terminal_ < 0 || !make_raw(pty->terminal_))
        return fail(Message{fmt::format("--serial pty: {}: {}", name, std::strerror(errno))});
    pty->name_ = name;
    return pty;
}

Pty::~Pty()
{
    stop();
    for (const int fd : {master_, terminal_, stop_})
        if (fd >= 0)
            ::close(fd);
}

// The guest waits for a reader who is slow, and once for one who has gone.
void Pty::transmit_all(std::span<const u8> bytes)
{
    while (!bytes.empty()) {
        const ssize_t count = ::write(master_, bytes.data(), bytes.size());
        if (count > 0) {
            bytes = bytes.subspan(static_cast<std::size_t>(count));
            read_ = true;
            continue;
        }
        pollfd room{master_, POLLOUT, 0};
        read_ = ::poll(&room, 1, read_ ? kPatienceMs : 0) > 0 && (room.revents & POLLOUT) != 0;
        if (!read_)
            return;
    }
}

void Pty::listen(Input input)
{
    input_ = std::move(input);
    thread_ = std::thread([this] { watch(); });
}

void Pty::stop()
{
    if (!thread_.joinable())
        return;
    const u64 one = 1;
    (void)!::write(stop_, &one, sizeof(one));
    thread_.join();
}

void Pty::watch()
{
    vmm::block_signals();
    std::vector<u8> waiting; // what the guest has no room for: the terminal holds the rest
    for (;;) {
        pollfd fds[] = {{stop_, POLLIN, 0}, {waiting.empty() ? master_ : -1, POLLIN, 0}};
        (void)::poll(fds, 2, waiting.empty() ? -1 : kRetryMs);
        if (fds[0].revents != 0)
            return;
        if (waiting.empty()) {
            u8 buffer[256];
            const ssize_t count = ::read(master_, buffer, sizeof(buffer));
            if (count > 0)
                waiting.assign(buffer, buffer + count);
        }
        const std::size_t taken = waiting.empty() ? 0 : input_(waiting);
        waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(taken));
    }
}

} // namespace seamless::cli
