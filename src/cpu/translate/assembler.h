// SPDX-License-Identifier: Apache-2.0
// Writes the handful of host instructions the translator needs around the guest's own. Registers are host
// numbers.
#pragma once

#include <cstring>
#include <span>

#include "base/bits.h"
#include "base/check.h"

namespace seamless::cpu {

enum class Host : u8 { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15 };

class Assembler {
  public:
    // Writes to `buffer`, which will execute at `exec_base`.
    Assembler(std::span<u8> buffer, u64 exec_base)
        : begin_(buffer.data()), at_(begin_), end_(begin_ + buffer.size()), exec_base_(exec_base)
    {}

    [[nodiscard]] u32 offset() const { return static_cast<u32>(at_ - begin_); }
    [[nodiscard]] u64 address() const { return exec_base_ + offset(); }
    [[nodiscard]] u64 address_of(u32 at) const { return exec_base_ + at; }
    [[nodiscard]] bool overflowed() const { return overflowed_; }
    // Goes on at `offset`, with room up to `end`; both from the start of the buffer.
    void seek(u32 offset, u32 end)
    {
        at_ = begin_ + offset;
        end_ = begin_ + end;
    }

    void byte(u8 value) { put(&value, 1); }
    void bytes(std::span<const u8> value) { put(value.data(), value.size()); }
    void imm32(u32 value) { put(&value, 4); }
    void imm64(u64 value) { put(&value, 8); }

    // mov reg, gs:[disp] and back, 64 bits; the narrow forms zero-extend.
    void load(Host reg, i32 disp) { gs(true, 0x8b, reg, disp); }
    void load32(Host reg, i32 disp) { gs(false, 0x8b, reg, disp); }
    void store(i32 disp, Host reg) { gs(true, 0x89, reg, disp); }
    void store_imm32(i32 disp, u32 value) // sign-extended to 64 bits
    {
        gs(true, 0xc7, Host::rax, disp);
        imm32(value);
    }

    void compare_imm8(i32 disp, u8 value) // cmp qword gs:[disp], value
    {
        gs(true, 0x83, static_cast<Host>(7), disp);
        byte(value);
    }

    void mov(Host to, Host from) { rr(true, 0x8b, to, from); }
    void mov32(Host to, Host from) { rr(false, 0x8b, to, from); }
    void mov_imm(Host to, u64 value)
    {
        if (value <= 0xffffffff) {
            rex(false, Host::rax, Host::rax, to);
            byte(static_cast<u8>(0xb8 | low(to)));
            imm32(static_cast<u32>(value));
        } else {
            rex(true, Host::rax, Host::rax, to);
            byte(static_cast<u8>(0xb8 | low(to)));
            imm64(value);
        }
    }
    // The same in ten bytes, whatever the value is; returns where that stands.
    [[nodiscard]] u32 mov_imm64(Host to, u64 value)
    {
        rex(true, Host::rax, Host::rax, to);
        byte(static_cast<u8>(0xb8 | low(to)));
        imm64(value);
        return offset() - 8;
    }
    void xchg(Host a, Host b) { rr(true, 0x87, a, b); }

    // lea to, [base + disp]; `wide` false truncates to 32 bits.
    void lea(Host to, Host base, i32 disp, bool wide = true)
    {
        rex(wide, to, Host::rax, base);
        byte(0x8d);
        modrm_disp(low(to), base, disp);
    }
    // lea to, [base + index * scale + disp]; index is not rsp.
    void lea(Host to, Host base, Host index, u8 scale, i32 disp, bool wide = true)
    {
        rex(wide, to, index, base);
        byte(0x8d);
        byte(static_cast<u8>(0x84 | low(to) << 3));
        byte(static_cast<u8>(scale_bits(scale) << 6 | low(index) << 3 | low(base)));
        imm32(static_cast<u32>(disp));
    }
    // lea to, [index * scale + disp]
    void lea_scaled(Host to, Host index, u8 scale, i32 disp, bool wide = true)
    {
        rex(wide, to, index, Host::rax);
        byte(0x8d);
        byte(static_cast<u8>(0x04 | low(to) << 3));
        byte(static_cast<u8>(scale_bits(scale) << 6 | low(index) << 3 | 5));
        imm32(static_cast<u32>(disp));
    }

