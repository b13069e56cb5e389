// SPDX-License-Identifier: Apache-2.0
// The command line of Seamless.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fmt/format.h>

#include "cli/commands.h"

namespace seamless::cli {

int complain(const Message& message, int status)
{
    fmt::print(stderr, "seamless: {}\n", message.text);
    return status;
}

namespace {

void add_run(CLI::App& app, RunOptions& o)
{
    CLI::App* run = app.add_subcommand("run", "Build a machine and run it until it ends");
    run->add_option("--vm", o.vm, "Kind of VM")->check(CLI::IsMember({"td", "plain"}))->capture_default_str();
    run->add_option("--firmware", o.firmware,
                    "TDVF image (default: what is built in: the demo, or what boots --kernel)");
    CLI::Option* kernel =
        run->add_option("--kernel", o.kernel, "Linux kernel (bzImage) that the firmware boots");
    run->add_option("--initrd", o.initrd, "Initial RAM disk for the kernel")->needs(kernel);
    run->add_option("--append", o.append, "Command line for the kernel")->needs(kernel);
    run->add_option("--memory", o.memory, "RAM, as 512M or 2G; a bare number counts MiB")
        ->capture_default_str();
    run->add_option("--cpus", o.cpus, "Number of processors")->capture_default_str();
    run->add_option("--serial", o.serial,
                    "First serial port: stdio, null, pty (whose name it prints) or file:NAME")
        ->capture_default_str();
    run->add_option("--console", o.console,
                    "Virtio console (hvc0): as --serial; on stdio it gets the terminal's keys instead of the "
                    "serial port");
    run->add_option("--debugcon", o.debugcon,
                    "Debug console at ports 0xe9 and 0x402, where firmware and early kernels print: stdio, "
                    "stderr, null\nor file:NAME (default: there is none)");
    run->add_option("--disk", o.disks, "Virtio disk: FILE[,ro], a raw image (repeatable)")
        ->expected(1)
        ->take_all();
    run->add_option("--net", o.net,
                    "Virtio network: none, or user[,hostfwd=tcp:[ADDRESS]:PORT-[ADDRESS]:PORT]...; the guest "
                    "reaches\nthe host as 10.0.2.2")
        ->capture_default_str();
    run->add_option("--device", o.devices, "Add a device: testdev,gpa=ADDRESS,size=BYTES (repeatable)")
        ->expected(1)
        ->take_all();
    run->add_option(
        "--trace", o.trace,
        "Write a trace: NAME[:event,event...]; NAME.jsonl JSON lines, NAME.json for Perfetto, else text");
    run->add_option("--symbols", o.symbols,
                    "Names for the guest's addresses in reports: System.map, what nm prints, or an ELF file");
    run->add_option("--gdb", o.gdb,
                    "Let gdb connect to [HOST:]PORT (on loopback unless a host is named; port 0: a free one, "
                    "which is\nprinted) and debug the guest, TDs included: docs/debugging.md");
    run->add_flag("-s", o.gdb_default, "The same as --gdb 1234");
    run->add_flag("-S", o.gdb_wait, "The guest's first instruction waits for gdb, which says `continue`");
    run->add_option("--platform-key", o.platform_key,
                    "File of 32 bytes: the key of the platform's TDREPORTs. Runs with the same key are one "
                    "platform,\nand verify each other's reports (default: a random key)");
    run->add_option(
           "--engine", o.engine,
           "full, or step for one instruction at a time. To hunt a bug of Seamless, full without "
           "some of its\noptimizations: full,no-inline-tlb,no-inline-flags-live,no-dead-flags,no-links,"
           "no-calls,no-jump-cache,no-returns,no-stretches,no-translation-cache; with count-instructions, "
           "for --json")
        ->capture_default_str();
    run->add_option("--log", o.log, "Write Seamless's own messages to this file too, those of -v included");
    run->add_flag("-v", o.verbose, "Say what Seamless does: what it loads, builds and starts");
    run->add_option("--timeout", o.timeout, "End the run after this many seconds")
        ->check(CLI::PositiveNumber);
    run->add_flag(
        "--no-reboot", o.no_reboot,
        "End the run where a plain VM would be reset, with status 8; a TD cannot be reset and always does");
    run->add_flag(
        "--json", o.json,
        "At the end, print on stdout, as one JSON object, how the run ended and what it took: VM exits, "
        "blocks\ntranslated and, with --engine step or full,count-instructions, instructions");
    run->footer(
        "Exit status: 0 the guest powered off; ((v << 1) | 1) & 255 it wrote v to port 0xf4; 2 wrong usage "
        "or input;\n"
        "4 timeout; 6 the guest died; 8 it asked for a reset (a TD, or --no-reboot); 70 a bug of Seamless; "
        "128 + n signal n.");
}

CLI::App* add_measure(CLI::App& app, MeasureOptions& o)
{
    CLI::App* measure = app.add_subcommand(
        "measure", "Print the MRTD of a TD built from a firmware image; with a kernel also RTMR0 to "
                   "RTMR2 as the\nbuilt-in firmware extends them");
    measure->add_option("--firmware", o.firmware, "TDVF image (default: what is built in)");
    CLI::Option* kernel = measure->add_option("--kernel", o.kernel, "Linux kernel (bzImage)");
    measure->add_option("--initrd", o.initrd, "Initial RAM disk for the kernel")->needs(kernel);
    measure->add_option("--append", o.append, "Command line for the kernel")->needs(kernel);
    measure->add_option("--cpus", o.cpus, "Number of processors, which RTMR0 depends on")->needs(kernel);
    measure->add_flag("--json", o.json, "Print one JSON object");
    return measure;
}

CLI::App* add_trace(CLI::App& app, TraceOptions& o)
{
    CLI::App* trace = app.add_subcommand("trace", "Look at a recorded trace");
    trace->add_option("file", o.file, "A trace in JSON lines (NAME.jsonl)")->required();
    trace->add_option("--html", o.html,
                      "Write a page for browsers: the flow of each access as a sequence diagram, a timeline, "
                      "tables\nof MMIO pages and instructions, costs; one file, no network");
    trace->add_option("--perfetto", o.perfetto,
                      "Write Chrome's trace events, for https://ui.perfetto.dev and chrome://tracing");
    trace->add_flag("--summary", o.summary, "Print MMIO accesses and #VEs by instruction (the default)");
    trace->add_option("--symbols", o.symbols,
                      "Names for the guest's addresses: System.map, what nm prints, or an ELF file");
    return trace;
}

// What is after the program's name, last word first, as CLI11 wants it.
std::vector<std::string> arguments(int argc, char** argv)
{
    std::vector<std::string> words(argv + std::min(argc, 1), argv + argc);
    if (!words.empty() && words.front() == "run") {
        std::vector<std::string> rest = from_qemu_spelling(std::span(words).subspan(1));
        words.resize(1);
        words.insert(words.end(), rest.begin(), rest.end());
    }
    std::reverse(words.begin(), words.end());
    return words;
}

int dispatch(int argc, char** argv)
{
    CLI::App app{"Seamless: KVM with Intel TDX, in user space"};
    app.set_version_flag("--version", SEAMLESS_VERSION);
    app.require_subcommand(1);
    RunOptions run;
    add_run(app, run);
    MeasureOptions measure_options;
    CLI::App* measure = add_measure(app, measure_options);
    bool json = false;
    CLI::App* caps = app.add_subcommand("caps", "Print what the simulated machine offers");
    caps->add_flag("--json", json, "Print one JSON object");
    TraceOptions trace_options;
    CLI::App* trace = add_trace(app, trace_options);
    try {
        app.parse(arguments(argc, argv));
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kUsage;
    }
    if (app.got_subcommand(measure))
        return measure_command(measure_options);
    if (app.got_subcommand(trace))
        return trace_command(trace_options);
    if (app.got_subcommand(caps))
        return caps_command(json);
    return run_command(run);
}

} // namespace
} // namespace seamless::cli

int main(int argc, char** argv)
{
    try {
        return seamless::cli::dispatch(argc, argv);
    } catch (const std::exception& error) {
        return seamless::cli::complain({error.what()}, seamless::cli::kOurBug);
    }
}
