// SPDX-License-Identifier: Apache-2.0
// Works backwards from linear addresses to register values.
#include "diff/placement.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace seamless::diff {
namespace {

using decode::Execution;
using decode::Instruction;
using decode::Operation;
using spec::Gpr;

constexpr u64 kMovBytes = 10; // MOV r64, imm64
constexpr u64 kBranchTargets = kCode + 0x1900, kBranchTargetBytes = 0x600;

unsigned number(ZydisRegister r) { return static_cast<unsigned>(ZydisRegisterGetId(r)); }

class Placer {
  public:
    Placer(const Instruction& insn, u64 at, bool alone, u64 fs_base, Rng& rng, Piece& out)
        : insn_(insn), at_(at), alone_(alone), fs_base_(fs_base), rng_(rng), out_(out)
    {}

    bool run()
    {
        if (insn_.execution == Execution::silent || insn_.operation == Operation::lea)
            return true; // address nothing
        if (insn_.execution == Execution::system)
            return system();
        if (insn_.execution == Execution::control)
            return control();
        if (insn_.z.mnemonic == ZYDIS_MNEMONIC_DIV || insn_.z.mnemonic == ZYDIS_MNEMONIC_IDIV)
            if (rng_.percent(60)) // or nearly all of them overflow
                set(Gpr::rdx, rng_.below(3));
        return !insn_.memory() || operand();
    }

  private:
    void set(unsigned r, u64 value)
    {
        for (auto& [old, old_value] : out_.registers)
            if (old == r) {
                old_value = value;
                return;
            }
        out_.registers.emplace_back(r, value);
    }
    void set(Gpr r, u64 value) { set(static_cast<unsigned>(r), value); }
    [[nodiscard]] u64 end() const { return at_ + kMovBytes * moves() + insn_.length(); }
    // A piece that is alone finds its registers in the initial state.
    [[nodiscard]] u64 moves() const { return alone_ ? 0 : out_.registers.size(); }
    [[nodiscard]] bool address32() const { return insn_.z.address_width == 32; }
    [[nodiscard]] bool names(ZydisRegister r, Gpr gpr) const
    {
        return r != ZYDIS_REGISTER_NONE && r != ZYDIS_REGISTER_RIP && r != ZYDIS_REGISTER_EIP &&
               number(r) == static_cast<unsigned>(gpr);
    }

    // In 32-bit addressing the upper half of a register must not matter.
    u64 address_value(u64 value) { return address32() ? (value & 0xffffffff) | rng_.next() << 32 : value; }

    u64 segment_base(ZydisRegister segment) const
    {
        return segment == ZYDIS_REGISTER_FS ? fs_base_ : segment == ZYDIS_REGISTER_GS ? kGsBase : 0;
    }

    // A linear address for `size` bytes: mostly plain, sometimes across pages or where it faults.
    u64 target(unsigned size, bool safe)
    {
        const u64 somewhere = kData + 512 + rng_.below(kDataBytes - 2048);
        const u64 inside = 1 + rng_.below(size);
        const u64 roll = safe ? rng_.below(65) : rng_.below(100);
        if (roll < 45)
            return somewhere & ~u64{63};
        if (roll < 65)
            return somewhere;
        if (roll < 78)
            return kData + kPageSize - inside;
        if (roll < 84)
            return kReadOnly + rng_.below(1024);
        if (roll < 88)
            return kReadOnly - inside;
        if (roll < 92)
            return kReadOnly + kPageSize + rng_.below(512);
        if (roll < 95)
            return kReadOnly + kPageSize - inside;
        if (roll < 98)
            return kData - inside;
        // Not canonical. The last page below is the host kernel's, with an error code to match.
        return bit(47) + 64 + (rng_.percent(50) ? rng_.next() & bits(46, 6) : 0);
    }

    bool patch(unsigned offset, unsigned size, u64 value)
    {
        if (offset == 0 || size == 0)
            return false;
        std::memcpy(out_.bytes.data() + offset, &value, size);
        return true;
    }

