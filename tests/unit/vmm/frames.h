// SPDX-License-Identifier: Apache-2.0
// Ethernet frames made and read by hand: ARP, DHCP, UDP and TCP as a guest would send them.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/bits.h"

namespace seamless::vmm::test {

using Frame = std::vector<u8>;

inline constexpr u8 kGuestMac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
inline constexpr u32 kGuest = 0x0a00020f, kRouter = 0x0a000202; // 10.0.2.15, 10.0.2.2
inline constexpr u16 kArp = 0x0806, kIpv4 = 0x0800;
inline constexpr u8 kTcp = 6, kUdp = 17;
inline constexpr u8 FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16;

// Where things are in a frame without options.
inline constexpr std::size_t kEthernet = 14, kIpHeader = 20, kPorts = kEthernet + kIpHeader;
inline constexpr std::size_t kUdpData = kPorts + 8;

inline void put16(Frame& f, u64 value)
{
    f.push_back(static_cast<u8>(value >> 8));
    f.push_back(static_cast<u8>(value));
}

inline void put32(Frame& f, u64 value)
{
    put16(f, value >> 16);
    put16(f, value);
}

inline void append(Frame& f, std::string_view text) { f.insert(f.end(), text.begin(), text.end()); }

[[nodiscard]] inline u16 at16(const Frame& f, std::size_t at)
{
    return at + 2 <= f.size() ? static_cast<u16>(f[at] << 8 | f[at + 1]) : u16{0};
}

[[nodiscard]] inline u32 at32(const Frame& f, std::size_t at)
{
    return u32{at16(f, at)} << 16 | at16(f, at + 2);
}

[[nodiscard]] inline u16 checksum(const Frame& bytes)
{
    u32 sum = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i)
        sum += i % 2 == 0 ? u32{bytes[i]} << 8 : bytes[i];
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<u16>(~sum);
}

inline void set16(Frame& f, std::size_t at, u16 value)
{
    f[at] = static_cast<u8>(value >> 8);
    f[at + 1] = static_cast<u8>(value);
}

[[nodiscard]] inline Frame ethernet(const Frame& to, u16 type)
{
    Frame f = to;
    f.insert(f.end(), std::begin(kGuestMac), std::end(kGuestMac));
    put16(f, type);
    return f;
}

[[nodiscard]] inline Frame broadcast() { return Frame(6, 0xff); }

// `operation` 1 asks who has `target`, 2 answers the frame `to` came from.
[[nodiscard]] inline Frame arp(u16 operation, const Frame& to, u32 target)
{
    Frame f = ethernet(to, kArp);
    put32(f, 0x00010800);
    put16(f, 0x0604);
    put16(f, operation);
    f.insert(f.end(), std::begin(kGuestMac), std::end(kGuestMac));
    put32(f, kGuest);
    f.insert(f.end(), to.begin(), to.end());
    put32(f, target);
    return f;
}

[[nodiscard]] inline Frame ipv4(const Frame& mac, u8 protocol, u32 from, u32 to, const Frame& payload)
{
    Frame header;
    put16(header, 0x4500);
    put16(header, kIpHeader + payload.size());
    put32(header, 0x00010000);
    put16(header, 0x4000 | protocol); // 64 hops
    put16(header, 0);
    put32(header, from);
    put32(header, to);
    set16(header, 10, checksum(header));
    Frame f = ethernet(mac, kIpv4);
    f.insert(f.end(), header.begin(), header.end());
    f.insert(f.end(), payload.begin(), payload.end());
    return f;
}

struct Ports {
    u16 from, to;
};

[[nodiscard]] inline Frame udp(const Frame& mac, u32 from, u32 to, Ports ports, std::string_view data)
{
    Frame payload;
    put16(payload, ports.from);
    put16(payload, ports.to);
    put16(payload, 8 + data.size());
    put16(payload, 0); // no checksum
    append(payload, data);
    return ipv4(mac, kUdp, from, to, payload);
}

struct Segment {
    u32 sequence = 0, acknowledged = 0;
    u8 flags = 0;
    std::string data;
};

[[nodiscard]] inline Frame tcp(const Frame& mac, u32 to, Ports ports, const Segment& segment)
{
    Frame payload;
    put16(payload, ports.from);
    put16(payload, ports.to);
    put32(payload, segment.sequence);
    put32(payload, segment.acknowledged);
    put16(payload, 0x5000 | segment.flags);
    put16(payload, 0xffff); // window
    put32(payload, 0);
    append(payload, segment.data);
    Frame summed;
    put32(summed, kGuest);
    put32(summed, to);
    put16(summed, kTcp);
    put16(summed, payload.size());
    summed.insert(summed.end(), payload.begin(), payload.end());
    set16(payload, 16, checksum(summed));
    return ipv4(mac, kTcp, kGuest, to, payload);
}

[[nodiscard]] inline bool is(const Frame& f, u8 protocol)
{
    return at16(f, 12) == kIpv4 && f.size() > kPorts && f[kEthernet + 9] == protocol;
}

[[nodiscard]] inline std::string text_from(const Frame& f, std::size_t at)
{
    return at < f.size() ? std::string(f.begin() + static_cast<std::ptrdiff_t>(at), f.end()) : std::string();
}

[[nodiscard]] inline Segment segment_of(const Frame& f)
{
    // A frame may be padded: the IP header says how long it is.
    Frame whole = f;
    whole.resize(kEthernet + at16(f, kEthernet + 2));
    const std::size_t data = kPorts + 4 * std::size_t{static_cast<u8>(f[kPorts + 12] >> 4)};
    return {at32(f, kPorts + 4), at32(f, kPorts + 8), f[kPorts + 13], text_from(whole, data)};
}

// DHCPDISCOVER, or DHCPREQUEST for `wanted`.
[[nodiscard]] inline Frame dhcp(u8 message, u32 wanted)
{
    Frame body;
    put32(body, 0x01010600);
    put32(body, 0x5ea31e55); // the transaction
    body.resize(28);
    body.insert(body.end(), std::begin(kGuestMac), std::end(kGuestMac));
    body.resize(236);
    put32(body, 0x63825363);
    body.insert(body.end(), {53, 1, message});
    if (wanted != 0) {
        body.insert(body.end(), {50, 4});
        put32(body, wanted);
    }
    body.push_back(255);
    const std::string text(body.begin(), body.end());
    return udp(broadcast(), 0, 0xffffffff, {68, 67}, text);
}

} // namespace seamless::vmm::test
