// SPDX-License-Identifier: Apache-2.0
// Pieces of programs other than plain accesses to memory.
#include "diff/program_pieces.h"

namespace seamless::diff {

u64 Pieces::data_address()
{
    using namespace layout;
    const u64 page = kData + (1 + rng_.below(kDataPages - 2)) * kPageSize;
    return rng_.percent(45) ? page + rng_.below(96) - 48 : page + rng_.below(kPageSize);
}

void Pieces::compute()
{
    const bool wide = rng_.percent(60);
    const Reg to = value(), from = rng_.percent(80) ? value() : base();
    const u8 group = static_cast<u8>(rng_.below(8));
    switch (rng_.below(14)) {
    case 0:
    case 1:
        return code_.reg({.code = static_cast<u8>(group << 3 | 1), .wide = wide}, from, to);
    case 2:
        code_.reg({.code = 0x83, .wide = wide}, group, to);
        return code_.imm(low_byte(), 1);
    case 3:
        return code_.reg({.code = 0xff, .wide = wide}, static_cast<Reg>(rng_.below(2)), to); // INC, DEC
    case 4:
        return code_.reg({.code = 0xf7, .wide = wide}, 2 + static_cast<Reg>(rng_.below(2)), to); // NOT, NEG
    case 5:
        code_.reg({.code = 0xc1, .wide = wide}, group, to);
        return code_.imm(rng_.percent(80) ? 1 : rng_.below(64), 1);
    case 6: // AH to BH
        return code_.reg({.code = static_cast<u8>(group << 3)}, 4 + static_cast<Reg>(rng_.below(4)),
                         4 + static_cast<Reg>(rng_.below(3)));
    case 7:
        return code_.reg({.code = 0xb6, .map = 1, .wide = wide, .byte = true}, to, value());
    case 8:
        return code_.reg({.code = 0xaf, .map = 1, .wide = wide}, to, from);
    case 9:
        code_.mov_imm(to, rng_.integer());
        return;
    case 10:
        return code_.reg({.code = 0x89, .wide = wide}, from, to);
    case 11: // LEA
        return code_.mem({.code = 0x8d, .wide = wide}, to,
                         {.base = from,
                          .index = value(),
                          .scale = static_cast<unsigned>(rng_.below(4)),
                          .disp = static_cast<i64>(rng_.below(512)) - 256});
    case 12:
        return code_.reg({.code = 0xc1, .map = 1, .wide = wide}, value(), to); // XADD
    default:
        return code_.reg({.code = 0x85, .wide = wide}, from, to);
    }
}

void Pieces::consume()
{
    const u8 condition = static_cast<u8>(rng_.below(16));
    const bool wide = rng_.percent(50);
    switch (rng_.below(5)) {
    case 0:
        return code_.reg({.code = static_cast<u8>(0x90 | condition), .map = 1, .byte = true}, 0, value());
    case 1:
        return code_.reg({.code = static_cast<u8>(0x40 | condition), .map = 1, .wide = wide}, value(),
                         value());
    case 2:
        return code_.reg({.code = static_cast<u8>(rng_.percent(50) ? 0x11 : 0x19), .wide = wide}, value(),
                         value()); // ADC, SBB
    case 3:
        return code_.reg({.code = 0xd1, .wide = wide}, 2 + static_cast<Reg>(rng_.below(2)),
                         value()); // RCL, RCR
    default:
        return code_.bytes({0x9f}); // LAHF
    }
}

void Pieces::anchor(Reg r) { code_.mov_imm(r, data_address()); }

void Pieces::move_base(Reg r)
{
    const i64 by = static_cast<i64>(rng_.below(33)) - 16;
    switch (rng_.below(5)) {
    case 0:
        return code_.mem({.code = 0x8d, .wide = true}, r, {.base = r, .disp = by});
    case 1:
        code_.reg({.code = 0x83, .wide = true}, rng_.percent(50) ? 0 : 5, r); // ADD, SUB
        return code_.imm(static_cast<u64>(by), 1);
    case 2:
        return code_.reg({.code = 0xff, .wide = true}, static_cast<Reg>(rng_.below(2)), r);
    case 3:
        return code_.reg({.code = 0x89, .wide = true}, base(), r); // from another
    default:
        return anchor(r);
    }
}

void Pieces::change_base() { move_base(base()); }

void Pieces::frame()
{
    const i64 size = 8 * static_cast<i64>(2 + rng_.below(12)); // no access has more than 16 bytes
    const u64 places = static_cast<u64>(size) / 8 - 1;
    code_.push(kRbp);
    code_.reg({.code = 0x89, .wide = true}, kRsp, kRbp);
    code_.reg({.code = 0x83, .wide = true}, 5, kRsp); // SUB
    code_.imm(static_cast<u64>(size), 1);
    for (u64 i = 1 + rng_.below(6); i > 0; --i)
        if (rng_.percent(25))
            compute();
        else if (rng_.percent(50))
            access({.base = kRbp, .disp = -8 * static_cast<i64>(2 + rng_.below(places))});
        else
            access({.base = kRsp, .disp = 8 * static_cast<i64>(rng_.below(places))});
    if (rng_.percent(60))
        return code_.bytes({0xc9}); // LEAVE
    if (rng_.percent(50))
        code_.mem({.code = 0x8d, .wide = true}, kRsp, {.base = kRsp, .disp = size});
    else
        code_.reg({.code = 0x89, .wide = true}, kRbp, kRsp);
    code_.pop(kRbp);
}

void Pieces::pushes()
{
    const u64 count = 2 + rng_.below(5);
    for (u64 i = 0; i < count; ++i)
        switch (rng_.below(4)) {
        case 0:
            code_.bytes({0x6a, low_byte()});
            break;
        case 1:
            code_.mem({.code = 0xff}, 6, {.base = base(), .disp = static_cast<i64>(rng_.below(64)) - 32});
            break;
        default:
            code_.push(rng_.percent(10) ? kRsp : rng_.percent(30) ? base() : value());
        }
    for (u64 i = rng_.below(4); i > 0; --i)
        if (rng_.percent(30))
            compute();
        else
            access({.base = kRsp, .disp = 8 * static_cast<i64>(rng_.below(count - 1))});
    for (u64 i = 0; i < count; ++i)
        switch (rng_.below(5)) {
        case 0:
            code_.mem({.code = 0x8d, .wide = true}, kRsp, {.base = kRsp, .disp = 8});
            break;
        case 1:
            code_.mem({.code = 0x8f}, 0, {.base = base(), .disp = static_cast<i64>(rng_.below(64)) - 32});
            break;
        default:
            code_.pop(value());
        }
}

void Pieces::string()
{
    constexpr u8 kOperations[] = {0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xa6, 0xa7, 0xae, 0xaf};
    const u8 operation = kOperations[rng_.below(std::size(kOperations))];
    const bool down = rng_.percent(25);
    if (rng_.percent(70)) {
        anchor(kRsi);
        anchor(kRdi);
    }
    if (down)
        code_.bytes({0xfd});
    if (rng_.percent(70)) {
        code_.mov_imm(kRcx, rng_.below(rng_.percent(80) ? 12 : 200));
        code_.bytes({static_cast<u8>(rng_.percent(70) ? 0xf3 : 0xf2)});
    }
    if (rng_.percent(50))
        code_.bytes({0x48});
    code_.bytes({operation});
    if (down)
        code_.bytes({0xfc});
}

void Pieces::indexed()
{
    const Reg index = value();
    code_.reg({.code = 0xb6, .map = 1, .byte = true}, index, value()); // MOVZX: 0 to 255
    for (u64 i = 1 + rng_.below(3); i > 0; --i)
        access({.base = base(),
                .index = index,
                .scale = static_cast<unsigned>(rng_.below(3)),
                .disp = static_cast<i64>(rng_.below(256)) - 128});
}

void Pieces::wild()
{
    const Reg r = value();
    const u64 high = rng_.next() | bit(63) | bit(62);
    code_.mov_imm(r, rng_.percent(50)   ? high
                     : rng_.percent(50) ? bit(47) + rng_.below(64) - 32
                                        : ~rng_.below(16));
    for (u64 i = 1 + rng_.below(2); i > 0; --i)
        access({.base = r, .disp = static_cast<i64>(rng_.below(64))});
}

void Pieces::divide()
{
    if (rng_.percent(70))
        code_.reg({.code = 0x31}, kRdx, kRdx);
    const bool wide = rng_.percent(50);
    const Reg kind = 6 + static_cast<Reg>(rng_.below(2));
    if (rng_.percent(60))
        return code_.reg({.code = 0xf7, .wide = wide}, kind, value());
    code_.mem({.code = 0xf7, .wide = wide}, kind,
              {.base = base(), .disp = static_cast<i64>(rng_.below(64)) - 32});
}

void Pieces::exchange()
{
    const Reg r = base();
    const i64 disp = static_cast<i64>(rng_.below(16)) * 8 - 64;
    if (rng_.percent(70))
        code_.mov_imm(r, data_address() & ~u64{15});
    if (rng_.percent(50)) { // as it stands there
        code_.mem({.code = 0x8b, .wide = true}, kRax, {.base = r, .disp = disp});
        code_.mem({.code = 0x8b, .wide = true}, kRdx, {.base = r, .disp = disp + 8});
    }
    code_.mem({.code = 0xc7, .map = 1, .wide = true, .lock = rng_.percent(70)}, 1, {.base = r, .disp = disp});
}

void Pieces::segment()
{
    for (u64 i = 1 + rng_.below(4); i > 0; --i)
        if (rng_.percent(60))
            access({.disp = static_cast<i64>(rng_.below(128)), .segment = 0x64});
        else
            access({.base = base(), .disp = static_cast<i64>(rng_.below(128)) - 64, .segment = 0x65});
}

void Pieces::flags()
{
    code_.bytes({0x9c});
    if (rng_.percent(50))
        return code_.pop(value());
    code_.mem({.code = 0x81}, 6, {.base = kRsp, .disp = 0}, 4); // XOR
    code_.imm(rng_.next() & spec::rflags::kArithmetic, 4);
    code_.bytes({0x9d});
}

void Pieces::remap()
{
    using namespace page_bits;
    if (user_)
        return compute();
    const u64 page = rng_.below(layout::kDataPages);
    const u64 linear = layout::kData + page * kPageSize;
    constexpr u64 kKinds[] = {kAll, kAll | kAccessed, kAll | kAccessed | kDirty, kPresent | kUser, 0};
    const u64 entry =
        layout::frame(static_cast<unsigned>(rng_.below(layout::kDataPages))) | kKinds[rng_.below(5)];
    const u64 tables = program_table_entry(linear);
    code_.mem({.code = 0xc7, .wide = true}, 0, {.disp = static_cast<i64>(tables)}, 4);
    code_.imm(entry, 4);
    code_.mem({.code = 0x01, .map = 1}, 7,
              {.disp = static_cast<i64>(linear + rng_.below(kPageSize))}); // INVLPG
}

// The clock that RDTSC reads sends interrupts.
void Pieces::interrupt() { code_.bytes({0x0f, 0x31}); }

} // namespace seamless::diff