    // Puts the explicit memory operand at `linear`; returns where it really ended up.
    std::optional<u64> address(u64 linear, bool small)
    {
        const ZydisDecodedOperand& operand = *insn_.memory();
        const auto& mem = operand.mem;
        const u64 segment = segment_base(mem.segment);
        const u64 want = linear - segment;
        if (address32() && want >> 32)
            return std::nullopt;
        const auto& raw = insn_.z.raw.disp;
        i64 disp = raw.size ? raw.value : 0;
        if (mem.base == ZYDIS_REGISTER_RIP || mem.base == ZYDIS_REGISTER_EIP) {
            const i64 distance = static_cast<i64>(want - end());
            return static_cast<i32>(distance) == distance && patch(raw.offset, 4, static_cast<u64>(distance))
                       ? std::optional(linear)
                       : std::nullopt;
        }
        if (mem.base == ZYDIS_REGISTER_NONE && mem.index == ZYDIS_REGISTER_NONE) {
            if (raw.size < 64 && static_cast<u64>(static_cast<i32>(want)) != want && !address32())
                return std::nullopt;
            return patch(raw.offset, raw.size / 8u, want) ? std::optional(linear) : std::nullopt;
        }
        if (small && raw.size) {
            disp = static_cast<i64>(rng_.below(64));
            (void)patch(raw.offset, raw.size / 8u, static_cast<u64>(disp));
        }
        const i64 rest = static_cast<i64>(want) - disp;
        if (mem.index == ZYDIS_REGISTER_NONE) {
            set(number(mem.base), address_value(static_cast<u64>(rest)));
            return linear;
        }
        if (mem.base == ZYDIS_REGISTER_NONE || mem.base == mem.index) {
            const i64 factor = mem.scale + (mem.base == mem.index ? 1 : 0);
            const i64 value = rest / factor;
            set(number(mem.index), address_value(static_cast<u64>(value)));
            return linear - static_cast<u64>(rest - value * factor);
        }
        const u64 index = small ? rng_.below(16) : rng_.percent(50) ? rng_.below(64) : rng_.integer();
        set(number(mem.index), address_value(index));
        set(number(mem.base), address_value(static_cast<u64>(rest) - index * mem.scale));
        return linear;
    }

    bool operand()
    {
        const ZydisDecodedOperand& memory = *insn_.memory();
        const unsigned size = std::max(1u, insn_.memory_size());
        const bool bits = bit_string();
        if (bits && !bit_offset(memory))
            return false;
        const bool safe = bits || masked();
        const std::optional<u64> at = address(target(size, safe), false);
        if (!at)
            return false;
        x87_environment(*at);
        return true;
    }

