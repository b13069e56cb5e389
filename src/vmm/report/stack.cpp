// SPDX-License-Identifier: Apache-2.0
// Everything on a stack is only what the guest wrote: each step checks what it can and has an end.
#include "vmm/report/stack.h"

#include <algorithm>
#include <cstring>

namespace seamless::vmm::report {

using spec::Gpr;
using spec::Seg;
using trace::VcpuRegisters;

namespace {

constexpr u64 kScanned = 16384;        // of the stack, from RSP
constexpr std::size_t kFrames = 24;    // shown
constexpr u64 kLargestFrame = 1 << 16; // between two frame pointers
constexpr u64 kFrameWords = 5;         // of an exception: RIP, CS, RFLAGS, RSP, SS

bool is_64_bit(const VcpuRegisters& r)
{
    return (r.efer & spec::efer::LMA) && (r.seg[static_cast<unsigned>(Seg::cs)].ar & spec::segment_ar::L);
}

u64 rsp_of(const VcpuRegisters& r) { return r.gpr[static_cast<unsigned>(Gpr::rsp)]; }

// What there is above RSP.
std::vector<u64> words_of_stack(const VcpuRegisters& r, const ReadMemory& read)
{
    std::vector<u64> words(kScanned / 8);
    const std::span bytes(reinterpret_cast<u8*>(words.data()), kScanned);
    words.resize(std::min<u64>(read(rsp_of(r) & ~u64{7}, bytes), kScanned) / 8);
    return words;
}

// Whether a CALL ends right before `address`: E8 with a displacement, or FF /2 with the operands that
// compilers use.
bool follows_call(u64 address, const ReadMemory& read)
{
    u8 before[7] = {};
    if (address < sizeof(before) || read(address - sizeof(before), before) != sizeof(before))
        return false;
    const auto is_ff_2 = [&](std::size_t length) {
        const u8* at = before + sizeof(before) - length;
        return at[0] == 0xff && (at[1] >> 3 & 7) == 2;
    };
    return before[2] == 0xe8 || is_ff_2(2) || is_ff_2(3) || is_ff_2(6) || is_ff_2(7);
}

bool read_word(u64 from, u64& word, const ReadMemory& read)
{
    u8 bytes[8];
    if (read(from, bytes) != sizeof(bytes))
        return false;
    std::memcpy(&word, bytes, sizeof(word));
    return true;
}

void follow_frame_pointers(const VcpuRegisters& r, const ReadMemory& read, std::vector<Frame>& frames)
{
    u64 lowest = rsp_of(r);
    u64 rbp = r.gpr[static_cast<unsigned>(Gpr::rbp)];
    while (frames.size() < kFrames && rbp >= lowest && rbp - lowest < kLargestFrame && rbp % 8 == 0) {
        u64 next = 0, back = 0;
        if (!read_word(rbp, next, read) || !read_word(rbp + 8, back, read) || !follows_call(back, read))
            return;
        frames.push_back({Frame::How::frame_pointer, back});
        lowest = rbp + 16;
        rbp = next;
    }
}

bool is_exception_frame(std::span<const u64> w, const VcpuRegisters& r, const ReadMemory& read)
{
    constexpr u64 kSelectors = 0x100; // those in use are small
    const auto selector = [&](Seg s) { return u64{r.seg[static_cast<unsigned>(s)].selector}; };
    const bool user = (w[1] & 3) == 3;
    const bool code = w[1] == selector(Seg::cs) || (user && w[1] < kSelectors);
    const bool stack = w[4] == 0 || (w[4] < kSelectors && (w[4] & 3) == (w[1] & 3));
    u8 byte;
    return code && stack && (w[2] & ~spec::rflags::kDefined) == 0 && (w[2] & spec::rflags::FIXED1) &&
           w[3] != 0 && read(w[0], {&byte, 1}) == 1;
}

} // namespace

std::vector<Frame> backtrace(const VcpuRegisters& registers, const ReadMemory& read, const Symbol& symbol,
                             bool has_symbols)
{
    std::vector<Frame> frames{{Frame::How::rip, registers.rip}};
    if (!is_64_bit(registers))
        return frames;
    follow_frame_pointers(registers, read, frames);
    if (frames.size() > 2)
        return frames;
    frames.resize(1);
    for (const u64 word : words_of_stack(registers, read)) {
        if (frames.size() == kFrames)
            break;
        if (follows_call(word, read) && (!has_symbols || !symbol(word).empty()))
            frames.push_back({Frame::How::guess, word});
    }
    return frames;
}

std::vector<Frame> exception_frames(const VcpuRegisters& registers, const ReadMemory& read)
{
    std::vector<Frame> frames;
    if (!is_64_bit(registers))
        return frames;
    const std::vector<u64> words = words_of_stack(registers, read);
    for (std::size_t i = 0; i + kFrameWords <= words.size() && frames.size() < kFrames;) {
        const auto frame = std::span(words).subspan(i, kFrameWords);
        const bool found = is_exception_frame(frame, registers, read);
        if (found)
            frames.push_back({Frame::How::exception, frame[0], frame[3]});
        i += found ? kFrameWords : 1;
    }
    return frames;
}

} // namespace seamless::vmm::report
