// SPDX-License-Identifier: Apache-2.0
// Messages on stderr and in a file.
#include "cli/log.h"

#include <cerrno>
#include <cstring>
#include <fmt/format.h>

namespace seamless::cli {

Result<Log, Message> Log::open(const std::string& path, bool verbose)
{
    Log log;
    log.verbose_ = verbose;
    if (path.empty())
        return log;
    log.file_.reset(std::fopen(path.c_str(), "we"));
    if (!log.file_)
        return fail(Message{fmt::format("--log {}: {}", path, std::strerror(errno))});
    std::setvbuf(log.file_.get(), nullptr, _IOLBF, 0); // whoever looks at it sees what is new
    return log;
}

void Log::say(const std::string& text)
{
    fmt::print(stderr, "seamless: {}\n", text);
    note(text);
}

void Log::tell(const std::string& text)
{
    if (verbose_)
        fmt::print(stderr, "seamless: {}\n", text);
    note(text);
}

void Log::lines(const std::string& text)
{
    fmt::print(stderr, "{}", text);
    if (file_)
        fmt::print(file_.get(), "{}", text);
}

void Log::note(const std::string& text)
{
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
    if (file_)
        fmt::print(file_.get(), "[{:10.3f}] {}\n", passed.count(), text);
}

} // namespace seamless::cli
