// SPDX-License-Identifier: Apache-2.0
// The decoded form of one guest instruction: what Zydis says, and how our opcode list has it executed.
#pragma once

#include <Zydis/Zydis.h>
#include <span>

#include "base/bits.h"

namespace seamless::decode {

enum class Execution : u8 { native, control, system, silent, undefined };

// What executes an instruction that is not native; one for each handler (opcodes.inc).
enum class Operation : u8 {
    none,
    jcc,
    jmp,
    call,
    ret,
    push,
    pop,
    leave,
    lea, // control
    pause,
    jcxz,
    loop,
    enter,
    far_jmp,
    far_call,
    far_ret,
    push_sreg,
    pop_sreg,
    movs,
    stos,
    lods,
    scas,
    cmps,
    xlat,
    xchg_r8,
    pusha,
    popa,
    ascii_adjust,
    decimal_adjust,
    aam,
    aad,
    bound,
    arpl,
    salc,
    maskmov,
    vmaskmov,
    cpuid,
    rdtsc,
    rdpid,
    rdpmc,
    rdrand,
    xgetbv,
    xsetbv,
    rdmsr,
    wrmsr,
    hlt,
    in,
    out,
    ins,
    outs,
    int_n,
    int1,
    int3,
    into,
    iret,
    syscall,
    sysret,
    sysenter,
    sysexit,
    swapgs,
    lgdt,
    lidt,
    sgdt,
    sidt,
    lldt,
    ltr,
    sldt,
    str,
    smsw,
    lmsw,
    clts,
    invlpg,
    invpcid,
    invd,
    wbinvd,
    cli,
    sti,
    cld,
    std,
    clac,
    stac,
    pushf,
    popf,
    rdsegbase,
    wrsegbase,
    fxsave,
    fxrstor,
    xsave,
    xrstor,
    lar,
    lsl,
    verr,
    vmcall,
    tdcall,
    monitor,
    mwait,
    load_far_pointer,
    mov_cr,
    mov_dr,
    mov_sreg,
    gather,
    kCount,
};

// Width of the code segment. SDM: "Modes of Operation", CS.L and CS.D.
enum class CodeSize : u8 { bits16, bits32, bits64 };

struct Instruction {
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    u8 bytes[ZYDIS_MAX_INSTRUCTION_LENGTH];
    Execution execution;
    Operation operation;

    [[nodiscard]] u8 length() const { return z.length; }
    [[nodiscard]] std::span<const ZydisDecodedOperand> all_operands() const
    {
        return {operands, z.operand_count};
    }
    // The memory operand the instruction accesses through its ModRM or moffs form, or nullptr.
    [[nodiscard]] const ZydisDecodedOperand* memory() const;
    // The largest number of bytes that operand `memory()` spans.
    [[nodiscard]] unsigned memory_size() const;
    [[nodiscard]] bool memory_written() const;
    [[nodiscard]] bool has(ZydisInstructionAttributes attribute) const
    {
        return (z.attributes & attribute) != 0;
    }
    // Touches x87, MMX or vector registers (or MXCSR).
    [[nodiscard]] bool uses_extended_state() const;
};

enum class DecodeStatus : u8 { ok, truncated, invalid };

// Decodes the instruction at the start of `bytes`. truncated: it goes on behind them, which is #GP if they
// are 15 bytes already; invalid: #UD.
[[nodiscard]] DecodeStatus decode(std::span<const u8> bytes, CodeSize size, Instruction& out);

// The CPUID feature bit an instruction set needs; `reg` 0 to 3 is EAX to EDX, -1 needs none.
struct IsaFeature {
    ZydisISASet isa;
    u32 leaf;
    u32 subleaf;
    int reg;
    unsigned bit;
};
[[nodiscard]] std::span<const IsaFeature> isa_features();

} // namespace seamless::decode