    [[nodiscard]] bool bit_string() const
    {
        const auto m = insn_.z.mnemonic;
        return (m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR ||
                m == ZYDIS_MNEMONIC_BTC) &&
               insn_.operands[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
    }

    // The register moves the address by up to 400 bytes either way.
    bool bit_offset(const ZydisDecodedOperand& memory)
    {
        const unsigned r = number(insn_.operands[1].reg.value);
        if (memory.mem.base != ZYDIS_REGISTER_RIP && memory.mem.base != ZYDIS_REGISTER_EIP)
            for (const ZydisRegister used : {memory.mem.base, memory.mem.index})
                if (used != ZYDIS_REGISTER_NONE && number(used) == r)
                    return false;
        const u64 offset = rng_.below(6400) - 3200;
        const unsigned width = insn_.z.operand_width;
        set(r, truncate(offset, width / 8u) | (width == 64 ? 0 : rng_.next() << width));
        return true;
    }

    // Known gap of the processor: no fault is suppressed for elements that the mask leaves out.
    [[nodiscard]] bool masked() const
    {
        switch (insn_.z.mnemonic) {
        case ZYDIS_MNEMONIC_VMASKMOVPS:
        case ZYDIS_MNEMONIC_VMASKMOVPD:
        case ZYDIS_MNEMONIC_VPMASKMOVD:
        case ZYDIS_MNEMONIC_VPMASKMOVQ:
            return true;
        default:
            return insn_.z.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX;
        }
    }

    // DEVIATION of the processor: x87 instruction and operand pointers are not the guest's, so what stores
    // them is compared without them, and nothing may read them. Microcode makes the accesses of these four in
    // an order of its own, and leaves what it wrote before a fault.
    void x87_environment(u64 at)
    {
        const auto m = insn_.z.mnemonic;
        if (m != ZYDIS_MNEMONIC_FNSTENV && m != ZYDIS_MNEMONIC_FNSAVE && m != ZYDIS_MNEMONIC_FLDENV &&
            m != ZYDIS_MNEMONIC_FRSTOR)
            return;
        out_.last = true;
        out_.mask.fault_offset = true;
        if (m == ZYDIS_MNEMONIC_FLDENV || m == ZYDIS_MNEMONIC_FRSTOR)
            return;
        const bool short_form = insn_.z.operand_width == 16;
        out_.mask.data_begin = at + (short_form ? 6 : 12);
        out_.mask.data_end = at + (short_form ? 14 : 28);
    }

    void word(u64 at, u64 value) { out_.words.emplace_back(at, value); }

    bool control()
    {
        const bool pops = insn_.operation == Operation::pop || insn_.operation == Operation::ret;
        const bool branch = insn_.z.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
        if (insn_.operation == Operation::leave) {
            set(Gpr::rbp, target(8, false));
            return true;
        }
        const bool indirect =
            branch && (insn_.z.operand_count == 0 || insn_.operands[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE ||
                       insn_.operation == Operation::ret);
        if (indirect && !alone_)
            return false;
        out_.last = branch;
        const bool stack = insn_.operation == Operation::push || insn_.operation == Operation::call || pops;
        const ZydisDecodedOperand* memory = insn_.memory();
        const bool on_rsp =
            memory && (names(memory->mem.base, Gpr::rsp) || names(memory->mem.index, Gpr::rsp));
        if (stack && !on_rsp)
            set(Gpr::rsp, target(8, indirect) + (pops ? 0 : 8));
        if (memory) {
            const std::optional<u64> at = address(target(8, on_rsp || indirect), on_rsp);
            if (!at)
                return false;
            if (indirect)
                word(*at, branch_target());
            return true;
        }
        if (insn_.operation == Operation::ret) {
            word(out_.registers.back().second, branch_target());
            return true;
        }
        if (indirect) {
            if (names(insn_.operands[0].reg.value, Gpr::rsp))
                return false;
            set(number(insn_.operands[0].reg.value), branch_target());
            return true;
        }
        return !branch || relative();
    }

    u64 branch_target() { return kBranchTargets + rng_.below(kBranchTargetBytes); }

    // A relative branch goes forward, where INT3 waits; or to the next instruction, which is a block of its
    // own then.
    bool relative()
    {
        const auto& raw = insn_.z.raw.imm[0];
        if (insn_.operation != Operation::call && rng_.percent(50)) {
            out_.last = false;
            return patch(raw.offset, raw.size / 8u, 0);
        }
        out_.last = true;
        const u64 value = raw.size == 8 ? rng_.below(100) : branch_target() - end();
        return patch(raw.offset, raw.size / 8u, value);
    }

    bool system()
    {
        switch (insn_.operation) {
        case Operation::jcxz:
        case Operation::loop:
            if (repeats())
                return false; // to AMD these prefixes change the condition of LOOPE and LOOPNE
            set(Gpr::rcx, rng_.percent(60) ? address_value(rng_.below(3)) : rng_.integer());
            return relative();
        case Operation::enter:
            set(Gpr::rsp, target(8, rng_.percent(80)) + 8);
            set(Gpr::rbp, target(8, rng_.percent(80)));
            return patch(insn_.z.raw.imm[0].offset, 2,
                         rng_.percent(90) ? rng_.below(256) : rng_.below(65536));
        case Operation::pushf:
            set(Gpr::rsp, target(8, false) + 8);
            return true;
        case Operation::popf:
            if (!alone_)
                return false;
            set(Gpr::rsp, target(8, false));
            word(out_.registers.back().second, rng_.next() & (spec::rflags::kArithmetic | spec::rflags::DF));
            return true;
        case Operation::xlat:
            return implicit(Gpr::rbx, 1, false);
        case Operation::maskmov:
            return implicit(Gpr::rdi, 16, true); // whether bytes left out can fault is the host's choice
        case Operation::cld:
        case Operation::std:
            return true;
        case Operation::fxsave:
        case Operation::fxrstor:
            return fx_image();
        default:
            return string();
        }
    }

    [[nodiscard]] bool repeats() const
    {
        for (unsigned i = 0; i < insn_.z.raw.prefix_count; ++i)
            if (insn_.z.raw.prefixes[i].value == 0xf2 || insn_.z.raw.prefixes[i].value == 0xf3)
                return true;
        return false;
    }

    bool fx_image()
    {
        const std::optional<u64> at = address(target(512, true), false);
        if (!at)
            return false;
        constexpr u64 kPointers = 6, kMxcsr = 24, kMxcsrMaskEnd = 32; // the mask has a bit for AMD's MXCSR.MM
        if (insn_.operation == Operation::fxrstor) {
            if (rng_.percent(80)) // MXCSR without reserved bits
                word(*at + kMxcsr, rng_.next() & 0x0000ffff);
            return alone_;
        }
        out_.last = true;
        out_.mask.data_begin = *at + kPointers;
        out_.mask.data_end = *at + kMxcsrMaskEnd;
        return true;
    }

    // A memory operand that the encoding does not show, at the address in `r`.
    bool implicit(Gpr r, unsigned size, bool safe)
    {
        for (const ZydisDecodedOperand& operand : insn_.all_operands())
            if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY && names(operand.mem.base, r)) {
                const u64 want = target(size, safe) - segment_base(operand.mem.segment);
                if (address32() && want >> 32)
                    return false;
                set(r, address_value(want));
            }
        return true;
    }

    bool string()
    {
        if (insn_.has(ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE))
            set(Gpr::rcx, address_value(rng_.percent(90) ? rng_.below(40) : rng_.below(3000)));
        // Which operand of CMPS is read first is the host's choice: only one of them may fault.
        const bool source_safe = insn_.operation == Operation::cmps && rng_.percent(50);
        const bool destination_safe = insn_.operation == Operation::cmps && !source_safe;
        return implicit(Gpr::rsi, 8, source_safe) && implicit(Gpr::rdi, 8, destination_safe);
    }

    const Instruction& insn_;
    u64 at_;
    bool alone_;
    u64 fs_base_;
    Rng& rng_;
    Piece& out_;
};

} // namespace

bool place(const Instruction& insn, u64 at, bool alone, u64 fs_base, Rng& rng, Piece& out)
{
    return Placer(insn, at, alone, fs_base, rng, out).run();
}

} // namespace seamless::diff
