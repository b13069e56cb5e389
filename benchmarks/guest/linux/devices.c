// SPDX-License-Identifier: Apache-2.0
// Throughput and latency of the first disk, without the kernel's cache, and of a TCP connection to the host's
// server, whose port is in BENCH_PORT. benchmarks/peers.py makes the disk's content and is the server.
#define _GNU_SOURCE
#include "work.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { sector = 4096, chunk = 1 << 20, disk_size = 32 << 20, accesses = 200 };
enum { streamed = 8 << 20, pings = 200 };

static uint8_t* buffer;
static int disk;
static int stream;

static void prepare_disk(void)
{
    buffer = allocate(chunk);
    disk = open("/dev/vda", O_RDWR | O_DIRECT);
    if (disk < 0)
        give_up("/dev/vda");
}

// The disk has in each 4 KiB their number, plus one.
static uint64_t right_sectors(uint64_t first, size_t size)
{
    uint64_t right = 0;
    for (size_t at = 0; at < size; at += sector) {
        uint64_t number;
        memcpy(&number, buffer + at, sizeof(number));
        right += number == first + at / sector + 1;
    }
    return right;
}

static uint64_t read_disk(void)
{
    uint64_t right = 0;
    for (off_t at = 0; at < disk_size; at += chunk) {
        memset(buffer, 0, chunk);
        if (pread(disk, buffer, chunk, at) != chunk)
            give_up("read");
        right += right_sectors((uint64_t)at / sector, chunk);
    }
    return right;
}

// Behind what the others read.
static uint64_t write_disk(void)
{
    uint64_t written = 0;
    memset(buffer, 0x5a, chunk);
    for (off_t at = 0; at < disk_size; at += chunk)
        if (pwrite(disk, buffer, chunk, disk_size + at) == chunk)
            written += chunk / sector;
    memset(buffer, 0, chunk);
    return pread(disk, buffer, chunk, disk_size) == chunk && buffer[chunk - 1] == 0x5a ? written : 0;
}

static uint64_t read_sectors(void)
{
    uint64_t state = 13;
    uint64_t right = 0;
    for (int i = 0; i < accesses; ++i) {
        const uint64_t number = next_random(&state) % (disk_size / sector);
        if (pread(disk, buffer, sector, (off_t)(number * sector)) == sector)
            right += right_sectors(number, sector);
    }
    return right;
}

static void prepare_stream(void)
{
    const char* port = getenv("BENCH_PORT");
    struct sockaddr_in host = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port ? port : "0"))};
    inet_pton(AF_INET, "10.0.2.2", &host.sin_addr);
    const int yes = 1;
    buffer = allocate(chunk);
    stream = socket(AF_INET, SOCK_STREAM, 0);
    if (stream < 0 || setsockopt(stream, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) ||
        connect(stream, (const struct sockaddr*)&host, sizeof(host)))
        give_up("connect");
}

static void say(char what)
{
    if (write(stream, &what, 1) != 1)
        give_up("send");
}

// The server sends the bytes 0 to 250 again and again.
static uint64_t receive(void)
{
    uint64_t got = 0;
    uint64_t wrong = 0;
    say('R');
    while (got < streamed) {
        const ssize_t size = read(stream, buffer, chunk);
        if (size <= 0)
            give_up("receive");
        wrong += buffer[0] != got % 251;
        got += (uint64_t)size;
        wrong += buffer[size - 1] != (got - 1) % 251;
    }
    return got + wrong;
}

// Whole patterns of 251 bytes, and what is left at the end. The server says whether it got them.
static uint64_t transmit(void)
{
    enum { whole = chunk / 251 * 251 };
    for (size_t i = 0; i < whole; ++i)
        buffer[i] = (uint8_t)(i % 251);
    say('S');
    for (size_t sent = 0; sent < streamed;) {
        const size_t at = sent % whole;
        const size_t most = whole - at < streamed - sent ? whole - at : streamed - sent;
        const ssize_t size = write(stream, buffer + at, most);
        if (size <= 0)
            give_up("send");
        sent += (size_t)size;
    }
    uint8_t right = 0;
    return read(stream, &right, 1) == 1 && right == 1 ? streamed : 0;
}

static uint64_t ping(void)
{
    uint64_t right = 0;
    for (int i = 0; i < pings; ++i) {
        char answer = 0;
        say('P');
        right += read(stream, &answer, 1) == 1 && answer == 'P';
    }
    return right;
}

// clang-format off
const struct benchmark device_benchmarks[] = {
    {.name = "disk_read",   .item = "byte",   .prepare = prepare_disk,   .run = read_disk,    .items = disk_size, .want = disk_size / sector},
    {.name = "disk_write",  .item = "byte",   .prepare = prepare_disk,   .run = write_disk,   .items = disk_size, .want = disk_size / sector},
    {.name = "disk_4k",     .item = "read",   .prepare = prepare_disk,   .run = read_sectors, .items = accesses,  .want = accesses},
    {.name = "net_receive", .item = "byte",   .prepare = prepare_stream, .run = receive,      .items = streamed,  .want = streamed},
    {.name = "net_send",    .item = "byte",   .prepare = prepare_stream, .run = transmit,     .items = streamed,  .want = streamed},
    {.name = "net_ping",    .item = "answer", .prepare = prepare_stream, .run = ping,         .items = pings,     .want = pings},
    {.name = NULL},
};
// clang-format on
