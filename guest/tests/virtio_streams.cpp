// SPDX-License-Identifier: Apache-2.0
// Network and console from inside a guest: an address by DHCP, and what is typed comes back in upper case
// until a full stop. Run with --net user and --console.
#include "guest/tests/virtio_driver.h"

namespace seamless::guest {
namespace {

constexpr unsigned kNetwork = 5, kConsole = 6, kReceive = 0, kTransmit = 1;
constexpr u64 kOut = kShared + 0x8000, kIn = kShared + 0x9000;
constexpr u32 kInSize = 0x800;
constexpr u32 kVirtioHeader = 12, kFrame = 14, kIp = kFrame, kUdp = kIp + 20, kDhcp = kUdp + 8,
              kDhcpSize = 244;
constexpr u32 kTransaction = 0x5ea31e55;

void put8(u32 offset, u8 value) { store8(Device::local(kOut + kVirtioHeader + offset), value); }

// In network order.
void put(u32 offset, u64 value, u32 bytes)
{
    for (u32 i = 0; i < bytes; ++i)
        put8(offset + i, static_cast<u8>(value >> (8 * (bytes - 1 - i))));
}

u32 get(u32 offset, u32 bytes)
{
    u32 value = 0;
    for (u32 i = 0; i < bytes; ++i)
        value = value << 8 | (load8(Device::local(kIn + kVirtioHeader + offset + i)) & 0xff);
    return value;
}

u16 ip_checksum()
{
    u32 sum = 0;
    for (u32 i = 0; i < 20; i += 2) {
        const u64 at = Device::local(kOut + kVirtioHeader + kIp + i);
        sum += static_cast<u32>((load8(at) & 0xff) << 8 | (load8(at + 1) & 0xff));
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return static_cast<u16>(~sum);
}

// DHCPDISCOVER, to everybody; returns the size of the frame.
u32 discover()
{
    for (u32 i = 0; i < 0x200; ++i)
        store8(Device::local(kOut + i), 0);
    const struct {
        u32 offset;
        u64 value;
        u32 bytes;
    } fields[] = {
        {0, 0xffffffffffff, 6},                      // to
        {6, 0x525400123456, 6},                      // from
        {12, 0x0800, 2},                             // IPv4
        {kIp, 0x4500, 2},                            //
        {kIp + 2, 28 + kDhcpSize, 2},                // its length
        {kIp + 8, 0x4011, 2},                        // hops; UDP
        {kIp + 16, 0xffffffff, 4},                   // to everybody
        {kUdp, 0x00440043, 4},                       // ports
        {kUdp + 4, 8 + kDhcpSize, 2},                // length; no checksum
        {kDhcp, 0x01010600, 4},                      // a request over Ethernet
        {kDhcp + 4, kTransaction, 4},                //
        {kDhcp + 28, 0x525400123456, 6},             //
        {kDhcp + 236, 0x6382536335010100 | 0xff, 8}, // options: DHCPDISCOVER, no more
    };
    for (const auto& f : fields)
        put(f.offset, f.value, f.bytes);
    put(kIp + 10, ip_checksum(), 2);
    return kDhcp + kDhcpSize;
}

void network()
{
    Device device(kNetwork);
    const bool there = device.read(8) == 1;
    check(there, "there is a network device");
    if (!there)
        return;
    device.start(2);
    device.offer({{kIn, kInSize, kWrite}}, kReceive);
    const u32 size = discover();
    check(device.send({{kOut, kVirtioHeader, 0}, {kOut + kVirtioHeader, size, 0}}, kTransmit),
          "a frame is sent");
    check(device.returned(kReceive), "and one comes back");
    check(device.written(kReceive) > kVirtioHeader + kDhcp + 240, "as large as DHCP's are");
    check_equal(get(12, 2), 0x0800, "it is IPv4");
    check_equal(get(kUdp + 2, 2), 68, "for a DHCP client");
    check_equal(get(kDhcp + 4, 4), kTransaction, "which asked");
    check_equal(get(kDhcp + 16, 4), 0x0a00020f, "and offers 10.0.2.15");
}

char upper(u8 c) { return static_cast<char>(c >= 'a' && c <= 'z' ? c - 0x20 : c); }

void console()
{
    Device device(kConsole);
    check_equal(device.read(8), 3, "there is a console");
    device.start(2);
    for (bool more = true; more;) {
        device.offer({{kIn, 16, kWrite}}, kReceive);
        if (!device.returned(kReceive))
            return check(false, "input comes");
        const u32 count = device.written(kReceive);
        for (u32 i = 0; i < count; ++i) {
            const u8 c = static_cast<u8>(load8(Device::local(kIn + i)));
            store8(Device::local(kOut + i), static_cast<u8>(upper(c)));
            more = more && c != '.';
        }
        check(device.send({{kOut, count, 0}}, kTransmit), "output goes");
    }
}

} // namespace

bool guest_main(const Machine& machine)
{
    map_virtio(machine);
    network();
    console();
    return failures() == 0;
}

} // namespace seamless::guest
