// SPDX-License-Identifier: Apache-2.0
// The options, each with the type of its value. `FILE...` completes files, `a|b` these words, and `EVENT`
// behind a colon names of trace events.
#include "cli/command_line.h"

#include <CLI/CLI.hpp>

namespace seamless::cli {
namespace {

void add_run(CLI::App& app, RunOptions& o)
{
    CLI::App* run = app.add_subcommand("run", "Build a machine and run it until it ends");
    run->add_option("--vm", o.vm, "Kind of VM: a trust domain, or a VM without TDX")
        ->check(CLI::IsMember({"td", "plain"}).description(""))
        ->type_name("td|plain")
        ->capture_default_str();
    run->add_option("--firmware", o.firmware,
                    "TDVF image (default: what is built in: the demo, or what boots --kernel)")
        ->type_name("FILE");
    CLI::Option* kernel =
        run->add_option("--kernel", o.kernel, "Linux kernel (bzImage) that the firmware boots")
            ->type_name("FILE");
    run->add_option("--initrd", o.initrd, "Initial RAM disk for the kernel")
        ->needs(kernel)
        ->type_name("FILE");
    run->add_option("--append", o.append, "Command line for the kernel")->needs(kernel)->type_name("TEXT");
    run->add_option("--memory", o.memory, "RAM, as 512M or 2G; a bare number counts MiB")
        ->capture_default_str()
        ->type_name("SIZE");
    run->add_option("--cpus", o.cpus, "Number of processors")->capture_default_str()->type_name("N");
    run->add_option("--serial", o.serial,
                    "First serial port: stdio, null, pty (whose name it prints) or file:NAME")
        ->capture_default_str()
        ->type_name("stdio|null|pty|file:NAME");
    run->add_option("--console", o.console,
                    "Virtio console (hvc0): as --serial; on stdio it gets the terminal's keys instead of the "
                    "serial port")
        ->type_name("stdio|null|file:NAME");
    run->add_option("--debugcon", o.debugcon,
                    "Debug console at ports 0xe9 and 0x402, where firmware and early kernels print: stdio, "
                    "stderr, null\nor file:NAME (default: there is none)")
        ->type_name("stdio|stderr|null|file:NAME");
    run->add_option("--disk", o.disks, "Virtio disk: FILE[,ro], a raw image (repeatable)")
        ->expected(1)
        ->take_all()
        ->type_name("FILE[,ro]");
    run->add_option("--net", o.net,
                    "Virtio network: none, or user[,hostfwd=tcp:[ADDRESS]:PORT-[ADDRESS]:PORT]...; the guest "
                    "reaches\nthe host as 10.0.2.2")
        ->capture_default_str()
        ->type_name("none|user[,hostfwd=...]");
    run->add_option("--device", o.devices, "Add a device: testdev,gpa=ADDRESS,size=BYTES (repeatable)")
        ->expected(1)
        ->take_all()
        ->type_name("testdev,gpa=ADDRESS,size=BYTES");
    run->add_option(
           "--trace", o.trace,
           "Write a trace: NAME[:event,event...]; NAME.jsonl JSON lines, NAME.json for Perfetto, else text")
        ->type_name("FILE[:EVENT,...]");
    run->add_option("--symbols", o.symbols,
                    "Names for the guest's addresses in reports: System.map, what nm prints, or an ELF file")
        ->type_name("FILE");
    run->add_option("--gdb", o.gdb,
                    "Let gdb connect to [HOST:]PORT (on loopback unless a host is named; port 0: a free one, "
                    "which is\nprinted) and debug the guest, TDs included: docs/debugging.md")
        ->type_name("[HOST:]PORT");
    run->add_flag("-s", o.gdb_default, "The same as --gdb 1234");
    run->add_flag("-S", o.gdb_wait, "The guest's first instruction waits for gdb, which says `continue`");
    run->add_option("--platform-key", o.platform_key,
                    "File of 32 bytes: the key of the platform's TDREPORTs. Runs with the same key are one "
                    "platform,\nand verify each other's reports (default: a random key)")
        ->type_name("FILE");
    run->add_option(
           "--engine", o.engine,
           "full, or step for one instruction at a time. To hunt a bug of Seamless, full without "
           "some of its\noptimizations: full,no-inline-tlb,no-inline-flags-live,no-dead-flags,no-links,"
           "no-far-links,no-calls,no-inline-system,no-jump-cache,no-returns,no-stretches,"
           "no-translation-cache; with count-instructions, for --json")
        ->capture_default_str()
        ->type_name("full|step");
    run->add_option("--log", o.log, "Write Seamless's own messages to this file too, those of -v included")
        ->type_name("FILE");
    run->add_flag("-v", o.verbose, "Say what Seamless does: what it loads, builds and starts");
    run->add_option("--timeout", o.timeout, "End the run after this many seconds")
        ->check(CLI::Validator(CLI::PositiveNumber).description(""))
        ->type_name("SECONDS");
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
    measure->add_option("--firmware", o.firmware, "TDVF image (default: what is built in)")
        ->type_name("FILE");
    CLI::Option* kernel =
        measure->add_option("--kernel", o.kernel, "Linux kernel (bzImage)")->type_name("FILE");
    measure->add_option("--initrd", o.initrd, "Initial RAM disk for the kernel")
        ->needs(kernel)
        ->type_name("FILE");
    measure->add_option("--append", o.append, "Command line for the kernel")
        ->needs(kernel)
        ->type_name("TEXT");
    measure->add_option("--cpus", o.cpus, "Number of processors, which RTMR0 depends on")
        ->needs(kernel)
        ->type_name("N");
    measure->add_flag("--json", o.json, "Print one JSON object");
    return measure;
}

CLI::App* add_trace(CLI::App& app, TraceOptions& o)
{
    CLI::App* trace = app.add_subcommand("trace", "Look at a recorded trace");
    trace->add_option("file", o.file, "A trace in JSON lines (NAME.jsonl)")->required()->type_name("FILE");
    trace
        ->add_option("--html", o.html,
                     "Write a page for browsers: the flow of each access as a sequence diagram, a timeline, "
                     "tables\nof MMIO pages and instructions, costs; one file, no network")
        ->type_name("FILE");
    trace->add_option("--perfetto", o.perfetto, "Write Chrome's trace events, for https://ui.perfetto.dev")
        ->type_name("FILE");
    trace->add_flag("--summary", o.summary, "Print MMIO accesses and #VEs by instruction (the default)");
    trace
        ->add_option("--symbols", o.symbols,
                     "Names for the guest's addresses: System.map, what nm prints, or an ELF file")
        ->type_name("FILE");
    return trace;
}

} // namespace

CommandLine::CommandLine() : app(std::make_unique<CLI::App>("Seamless: KVM with Intel TDX, in user space"))
{
    app->set_version_flag("--version", SEAMLESS_VERSION);
    app->require_subcommand(1);
    add_run(*app, run);
    measure_command = add_measure(*app, measure);
    caps_command = app->add_subcommand("caps", "Print what the simulated machine offers");
    caps_command->add_flag("--json", caps_json, "Print one JSON object");
    trace_command = add_trace(*app, trace);
    generate_command =
        app->add_subcommand("generate", "Write man pages and shell completion from the options");
    generate_command->group(""); // for the build, not for people: --help leaves it out
    generate_command->add_option("folder", generate_folder, "Where to write")->required();
}

CommandLine::~CommandLine() = default;

std::optional<int> CommandLine::parse(std::vector<std::string> words)
{
    try {
        app->parse(std::move(words));
    } catch (const CLI::ParseError& error) {
        return app->exit(error) == 0 ? 0 : kUsage;
    }
    return std::nullopt;
}

bool CommandLine::chosen(const CLI::App* command) const { return app->got_subcommand(command); }

} // namespace seamless::cli
