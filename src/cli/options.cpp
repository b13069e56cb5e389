// SPDX-License-Identifier: Apache-2.0
// Reads the values of options.
#include "cli/options.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <memory>

#include "trace/event.h"

namespace seamless::cli {
namespace {

Result<u64, Message> parse_number(std::string_view option, std::string_view text)
{
    const bool hex = text.starts_with("0x") || text.starts_with("0X");
    const std::string_view digits = hex ? text.substr(2) : text;
    u64 value = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
    if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size())
        return fail(Message{fmt::format("{}: \"{}\" is no number", option, text)});
    return value;
}

std::vector<std::string_view> split(std::string_view text, char separator)
{
    std::vector<std::string_view> parts;
    for (std::size_t at = 0;;) {
        const std::size_t next = text.find(separator, at);
        parts.push_back(text.substr(at, next - at));
        if (next == std::string_view::npos)
            return parts;
        at = next + 1;
    }
}

} // namespace

Result<u64, Message> parse_size(std::string_view option, std::string_view text, u64 unit)
{
    constexpr std::string_view suffixes = "KMGT";
    u64 scale = unit;
    std::string_view digits = text;
    const std::size_t suffix =
        text.empty() ? std::string_view::npos : suffixes.find(static_cast<char>(std::toupper(text.back())));
    if (suffix != std::string_view::npos) {
        scale = u64{1} << (10 * (suffix + 1));
        digits.remove_suffix(1);
    }
    const u64 number = TRY(parse_number(option, digits));
    if (number > ~u64{0} / scale)
        return fail(Message{fmt::format("{}: {} is too large", option, text)});
    return number * scale;
}

Result<vmm::MemoryRange, Message> parse_device(std::string_view text)
{
    const auto refuse = [&](std::string_view why) {
        return fail(
            Message{fmt::format("--device \"{}\": {}; known is testdev,gpa=ADDRESS,size=BYTES", text, why)});
    };
    const std::vector<std::string_view> parts = split(text, ',');
    if (parts[0] != "testdev")
        return refuse("unknown device");
    vmm::MemoryRange range;
    bool has_gpa = false, has_size = false;
    for (std::size_t i = 1; i < parts.size(); ++i) {
        if (parts[i].starts_with("gpa=") && !has_gpa) {
            range.start = TRY(parse_number("--device: gpa", parts[i].substr(4)));
            has_gpa = true;
        } else if (parts[i].starts_with("size=") && !has_size) {
            range.size = TRY(parse_size("--device: size", parts[i].substr(5), 1));
            has_size = true;
        } else {
            return refuse(fmt::format("\"{}\" is unknown or given twice", parts[i]));
        }
    }
    if (!has_gpa || !has_size)
        return refuse("gpa and size are needed");
    return range;
}

Result<SerialTarget, Message> parse_serial(std::string_view option, std::string_view text)
{
    if (text == "stdio")
        return SerialTarget{};
    const bool debug = option == "--debugcon";
    if (debug && text == "stderr")
        return SerialTarget{.kind = SerialTarget::Kind::stderr_, .path = {}};
    if (text == "null")
        return SerialTarget{.kind = SerialTarget::Kind::null, .path = {}};
    if (text.starts_with("file:") && text.size() > 5)
        return SerialTarget{.kind = SerialTarget::Kind::file, .path = std::string(text.substr(5))};
    return fail(Message{fmt::format("{} \"{}\": it can be stdio, null{} or file:NAME", option, text,
                                    option == "--serial" ? ", pty"
                                    : debug              ? ", stderr"
                                                         : "")});
}

