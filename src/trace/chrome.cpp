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
    return fmt::format(R"({{"name":{},"ph":"{}",{}"ts":{},"pid":1,"tid":{},"args":{{{}}}}})",
                       json_quoted(name), phase, phase == 'i' ? R"("s":"t",)" : "", micros(record.ts),
                       record.vcpu, arguments(record));
}

} // namespace

void ChromeSink::write(const Record& record)
{
    const std::lock_guard lock(mutex_);
    Thread& thread = threads_[record.vcpu];
    thread.last_ts = std::max(thread.last_ts, record.ts);
    if (!thread.named) {
        thread.named = true;
        name(record.vcpu);
    }
    end_slice(record.vcpu, thread.in_user, thread.last_ts); // whatever comes next, KVM_RUN was called again
    switch (record.event) {
    case Event::kvm_entry:
    case Event::kvm_exit:
    case Event::kvm_userspace_exit:
        return slice(thread, record);
    case Event::ve_inject:
    case Event::kvm_tdx_vmcall:
    case Event::kvm_tdx_vmcall_done:
        append(event_json(row_of(record.event).name, 'i', record));
        return ve(thread, record);
    default:
        return append(event_json(row_of(record.event).name, 'i', record));
    }
}

void ChromeSink::name(u32 vcpu)
{
    if (first_)
        append(R"({"name":"process_name","ph":"M","pid":1,"args":{"name":"Seamless"}})");
    append(fmt::format(R"({{"name":"thread_name","ph":"M","pid":1,"tid":{0},"args":{{"name":"vCPU {0}"}}}})",
                       vcpu));
    append(fmt::format(
        R"({{"name":"thread_sort_index","ph":"M","pid":1,"tid":{0},"args":{{"sort_index":{0}}}}})", vcpu));
}

// An entry and an exit each begin one slice and end the other; the VMM's time lies inside that after an exit.
void ChromeSink::slice(Thread& thread, const Record& record)
{
    const bool user = record.event == Event::kvm_userspace_exit;
    if (!user)
        end_slice(record.vcpu, thread.in_slice, thread.last_ts);
    (user ? thread.in_user : thread.in_slice) = true;
    std::string_view name = "guest";
    if (record.event != Event::kvm_entry)
        name = record.values[0].kind == Value::Kind::text ? record.values[0].text : "exit";
    append(event_json(name, 'B', record));
}

void ChromeSink::end_slice(u32 vcpu, bool& open, u64 ts)
{
    if (open)
        append(fmt::format(R"({{"ph":"E","ts":{},"pid":1,"tid":{}}})", micros(ts), vcpu));
    open = false;
}

// The span of a #VE cannot be a slice: it begins in one and ends in another.
void ChromeSink::ve(Thread& thread, const Record& record)
{
    if (record.event == Event::ve_inject) {
        end_ve(record.vcpu, thread);
        thread.ve = ++ves_;
        const char* const reason = record.values[0].kind == Value::Kind::text ? record.values[0].text : "?";
        thread.ve_name = json_quoted(fmt::format("#VE {}", reason));
        append(fmt::format(R"({{"name":{},"cat":"ve","ph":"b","id":{},"ts":{},"pid":1,"tid":{}}})",
                           thread.ve_name, thread.ve, micros(thread.last_ts), record.vcpu));
        return ve_step('s', thread, record);
    }
    if (thread.ve == 0)
        return;
    if (record.event == Event::kvm_tdx_vmcall)
        return ve_step('t', thread, record);
    ve_step('f', thread, record);
    end_ve(record.vcpu, thread);
}

// An arrow's beginning, way or end, which belongs to the slice around it.
void ChromeSink::ve_step(char phase, const Thread& thread, const Record& record)
{
    append(
        fmt::format(R"({{"name":"#VE","cat":"ve_flow","ph":"{}","id":{},"bp":"e","ts":{},"pid":1,"tid":{}}})",
                    phase, thread.ve, micros(thread.last_ts), record.vcpu));
}

void ChromeSink::end_ve(u32 vcpu, Thread& thread)
{
    if (thread.ve != 0)
        append(fmt::format(R"({{"name":{},"cat":"ve","ph":"e","id":{},"ts":{},"pid":1,"tid":{}}})",
                           thread.ve_name, thread.ve, micros(thread.last_ts), vcpu));
    thread.ve = 0;
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
        if (n <= 0) {
            good_ = false;
            break; // a full disk: what is there stays valid up to the last piece
        }
        at += static_cast<std::size_t>(n);
    }
    written_ += kept;
    pending_.clear();
}

bool ChromeSink::finish()
{
    const std::lock_guard lock(mutex_);
    if (fd_ < 0)
        return good_;
    for (auto& [vcpu, thread] : threads_) {
        end_slice(vcpu, thread.in_user, thread.last_ts);
        end_slice(vcpu, thread.in_slice, thread.last_ts);
        end_ve(vcpu, thread);
    }
    if (first_)
        pending_ += '['; // nothing is pending yet
    flush();
    good_ = ::close(fd_) == 0 && good_;
    fd_ = -1;
    return good_;
}

ChromeSink::~ChromeSink() { finish(); }

} // namespace seamless::trace
