// SPDX-License-Identifier: Apache-2.0
// Translates and runs guest code on one logical processor. In step mode a block is one instruction and every
// memory access goes through C++; the path from bytes to host code is the same.
#pragma once

#include <functional>
#include <memory>

#include "cpu/code_pages.h"
#include "cpu/fault.h"
#include "cpu/processor.h"
#include "cpu/translate/code_cache.h"
#include "cpu/translate/emitter.h"
#include "cpu/translate/far_links.h"
#include "cpu/translate/frame.h"

namespace seamless::cpu {

// How an instruction of C++ in the middle of a block went: the block goes on; or RIP says where the guest
// does, and something has to be looked at first.
enum class InBlock : u8 { on, leave };

// What the engine asks of the processor it belongs to.
class EnginePort {
  public:
    // This processor is about to translate code of `host_page`: when this returns, no TLB of the package may
    // write there unnoticed.
    virtual void protect_code(u64 host_page) = 0;
    // Between these two no other processor executes guest code.
    virtual void stop_others() = 0;
    virtual void resume_others() = 0;
    // An instruction of C++ in the middle of a block, with RIP at it.
    [[nodiscard]] virtual Result<InBlock, Fault> execute(const decode::Instruction& insn) = 0;
    // One that ends its block. True: RIP is where the guest goes on, and nothing has to be looked at before.
    [[nodiscard]] virtual Result<bool, Fault> execute_last(const decode::Instruction& insn) = 0;
    // An instruction of a block has raised what the fault record says; RIP is at it. Likewise.
    [[nodiscard]] virtual Result<bool, Fault> raise_last() = 0;
    // What RDTSC and RDTSCP give from now on, until the engine is stirred: the guest may read it.
    [[nodiscard]] virtual base::TscLine guest_tsc_line() = 0;
    // An access found that the host has taken this memory away. Async-signal-safe.
    virtual Fault host_memory_gone(Hpa host) = 0;

  protected:
    ~EnginePort() = default;
};

class Engine {
  public:
    [[nodiscard]] static Result<std::unique_ptr<Engine>, Message>
    create(EngineMode mode, const Optimizations& optimizations, Frame& frame, Mmu& mmu, FaultRecord& record,
           EnginePort& port);
    ~Engine();

    // Called when a run of guest code begins and ends: GS and the extended state are the guest's in between.
    void enter(XsaveArea& xsave);
    void leave();
    // XCR0 changed.
    void set_extended_mask(u64 xcr0);

    // Runs from state.rip until a block ends by itself. A returned instruction waits for its C++ function,
    // with state.rip at it; nullptr: the next block may run. `alone`: one instruction, nothing behind it.
    [[nodiscard]] Result<const decode::Instruction*, Fault> run(bool alone);

    // The run has ended behind an instruction of C++, with all the state that leaves.
    [[nodiscard]] bool executed_last() const { return executed_last_; }

    // `host_page` was written, or is about to be: its blocks are never entered again, and the one that runs
    // now is left after the instruction that writes.
    void drop_page(u64 host_page);
    // The page has become executable: blocks whose bytes have changed since are dropped, for others than
    // guests write too. Looked at once between two suspicions, and whenever a walk has `found` it.
    void verify_page(u64 host_page, bool found);
    void suspect_code() { ++suspicions_; }
    // What leads to code on this linear page must be found again.
    void forget_jumps(Gva page);

    // Where a debugger wants guests to stop (nullptr: nowhere); another version, other breakpoints.
    void set_debug_points(const DebugPoints* points, u64 version);

    // Of the instruction that run() stopped at, or that faulted: its bytes, as far as they are known.
    [[nodiscard]] std::span<const u8> last_bytes() const { return last_bytes_; }
    // Its length; 0 where it could not be fetched.
    [[nodiscard]] unsigned last_length() const { return static_cast<unsigned>(last_bytes_.size()); }

    [[nodiscard]] u64 translations() const { return translations_; }
    [[nodiscard]] u64 instructions() const { return instructions_ + frame_.retired; }

  private:
    Engine(EngineMode mode, const Optimizations& optimizations, Frame& frame, Mmu& mmu, FaultRecord& record,
           EnginePort& port, std::unique_ptr<CodeCache> cache);

