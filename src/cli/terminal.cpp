// SPDX-License-Identifier: Apache-2.0
// Raw mode, and the way back from it.
#include "cli/terminal.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <unistd.h>

namespace seamless::cli {
namespace {

// SIGINT, SIGTERM, SIGHUP and SIGQUIT end a run in good order and are not among them.
constexpr int kDeaths[] = {SIGABRT, SIGSEGV, SIGBUS,  SIGILL,    SIGFPE,  SIGTRAP, SIGSYS,
                           SIGPIPE, SIGALRM, SIGUSR2, SIGVTALRM, SIGPROF, SIGXCPU, SIGXFSZ};

// A signal handler reaches nothing but globals; there is one terminal for the process.
termios saved;
std::atomic<int> raw_fd{-1};
struct sigaction previous[NSIG];

void restore()
{
    const int fd = raw_fd.exchange(-1);
    if (fd >= 0)
        tcsetattr(fd, TCSANOW, &saved);
}

// A fault happens again once the handler has returned; what was sent is sent again.
void on_death(int number, siginfo_t* info, void*)
{
    const int error = errno;
    restore();
    sigaction(number, &previous[number], nullptr);
    if (info->si_code <= 0 || number == SIGPIPE || number == SIGXFSZ)
        raise(number);
    errno = error;
}

} // namespace

void restore_terminal_on_death()
{
    struct sigaction action {};
    action.sa_sigaction = on_death;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    for (const int number : kDeaths)
        if (sigaction(number, nullptr, &previous[number]) == 0 && previous[number].sa_handler != SIG_IGN)
            sigaction(number, &action, nullptr);
}

RawTerminal::RawTerminal(int fd)
{
    if (isatty(fd) == 0 || tcgetattr(fd, &saved) != 0)
        return;
    termios mode = saved;
    mode.c_iflag &= ~static_cast<tcflag_t>(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    mode.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
    mode.c_cc[VMIN] = 1;
    mode.c_cc[VTIME] = 0;
    raw_fd = fd; // first: a signal between the two restores what has not changed yet
    raw_ = tcsetattr(fd, TCSANOW, &mode) == 0;
}

RawTerminal::~RawTerminal()
{
    if (raw_)
        restore();
}

} // namespace seamless::cli
