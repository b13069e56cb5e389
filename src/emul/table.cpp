// SPDX-License-Identifier: Apache-2.0
// The table of instructions: those of KVM's emulator that can touch a device. Not among them, in KVM as here:
// VEX and EVEX, POPCNT, CRC32, CMPXCHG16B, SSE arithmetic, MOVQ and MOVD between XMM registers and memory.
// DEVIATION: KVM also emulates LGDT, LIDT, SGDT, SIDT, LLDT, LTR, FXSAVE, FXRSTOR, far branches, loads of
// segment registers and LDS to LSS with their operand in a device; here these end in
// KVM_INTERNAL_ERROR_EMULATION.
#include "emul/table.h"

#include <algorithm>

#include "base/table.h"
#include "emul/steps.h"

namespace seamless::emul {

namespace {

constexpr u32 kModify = kReadDst | kReadSrc | kWriteDst, kCompare = kReadDst | kReadSrc,
              kMove = kReadSrc | kWriteDst, kChange = kReadDst | kWriteDst;

// clang-format off
constexpr Row kRows[] = {
    {ZYDIS_MNEMONIC_ADC,        kModify, host_adc},
    {ZYDIS_MNEMONIC_ADD,        kModify, host_add},
    {ZYDIS_MNEMONIC_AND,        kModify, host_and},
    {ZYDIS_MNEMONIC_BSF,        kModify, scan_forward},
    {ZYDIS_MNEMONIC_BSR,        kModify, scan_reverse},
    {ZYDIS_MNEMONIC_BT,         kCompare | kBitOffset, host_bt},
    {ZYDIS_MNEMONIC_BTC,        kModify | kBitOffset, host_btc},
    {ZYDIS_MNEMONIC_BTR,        kModify | kBitOffset, host_btr},
    {ZYDIS_MNEMONIC_BTS,        kModify | kBitOffset, host_bts},
    {ZYDIS_MNEMONIC_CALL,       kReadDst, keep, Steps::call},
    {ZYDIS_MNEMONIC_CLFLUSH,    0, keep, Steps::touch},
    {ZYDIS_MNEMONIC_CLFLUSHOPT, 0, keep, Steps::touch},
    {ZYDIS_MNEMONIC_CMOVB,      kModify, move_if<2>},
    {ZYDIS_MNEMONIC_CMOVBE,     kModify, move_if<6>},
    {ZYDIS_MNEMONIC_CMOVL,      kModify, move_if<12>},
    {ZYDIS_MNEMONIC_CMOVLE,     kModify, move_if<14>},
    {ZYDIS_MNEMONIC_CMOVNB,     kModify, move_if<3>},
    {ZYDIS_MNEMONIC_CMOVNBE,    kModify, move_if<7>},
    {ZYDIS_MNEMONIC_CMOVNL,     kModify, move_if<13>},
    {ZYDIS_MNEMONIC_CMOVNLE,    kModify, move_if<15>},
    {ZYDIS_MNEMONIC_CMOVNO,     kModify, move_if<1>},
    {ZYDIS_MNEMONIC_CMOVNP,     kModify, move_if<11>},
    {ZYDIS_MNEMONIC_CMOVNS,     kModify, move_if<9>},
    {ZYDIS_MNEMONIC_CMOVNZ,     kModify, move_if<5>},
    {ZYDIS_MNEMONIC_CMOVO,      kModify, move_if<0>},
    {ZYDIS_MNEMONIC_CMOVP,      kModify, move_if<10>},
    {ZYDIS_MNEMONIC_CMOVS,      kModify, move_if<8>},
    {ZYDIS_MNEMONIC_CMOVZ,      kModify, move_if<4>},
    {ZYDIS_MNEMONIC_CMP,        kCompare, host_cmp},
    {ZYDIS_MNEMONIC_CMPSB,      kCompare | kString | kUntilZf, host_cmp},
    {ZYDIS_MNEMONIC_CMPSD,      kCompare | kString | kUntilZf, host_cmp},
    {ZYDIS_MNEMONIC_CMPSQ,      kCompare | kString | kUntilZf, host_cmp},
    {ZYDIS_MNEMONIC_CMPSW,      kCompare | kString | kUntilZf, host_cmp},
    {ZYDIS_MNEMONIC_CMPXCHG,    kModify, compare_exchange},
    {ZYDIS_MNEMONIC_CMPXCHG8B,  kChange, keep, Steps::compare_exchange_8_bytes},
    {ZYDIS_MNEMONIC_DEC,        kChange, host_dec},
    {ZYDIS_MNEMONIC_DIV,        kReadDst | kWide, divide},
    {ZYDIS_MNEMONIC_ENTER,      kReadDst | kReadSrc, keep, Steps::enter},
    {ZYDIS_MNEMONIC_FNSTCW,     kWriteDst | kFpu, keep, Steps::store_x87_control},
    {ZYDIS_MNEMONIC_FNSTSW,     kWriteDst | kFpu, keep, Steps::store_x87_status},
    {ZYDIS_MNEMONIC_IDIV,       kReadDst | kWide, divide_signed},
    {ZYDIS_MNEMONIC_IMUL,       kModify, host_imul},
    {ZYDIS_MNEMONIC_INC,        kChange, host_inc},
    {ZYDIS_MNEMONIC_INSB,       kWriteDst | kString | kPortIn, move},
    {ZYDIS_MNEMONIC_INSD,       kWriteDst | kString | kPortIn, move},
    {ZYDIS_MNEMONIC_INSW,       kWriteDst | kString | kPortIn, move},
    {ZYDIS_MNEMONIC_JMP,        kReadDst, keep, Steps::jump},
    {ZYDIS_MNEMONIC_LEAVE,      0, keep, Steps::leave},
    {ZYDIS_MNEMONIC_LMSW,       kReadDst | kPrivileged, keep, Steps::load_machine_status},
    {ZYDIS_MNEMONIC_LODSB,      kMove | kString, move},
    {ZYDIS_MNEMONIC_LODSD,      kMove | kString, move},
    {ZYDIS_MNEMONIC_LODSQ,      kMove | kString, move},
    {ZYDIS_MNEMONIC_LODSW,      kMove | kString, move},
    {ZYDIS_MNEMONIC_LZCNT,      kModify, scan_reverse},
    {ZYDIS_MNEMONIC_MOV,        kMove, move},
    {ZYDIS_MNEMONIC_MOVAPD,     kMove | kSse, move},
    {ZYDIS_MNEMONIC_MOVAPS,     kMove | kSse, move},
    {ZYDIS_MNEMONIC_MOVBE,      kMove, swap_bytes},
    {ZYDIS_MNEMONIC_MOVDQA,     kMove | kSse, move},
    {ZYDIS_MNEMONIC_MOVDQU,     kMove | kSse | kUnaligned, move},
    {ZYDIS_MNEMONIC_MOVNTDQ,    kMove | kSse, move},
    {ZYDIS_MNEMONIC_MOVNTI,     kMove, move},
    {ZYDIS_MNEMONIC_MOVNTPD,    kMove | kSse, move},
    {ZYDIS_MNEMONIC_MOVNTPS,    kMove | kSse, move},
    {ZYDIS_MNEMONIC_MOVQ,       kMove | kMmx, move},
    {ZYDIS_MNEMONIC_MOVSB,      kMove | kString, move},
    {ZYDIS_MNEMONIC_MOVSD,      kMove | kString, move},
    {ZYDIS_MNEMONIC_MOVSQ,      kMove | kString, move},
    {ZYDIS_MNEMONIC_MOVSW,      kMove | kString, move},
    {ZYDIS_MNEMONIC_MOVSX,      kMove, sign_extend_source},
    {ZYDIS_MNEMONIC_MOVSXD,     kMove, sign_extend_source},
    {ZYDIS_MNEMONIC_MOVUPD,     kMove | kSse | kUnaligned, move},
    {ZYDIS_MNEMONIC_MOVUPS,     kMove | kSse | kUnaligned, move},
    {ZYDIS_MNEMONIC_MOVZX,      kMove, move},
    {ZYDIS_MNEMONIC_MUL,        kReadDst | kWide, multiply},
    {ZYDIS_MNEMONIC_NEG,        kChange, host_neg},
    {ZYDIS_MNEMONIC_NOT,        kChange, host_not},
    {ZYDIS_MNEMONIC_OR,         kModify, host_or},
    {ZYDIS_MNEMONIC_OUTSB,      kReadSrc | kString | kPortOut, move},
    {ZYDIS_MNEMONIC_OUTSD,      kReadSrc | kString | kPortOut, move},
    {ZYDIS_MNEMONIC_OUTSW,      kReadSrc | kString | kPortOut, move},
    {ZYDIS_MNEMONIC_POP,        kWriteDst, keep, Steps::pop},
    {ZYDIS_MNEMONIC_POPA,       0, keep, Steps::pop_all},
    {ZYDIS_MNEMONIC_POPAD,      0, keep, Steps::pop_all},
    {ZYDIS_MNEMONIC_POPF,       0, keep, Steps::pop_flags},
    {ZYDIS_MNEMONIC_POPFD,      0, keep, Steps::pop_flags},
    {ZYDIS_MNEMONIC_POPFQ,      0, keep, Steps::pop_flags},
    {ZYDIS_MNEMONIC_PUSH,       kReadDst | kSelector, keep, Steps::push},
    {ZYDIS_MNEMONIC_PUSHA,      0, keep, Steps::push_all},
    {ZYDIS_MNEMONIC_PUSHAD,     0, keep, Steps::push_all},
    {ZYDIS_MNEMONIC_PUSHF,      0, keep, Steps::push_flags},
    {ZYDIS_MNEMONIC_PUSHFD,     0, keep, Steps::push_flags},
    {ZYDIS_MNEMONIC_PUSHFQ,     0, keep, Steps::push_flags},
    {ZYDIS_MNEMONIC_RCL,        kModify, host_rcl},
    {ZYDIS_MNEMONIC_RCR,        kModify, host_rcr},
    {ZYDIS_MNEMONIC_RET,        0, keep, Steps::ret},
    {ZYDIS_MNEMONIC_ROL,        kModify, host_rol},
    {ZYDIS_MNEMONIC_ROR,        kModify, host_ror},
    {ZYDIS_MNEMONIC_SAR,        kModify, host_sar},
    {ZYDIS_MNEMONIC_SBB,        kModify, host_sbb},
    {ZYDIS_MNEMONIC_SCASB,      kCompare | kString | kUntilZf, host_cmp},
    {ZYDIS_MNEMONIC_SCASD,      kCompare | kString | kUntilZf, host_cmp},
    {ZYDIS_MNEMONIC_SCASQ,      kCompare | kString | kUntilZf, host_cmp},
    {ZYDIS_MNEMONIC_SCASW,      kCompare | kString | kUntilZf, host_cmp},
    {ZYDIS_MNEMONIC_SETB,       kWriteDst, set_if<2>},
    {ZYDIS_MNEMONIC_SETBE,      kWriteDst, set_if<6>},
    {ZYDIS_MNEMONIC_SETL,       kWriteDst, set_if<12>},
    {ZYDIS_MNEMONIC_SETLE,      kWriteDst, set_if<14>},
    {ZYDIS_MNEMONIC_SETNB,      kWriteDst, set_if<3>},
    {ZYDIS_MNEMONIC_SETNBE,     kWriteDst, set_if<7>},
    {ZYDIS_MNEMONIC_SETNL,      kWriteDst, set_if<13>},
    {ZYDIS_MNEMONIC_SETNLE,     kWriteDst, set_if<15>},
    {ZYDIS_MNEMONIC_SETNO,      kWriteDst, set_if<1>},
    {ZYDIS_MNEMONIC_SETNP,      kWriteDst, set_if<11>},
    {ZYDIS_MNEMONIC_SETNS,      kWriteDst, set_if<9>},
    {ZYDIS_MNEMONIC_SETNZ,      kWriteDst, set_if<5>},
    {ZYDIS_MNEMONIC_SETO,       kWriteDst, set_if<0>},
    {ZYDIS_MNEMONIC_SETP,       kWriteDst, set_if<10>},
    {ZYDIS_MNEMONIC_SETS,       kWriteDst, set_if<8>},
    {ZYDIS_MNEMONIC_SETZ,       kWriteDst, set_if<4>},
    {ZYDIS_MNEMONIC_SHL,        kModify, host_shl},
    {ZYDIS_MNEMONIC_SHLD,       kModify | kReadCount, host_shld},
    {ZYDIS_MNEMONIC_SHR,        kModify, host_shr},
    {ZYDIS_MNEMONIC_SHRD,       kModify | kReadCount, host_shrd},
    {ZYDIS_MNEMONIC_SLDT,       kWriteDst | kProtected | kUmip, keep, Steps::store_ldtr},
    {ZYDIS_MNEMONIC_SMSW,       kWriteDst | kUmip, keep, Steps::store_machine_status},
    {ZYDIS_MNEMONIC_STOSB,      kMove | kString, move},
    {ZYDIS_MNEMONIC_STOSD,      kMove | kString, move},
    {ZYDIS_MNEMONIC_STOSQ,      kMove | kString, move},
    {ZYDIS_MNEMONIC_STOSW,      kMove | kString, move},
    {ZYDIS_MNEMONIC_STR,        kWriteDst | kProtected | kUmip, keep, Steps::store_tr},
    {ZYDIS_MNEMONIC_SUB,        kModify, host_sub},
    {ZYDIS_MNEMONIC_TEST,       kCompare, host_test},
    {ZYDIS_MNEMONIC_TZCNT,      kModify, scan_forward},
    {ZYDIS_MNEMONIC_XADD,       kModify | kWriteSrc, exchange_add},
    {ZYDIS_MNEMONIC_XCHG,       kModify | kWriteSrc, exchange},
    {ZYDIS_MNEMONIC_XLAT,       0, keep, Steps::translate},
    {ZYDIS_MNEMONIC_XOR,        kModify, host_xor},
};
// clang-format on
static_assert(base::strictly_ascending(kRows, &Row::mnemonic));

// IMUL has three forms under one name.
constexpr Row kImulOne = {ZYDIS_MNEMONIC_IMUL, kReadDst | kWide, multiply_signed};
constexpr Row kImulThree = {ZYDIS_MNEMONIC_IMUL, kMove | kReadCount, multiply_by_immediate};
// So has MOV; KVM's third, from a segment register, stores 16 bits to memory.
constexpr Row kMovFromSegment = {ZYDIS_MNEMONIC_MOV, kWriteDst | kSelector, keep, Steps::store_segment};

bool is_segment(ZydisRegister r) { return ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_SEGMENT; }

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

bool register_fits(ZydisRegister r, u32 form)
{
    if (form & kSse)
        return ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_XMM;
    if (form & kMmx)
        return ZydisRegisterGetClass(r) == ZYDIS_REGCLASS_MMX;
    return is_general(r) || ((form & kSelector) && is_segment(r));
}

// Names are shared: MOV has forms for control and debug registers, MOVSD is SSE's too, far branches are
// called as near ones.
bool operands_fit(const decode::Instruction& insn, u32 form)
{
    const auto category = insn.z.meta.category;
    const bool string = category == ZYDIS_CATEGORY_STRINGOP || category == ZYDIS_CATEGORY_IOSTRINGOP;
    if (insn.z.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || string != ((form & kString) != 0) ||
        insn.z.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return false;
    return std::ranges::all_of(
        insn.all_operands().first(insn.z.operand_count_visible), [&](const ZydisDecodedOperand& operand) {
            return operand.type != ZYDIS_OPERAND_TYPE_REGISTER || register_fits(operand.reg.value, form);
        });
}

const Row* form_of(const decode::Instruction& insn)
{
    const auto& second = insn.operands[1];
    if (insn.z.mnemonic == ZYDIS_MNEMONIC_IMUL && insn.z.operand_count_visible == 1)
        return &kImulOne;
    if (insn.z.mnemonic == ZYDIS_MNEMONIC_IMUL && insn.z.operand_count_visible == 3)
        return &kImulThree;
    if (insn.z.mnemonic == ZYDIS_MNEMONIC_MOV && second.type == ZYDIS_OPERAND_TYPE_REGISTER &&
        is_segment(second.reg.value))
        return &kMovFromSegment;
    // MOVQ is also what moves 8 bytes between other registers and memory; KVM has the MMX opcodes only.
    if (insn.z.mnemonic == ZYDIS_MNEMONIC_MOVQ && insn.z.opcode != 0x6f && insn.z.opcode != 0x7f)
        return nullptr;
    return base::find_row(kRows, &Row::mnemonic, insn.z.mnemonic);
}

} // namespace

const Row* find_row(const decode::Instruction& insn)
{
    const Row* row = form_of(insn);
    return row && operands_fit(insn, row->form) ? row : nullptr;
}

} // namespace seamless::emul
