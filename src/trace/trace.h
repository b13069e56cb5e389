// SPDX-License-Identifier: Apache-2.0
// Trace points. `TRACE(context, Event::kvm_exit, values...)` gives the fields in the order of the event's
// row; while nobody traces, it costs one predictable branch and evaluates no value.
#pragma once

#include <array>
#include <atomic>
#include <bitset>
#include <concepts>
#include <span>
#include <type_traits>

#include "base/bits.h"
#include "trace/event.h"

namespace seamless::trace {

// Instruction bytes, at most 15 of them (SDM: the longest instruction).
struct Bytes {
    std::array<u8, 15> data{};
    u8 size = 0;

    Bytes() = default;
    explicit Bytes(std::span<const u8> from);
};

// A field that this occurrence of the event does not have.
struct Absent {};

// One field's value: a number, static text, instruction bytes, or nothing.
struct Value {
    enum class Kind : u8 { absent, number, text, bytes } kind = Kind::absent;
    u64 number = 0;
    const char* text = nullptr;
    Bytes bytes;

    Value() = default;
    Value(Absent) {}
    template <std::integral T>
    Value(T value) : kind(Kind::number), number(static_cast<u64>(value))
    {}
    Value(const char* value) : kind(Kind::text), text(value) {}
    Value(const Bytes& value) : kind(Kind::bytes), bytes(value) {}
};

struct Record {
    u64 ts = 0; // ns since the tracer was made
    u32 vcpu = 0;
    Event event{};
    u8 count = 0;
    std::array<Value, kMaxFields> values;
};

// Receives records, from any thread; an implementation does its own locking.
class Sink {
  public:
    virtual ~Sink() = default;
    virtual void write(const Record& record) = 0;
};

// What a platform traces, and where to. `enabled` may be read from any thread.
class Tracer {
  public:
    Tracer() = default;
    // `clock` gives ns since the start of the run; it must outlive the tracer.
    Tracer(Sink& sink, u64 (*clock)());
    Tracer(const Tracer&) = delete;
    Tracer& operator=(const Tracer&) = delete;

    [[nodiscard]] bool enabled() const { return sink_ != nullptr; }
    // Only the events of this set are written.
    void set_filter(std::bitset<64> events) { filter_ = events; }
    void emit(u32 vcpu, Event event, std::span<const Value> values);

  private:
    Sink* sink_ = nullptr;
    u64 (*clock_)() = nullptr;
    std::bitset<64> filter_ = std::bitset<64>().set();
};

// Who emits: the tracer, and the vCPU whose thread this is (KVM's vcpu_id; set when KVM loads a vCPU).
struct Context {
    Tracer* tracer = nullptr;
    u32 vcpu = 0;

    [[nodiscard]] bool enabled() const { return tracer != nullptr && tracer->enabled(); }

    template <typename... V>
    [[gnu::noinline, gnu::cold]] void emit(Event event, const V&... values) const
    {
        const Value list[] = {Value(values)...};
        tracer->emit(vcpu, event, list);
    }
};

} // namespace seamless::trace

#define TRACE(context, event, ...)                                                                           \
    do {                                                                                                     \
        if ((context).enabled()) [[unlikely]]                                                                \
            (context).emit(event, __VA_ARGS__);                                                              \
    } while (false)
