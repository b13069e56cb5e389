// SPDX-License-Identifier: Apache-2.0
// One flat JSON object a line. What is nested, longer than any event, or without the common fields is
// refused.
#include "trace/reader.h"

#include <charconv>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace seamless::trace {

namespace {

constexpr std::size_t kLongestLine = 4096;
constexpr std::size_t kMostItems = 32;

std::optional<u64> parse(std::string_view text)
{
    const bool hex = text.starts_with("0x");
    const std::string_view digits = hex ? text.substr(2) : text;
    u64 value = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
    if (digits.empty() || error != std::errc{} || end != digits.data() + digits.size())
        return std::nullopt;
    return value;
}

} // namespace

// Receives what the parser finds; false ends the parsing.
class LineParser : public nlohmann::json_sax<nlohmann::json> {
  public:
    explicit LineParser(Line& line) : line_(line) { line.count_ = 0; }

    bool null() override { return value({}); }
    bool boolean(bool v) override { return value(v ? "1" : "0"); }
    bool number_integer(number_integer_t v) override { return value(fmt::format_int(v).c_str()); }
    bool number_unsigned(number_unsigned_t v) override { return value(fmt::format_int(v).c_str()); }
    bool number_float(number_float_t, const string_t& text) override { return value(text); }
    bool string(string_t& text) override { return value(text); }
    bool binary(binary_t&) override { return false; }
    bool start_object(std::size_t) override { return ++depth_ == 1; }
    bool end_object() override { return true; }
    bool start_array(std::size_t) override { return false; }
    bool end_array() override { return false; }
    bool key(string_t& name) override
    {
        if (line_.count_ == kMostItems)
            return false;
        if (line_.count_ == line_.items_.size())
            line_.items_.emplace_back();
        line_.items_[line_.count_].name.swap(name);
        return true;
    }
    bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override
    {
        return false;
    }

  private:
    bool value(std::string_view text)
    {
        if (depth_ != 1)
            return false;
        line_.items_[line_.count_++].value = text;
        return true;
    }

    Line& line_;
    int depth_ = 0;
};

std::string_view Line::text(std::string_view name) const
{
    for (std::size_t i = 0; i < count_; ++i)
        if (items_[i].name == name)
            return items_[i].value;
    return {};
}

std::optional<u64> Line::number(std::string_view name) const { return parse(text(name)); }

Result<const Line*, Message> Reader::next()
{
    const auto refuse = [this](std::string_view why) {
        return fail(Message{fmt::format("{}: line {}: {}", name_, number_, why)});
    };
    if (!std::getline(stream_, buffer_))
        return nullptr;
    ++number_;
    if (stream_.eof())
        return refuse("the line is cut off");
    if (buffer_.size() > kLongestLine)
        return refuse("the line is too long for a trace event");
    LineParser parser(line_);
    if (!nlohmann::json::sax_parse(buffer_, &parser))
        return refuse("this is not one flat JSON object");
    const auto ts = line_.number("ts"), vcpu = line_.number("vcpu");
    if (!ts || !vcpu || *vcpu > 0xffffffff || line_.text("ev").empty())
        return refuse("ts, vcpu or ev is missing");
    line_.ts = *ts;
    line_.vcpu = static_cast<u32>(*vcpu);
    line_.row = row_named(line_.text("ev"));
    return &line_;
}

} // namespace seamless::trace
