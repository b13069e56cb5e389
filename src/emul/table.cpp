// SPDX-License-Identifier: Apache-2.0
// The table of instructions. KVM knows more forms (its emulator's opcode tables): they become rows here.
#include "emul/table.h"

#include <algorithm>

#include "base/table.h"
#include "spec/x86.h"

namespace seamless::emul {

namespace {

namespace rflags = spec::rflags;

void move(Operation& op) { op.dst = op.src; }
void sign_extend_source(Operation& op) { op.dst = sign_extend(op.src, op.src_size * 8); }
void exchange(Operation& op) { std::swap(op.dst, op.src); }

void swap_bytes(Operation& op)
{
    op.dst = op.size == 2   ? __builtin_bswap16(static_cast<u16>(op.src))
             : op.size == 4 ? __builtin_bswap32(static_cast<u32>(op.src))
                            : __builtin_bswap64(op.src);
}

void exchange_add(Operation& op)
{
    const u64 before = op.dst;
    host_add(op);
    op.src = before;
}

void compare_exchange(Operation& op)
{
    const u64 before = truncate(op.dst, op.size);
    Operation compare = op;
    compare.dst = op.accumulator;
    compare.src = before;
    host_cmp(compare);
    op.rflags = compare.rflags;
    const bool equal = op.rflags & rflags::ZF;
    op.dst = equal ? op.src : before;
    op.accumulator = before;
    op.write_accumulator = !equal;
}

// SCAS compares the accumulator with memory; CMPS its source with its destination. Zydis names them so.
void compare(Operation& op) { host_cmp(op); }

// SDM: "EFLAGS Condition Codes".
constexpr bool condition_holds(unsigned code, u64 flags)
{
    const bool less = !(flags & rflags::SF) != !(flags & rflags::OF);
    const bool base[] = {(flags & rflags::OF) != 0,
                         (flags & rflags::CF) != 0,
                         (flags & rflags::ZF) != 0,
                         (flags & (rflags::CF | rflags::ZF)) != 0,
                         (flags & rflags::SF) != 0,
                         (flags & rflags::PF) != 0,
                         less,
                         less || (flags & rflags::ZF)};
    return base[code >> 1] != ((code & 1) != 0);
}

template <unsigned Code>
void set_if(Operation& op)
{
    op.dst = condition_holds(Code, op.rflags);
}
template <unsigned Code>
void move_if(Operation& op)
{
    if (condition_holds(Code, op.rflags))
        op.dst = op.src;
}

constexpr u16 kModify = kReadDst | kReadSrc | kWriteDst, kCompare = kReadDst | kReadSrc,
              kMove = kReadSrc | kWriteDst, kChange = kReadDst | kWriteDst;

// clang-format off
constexpr Row kRows[] = {
    {ZYDIS_MNEMONIC_ADC,     kModify, host_adc},
    {ZYDIS_MNEMONIC_ADD,     kModify, host_add},
    {ZYDIS_MNEMONIC_AND,     kModify, host_and},
    {ZYDIS_MNEMONIC_CMOVB,   kModify, move_if<2>},
    {ZYDIS_MNEMONIC_CMOVBE,  kModify, move_if<6>},
    {ZYDIS_MNEMONIC_CMOVL,   kModify, move_if<12>},
    {ZYDIS_MNEMONIC_CMOVLE,  kModify, move_if<14>},
    {ZYDIS_MNEMONIC_CMOVNB,  kModify, move_if<3>},
    {ZYDIS_MNEMONIC_CMOVNBE, kModify, move_if<7>},
    {ZYDIS_MNEMONIC_CMOVNL,  kModify, move_if<13>},
    {ZYDIS_MNEMONIC_CMOVNLE, kModify, move_if<15>},
    {ZYDIS_MNEMONIC_CMOVNO,  kModify, move_if<1>},
    {ZYDIS_MNEMONIC_CMOVNP,  kModify, move_if<11>},
    {ZYDIS_MNEMONIC_CMOVNS,  kModify, move_if<9>},
    {ZYDIS_MNEMONIC_CMOVNZ,  kModify, move_if<5>},
    {ZYDIS_MNEMONIC_CMOVO,   kModify, move_if<0>},
    {ZYDIS_MNEMONIC_CMOVP,   kModify, move_if<10>},
    {ZYDIS_MNEMONIC_CMOVS,   kModify, move_if<8>},
    {ZYDIS_MNEMONIC_CMOVZ,   kModify, move_if<4>},
    {ZYDIS_MNEMONIC_CMP,     kCompare, host_cmp},
    {ZYDIS_MNEMONIC_CMPSB,   kCompare | kString | kUntilZf, compare},
    {ZYDIS_MNEMONIC_CMPSD,   kCompare | kString | kUntilZf, compare},
    {ZYDIS_MNEMONIC_CMPSQ,   kCompare | kString | kUntilZf, compare},
    {ZYDIS_MNEMONIC_CMPSW,   kCompare | kString | kUntilZf, compare},
    {ZYDIS_MNEMONIC_CMPXCHG, kModify, compare_exchange},
    {ZYDIS_MNEMONIC_DEC,     kChange, host_dec},
    {ZYDIS_MNEMONIC_INC,     kChange, host_inc},
    {ZYDIS_MNEMONIC_INSB,    kWriteDst | kString | kPortIn, move},
    {ZYDIS_MNEMONIC_INSD,    kWriteDst | kString | kPortIn, move},
    {ZYDIS_MNEMONIC_INSW,    kWriteDst | kString | kPortIn, move},
    {ZYDIS_MNEMONIC_LODSB,   kMove | kString, move},
    {ZYDIS_MNEMONIC_LODSD,   kMove | kString, move},
    {ZYDIS_MNEMONIC_LODSQ,   kMove | kString, move},
    {ZYDIS_MNEMONIC_LODSW,   kMove | kString, move},
    {ZYDIS_MNEMONIC_MOV,     kMove, move},
    {ZYDIS_MNEMONIC_MOVBE,   kMove, swap_bytes},
    {ZYDIS_MNEMONIC_MOVNTI,  kMove, move},
    {ZYDIS_MNEMONIC_MOVSB,   kMove | kString, move},
    {ZYDIS_MNEMONIC_MOVSD,   kMove | kString, move},
    {ZYDIS_MNEMONIC_MOVSQ,   kMove | kString, move},
    {ZYDIS_MNEMONIC_MOVSW,   kMove | kString, move},
    {ZYDIS_MNEMONIC_MOVSX,   kMove, sign_extend_source},
    {ZYDIS_MNEMONIC_MOVSXD,  kMove, sign_extend_source},
    {ZYDIS_MNEMONIC_MOVZX,   kMove, move},
    {ZYDIS_MNEMONIC_NEG,     kChange, host_neg},
    {ZYDIS_MNEMONIC_NOT,     kChange, host_not},
    {ZYDIS_MNEMONIC_OR,      kModify, host_or},
    {ZYDIS_MNEMONIC_OUTSB,   kReadSrc | kString | kPortOut, move},
    {ZYDIS_MNEMONIC_OUTSD,   kReadSrc | kString | kPortOut, move},
    {ZYDIS_MNEMONIC_OUTSW,   kReadSrc | kString | kPortOut, move},
    {ZYDIS_MNEMONIC_RCL,     kModify, host_rcl},
    {ZYDIS_MNEMONIC_RCR,     kModify, host_rcr},
    {ZYDIS_MNEMONIC_ROL,     kModify, host_rol},
    {ZYDIS_MNEMONIC_ROR,     kModify, host_ror},
    {ZYDIS_MNEMONIC_SAR,     kModify, host_sar},
    {ZYDIS_MNEMONIC_SBB,     kModify, host_sbb},
    {ZYDIS_MNEMONIC_SCASB,   kCompare | kString | kUntilZf, compare},
    {ZYDIS_MNEMONIC_SCASD,   kCompare | kString | kUntilZf, compare},
    {ZYDIS_MNEMONIC_SCASQ,   kCompare | kString | kUntilZf, compare},
    {ZYDIS_MNEMONIC_SCASW,   kCompare | kString | kUntilZf, compare},
    {ZYDIS_MNEMONIC_SETB,    kWriteDst, set_if<2>},
    {ZYDIS_MNEMONIC_SETBE,   kWriteDst, set_if<6>},
    {ZYDIS_MNEMONIC_SETL,    kWriteDst, set_if<12>},
    {ZYDIS_MNEMONIC_SETLE,   kWriteDst, set_if<14>},
    {ZYDIS_MNEMONIC_SETNB,   kWriteDst, set_if<3>},
    {ZYDIS_MNEMONIC_SETNBE,  kWriteDst, set_if<7>},
    {ZYDIS_MNEMONIC_SETNL,   kWriteDst, set_if<13>},
    {ZYDIS_MNEMONIC_SETNLE,  kWriteDst, set_if<15>},
    {ZYDIS_MNEMONIC_SETNO,   kWriteDst, set_if<1>},
    {ZYDIS_MNEMONIC_SETNP,   kWriteDst, set_if<11>},
    {ZYDIS_MNEMONIC_SETNS,   kWriteDst, set_if<9>},
    {ZYDIS_MNEMONIC_SETNZ,   kWriteDst, set_if<5>},
    {ZYDIS_MNEMONIC_SETO,    kWriteDst, set_if<0>},
    {ZYDIS_MNEMONIC_SETP,    kWriteDst, set_if<10>},
    {ZYDIS_MNEMONIC_SETS,    kWriteDst, set_if<8>},
    {ZYDIS_MNEMONIC_SETZ,    kWriteDst, set_if<4>},
    {ZYDIS_MNEMONIC_SHL,     kModify, host_shl},
    {ZYDIS_MNEMONIC_SHR,     kModify, host_shr},
    {ZYDIS_MNEMONIC_STOSB,   kMove | kString, move},
    {ZYDIS_MNEMONIC_STOSD,   kMove | kString, move},
    {ZYDIS_MNEMONIC_STOSQ,   kMove | kString, move},
    {ZYDIS_MNEMONIC_STOSW,   kMove | kString, move},
    {ZYDIS_MNEMONIC_SUB,     kModify, host_sub},
    {ZYDIS_MNEMONIC_TEST,    kCompare, host_test},
    {ZYDIS_MNEMONIC_XADD,    kModify | kWriteSrc, exchange_add},
    {ZYDIS_MNEMONIC_XCHG,    kModify | kWriteSrc, exchange},
    {ZYDIS_MNEMONIC_XOR,     kModify, host_xor},
};
// clang-format on
static_assert(base::strictly_ascending(kRows, &Row::mnemonic));

bool is_general(ZydisRegister r)
{
    switch (ZydisRegisterGetClass(r)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
        return true;
    default:
        return false;
    }
}

// MOV has forms for segment, control and debug registers, and SSE shares names with string instructions.
bool operands_fit(const decode::Instruction& insn, bool string)
{
    if (insn.z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
        string != (insn.z.meta.category == ZYDIS_CATEGORY_STRINGOP ||
                   insn.z.meta.category == ZYDIS_CATEGORY_IOSTRINGOP))
        return false;
    return std::ranges::all_of(
        insn.all_operands().first(insn.z.operand_count_visible), [](const ZydisDecodedOperand& operand) {
            return operand.type == ZYDIS_OPERAND_TYPE_MEMORY ||
                   operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE ||
                   (operand.type == ZYDIS_OPERAND_TYPE_REGISTER && is_general(operand.reg.value));
        });
}

} // namespace

const Row* find_row(const decode::Instruction& insn)
{
    const Row* row = base::find_row(kRows, &Row::mnemonic, insn.z.mnemonic);
    return row && operands_fit(insn, (row->form & kString) != 0) ? row : nullptr;
}

} // namespace seamless::emul
