// SPDX-License-Identifier: Apache-2.0
// The file grows under another name, so that a damaged trace leaves what was there before.
#include "cli/trace_files.h"

#include <Zydis/Zydis.h>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <sys/stat.h>

#include "trace/chrome.h"
#include "trace/line_record.h"
#include "trace/page.h"

namespace seamless::cli {
namespace {

Message cannot(const std::string& path, int error)
{
    return {fmt::format("{}: {}", path, std::strerror(error))};
}

// Where to write instead of `path`: beside it, unless it is a device or a pipe.
class Target {
  public:
    explicit Target(std::string path) : path_(std::move(path)), written_(path_)
    {
        struct stat about {};
        if (::stat(path_.c_str(), &about) != 0 || S_ISREG(about.st_mode))
            written_ += ".part";
    }
    ~Target()
    {
        if (!kept_ && written_ != path_)
            std::remove(written_.c_str());
    }
    Target(const Target&) = delete;
    Target& operator=(const Target&) = delete;

    [[nodiscard]] const std::string& name() const { return written_; }
    [[nodiscard]] Result<void, Message> keep()
    {
        if (written_ != path_ && std::rename(written_.c_str(), path_.c_str()) != 0)
            return fail(cannot(path_, errno));
        kept_ = true;
        return {};
    }

  private:
    std::string path_, written_;
    bool kept_ = false;
};

class Names : public trace::CodeNames {
  public:
    explicit Names(const Symbols& symbols) : symbols_(symbols) {}
    [[nodiscard]] std::string disassembled(std::string_view insn, u64 rip) const override
    {
        return disassemble(insn, rip);
    }
    [[nodiscard]] std::string symbol(u64 rip) const override { return symbols_.at(rip); }

  private:
    const Symbols& symbols_;
};

// Calls `take` with each line of the trace.
template <typename Take>
Result<void, Message> each_line(const std::string& path, const Take& take)
{
    std::ifstream file(path);
    if (!file)
        return fail(cannot(path, errno));
    trace::Reader reader(file, path);
    u64 lines = 0;
    for (; const trace::Line* line = TRY(reader.next()); ++lines)
        take(*line);
    if (file.bad() || lines == 0)
        return fail(Message{fmt::format("{}: no trace events", path)});
    return {};
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

} // namespace

std::string disassemble(std::string_view hex, u64 rip)
{
    u8 bytes[ZYDIS_MAX_INSTRUCTION_LENGTH] = {};
    std::size_t count = 0;
    for (; 2 * count + 1 < hex.size() && count < sizeof bytes; ++count) {
        const auto digit = [](char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; };
        bytes[count] = static_cast<u8>(digit(hex[2 * count]) << 4 | (digit(hex[2 * count + 1]) & 15));
    }
    ZydisDisassembledInstruction instruction;
    if (!ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, rip, bytes, count, &instruction)))
        return {};
    return instruction.text;
}

Result<void, Message> write_page(const std::string& path, const std::string& out, const Symbols& symbols)
{
    Target target(out);
    std::ofstream file(target.name(), std::ios::binary | std::ios::trunc);
    if (!file)
        return fail(cannot(out, errno));
    const Names names(symbols);
    trace::Page page(file, base_name(path), names);
    TRY(each_line(path, [&](const trace::Line& line) { page.add(line); }));
    page.finish();
    file.flush();
    if (!file)
        return fail(Message{fmt::format("{}: it could not be written whole", out)});
    return target.keep();
}

Result<void, Message> write_perfetto(const std::string& path, const std::string& out)
{
    Target target(out);
    const int fd = ::open(target.name().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail(cannot(out, errno));
    bool good = false;
    {
        trace::ChromeSink sink(fd);
        TRY(each_line(path, [&](const trace::Line& line) {
            if (line.row != nullptr)
                sink.write(trace::record_of(line));
        }));
        good = sink.finish();
    }
    if (!good)
        return fail(Message{fmt::format("{}: it could not be written whole", out)});
    return target.keep();
}

} // namespace seamless::cli
