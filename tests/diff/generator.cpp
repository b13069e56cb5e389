// SPDX-License-Identifier: Apache-2.0
// Random state and random runs of instructions.
#include "diff/generator.h"

#include <algorithm>
#include <cstring>

#include "cpu/cpuid.h"
#include "diff/encoder.h"
#include "diff/placement.h"

namespace seamless::diff {
namespace {

constexpr unsigned kMaxPieces = 8;

void put_mov(std::vector<u8>& code, unsigned r, u64 value)
{
    code.push_back(r >= 8 ? 0x49 : 0x48);
    code.push_back(static_cast<u8>(0xb8 | (r & 7)));
    for (unsigned i = 0; i < 8; ++i)
        code.push_back(static_cast<u8>(value >> 8 * i));
}

} // namespace

Generator::Generator(u64 seed, u64 fs_base) : rng_(seed), fs_base_(fs_base), forms_(enumerate_forms())
{
    turn_ = rng_.below(forms_.size());
}

void Generator::fill_extended(cpu::XsaveArea& area)
{
    area.reset();
    u8* const p = area.bytes;
    const auto put = [&](unsigned at, auto value) { std::memcpy(p + at, &value, sizeof value); };
    const bool masked = rng_.percent(70);
    const u64 fcw = masked ? 0x37f : 0x40 | (rng_.next() & 0xf3f);
    put(0, static_cast<u16>(rng_.percent(70) ? (fcw & 0xff) | (rng_.next() & 0xf00) : fcw));
    const u64 fsw = (rng_.next() & 0x7f00) | (rng_.percent(20) ? rng_.next() & 0x7f : 0);
    const u64 pending = fsw & ~fcw & 0x3f ? 0x8080 : 0; // ES and B follow from the rest
    put(2, static_cast<u16>(fsw | pending));
    put(4, static_cast<u8>(rng_.percent(40) ? 0xff : rng_.percent(30) ? 0 : rng_.next()));
    u64 mxcsr = rng_.percent(60) ? 0x1f80 : 0x1f80 & ~(rng_.next() & 0x1f80);
    if (rng_.percent(50))
        mxcsr |= rng_.next() & 0xe07f; // rounding, FTZ, DAZ, flags
    put(24, static_cast<u32>(mxcsr));
    for (unsigned i = 0; i < 8; ++i) {
        const u64 exponents[] = {0, 0x7fff, 0x3fff, 0x3fff - 40 + rng_.below(80), rng_.below(0x8000), 0x403e};
        const u64 significand = rng_.percent(70) ? rng_.vector_word() | bit(63) : rng_.vector_word();
        put(32 + 16 * i, significand);
        put(40 + 16 * i, static_cast<u16>(exponents[rng_.below(6)] | (rng_.next() & 0x8000)));
    }
    for (unsigned i = 0; i < 32; ++i)
        put(160 + 8 * i, rng_.vector_word());
    u64 bv = cpu::supported_xcr0();
    for (unsigned component = 2; component < 8; ++component)
        if (test(bv, component)) {
            const cpu::CpuidResult r = cpu::native_cpuid(0xd, component);
            if (rng_.percent(10)) {
                bv &= ~bit(component); // initial
                continue;
            }
            for (unsigned at = 0; at < r.eax; at += 8)
                put(r.ebx + at, rng_.vector_word());
        }
    put(512, bv);
}

void Generator::fill(Inputs& in)
{
    for (u64& r : in.gpr)
        r = rng_.integer();
    for (u64 i = 0; i < kDataBytes; i += 8) {
        const u64 value = rng_.percent(50) ? rng_.next() : rng_.vector_word();
        std::memcpy(in.data.data() + i, &value, 8);
    }
    fill_extended(in.xsave);
    in.rflags = spec::rflags::FIXED1 | spec::rflags::IF | (rng_.percent(20) ? spec::rflags::DF : 0);
}

Piece Generator::piece(u64 at, bool alone)
{
    turn_ = (turn_ + 1) % forms_.size();
    const MnemonicForms* row = &forms_[turn_];
    for (unsigned attempt = 0;; ++attempt) {
        if (attempt % 50 == 49) // this mnemonic fits only alone
            row = &forms_[rng_.below(forms_.size())];
        const auto bytes = encode(row->forms[rng_.below(row->forms.size())], rng_);
        decode::Instruction insn;
        if (decode::decode(bytes, decode::CodeSize::bits64, insn) != decode::DecodeStatus::ok ||
            !has_oracle(insn))
            continue;
        Piece piece;
        piece.mnemonic = insn.z.mnemonic;
        piece.isa = insn.z.meta.isa_set;
        piece.bytes.assign(bytes.begin(), bytes.begin() + insn.length());
        if (place(insn, at, alone, fs_base_, rng_, piece))
            return piece;
    }
}

void Generator::next(Case& out)
{
    Inputs& in = out.inputs;
    fill(in);
    out.pieces.clear();
    in.code.clear();
    const bool alone = rng_.percent(40);
    const unsigned count = alone ? 1 : 2 + static_cast<unsigned>(rng_.below(kMaxPieces - 1));
    in.rip = rng_.percent(80) ? kCode + rng_.below(512) : kCode + kPageSize - 1 - rng_.below(60);
    while (out.pieces.size() < count) {
        Piece p = piece(in.rip + in.code.size(), alone);
        p.code_begin = static_cast<u32>(in.code.size());
        for (const auto& [r, value] : p.registers)
            if (alone)
                in.gpr[r] = value;
            else
                put_mov(in.code, r, value);
        in.code.insert(in.code.end(), p.bytes.begin(), p.bytes.end());
        p.code_end = static_cast<u32>(in.code.size());
        for (const auto& [at, value] : p.words)
            for (u64 i = 0; i < 8; ++i)
                if (at + i - kData < kDataBytes)
                    in.data[at + i - kData] = static_cast<u8>(value >> 8 * i);
        out.pieces.push_back(std::move(p));
        if (out.pieces.back().last)
            break;
    }
}

} // namespace seamless::diff
