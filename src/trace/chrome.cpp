// SPDX-License-Identifier: Apache-2.0
// The file is a JSON array. It is written in large pieces, each of which ends the array; the next one
// overwrites that end. So the file is valid JSON whenever the run is killed.
#include "trace/chrome.h"

#include <fmt/format.h>
#include <unistd.h>

#include "trace/value_text.h"

namespace seamless::trace {
namespace {

constexpr std::size_t kPiece = 64 << 10;
constexpr std::string_view kEnd = "\n]\n";

// Microseconds, as the format wants them.
std::string micros(u64 ns) { return fmt::format("{}.{:03}", ns / 1000, ns % 1000); }

std::string arguments(const Record& record)
{
    const EventRow& row = row_of(record.event);
    std::string out;
    for (unsigned i = 0; i < record.count; ++i)
        if (record.values[i].kind != Value::Kind::absent)
            out += fmt::format("{}\"{}\":{}", out.empty() ? "" : ",", row.fields[i].name,
                               value_json(row.fields[i], record.values[i]));
    return out;
}

std::string event_json(std::string_view name, char phase, const Record& record)
{
    return fmt::format(R"({{"name":"{}","ph":"{}",{}"ts":{},"pid":1,"tid":{},"args":{{{}}}}})", name, phase,
                       phase == 'i' ? R"("s":"t",)" : "", micros(record.ts), record.vcpu, arguments(record));
}

} // namespace

void ChromeSink::write(const Record& record)
{
    const std::lock_guard lock(mutex_);
    Thread& thread = threads_[record.vcpu];
    thread.last_ts = std::max(thread.last_ts, record.ts);
    if (!thread.named) {
        thread.named = true;
        append(
            fmt::format(R"({{"name":"thread_name","ph":"M","pid":1,"tid":{0},"args":{{"name":"vCPU {0}"}}}})",
                        record.vcpu));
    }
    if (record.event == Event::kvm_entry || record.event == Event::kvm_exit)
        slice(thread, record);
    else
        append(event_json(row_of(record.event).name, 'i', record));
}

// Either begins one slice and ends the other.
void ChromeSink::slice(Thread& thread, const Record& record)
{
    end_slice(record.vcpu, thread);
    thread.in_slice = true;
    std::string name = "guest";
    if (record.event == Event::kvm_exit)
        name = record.values[0].kind == Value::Kind::text ? record.values[0].text : "exit";
    append(event_json(name, 'B', record));
}

void ChromeSink::end_slice(u32 vcpu, const Thread& thread)
{
    if (thread.in_slice)
        append(fmt::format(R"({{"ph":"E","ts":{},"pid":1,"tid":{}}})", micros(thread.last_ts), vcpu));
}

void ChromeSink::append(const std::string& event)
{
    pending_ += first_ ? "[\n" : ",\n";
    first_ = false;
    pending_ += event;
    if (pending_.size() >= kPiece)
        flush();
}

void ChromeSink::flush()
{
    const std::size_t kept = pending_.size();
    pending_ += kEnd;
    for (std::size_t at = 0; at < pending_.size();) {
        const ssize_t n =
            ::pwrite(fd_, pending_.data() + at, pending_.size() - at, static_cast<off_t>(written_ + at));
        if (n <= 0)
            break; // a full disk: what is there stays valid up to the last piece
        at += static_cast<std::size_t>(n);
    }
    written_ += kept;
    pending_.clear();
}

ChromeSink::~ChromeSink()
{
    for (const auto& [vcpu, thread] : threads_)
        end_slice(vcpu, thread);
    if (first_)
        pending_ = "[";
    flush();
    ::close(fd_);
}

} // namespace seamless::trace
