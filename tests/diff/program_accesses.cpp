// SPDX-License-Identifier: Apache-2.0
// Accesses to memory, alone and in neighbourhoods.
#include "diff/program_pieces.h"

namespace seamless::diff {

// Neighbours with the same base: what an engine may look up at once. Now and then the base changes.
void Pieces::stretch()
{
    Reg r = base();
    if (rng_.percent(25))
        anchor(r);
    const i64 first = static_cast<i64>(rng_.below(192)) - 96;
    for (u64 i = 2 + rng_.below(7); i > 0; --i) {
        const u64 what = rng_.below(100);
        if (what < 12)
            compute();
        else if (what < 17)
            consume();
        else if (what < 22)
            move_base(r);
        else if (what < 25)
            r = base();
        const i64 near = static_cast<i64>(rng_.below(rng_.percent(85) ? 64 : 600));
        access({.base = r, .disp = first + near});
    }
}

void Pieces::access(const MemoryOperand& m)
{
    MemoryOperand to = m;
    if (m.base != kNoReg && m.base != kRsp && m.segment == 0 && rng_.percent(4)) // RIP-relative instead
        to = {.disp = static_cast<i64>(data_address()), .rip = true};
    switch (rng_.below(12)) {
    case 0:
    case 1:
    case 2:
    case 3:
        return load(to);
    case 4:
    case 5:
    case 6:
        return store(to);
    case 7:
        return modify_value(to);
    case 8:
        return modify(to);
    case 9:
        return high_byte(to);
    case 10:
        return through_vector(to);
    default:
        return through_x87(to);
    }
}

void Pieces::load(const MemoryOperand& m)
{
    const bool wide = rng_.percent(50);
    const Reg to = value();
    const u8 group = static_cast<u8>(rng_.below(8) << 3);
    switch (rng_.below(9)) {
    case 0:
    case 1:
        return code_.mem({.code = 0x8b, .wide = wide}, to, m);
    case 2:
        return code_.mem({.code = 0x8a, .byte = true}, to, m);
    case 3: // MOVZX, MOVSX
        return code_.mem(
            {.code = static_cast<u8>(0xb6 | rng_.below(2) | rng_.below(2) << 3), .map = 1, .wide = wide}, to,
            m);
    case 4:
        return code_.mem({.code = static_cast<u8>(group | 3), .wide = wide}, to, m);
    case 5: // CMP
        return code_.mem({.code = 0x39, .wide = wide}, to, m);
    case 6: // CMOVcc
        return code_.mem({.code = static_cast<u8>(0x40 | rng_.below(16)), .map = 1, .wide = wide}, to, m);
    case 7:
        return code_.mem({.code = 0xaf, .map = 1, .wide = wide}, to, m);
    default: // TEST with an immediate
        code_.mem({.code = 0xf6}, 0, m, 1);
        return code_.imm(low_byte(), 1);
    }
}

void Pieces::store(const MemoryOperand& m)
{
    const bool wide = rng_.percent(50);
    const Reg from = rng_.percent(85) ? value() : base();
    switch (rng_.below(6)) {
    case 0:
    case 1:
        return code_.mem({.code = 0x89, .wide = wide}, from, m);
    case 2:
        return code_.mem({.code = 0x88, .byte = true}, from, m);
    case 3:
        return code_.mem({.code = 0x89, .prefix = 0x66}, from, m);
    case 4:
        code_.mem({.code = 0xc7, .wide = wide}, 0, m, 4);
        return code_.imm(rng_.next(), 4);
    default: // SETcc
        return code_.mem({.code = static_cast<u8>(0x90 | rng_.below(16)), .map = 1}, 0, m);
    }
}

void Pieces::modify_value(const MemoryOperand& m)
{
    const bool wide = rng_.percent(50);
    const Reg r = value();
    switch (rng_.below(4)) {
    case 0: // XCHG
        return code_.mem({.code = 0x87, .wide = wide}, r, m);
    case 1: // XADD
        return code_.mem({.code = 0xc1, .map = 1, .wide = wide, .lock = rng_.percent(50)}, r, m);
    case 2: // CMPXCHG
        return code_.mem({.code = 0xb1, .map = 1, .wide = wide, .lock = rng_.percent(50)}, r, m);
    default:
        return code_.mem(
            {.code = static_cast<u8>(rng_.below(7) << 3 | 1), .wide = wide, .lock = rng_.percent(30)}, r, m);
    }
}

void Pieces::modify(const MemoryOperand& m)
{
    const bool wide = rng_.percent(50);
    switch (rng_.below(6)) {
    case 0:
        code_.mem({.code = 0x83, .wide = wide, .lock = rng_.percent(30)}, static_cast<Reg>(rng_.below(7)), m,
                  1);
        return code_.imm(low_byte(), 1);
    case 1: // INC, DEC
        return code_.mem({.code = 0xff, .wide = wide, .lock = rng_.percent(30)},
                         static_cast<Reg>(rng_.below(2)), m);
    case 2: // NOT, NEG
        return code_.mem({.code = 0xf7, .wide = wide}, 2 + static_cast<Reg>(rng_.below(2)), m);
    case 3: // shifts and rotations by CL and by one
        return code_.mem({.code = static_cast<u8>(rng_.percent(50) ? 0xd3 : 0xd1), .wide = wide},
                         static_cast<Reg>(rng_.below(8)), m);
    case 4: // BT, BTS, BTR, BTC
        code_.mem({.code = 0xba, .map = 1, .wide = wide}, 4 + static_cast<Reg>(rng_.below(4)), m, 1);
        return code_.imm(rng_.below(64), 1);
    default: // SHLD
        code_.mem({.code = 0xa4, .map = 1, .wide = wide}, value(), m, 1);
        return code_.imm(1 + rng_.below(31), 1);
    }
}

// AH to BH, where no REX prefix stands in the way.
void Pieces::high_byte(const MemoryOperand& m)
{
    MemoryOperand to = m;
    const auto needs_rex = [](Reg r) { return r != kNoReg && r >= 8; };
    if (needs_rex(to.base) || needs_rex(to.index))
        to = {.base = kRsi, .disp = m.disp, .segment = m.segment};
    const Reg any = 4 + static_cast<Reg>(rng_.below(4)), not_bh = 4 + static_cast<Reg>(rng_.below(3));
    switch (rng_.below(4)) {
    case 0:
        return code_.mem({.code = 0x8a}, not_bh, to);
    case 1:
        return code_.mem({.code = 0x88}, any, to);
    case 2:
        return code_.mem({.code = static_cast<u8>(rng_.below(8) << 3)}, any, to);
    default:
        return code_.mem({.code = static_cast<u8>(rng_.below(8) << 3 | 2)}, not_bh, to);
    }
}

void Pieces::through_vector(const MemoryOperand& m)
{
    const Reg x = static_cast<Reg>(rng_.below(16));
    switch (rng_.below(9)) {
    case 0:
        return code_.mem({.code = 0x10, .map = 1}, x, m); // MOVUPS
    case 1:
        return code_.mem({.code = 0x11, .map = 1}, x, m);
    case 2:
        return code_.mem({.code = 0x28, .map = 1}, x, m); // MOVAPS
    case 3:
        return code_.mem({.code = 0x29, .map = 1}, x, m);
    case 4: // MOVQ
        return code_.mem({.code = 0xd6, .map = 1, .prefix = 0x66}, x, m);
    case 5: // PADDD: aligned
        return code_.mem({.code = 0xfe, .map = 1, .prefix = 0x66}, x, m);
    case 6: // ADDSD
        return code_.mem({.code = 0x58, .map = 1, .prefix = 0xf2}, x, m);
    case 7: // UCOMISD: flags
        return code_.mem({.code = 0x2e, .map = 1, .prefix = 0x66}, x, m);
    default: // CVTTSD2SI
        return code_.mem({.code = 0x2c, .map = 1, .prefix = 0xf2, .wide = true}, value(), m);
    }
}

void Pieces::through_x87(const MemoryOperand& m)
{
    switch (rng_.below(6)) {
    case 0:
        return code_.mem({.code = 0xdd}, 0, m); // FLD
    case 1:
        return code_.mem({.code = 0xdd}, 3, m); // FSTP
    case 2:
        return code_.mem({.code = 0xd8}, static_cast<Reg>(rng_.below(8)), m);
    case 3:
        return code_.mem({.code = 0xdf}, 5, m); // FILD
    case 4:
        return code_.mem({.code = 0xdb}, 7, m); // FSTP of 80 bits
    default:
        return code_.mem({.code = 0xd9}, 7, m); // FNSTCW
    }
}

void Pieces::vectors()
{
    const Reg a = static_cast<Reg>(rng_.below(16)), b = static_cast<Reg>(rng_.below(16));
    switch (rng_.below(8)) {
    case 0:
        return code_.reg({.code = 0x58, .map = 1, .prefix = 0xf2}, a, b); // ADDSD
    case 1:
        return code_.reg({.code = 0xef, .map = 1, .prefix = 0x66}, a, b); // PXOR
    case 2:
        return code_.reg({.code = 0xd4, .map = 1, .prefix = 0x66}, a, b); // PADDQ
    case 3:                                                               // MOVQ to a general register
        return code_.reg({.code = 0x7e, .map = 1, .prefix = 0x66, .wide = true}, a, value());
    case 4: // VPADDD YMM
        return code_.bytes(
            {0xc5, static_cast<u8>(0xfd ^ (a & 7) << 3), 0xfe, static_cast<u8>(0xc0 | (b & 63))});
    case 5: // FADD, FXCH
        return code_.bytes(
            {static_cast<u8>(rng_.percent(50) ? 0xd8 : 0xd9), static_cast<u8>(0xc0 | (a & 7))});
    case 6: // FNINIT; FLD1
        return rng_.percent(20) ? code_.bytes({0xdb, 0xe3}) : code_.bytes({0xd9, 0xe8});
    default: // VMOVUPS YMM
        return code_.bytes({0xc5, 0xfc, static_cast<u8>(0x10 + rng_.below(2)),
                            static_cast<u8>(0x46 | (a & 7) << 3), low_byte()}); // [RSI + disp8]
    }
}

} // namespace seamless::diff
