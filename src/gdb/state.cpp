// SPDX-License-Identifier: Apache-2.0
// Threads, registers, memory, breakpoints. GDB manual: "Packets".
#include <algorithm>
#include <fmt/format.h>

#include "gdb/session.h"

namespace seamless::gdb {
namespace {

constexpr u8 kNoAccess = 14, kInvalid = 22, kTooMany = 28;
constexpr std::size_t kMostPoints = 1024;
constexpr u64 kLongestWatch = 1 << 20;

std::span<const u8> bytes_of(std::string_view text)
{
    return {reinterpret_cast<const u8*>(text.data()), text.size()};
}

} // namespace

bool Session::exists(u32 vcpu) const
{
    return std::ranges::any_of(guests_.vcpus(), [&](const trace::VcpuStatus& v) { return v.id == vcpu; });
}

// Threads count from 1.
std::optional<u32> Session::thread(PacketText& text) const
{
    const auto id = text.number();
    if (!id)
        return {};
    if (*id == 0)
        return current_;
    if (*id > ~u32{0} || !exists(static_cast<u32>(*id - 1)))
        return {};
    return static_cast<u32>(*id - 1);
}

const std::vector<Register>& Session::table()
{
    if (table_.empty())
        table_ = register_table(guests_.components());
    return table_;
}

// H sets the thread for registers and memory (g) or for going on (c), where vCont says it instead.
void Session::choose_thread(PacketText text)
{
    const bool general = text.take("g");
    if (!general && !text.take("c"))
        return error(kInvalid);
    if (text.rest() == "-1")
        return ok();
    const auto vcpu = thread(text);
    if (!vcpu && guests_.vcpus().empty()) // the first is still to come
        return ok();
    if (!vcpu)
        return error(kInvalid);
    current_ = *vcpu;
    ok();
}

void Session::thread_alive(PacketText text)
{
    if (thread(text))
        ok();
    else
        error(kInvalid);
}

void Session::read_registers(PacketText)
{
    const auto registers = guests_.registers(current_);
    std::string out;
    for (const Register& reg : table())
        out += registers ? to_hex(value_of(reg, *registers)) : std::string(reg.bits / 4, 'x');
    reply(out);
}

void Session::read_register(PacketText text)
{
    const auto number = text.number();
    if (!number || *number >= table().size())
        return error(kInvalid);
    const auto registers = guests_.registers(current_);
    const Register& reg = table()[*number];
    reply(registers ? to_hex(value_of(reg, *registers)) : std::string(reg.bits / 4, 'x'));
}

void Session::write_registers(PacketText text)
{
    auto registers = guests_.registers(current_);
    const auto bytes = from_hex(text.rest());
    if (!registers || !bytes)
        return error(kInvalid);
    std::span<const u8> rest = bytes_of(*bytes);
    for (const Register& reg : table()) {
        if (rest.size() < reg.bits / 8 || !set_value(reg, *registers, rest.first(reg.bits / 8)))
            return error(kInvalid);
        rest = rest.subspan(reg.bits / 8);
    }
    if (rest.empty() && guests_.set_registers(current_, *registers))
        return ok();
    error(kInvalid);
}

void Session::write_register(PacketText text)
{
    const auto number = text.number();
    auto registers = guests_.registers(current_);
    if (!number || *number >= table().size() || !text.take("=") || !registers)
        return error(kInvalid);
    const auto bytes = from_hex(text.rest());
    if (!bytes || !set_value(table()[*number], *registers, bytes_of(*bytes)) ||
        !guests_.set_registers(current_, *registers))
        return error(kInvalid);
    ok();
}

void Session::read_memory(PacketText text)
{
    const auto address = text.number();
    const auto length = text.number_after(",");
    if (!address || !length)
        return error(kInvalid);
    std::vector<u8> bytes(std::min<u64>(*length, kMaxPacket / 2));
    const u64 there = physical_ ? guests_.read(current_, Gpa(*address), bytes)
                                : guests_.read(current_, Gva(*address), bytes);
    if (there == 0 && !bytes.empty())
        return error(kNoAccess);
    reply(to_hex(std::span(bytes).first(there)));
}

void Session::write_to(u64 address, u64 bytes, std::string_view data)
{
    if (data.size() != bytes)
        return error(kInvalid);
    const u64 done = physical_ ? guests_.write(current_, Gpa(address), bytes_of(data))
                               : guests_.write(current_, Gva(address), bytes_of(data));
    if (done == bytes)
        ok();
    else
        error(kNoAccess);
}

void Session::write_memory(PacketText text)
{
    const auto address = text.number();
    const auto length = text.number_after(",");
    const auto data = text.take(":") ? from_hex(text.rest()) : std::nullopt;
    if (!address || !length || !data)
        return error(kInvalid);
    write_to(*address, *length, *data);
}

void Session::write_binary(PacketText text)
{
    const auto address = text.number();
    const auto length = text.number_after(",");
    if (!address || !length || !text.take(":"))
        return error(kInvalid);
    write_to(*address, *length, text.rest());
}

// "type,address,kind"; the kind of a watchpoint is its length. Conditions are the debugger's own.
std::optional<Session::Point> Session::point(PacketText& text)
{
    constexpr unsigned kTypes = 5, kWrite = 2;
    const auto type = text.number();
    const auto address = text.number_after(",");
    const auto kind = text.number_after(",");
    if (!type || !address || !kind || *type >= kTypes)
        return {};
    if (*type >= kWrite && (*kind == 0 || *kind > kLongestWatch))
        return {};
    return Point{static_cast<unsigned>(*type), *address, *kind};
}

void Session::insert_point(PacketText text)
{
    const auto p = point(text);
    if (!p)
        return error(kInvalid);
    if (std::ranges::find(points_, *p) == points_.end()) {
        if (points_.size() >= kMostPoints)
            return error(kTooMany);
        points_.push_back(*p);
    }
    ok();
}

void Session::remove_point(PacketText text)
{
    const auto p = point(text);
    if (!p)
        return error(kInvalid);
    std::erase(points_, *p);
    ok();
}

} // namespace seamless::gdb
