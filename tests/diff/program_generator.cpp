// SPDX-License-Identifier: Apache-2.0
// Functions, jumps, loops, calls and returns of random programs.
#include "diff/program_generator.h"

#include <algorithm>
#include <cstring>

namespace seamless::diff {
namespace {

using namespace layout;

constexpr u64 kMostCode = kCodeBytes - 64;
constexpr u64 kMainTurns = 12;

} // namespace

ProgramGenerator::ProgramGenerator(u64 seed, Program& program)
    : program_(program), rng_(seed), pieces_(code_, rng_, rng_.percent(50))
{
    program_.seed = seed;
    program_.user = pieces_.user();
}

void ProgramGenerator::piece(u64 begin, bool removable)
{
    program_.pieces.push_back({.begin = begin, .end = code_.offset(), .removable = removable});
}

ProgramGenerator::Budget ProgramGenerator::cost_of(unsigned function) const
{
    return Budget{50} << (functions_ - 1 - function);
}

void ProgramGenerator::run()
{
    functions_ = 2 + static_cast<unsigned>(rng_.below(5));
    for (unsigned i = 0; i < functions_; ++i) {
        labels_.push_back(code_.label());
        arguments_.push_back(i > 0 && rng_.percent(20) ? 1 + static_cast<unsigned>(rng_.below(3)) : 0);
    }
    recursion_ = code_.label();
    recursion_pushes_ = static_cast<unsigned>(rng_.below(2));
    std::vector<unsigned> order;
    for (unsigned i = 0; i <= functions_; ++i)
        order.push_back(i);
    for (std::size_t i = order.size(); i > 1; --i)
        std::swap(order[i - 1], order[rng_.below(i)]);
    for (const unsigned i : order) {
        place_function();
        if (i == functions_)
            emit_recursion();
        else
            emit_function(i);
    }
    code_.resolve();
    finish_writes();
    program_.start = code_.address_of(labels_[0]);
    for (unsigned i = 0; i < functions_; ++i)
        program_.table.push_back(code_.address_of(labels_[i]));
    make_state();
    make_entries();
}

// Some functions begin just before a page ends.
void ProgramGenerator::place_function()
{
    const u64 left = kPageSize - code_.offset() % kPageSize;
    if (rng_.percent(30) && code_.offset() < kCodeBytes - 2 * kPageSize && left > 100)
        code_.pad(left - 1 - rng_.below(90), 0xcc);
    else
        code_.pad(rng_.below(16), 0xcc);
}

void ProgramGenerator::emit_function(unsigned index)
{
    code_.bind(labels_[index]);
    const u64 begin = code_.offset();
    if (index > 0) {
        Budget budget = cost_of(index);
        items(index, 2 + rng_.below(10), budget, 0);
        return emit_return(index);
    }
    code_.mov_imm(kMainCounter, 2 + rng_.below(kMainTurns));
    const ProgramCode::Label top = code_.label();
    code_.bind(top);
    piece(begin, false);
    Budget budget = 1200;
    items(0, 6 + rng_.below(24), budget, 0);
    const u64 end = code_.offset();
    code_.reg({.code = 0xff, .wide = rng_.percent(50)}, 1, kMainCounter);
    code_.jcc(5, top);
    program_.end = code_.offset();
    code_.bytes({0xf4}); // HLT
    piece(end, false);
}

void ProgramGenerator::emit_return(unsigned index)
{
    const u64 begin = code_.offset();
    const unsigned words = arguments_[index];
    const u64 way = rng_.below(8);
    if (words > 0) {
        code_.bytes({0xc2, static_cast<u8>(8 * words), 0});
    } else if (way == 0) { // POP, JMP
        code_.pop(kRcx);
        code_.reg({.code = 0xff}, 4, kRcx);
    } else if (way == 1) { // through another slot
        code_.pop(kRdx);
        code_.push(kRdx);
        code_.bytes({0xc3});
    } else {
        code_.bytes({0xc3});
    }
    piece(begin, false);
}

// ECX levels deep.
void ProgramGenerator::emit_recursion()
{
    code_.bind(recursion_);
    const u64 begin = code_.offset();
    const ProgramCode::Label out = code_.label();
    if (rng_.percent(50))
        code_.bytes({0xff, 0xc9});
    else
        code_.bytes({0x83, 0xe9, 1});
    code_.jcc(4, out);
    if (recursion_pushes_)
        code_.push(kRdx);
    code_.jump(0xe8, recursion_);
    if (rng_.percent(60))
        pieces_.consume();
    if (rng_.percent(40))
        code_.bytes({0x48, 0x83, 0xd0, 1}); // ADC RAX, 1
    if (recursion_pushes_)
        code_.pop(kRdx);
    code_.bind(out);
    code_.bytes({0xc3});
    piece(begin, false);
}

void ProgramGenerator::items(unsigned function, u64 count, Budget& budget, unsigned depth)
{
    for (u64 i = 0; i < count && budget > 20 && code_.offset() < kMostCode - 0x800; ++i) {
        budget -= 5;
        item(function, budget, depth);
    }
}

void ProgramGenerator::item(unsigned function, Budget& budget, unsigned depth)
{
    const u64 what = rng_.below(100);
    if (what < 9)
        return call(function, budget);
    if (what < 12)
        return recurse(budget);
    if (what < 17)
        return odd_return();
    if (what < 24 && depth < 3)
        return forward_jump(function, budget, depth + 1);
    if (what < 29)
        return short_jump();
    if (what < 37 && depth < 3)
        return loop(function, budget, depth + 1);
    if (what < 43)
        return patch();
    if (what < 48)
        return slot();
    const u64 begin = code_.offset();
    straight();
    piece(begin, true);
}

void ProgramGenerator::straight()
{
    switch (rng_.below(24)) {
    case 0:
    case 1:
        return pieces_.compute();
    case 2:
    case 3:
        return pieces_.consume();
    case 4:
        return pieces_.change_base();
    case 5:
        return pieces_.frame();
    case 6:
    case 7:
        return pieces_.pushes();
    case 8:
        return pieces_.string();
    case 9:
    case 10:
        return pieces_.indexed();
    case 11:
        return rng_.percent(30) ? pieces_.wild() : pieces_.compute();
    case 12:
        return rng_.percent(30) ? pieces_.divide() : pieces_.compute();
    case 13:
        return pieces_.exchange();
    case 14:
        return pieces_.segment();
    case 15:
        return pieces_.flags();
    case 16:
        return pieces_.vectors();
    case 17:
        return rng_.percent(50) ? pieces_.remap() : pieces_.stretch();
    case 18:
        return pieces_.interrupt();
    case 19: // the host's turn
        return rng_.percent(25) ? code_.bytes({0x0f, 0x01, 0xc1}) : pieces_.stretch();
    default:
        return pieces_.stretch();
    }
}

void ProgramGenerator::forward_jump(unsigned function, Budget& budget, unsigned depth)
{
    const u64 begin = code_.offset();
    const ProgramCode::Label over = code_.label();
    if (rng_.percent(85))
        code_.jcc(static_cast<unsigned>(rng_.below(16)), over);
    else if (rng_.percent(50))
        code_.jump(0xe9, over);
    else {
        code_.mov_label(kRax, over);
        code_.reg({.code = 0xff}, 4, kRax);
    }
    piece(begin, true);
    items(function, 1 + rng_.below(4), budget, depth);
    code_.bind(over);
}

void ProgramGenerator::short_jump()
{
    const u64 begin = code_.offset();
    const u64 over = code_.jcc_short(static_cast<unsigned>(rng_.below(16)));
    if (rng_.percent(50))
        program_.slots.push_back({.offset = over - 1, .kind = PatchSlot::Kind::condition});
    if (rng_.percent(60))
        pieces_.compute();
    else
        pieces_.change_base();
    code_.land(over);
    piece(begin, true);
}

void ProgramGenerator::loop(unsigned function, Budget& budget, unsigned depth)
{
    const u64 begin = code_.offset();
    const u64 turns = 1 + rng_.below(rng_.percent(80) ? 8 : 40);
    const ProgramCode::Label top = code_.label();
    code_.push(kCounter);
    code_.mov_imm(kCounter, turns);
    code_.bind(top);
    piece(begin, false);
    Budget inner = budget / turns;
    const Budget before = inner;
    items(function, 1 + rng_.below(4), inner, depth);
    budget -= (before - inner) * turns;
    const u64 end = code_.offset();
    if (rng_.percent(50))
        code_.reg({.code = 0xff, .wide = true}, 1, kCounter);
    else {
        code_.mem({.code = 0x8d, .wide = true}, kCounter, {.base = kCounter, .disp = -1});
        code_.reg({.code = 0x85, .wide = true}, kCounter, kCounter);
    }
    code_.jcc(5, top);
    code_.pop(kCounter);
    piece(end, false);
}

void ProgramGenerator::call(unsigned function, Budget& budget)
{
    if (function + 1 >= functions_)
        return slot();
    const unsigned callee = function + 1 + static_cast<unsigned>(rng_.below(functions_ - function - 1));
    if (budget < cost_of(callee) + 20)
        return slot();
    budget -= cost_of(callee);
    const u64 begin = code_.offset();
    for (unsigned i = 0; i < arguments_[callee]; ++i)
        code_.push(kRdx);
    call_function(callee);
    piece(begin, true);
    if (rng_.percent(50)) {
        const u64 behind = code_.offset();
        pieces_.consume();
        piece(behind, true);
    }
}

void ProgramGenerator::call_function(unsigned callee)
{
    const ProgramCode::Label to = labels_[callee];
    switch (rng_.below(8)) {
    case 0:
        code_.mov_label(kRax, to);
        return code_.reg({.code = 0xff}, 2, kRax);
    case 1: // through its other linear address, in which it stays
        code_.mov_label(kRdx, to, kCodeAlias - kCode);
        return code_.reg({.code = 0xff}, 2, kRdx);
    case 2:
    case 3:
        return code_.mem({.code = 0xff}, 2, {.disp = static_cast<i64>(kTable + 8 * callee)});
    default:
        return code_.jump(0xe8, to);
    }
}

void ProgramGenerator::recurse(Budget& budget)
{
    const u64 depth = rng_.percent(85) ? 1 + rng_.below(20) : 200 + rng_.below(1300);
    if (budget < 6 * depth + 20)
        return slot();
    budget -= 6 * depth;
    const u64 begin = code_.offset();
    code_.mov_imm(kRcx, depth);
    code_.jump(0xe8, recursion_);
    piece(begin, true);
}

// Returns that no call was made for, and calls that no return comes back to.
void ProgramGenerator::odd_return()
{
    const u64 begin = code_.offset();
    const ProgramCode::Label on = code_.label(), sub = code_.label(), deep = code_.label();
    const u64 alias = rng_.percent(15) ? kCodeAlias - kCode : 0;
    switch (rng_.below(5)) {
    case 0:
        code_.push_label(on, alias);
        code_.bytes({0xc3});
        break;
    case 1: // CALL of the next instruction
        code_.jump(0xe8, on);
        code_.bind(on);
        code_.pop(kRax);
        return piece(begin, true);
    case 2: // returns to the caller's caller
        code_.jump(0xe8, sub);
        code_.jump(0xe9, on);
        code_.bind(sub);
        code_.jump(0xe8, deep);
        code_.bytes({0x0f, 0x0b});
        code_.bind(deep);
        code_.mem({.code = 0x8d, .wide = true}, kRsp, {.base = kRsp, .disp = 8});
        code_.bytes({0xc3});
        break;
    case 3: // the return address moves on by one instruction
        code_.jump(0xe8, sub);
        code_.bytes({0x48, 0xff, 0xc0});
        code_.jump(0xe9, on);
        code_.bind(sub);
        code_.bytes({0x48, 0x83, 0x04, 0x24, 3, 0xc3});
        break;
    default: // RET from a copy of the stack pointer
        code_.jump(0xe8, sub);
        code_.jump(0xe9, on);
        code_.bind(sub);
        code_.pop(kRdx);
        code_.push(kRdx);
        code_.push(kRdx);
        code_.bytes({0xc2, 8, 0});
        break;
    }
    code_.bind(on);
    piece(begin, true);
}

} // namespace seamless::diff
