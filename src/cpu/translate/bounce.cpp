// SPDX-License-Identifier: Apache-2.0
// An access that lies in two host pages: the instruction runs on a copy, and what it made of it goes back to
// both pages, or to none.
#include <algorithm>
#include <cstring>

#include "cpu/translate/engine.h"

namespace seamless::cpu {
namespace {

constexpr unsigned kXstateBv = 512; // in the XSAVE image

}

Result<SlowResult, Fault> Engine::bounce(Hpa first, Hpa second, Gva gva, const AccessInfo& info)
{
    Bounce& b = frame_.bounce;
    b.at = b.bytes + (info.locked ? 0 : gva.value() & 63); // no host need split what is LOCKed
    b.first = mem::host_ptr<u8>(first);
    b.second = mem::host_ptr<u8>(second);
    b.first_size = static_cast<u32>(kPageSize - gva.page_offset());
    b.size = info.size;
    CHECK(b.size <= kBounceBytes);
    if (!mem::try_copy_from({b.at, b.first_size}, first))
        return fail(port_.host_memory_gone(first));
    if (!mem::try_copy_from({b.at + b.first_size, b.size - b.first_size}, second))
        return fail(port_.host_memory_gone(second));
    if (info.write)
        remember(info);
    return SlowResult{.host = reinterpret_cast<u64>(b.at), .skip = kBounceSkip};
}

// Extended state changes with a store only where that pops the x87 stack.
void Engine::remember(const AccessInfo& info)
{
    std::copy_n(frame_.bounce.at, frame_.bounce.size, undo_.found);
    std::ranges::copy(frame_.state.gpr, undo_.gpr);
    undo_.host_flags = frame_.host_flags;
    undo_.has_x87 = info.x87;
    if (info.x87)
        std::copy_n(frame_.xsave->bytes, sizeof undo_.x87, undo_.x87);
    undo_.index = info.index;
}

// The registers are in the frame, and leave translated code from there.
void Engine::undo()
{
    std::ranges::copy(undo_.gpr, frame_.state.gpr);
    frame_.host_flags = undo_.host_flags;
    if (!undo_.has_x87)
        return;
    std::ranges::copy(undo_.x87, frame_.xsave->bytes);
    frame_.xsave->bytes[kXstateBv] |= 1;
}

// A page that goes away now must not keep its half of an instruction that is to be executed again.
Result<void, Fault> Engine::write_back()
{
    const Bounce& b = frame_.bounce;
    const Hpa first = mem::hpa_of_ptr(b.first), second = mem::hpa_of_ptr(b.second);
    const u32 second_size = b.size - b.first_size;
    if (!mem::try_copy_to(second, {b.at + b.first_size, second_size}))
        return fail(port_.host_memory_gone(second));
    if (mem::try_copy_to(first, {b.at, b.first_size}))
        return {};
    (void)mem::try_copy_to(second, {undo_.found + b.first_size, second_size});
    return fail(port_.host_memory_gone(first));
}

SlowResult Engine::commit_bounce(Frame*, u64, u32, u64 return_address)
{
    Engine& engine = *running_;
    const Result<void, Fault> done = engine.write_back();
    engine.resume_others();
    if (done) [[likely]]
        return {.host = 1, .skip = 0};
    engine.undo();
    engine.pending_fault_ = done.error();
    engine.fault_in_block(return_address, engine.undo_.index);
    return {.host = 0, .skip = kLeave};
}

} // namespace seamless::cpu