    [[nodiscard]] Result<Block*, Fault> find_or_translate(bool alone);
    [[nodiscard]] Result<Block*, Fault> translate(Hpa start, const ModeWord& mode);
    [[nodiscard]] std::vector<decode::Instruction> scan(Gva gva, const ModeWord& mode,
                                                        Result<void, Fault>& first);
    [[nodiscard]] EmitOptions options_for(const ModeWord& mode) const;
    void emit_block(Block& block, std::span<const decode::Instruction> insns, const ModeWord& mode,
                    u64 offset);
    [[nodiscard]] bool flags_live_at(Gva page, u64 offset, const ModeWord& mode);
    [[nodiscard]] bool unchanged(const Block& block) const;
    [[nodiscard]] Result<bool, Fault> valid(const Block& block, Gva gva);
    void drop_block(Block& block);
    void drop_if(u64 host_page, const std::function<bool(const Block&)>& which);
    void forget_jumps();
    void forget_returns();
    void drop_or_postpone(Block& block);
    void drop_all_code();
    void free_removed_code();
    void follow(Block& block); // links or caches the way that led to `block`
    void follow_far(const LinkSite& site, Block& block);
    void unlink_far(Block& block);
    void end_far_links(unsigned set);
    [[nodiscard]] u32 emit_exit_at(u16 offset, u32 key);
    // The guest bytes at RIP, up to 15; stops early at a page that cannot be fetched.
    [[nodiscard]] Result<unsigned, Fault> fetch(Gva gva, std::span<u8, ZYDIS_MAX_INSTRUCTION_LENGTH> out);
    [[nodiscard]] Result<decode::Instruction, Fault> fetch_and_decode(Gva gva, decode::CodeSize size,
                                                                      bool look_ahead);
    [[nodiscard]] ModeWord mode_word() const;
    [[nodiscard]] u32 jump_key(const ModeWord& mode) const;
    [[nodiscard]] Fault raise(spec::Vector vector, u32 error_code);

    static u8* refill(Mmu* mmu, u64 gva, u32 packed, u32 set);
    static SlowResult slow_access(Frame* frame, u64 gva, u32 packed, u64 return_address);
    static SlowResult call_system(Frame* frame, u64 call_address, u32 unused, u64 return_address);
    static SlowResult call_last(Frame* frame, u64 call_address, u32 unused, u64 return_address);
    void shadow_behind_sti();
    void stir();
    void open_tsc();
    void open_crossing(const decode::Instruction& insn);
    void begin_call(const SystemCall& call, u64 return_address);
    void end_call();
    void take_flags();
    [[nodiscard]] SlowResult fault_last(Fault fault);
    [[nodiscard]] SlowResult go_on(const Result<bool, Fault>& on);
    [[nodiscard]] bool can_stay() const;
    static SlowResult commit_bounce(Frame* frame, u64 gva, u32 packed, u64 return_address);
    [[nodiscard]] Result<SlowResult, Fault> access(Gva gva, const AccessInfo& info);
    // bounce.cpp: an access in two host pages runs on a copy.
    [[nodiscard]] Result<SlowResult, Fault> bounce(Hpa first, Hpa second, Gva gva, const AccessInfo& info);
    [[nodiscard]] Result<void, Fault> write_back();
    void remember(const AccessInfo& info);
    void undo();
    [[nodiscard]] Result<const decode::Instruction*, Fault> left(ExitCode code);
    void resume_others(); // where a LOCKed access stopped them
    void fault_in_block(u64 host_address, u16 index);
    void past_first(); // an instruction of the block has completed

    // A host signal in translated code. True if it was the guest's fault: the context then leads out of the
    // block.
    [[nodiscard]] bool host_fault(void* context);
    void take_registers(void* context, const NativeRange& range);
    static void on_signal(int signal, void* info, void* context);
    static void install_signal_handlers();

    EngineMode mode_;
    Frame& frame_;
    Mmu& mmu_;
    FaultRecord& record_;
    EnginePort& port_;
    std::unique_ptr<CodeCache> cache_;
    Stubs stubs_;
    EmitOptions options_;
    unsigned max_insns_;
    Fault pending_fault_{}; // what ExitCode::fault stands for
    std::span<const u8> last_bytes_;
    Hpa second_; // the page that the last instruction fetched reached into, or 0
    u8 fetched_[ZYDIS_MAX_INSTRUCTION_LENGTH] = {};
    u64 saved_gs_ = 0;
    bool drop_all_ = false;
    u64 jump_generations_[kTlbSets] = {}; // of the MMU, that each jump cache is of
    u32 jump_keys_[kTlbSets] = {};        // the mode that each jump cache is of
    const Block* left_ = nullptr;         // the block that the last way out belongs to
    ExitCode left_by_ = ExitCode::ended;
    u32 left_link_ = 0;
    u64 left_rip_ = 0; // and where that led
    FarLinks far_links_[kTlbSets];
    u64 in_access_ = 0;    // inside a slow access: where in translated code it was called from
    u16 access_index_ = 0; // and by which instruction of the block
    bool others_stopped_ = false;
    bool executed_last_ = false;
    u64 first_rip_ = 0; // where the run began: what is elsewhere has another instruction behind it
    // What an instruction on a copy found, for when the memory is gone before its result is there.
    struct Undo {
        u8 found[kBounceBytes];
        u64 gpr[spec::kGprCount];
        u64 host_flags;
        u8 x87[160]; // of the XSAVE image
        bool has_x87;
        u16 index; // of the instruction in its block
    } undo_;
    const DebugPoints* debug_points_ = nullptr;
    u64 debug_version_ = 0;
    std::vector<u64> debug_pages_; // host pages with blocks that were translated for them
    u64 suspicions_ = 0;
    u64 translations_ = 0;
    u64 instructions_ = 0; // beside Frame::retired

    static thread_local Engine* running_; // whose translated code a signal interrupts
};

} // namespace seamless::cpu