    // mov to, [base], zero-extended from `size` bytes; mov [base], from.
    void load_from(Host to, Host base, unsigned size, i32 disp = 0)
    {
        if (size <= 2) {
            rex(false, to, Host::rax, base);
            byte(0x0f);
            byte(size == 1 ? 0xb6 : 0xb7);
        } else {
            rex(size == 8, to, Host::rax, base);
            byte(0x8b);
        }
        modrm_disp(low(to), base, disp);
    }
    void store_to(Host base, Host from, unsigned size, i32 disp = 0)
    {
        if (size == 2)
            byte(0x66);
        if (size == 1) {
            rex(false, from, Host::rax, base, true);
            byte(0x88);
        } else {
            rex(size == 8, from, Host::rax, base);
            byte(0x89);
        }
        modrm_disp(low(from), base, disp);
    }
    // mov `to` (low `size` bytes), from: 8- and 16-bit moves keep the rest, 32-bit moves clear it.
    void mov_sized(Host to, Host from, unsigned size)
    {
        if (size == 2)
            byte(0x66);
        rex(size == 8, from, Host::rax, to, size == 1);
        byte(size == 1 ? 0x88 : 0x89);
        byte(static_cast<u8>(0xc0 | low(from) << 3 | low(to)));
    }

    void jmp(u64 target) { rel32(0xe9, target); }
    void call(u64 target) { rel32(0xe8, target); }
    // A forward jump: patch() makes it land here later. `condition` is the low nibble of Jcc.
    [[nodiscard]] u32 jmp_forward()
    {
        byte(0xe9);
        imm32(0);
        return offset() - 4;
    }
    [[nodiscard]] u32 jcc_forward(u8 condition)
    {
        byte(0x0f);
        byte(static_cast<u8>(0x80 | condition));
        imm32(0);
        return offset() - 4;
    }
    void patch(u32 at)
    {
        if (overflowed_)
            return;
        const u32 delta = offset() - (at + 4);
        std::memcpy(begin_ + at, &delta, 4);
    }

    // A call whose target patch() supplies.
    [[nodiscard]] u32 call_forward()
    {
        byte(0xe8);
        imm32(0);
        return offset() - 4;
    }
    void ret() { byte(0xc3); }
    void align() // where code begins that is jumped to
    {
        while (offset() % 16)
            byte(0xcc);
    }
    void jmp_gs(i32 disp) { gs(false, 0xff, static_cast<Host>(4), disp); }
    void push(Host r)
    {
        rex(false, Host::rax, Host::rax, r);
        byte(static_cast<u8>(0x50 | low(r)));
    }
    void pop(Host r)
    {
        rex(false, Host::rax, Host::rax, r);
        byte(static_cast<u8>(0x58 | low(r)));
    }
    void complement(Host r) // NOT: keeps the flags
    {
        rex(true, Host::rax, Host::rax, r);
        byte(0xf7);
        byte(static_cast<u8>(0xd0 | low(r)));
    }

    void lfence() { put("\x0f\xae\xe8", 3); }
    void rdtsc() { put("\x0f\x31", 2); }
    void pushfq() { byte(0x9c); }
    void popfq() { byte(0x9d); }
    // RAX := the arithmetic flags as in RFLAGS, and back; both use RCX.
    void flags_to_rax()
    {
        byte(0x9f);             // lahf
        put("\x0f\x90\xc0", 3); // seto al
        put("\x0f\xb6\xcc", 3); // movzx ecx, ah
        put("\x0f\xb6\xc0", 3); // movzx eax, al
        shift(false, 4, Host::rax, kOverflowBit);
        rr(false, 0x0b, Host::rax, Host::rcx);
    }
    // The same as the processor packs them, for a while on the stack: ah as LAHF has it, al the overflow.
    void flags_to_ax()
    {
        byte(0x9f);             // lahf
        put("\x0f\x90\xc0", 3); // seto al
    }
    void flags_from_ax()
    {
        put("\x04\x7f", 2); // add al, 127
        byte(0x9e);         // sahf
    }
    void flags_from_rax()
    {
        mov32(Host::rcx, Host::rax);
        shift(false, 5, Host::rcx, kOverflowBit);
        put("\x80\xe1\x01", 3); // and cl, 1
        put("\x88\xc4", 2);     // mov ah, al
        put("\x80\xc1\x7f", 3); // add cl, 127: overflows if it is 1
        byte(0x9e);             // sahf
    }