Result<TraceTarget, Message> parse_trace(std::string_view text)
{
    TraceTarget target{.path = std::string(text), .events = std::bitset<64>().set()};
    const std::size_t colon = text.rfind(':');
    if (colon != std::string_view::npos) {
        target.path = std::string(text.substr(0, colon));
        target.events.reset();
        for (const std::string_view name : split(text.substr(colon + 1), ',')) {
            const trace::EventRow* row = trace::row_named(name);
            if (row == nullptr)
                return fail(Message{fmt::format("--trace: there is no event \"{}\"", name)});
            target.events.set(static_cast<std::size_t>(row->event));
        }
    }
    if (target.path.empty())
        return fail(Message{fmt::format("--trace \"{}\": the file has no name", text)});
    return target;
}

Result<std::optional<std::array<u8, 32>>, Message> read_platform_key(const std::string& path)
{
    using Key = std::array<u8, 32>;
    if (path.empty())
        return std::optional<Key>();
    const auto bytes = read_file(path);
    if (!bytes.ok())
        return fail(Message{fmt::format("--platform-key {}", bytes.error().text)});
    Key key;
    if (bytes.value().size() != key.size())
        return fail(Message{fmt::format("--platform-key {}: {} bytes; a key has {}", path,
                                        bytes.value().size(), key.size())});
    std::copy(bytes.value().begin(), bytes.value().end(), key.begin());
    return std::optional<Key>(key);
}

Result<std::vector<u8>, Message> read_file(const std::string& path)
{
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"), std::fclose);
    if (!file)
        return fail(Message{fmt::format("{}: {}", path, std::strerror(errno))});
    std::vector<u8> bytes;
    u8 buffer[65536];
    while (const std::size_t count = std::fread(buffer, 1, sizeof(buffer), file.get())) {
        bytes.insert(bytes.end(), buffer, buffer + count);
        if (bytes.size() > vmm::kMaxFirmware)
            return fail(Message{fmt::format("{}: more than {} MiB", path, vmm::kMaxFirmware >> 20)});
    }
    if (std::ferror(file.get()) != 0)
        return fail(Message{fmt::format("{}: {}", path, std::strerror(errno))});
    return bytes;
}

namespace {

// Where our debug console is anyway.
bool places_debug_console(std::string_view property)
{
    return property == "isa-debugcon.iobase=0x402" || property == "isa-debugcon.iobase=0xe9";
}

} // namespace

std::vector<std::string> from_qemu_spelling(std::span<const std::string> words)
{
    static constexpr std::pair<std::string_view, std::string_view> kSpellings[] = {
        {"-kernel", "--kernel"},     {"-initrd", "--initrd"},
        {"-append", "--append"},     {"-bios", "--firmware"},
        {"-debugcon", "--debugcon"}, {"-m", "--memory"},
        {"-smp", "--cpus"},          {"-gdb", "--gdb"}};
    static constexpr std::string_view kQemuNoReboot = "-no-reboot";
    static constexpr std::string_view kFlags[] = {"--json", "--help", "--no-reboot"};
    std::vector<std::string> out;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        const auto known = std::find_if(std::begin(kSpellings), std::end(kSpellings),
                                        [&](const auto& s) { return s.first == word || s.second == word; });
        const bool has_value = i + 1 < words.size();
        if (has_value && word == "-global" && places_debug_console(words[i + 1])) {
            ++i;
            continue;
        }
        if (known != std::end(kSpellings) && has_value) {
            out.push_back(fmt::format("{}={}", known->second, words[++i])); // the value may begin with a dash
            continue;
        }
        out.push_back(word == kQemuNoReboot ? "--no-reboot" : word);
        const bool flag = std::find(std::begin(kFlags), std::end(kFlags), word) != std::end(kFlags);
        if (has_value && word.starts_with("--") && !flag && word.find('=') == std::string::npos)
            out.push_back(words[++i]); // a value, whatever it looks like
    }
    return out;
}

std::string json_string(std::string_view text)
{
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\')
            out += {'\\', c};
        else if (static_cast<unsigned char>(c) < 0x20)
            out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
        else
            out += c;
    }
    return out + '"';
}

} // namespace seamless::cli
