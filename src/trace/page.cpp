// SPDX-License-Identifier: Apache-2.0
// The page's format, which html/data.js reads: events as bytes (number of the event, vCPU, time since the one
// before, length of the fields, which fields there are, the fields), then episodes, then tables as JSON.
#include "trace/page.h"

#include <algorithm>
#include <fmt/format.h>
#include <iterator>

#include "trace/page_parts.h"
#include "trace/value_text.h"

namespace seamless::trace {
namespace {

constexpr u64 kLatest = u64{1} << 51; // ns; what JavaScript can add and subtract exactly: 26 days
constexpr u8 kUnknownEvent = 0xff;

std::string number_list(std::initializer_list<u64> numbers)
{
    return fmt::format("{}", fmt::join(numbers, ","));
}

std::string tally_json(const Tally& t) { return number_list({t.count, t.timed, t.ns, t.longest}); }

std::string hex_json(u64 value) { return fmt::format("\"{:#x}\"", value); }

// `"name":[row,row...]`, each row of `each` as `to_row` writes it.
template <typename Rows, typename ToRow>
std::string table_json(std::string_view name, const Rows& rows, const ToRow& to_row)
{
    std::string out = fmt::format("\"{}\":[", name);
    const std::size_t head = out.size();
    for (const auto& row : rows) {
        if (out.size() != head)
            out += ",\n";
        out += to_row(row);
    }
    return out + "]";
}

// The names of events and fields, so that the page need not know them.
std::string schema_json()
{
    std::string out = "\"schema\":[";
    for (unsigned i = 0; i <= static_cast<unsigned>(Event::ve_inject); ++i) {
        const EventRow& row = row_of(static_cast<Event>(i));
        std::string fields;
        for (const Field& field : row.fields)
            if (field.format != Format::none)
                fields += fmt::format("{}[\"{}\",{}]", fields.empty() ? "" : ",", field.name,
                                      static_cast<unsigned>(field.format));
        out += fmt::format("{}[\"{}\",[{}]]", i == 0 ? "" : ",", row.name, fields);
    }
    return out + "]";
}

} // namespace

Page::Page(std::ostream& out, std::string title, const CodeNames& names)
    : out_(out), title_(std::move(title)), names_(names), packed_(out, "events")
{
    out_ << page_part(PagePart::head) << "<style>\n"
         << page_part(PagePart::style) << "</style>\n"
         << page_part(PagePart::body);
}

void Page::add(const Line& line)
{
    const u64 ts = std::min(line.ts, kLatest);
    first_ts_ = events_ == 0 ? ts : std::min(first_ts_, ts);
    last_ts_ = std::max(last_ts_, ts);
    fields_.clear();
    pack_fields(line);
    std::string bytes;
    bytes += static_cast<char>(line.row ? static_cast<u8>(line.row->event) : kUnknownEvent);
    append_varint(bytes, vcpu_id(line.vcpu));
    append_signed(bytes, static_cast<i64>(ts - previous_ts_));
    bytes += static_cast<char>(fields_.size()); // at most 1 + kMaxFields * 10
    packed_.append(bytes);
    packed_.append(fields_);
    previous_ts_ = ts;
    ++events_;
    costs_.add(line);
    finder_.add(line, *this);
}

// A number that is none is left out, as an absent field is.
void Page::pack_fields(const Line& line)
{
    if (line.row == nullptr)
        return append_varint(fields_, string_id(line.text("ev")));
    fields_ += '\0';
    for (unsigned i = 0; i < kMaxFields && line.row->fields[i].format != Format::none; ++i) {
        const Field& field = line.row->fields[i];
        const bool is_number = field.format == Format::hex || field.format == Format::dec;
        const std::string_view text = line.text(field.name);
        const std::optional<u64> number = is_number ? line.number(field.name) : std::nullopt;
        if (is_number ? !number : text.empty())
            continue;
        fields_[0] = static_cast<char>(static_cast<u8>(fields_[0]) | 1u << i);
        append_varint(fields_, is_number ? *number : string_id(text));
    }
}

u64 Page::string_id(std::string_view text)
{
    const auto [entry, is_new] = string_ids_.try_emplace(std::string(text), strings_.size());
    if (is_new)
        strings_.push_back(&entry->first);
    return entry->second;
}

u64 Page::vcpu_id(u32 vcpu)
{
    const auto [entry, is_new] = vcpu_ids_.try_emplace(vcpu, vcpus_.size());
    if (is_new)
        vcpus_.push_back(vcpu);
    return entry->second;
}

void Page::take(const Episode& episode)
{
    Kind kind{.is_access = episode.access != nullptr, .is_ve = episode.ve != nullptr, .access = {}, .ve = {}};
    if (episode.access)
        kind.access = *episode.access;
    if (episode.ve)
        kind.ve = *episode.ve;
    const auto [entry, is_new] = kinds_.try_emplace(std::move(kind), KindEntry{kinds_.size(), {}});
    entry->second.tally.add(episode.ns);
    append_varint(episode_bytes_, vcpu_id(episode.vcpu));
    append_signed(episode_bytes_, static_cast<i64>(episode.first_event - previous_episode_));
    append_varint(episode_bytes_, episode.last_event - episode.first_event);
    append_varint(episode_bytes_, entry->second.number);
    append_varint(episode_bytes_, episode.first ? 1 : 0);
    append_varint(episode_bytes_, episode.ns ? std::min(*episode.ns, kLatest) + 1 : 0);
    previous_episode_ = episode.first_event;
    ++episodes_;
}

std::string Page::tables() const
{
    const auto kind_row = [this](const auto& row) {
        const auto& [kind, entry] = row;
        const u64 rip = kind.is_ve ? kind.ve.rip : kind.access.rip;
        const std::string& insn = kind.is_ve ? kind.ve.insn : kind.access.insn;
        return fmt::format("[{},{},{},{},{},{},{},{},{},{},{},{},{}]", entry.number,
                           number_list({kind.is_access, kind.is_ve}), hex_json(kind.access.page),
                           hex_json(rip), json_quoted(insn), json_quoted(names_.disassembled(insn, rip)),
                           json_quoted(names_.symbol(rip)), kind.access.size, u64{kind.access.write},
                           json_quoted(name_of(kind.access.answer)), json_quoted(kind.ve.exit_reason),
                           json_quoted(kind.ve.call), tally_json(entry.tally));
    };
    const auto exit_row = [](const auto& row) {
        return fmt::format("[{},{},{},{}]", json_quoted(row.first.reason), json_quoted(row.first.hw_reason),
                           json_quoted(row.first.vm), tally_json(row.second));
    };
    const auto tally_row = [](const auto& row) {
        return fmt::format("[{},{}]", json_quoted(row.first), tally_json(row.second));
    };
    const auto count_row = [](const auto& row) {
        return fmt::format("[{},{}]", json_quoted(row.first), row.second);
    };
    const auto leaf_row = [](const auto& row) {
        return fmt::format("[{},{},{},{}]", u64{row.first.seamcall}, json_quoted(row.first.leaf),
                           json_quoted(row.first.status), row.second);
    };
    const std::string parts[] = {
        fmt::format("\"title\":{},\"events\":{},\"episodes\":{},\"first\":{},\"last\":{}",
                    json_quoted(title_), events_, episodes_, first_ts_, last_ts_),
        schema_json(),
        table_json("strings", strings_, [](const std::string* text) { return json_quoted(*text); }),
        table_json("vcpus", vcpus_, [](u32 id) { return fmt::format("{}", id); }),
        table_json("kinds", kinds_, kind_row),
        table_json("exits", costs_.exits, exit_row),
        table_json("vmcalls", costs_.vmcalls, tally_row),
        table_json("userExits", costs_.user_exits, count_row),
        table_json("leaves", costs_.leaves, leaf_row),
        table_json("counts", costs_.events, count_row),
        fmt::format("\"guest\":[{}]", tally_json(costs_.in_guest)),
    };
    return fmt::format("{{{}}}", fmt::join(parts, ",\n"));
}

void Page::finish()
{
    finder_.finish(*this);
    costs_.finish();
    packed_.finish();
    PackedStream episodes(out_, "episodes"), json(out_, "tables");
    episodes.append(episode_bytes_);
    episodes.finish();
    json.append(tables());
    json.finish();
    out_ << "<script>\n";
    for (unsigned i = static_cast<unsigned>(PagePart::script); i < kPageParts; ++i)
        out_ << page_part(static_cast<PagePart>(i));
    out_ << "</script>\n</body>\n</html>\n";
}

} // namespace seamless::trace