    // op reg, gs:[disp]: the opcode's `r, r/m` form.
    void gs(bool wide, u8 opcode, Host reg, i32 disp)
    {
        byte(0x65);
        rex(wide, reg, Host::rax, Host::rax);
        byte(opcode);
        byte(static_cast<u8>(0x04 | low(reg) << 3));
        byte(0x25);
        imm32(static_cast<u32>(disp));
    }
    // op reg, gs:[base + disp]
    void gs_indexed(bool wide, u8 opcode, Host reg, Host base, i32 disp)
    {
        byte(0x65);
        rex(wide, reg, Host::rax, base);
        byte(opcode);
        byte(static_cast<u8>(0x80 | low(reg) << 3 | low(base)));
        if (low(base) == 4)
            byte(0x24);
        imm32(static_cast<u32>(disp));
    }
    // op reg, gs:[index * scale + disp], 64 bits wide.
    void gs_scaled(u8 opcode, Host reg, Host index, u8 scale, i32 disp)
    {
        byte(0x65);
        rex(true, reg, index, Host::rax);
        byte(opcode);
        byte(static_cast<u8>(0x04 | low(reg) << 3));
        byte(static_cast<u8>(scale_bits(scale) << 6 | low(index) << 3 | 5));
        imm32(static_cast<u32>(disp));
    }
    // jmp, push and pop gs:[index * scale + disp]
    void jmp_gs_scaled(Host index, u8 scale, i32 disp) { group_gs_scaled(0xff, 4, index, scale, disp); }
    void push_gs_scaled(Host index, u8 scale, i32 disp) { group_gs_scaled(0xff, 6, index, scale, disp); }
    void pop_gs_scaled(Host index, u8 scale, i32 disp) { group_gs_scaled(0x8f, 0, index, scale, disp); }
    // pext and pdep to, from, gs:[disp] (BMI2)
    void pext_gs(Host to, Host from, i32 disp) { bmi_gs(0xf5, 2, to, from, disp); }
    void pdep_gs(Host to, Host from, i32 disp) { bmi_gs(0xf5, 3, to, from, disp); }
    // mulx high, low, gs:[disp] (BMI2): the product with rdx; keeps the flags
    void mulx_gs(Host high, Host low, i32 disp) { bmi_gs(0xf6, 3, high, low, disp); }
    // group 1 (81 /op) gs:[disp], 64 bits wide
    void gs_imm(u8 op, i32 disp, u32 value)
    {
        byte(0x65);
        rex(true, Host::rax, Host::rax, Host::rax);
        byte(0x81);
        byte(static_cast<u8>(0x04 | op << 3));
        byte(0x25);
        imm32(static_cast<u32>(disp));
        imm32(value);
    }
    // crc32 to, from, 64 bits (SSE4.2): keeps the flags
    void crc32(Host to, Host from)
    {
        byte(0xf2);
        rex(true, to, Host::rax, from);
        byte(0x0f);
        byte(0x38);
        byte(0xf1);
        byte(static_cast<u8>(0xc0 | low(to) << 3 | low(from)));
    }
    // rorx to, from, count (BMI2): keeps the flags
    void rorx(Host to, Host from, u8 count)
    {
        byte(0xc4);
        byte(static_cast<u8>((high(to) ? 0 : 0x80) | 0x40 | (high(from) ? 0 : 0x20) | 3));
        byte(0xfb);
        byte(0xf0);
        byte(static_cast<u8>(0xc0 | low(to) << 3 | low(from)));
        byte(count);
    }
    // A short forward jump taken if RCX is 0; land() makes it land here.
    [[nodiscard]] u32 jrcxz_forward()
    {
        byte(0xe3);
        byte(0);
        return offset() - 1;
    }
    void land(u32 at)
    {
        const u32 distance = offset() - (at + 1);
        CHECK(distance < 0x80); // JRCXZ reaches no further
        if (!overflowed_)
            begin_[at] = static_cast<u8>(distance);
    }
    // op to, from: the opcode's `r, r/m` form.
    void rr(bool wide, u8 opcode, Host to, Host from)
    {
        rex(wide, to, Host::rax, from);
        byte(opcode);
        byte(static_cast<u8>(0xc0 | low(to) << 3 | low(from)));
    }
    // Group-1 (81 /op) with a 32-bit immediate, and shifts (C1 /op).
    void ri(bool wide, u8 op, Host reg, u32 value)
    {
        rex(wide, Host::rax, Host::rax, reg);
        byte(0x81);
        byte(static_cast<u8>(0xc0 | op << 3 | low(reg)));
        imm32(value);
    }
    void shift(bool wide, u8 op, Host reg, u8 count)
    {
        rex(wide, Host::rax, Host::rax, reg);
        byte(0xc1);
        byte(static_cast<u8>(0xc0 | op << 3 | low(reg)));
        byte(count);
    }

