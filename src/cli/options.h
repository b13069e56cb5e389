// SPDX-License-Identifier: Apache-2.0
// What the command line says, and the reading of its values: sizes, devices, serial ports, traces.
#pragma once

#include <array>
#include <bitset>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "vmm/machine_plan.h"
#include "vmm/user_network.h"

namespace seamless::cli {

inline constexpr int kUsage = 2; // exit status of wrong usage or input
inline constexpr int kOurBug = 70;

struct RunOptions {
    std::string vm = "td";
    std::string firmware; // empty: what is built in
    std::string kernel;   // empty: none, as for the two that follow
    std::string initrd;
    std::string append;
    std::string memory = "512M";
    unsigned cpus = 1;
    std::string serial = "stdio";
    std::string console;  // empty: no virtio console
    std::string debugcon; // empty: no debug console
    std::string log;      // empty: no file
    bool verbose = false;
    std::vector<std::string> disks;
    std::string net = "user";
    std::vector<std::string> devices;
    std::string symbols; // empty: none
    std::string trace;
    std::string gdb;          // empty: no port for gdb
    bool gdb_default = false; // -s
    bool gdb_wait = false;    // -S
    std::string platform_key; // empty: a random key
    std::string engine = "full";
    double timeout = 0;
    bool no_reboot = false;
    bool json = false;
};

struct MeasureOptions {
    std::string firmware; // these as for a run
    std::string kernel;
    std::string initrd;
    std::string append;
    unsigned cpus = 1;
    bool json = false;
};

struct SerialTarget {
    enum class Kind : u8 { stdio, stderr_, null, file } kind = Kind::stdio;
    std::string path;
};

struct DiskOption {
    std::string path;
    bool read_only = false;
};

struct NetOption {
    bool user = false; // else none
    std::vector<vmm::HostForward> forwards;
};

struct TraceTarget {
    std::string path;
    std::bitset<64> events;
};

// "4096", "0x1000", "512M". `unit` is what a number without a suffix counts.
[[nodiscard]] Result<u64, Message> parse_size(std::string_view option, std::string_view text, u64 unit);
// "testdev,gpa=A,size=N".
[[nodiscard]] Result<vmm::MemoryRange, Message> parse_device(std::string_view text);
// "stdio", "null", "file:F", for --debugcon also "stderr"; "pty" is not for a target that only takes.
[[nodiscard]] Result<SerialTarget, Message> parse_serial(std::string_view option, std::string_view text);
// "F" or "F,ro".
[[nodiscard]] DiskOption parse_disk(std::string_view text);
// "none", or "user" with ",hostfwd=tcp:[ADDRESS]:PORT-[ADDRESS]:PORT" any number of times.
[[nodiscard]] Result<NetOption, Message> parse_net(std::string_view text);
// "F" or "F:name,name".
[[nodiscard]] Result<TraceTarget, Message> parse_trace(std::string_view text);

// The 32 bytes of a file that --platform-key names; nothing without a name.
[[nodiscard]] Result<std::optional<std::array<u8, 32>>, Message> read_platform_key(const std::string& path);

[[nodiscard]] Result<std::vector<u8>, Message> read_file(const std::string& path);

// The words after "run" as our options: QEMU's spellings, which people type by habit, become ours.
[[nodiscard]] std::vector<std::string> from_qemu_spelling(std::span<const std::string> words);

// `text` as a JSON string, quotes included.
[[nodiscard]] std::string json_string(std::string_view text);

} // namespace seamless::cli
