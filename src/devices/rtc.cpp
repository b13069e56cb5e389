// SPDX-License-Identifier: Apache-2.0
// The real-time clock: dates, their encodings, and the registers.
#include "devices/rtc.h"

#include <algorithm>
#include <chrono>

namespace seamless::devices {
namespace {

enum Register : u8 {
    kSeconds = 0,
    kMinutes = 2,
    kHours = 4,
    kWeekday = 6,
    kDay = 7,
    kMonth = 8,
    kYear = 9,
    kA = 0xa,
    kB = 0xb,
    kC = 0xc,
    kD = 0xd,
};

constexpr u8 A_RESET = 0x26; // 32.768 kHz, 1024 Hz; no update is ever in progress
constexpr u8 A_UIP = 0x80;
constexpr u8 B_24H = 2, B_BINARY = 4, B_SET = 0x80;
constexpr u8 D_VALID = 0x80; // the battery is full
constexpr u8 kPm = 0x80;
constexpr u8 kIndexMask = 0x7f; // bit 7 of the index port masks NMIs, which the machine has not

} // namespace

Rtc::Rtc(const Clock& clock) : clock_(clock)
{
    memory_[kA] = A_RESET;
    memory_[kB] = B_24H;
    memory_[kD] = D_VALID;
}

Rtc::Time Rtc::time_of(i64 seconds)
{
    using namespace std::chrono;
    const sys_seconds time{std::chrono::seconds(seconds)};
    const sys_days days = floor<std::chrono::days>(time);
    const year_month_day date(days);
    const hh_mm_ss clock(time - days);
    const auto year = static_cast<unsigned>(static_cast<int>(date.year()));
    return {.second = static_cast<unsigned>(clock.seconds().count()),
            .minute = static_cast<unsigned>(clock.minutes().count()),
            .hour = static_cast<unsigned>(clock.hours().count()),
            .weekday = weekday(days).c_encoding() + 1,
            .day = static_cast<unsigned>(date.day()),
            .month = static_cast<unsigned>(date.month()),
            .year = year % 100,
            .century = year / 100};
}

// False if there is no such date or time; the clock then goes on as before.
bool Rtc::set_time(const Time& t)
{
    using namespace std::chrono;
    const year_month_day date(std::chrono::year(static_cast<int>(t.century * 100 + t.year)),
                              std::chrono::month(t.month), std::chrono::day(t.day));
    if (!date.ok() || t.year > 99 || t.century > 99 || t.hour > 23 || t.minute > 59 || t.second > 59)
        return false;
    const auto seconds = sys_seconds(sys_days(date)).time_since_epoch().count();
    offset_ = seconds + i64{t.hour} * 3600 + i64{t.minute} * 60 + i64{t.second} - clock_.seconds();
    return true;
}

bool Rtc::stopped() const { return (memory_[kB] & B_SET) != 0; }

Rtc::Time Rtc::now() const { return stopped() ? stopped_ : time_of(clock_.seconds() + offset_); }

unsigned* Rtc::part(Time& time, u8 index)
{
    switch (index) {
    case kSeconds:
        return &time.second;
    case kMinutes:
        return &time.minute;
    case kHours:
        return &time.hour;
    case kWeekday:
        return &time.weekday;
    case kDay:
        return &time.day;
    case kMonth:
        return &time.month;
    case kYear:
        return &time.year;
    case kCentury:
        return &time.century;
    default:
        return nullptr;
    }
}

u8 Rtc::encode(u8 index, unsigned value) const
{
    u8 pm = 0;
    if (index == kHours && (memory_[kB] & B_24H) == 0) {
        pm = value >= 12 ? kPm : 0;
        value = value % 12 == 0 ? 12 : value % 12;
    }
    const bool binary = (memory_[kB] & B_BINARY) != 0;
    return static_cast<u8>(pm | (binary ? value : value / 10 << 4 | value % 10));
}

unsigned Rtc::decode(u8 index, u8 value) const
{
    const bool twelve = index == kHours && (memory_[kB] & B_24H) == 0;
    const u8 digits = twelve ? static_cast<u8>(value & ~kPm) : value;
    const bool binary = (memory_[kB] & B_BINARY) != 0;
    const unsigned number = binary ? digits : (digits >> 4) * 10u + (digits & 15u);
    return twelve ? number % 12 + (value & kPm ? 12 : 0) : number;
}

u8 Rtc::read_register(u8 index) const
{
    Time time = now();
    if (const unsigned* value = part(time, index))
        return encode(index, *value);
    return memory_[index];
}

void Rtc::write_register(u8 index, u8 value)
{
    Time time = now();
    if (unsigned* target = part(time, index)) {
        *target = decode(index, value);
        if (stopped())
            stopped_ = time; // parts may disagree until all are written
        else
            (void)set_time(time);
    } else if (index == kB) {
        write_control(value);
    } else if (index == kA) {
        memory_[kA] = static_cast<u8>(value & ~A_UIP);
    } else if (index != kC && index != kD) { // status is read-only
        memory_[index] = value;
    }
}

void Rtc::write_control(u8 value)
{
    const Time time = now();
    const bool was = stopped();
    memory_[kB] = value;
    if (was && !stopped())
        (void)set_time(time);
    stopped_ = time;
}

void Rtc::read(u64 offset, std::span<u8> data)
{
    std::fill(data.begin(), data.end(), u8{0xff}); // the index port is write-only
    if (offset == 1)
        data[0] = read_register(selected_);
    else if (data.size() > 1)
        data[1] = read_register(selected_);
}

void Rtc::write(u64 offset, std::span<const u8> data)
{
    if (offset == 0)
        selected_ = data[0] & kIndexMask;
    if (offset + data.size() > 1)
        write_register(selected_, data[1 - offset]);
}

} // namespace seamless::devices