    static constexpr u8 low(Host r) { return static_cast<u8>(r) & 7; }
    static constexpr bool high(Host r) { return static_cast<u8>(r) >= 8; }

  private:
    static constexpr u8 kOverflowBit = 11;

    void put(const void* data, std::size_t size)
    {
        if (static_cast<std::size_t>(end_ - at_) < size) {
            overflowed_ = true;
            return;
        }
        std::memcpy(at_, data, size);
        at_ += size;
    }
    void rex(bool wide, Host reg, Host index, Host base, bool force = false)
    {
        const u8 value = static_cast<u8>(0x40 | wide << 3 | high(reg) << 2 | high(index) << 1 | high(base));
        if (value != 0x40 || force)
            byte(value);
    }
    void group_gs_scaled(u8 opcode, u8 op, Host index, u8 scale, i32 disp)
    {
        byte(0x65);
        rex(false, Host::rax, index, Host::rax);
        byte(opcode);
        byte(static_cast<u8>(0x04 | op << 3));
        byte(static_cast<u8>(scale_bits(scale) << 6 | low(index) << 3 | 5));
        imm32(static_cast<u32>(disp));
    }
    void bmi_gs(u8 opcode, u8 prefix, Host to, Host from, i32 disp)
    {
        byte(0x65);
        byte(0xc4);
        byte(static_cast<u8>((high(to) ? 0 : 0x80) | 0x40 | 0x20 | 2));
        byte(static_cast<u8>(0x80 | (15 - static_cast<unsigned>(from)) << 3 | prefix));
        byte(opcode);
        byte(static_cast<u8>(0x04 | low(to) << 3));
        byte(0x25);
        imm32(static_cast<u32>(disp));
    }
    void modrm_disp(u8 reg, Host base, i32 disp)
    {
        const bool none = disp == 0 && low(base) != 5;
        const bool narrow = static_cast<i8>(disp) == disp;
        byte(static_cast<u8>((none ? 0x00 : narrow ? 0x40 : 0x80) | reg << 3 | low(base)));
        if (low(base) == 4)
            byte(0x24);
        if (!none && narrow)
            byte(static_cast<u8>(disp));
        else if (!none)
            imm32(static_cast<u32>(disp));
    }
    void rel32(u8 opcode, u64 target)
    {
        byte(opcode);
        imm32(static_cast<u32>(target - (address() + 4)));
    }
    static constexpr u8 scale_bits(u8 scale) { return static_cast<u8>(scale == 8 ? 3 : scale >> 1); }

    u8* begin_;
    u8* at_;
    u8* end_;
    u64 exec_base_;
    bool overflowed_ = false;
};

} // namespace seamless::cpu
