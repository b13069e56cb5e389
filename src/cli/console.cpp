// SPDX-License-Identifier: Apache-2.0
// Serial output, terminal, signals.
#include "cli/console.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace seamless::cli {
namespace {

constexpr u8 kCtrlA = 1;
constexpr int kRetryMs = 20; // while the guest has no room
constexpr std::size_t kMostWaiting = 4096;

sigset_t ending_signals()
{
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT})
        sigaddset(&set, number);
    return set;
}

} // namespace

Result<std::unique_ptr<SerialOutput>, Message> SerialOutput::open(std::string_view option,
                                                                  const SerialTarget& target)
{
    if (target.kind == SerialTarget::Kind::stdio)
        return std::make_unique<SerialOutput>(STDOUT_FILENO, false);
    if (target.kind == SerialTarget::Kind::stderr_)
        return std::make_unique<SerialOutput>(STDERR_FILENO, false);
    if (target.kind == SerialTarget::Kind::null)
        return std::make_unique<SerialOutput>(-1, false);
    const int fd = ::open(target.path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(Message{fmt::format("{} {}: {}", option, target.path, std::strerror(errno))});
    return std::make_unique<SerialOutput>(fd, true);
}

SerialOutput::~SerialOutput()
{
    if (owned_)
        ::close(fd_);
}

// What nobody can take any more is lost, as on a wire.
void SerialOutput::transmit_all(std::span<const u8> bytes)
{
    while (fd_ >= 0 && !bytes.empty()) {
        const ssize_t count = ::write(fd_, bytes.data(), bytes.size());
        if (count < 0 && errno != EINTR)
            return;
        bytes = bytes.subspan(static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
    }
}

void block_ending_signals()
{
    const sigset_t set = ending_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Console::Console(bool use_stdin, Events events) : events_(std::move(events)), use_stdin_(use_stdin)
{
    const sigset_t set = ending_signals();
    signals_ = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    stop_ = eventfd(0, EFD_CLOEXEC);
    if (use_stdin_)
        terminal_.emplace(STDIN_FILENO);
    thread_ = std::thread([this] { watch(); });
}

Console::~Console()
{
    const u64 one = 1;
    (void)!::write(stop_, &one, sizeof(one));
    thread_.join();
    terminal_.reset();
    ::close(signals_);
    ::close(stop_);
}

void Console::watch()
{
    for (;;) {
        // Keys are always listened to, or nobody could quit a guest that does not; a pipe can wait.
        const bool listen = use_stdin_ && (is_raw() || waiting_.size() < kMostWaiting);
        pollfd fds[] = {{stop_, POLLIN, 0}, {signals_, POLLIN, 0}, {listen ? STDIN_FILENO : -1, POLLIN, 0}};
        if (::poll(fds, 3, waiting_.empty() ? -1 : kRetryMs) < 0 && errno != EINTR)
            return;
        if (fds[0].revents != 0)
            return;
        signalfd_siginfo info{};
        if (fds[1].revents != 0 && ::read(signals_, &info, sizeof(info)) == sizeof(info))
            events_.signal(static_cast<int>(info.ssi_signo));
        if (fds[2].revents != 0)
            read_input();
        deliver();
    }
}

void Console::read_input()
{
    u8 buffer[256];
    const ssize_t count = ::read(STDIN_FILENO, buffer, sizeof(buffer));
    if (count <= 0) {
        use_stdin_ = count < 0 && errno == EINTR;
        return;
    }
    for (ssize_t i = 0; i < count; ++i)
        key(buffer[i]);
}

void Console::key(u8 byte)
{
    if (!is_raw() || (!escape_ && byte != kCtrlA)) {
        if (!is_raw() || waiting_.size() < kMostWaiting)
            waiting_.push_back(byte);
    } else if (!escape_) {
        escape_ = true;
    } else {
        escape_ = false;
        if (byte == 'x')
            events_.quit();
        else if (byte == 'h')
            std::fputs("\r\nCtrl-A x  quit\r\nCtrl-A h  this help\r\nCtrl-A Ctrl-A  send Ctrl-A\r\n", stderr);
        else if (byte == kCtrlA)
            waiting_.push_back(byte);
    }
}

void Console::deliver()
{
    if (waiting_.empty())
        return;
    const std::size_t taken = events_.input(waiting_);
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(taken));
}

} // namespace seamless::cli
