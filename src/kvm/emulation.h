// SPDX-License-Identifier: Apache-2.0
// The emulation under way on one vCPU of a plain VM: the emulator, the port it works through, and the
// accesses that wait for user space.
#pragma once

#include <array>
#include <optional>

#include "base/address.h"
#include "emul/emulator.h"
#include "kvm/fault.h"
#include "paging/guest_walk.h"

namespace seamless::kvm {

class Vcpu;

class VcpuEmulation final : public emul::EmulatedCpu {
  public:
    explicit VcpuEmulation(Vcpu& vcpu) : vcpu_(vcpu) {}

    // Decodes at RIP (not with EMULTYPE_NO_DECODE) and executes, up to what user space must do.
    [[nodiscard]] Handled emulate(u64 gpa, int emul_type, std::span<const u8> insn);
    // KVM_TRANSLATE: where the guest's tables lead, with a supervisor's rights; nothing if nowhere.
    [[nodiscard]] std::optional<Gpa> gva_to_gpa_system(u64 linear);
    // The bytes of the instruction, as far as they are known.
    [[nodiscard]] std::span<const u8> insn() const { return emulator_.insn(); }

  private:
    // A piece of an access that user space serves; at most 8 bytes of it at a time.
    struct Fragment {
        u64 gpa;
        std::size_t at; // in value_
        unsigned len;
    };
    struct Exception {
        spec::Vector vector;
        u32 error_code;
    };

    [[nodiscard]] Handled run_passes(int emul_type);
    void retire();
    void inject_exception();

    // emul::EmulatedCpu
    [[nodiscard]] u64 gpr(spec::Gpr r) override;
    void set_gpr(spec::Gpr r, u64 value) override;
    [[nodiscard]] u64 rip() override;
    [[nodiscard]] u64 rflags() override;
    [[nodiscard]] u64 cr0() override;
    [[nodiscard]] u64 cr4() override;
    [[nodiscard]] u64 efer() override;
    [[nodiscard]] spec::Segment segment(spec::Seg seg) override;
    [[nodiscard]] X86Emul fetch(u64 linear, std::span<u8> bytes) override;
    [[nodiscard]] X86Emul read_emulated(emul::LinearAccess access, std::span<u8> bytes) override;
    [[nodiscard]] X86Emul write_emulated(emul::LinearAccess access, std::span<const u8> bytes) override;
    [[nodiscard]] X86Emul pio_in(u16 port, unsigned size, std::span<u8> bytes) override;
    [[nodiscard]] X86Emul pio_out(u16 port, std::span<const u8> bytes) override;
    void set_cr0(u64 value) override;
    void read_fpu(unsigned offset, std::span<u8> bytes) override;
    void write_fpu(unsigned offset, std::span<const u8> bytes) override;
    void queue_exception(spec::Vector vector, u32 error_code) override;
    [[nodiscard]] bool in_guest_mode() override;
    [[nodiscard]] X86Emul check_intercept(const emul::Intercept& intercept) override;

    // Where the last instruction was fetched, and what led there: while nothing of that has changed, and the
    // MMU has taken nothing away, another walk would end there too.
    struct FetchedPage {
        bool known = false;
        u64 linear = 0; // of the page, as is hva
        u64 hva = 0;
        bool user = false;
        paging::GuestPaging paging;
        paging::GuestPath path;
        u64 invalidation_seq = 0;
    };

    // Memory and MMIO (mmio_access.cpp).
    [[nodiscard]] bool user_mode() const;
    [[nodiscard]] bool fetch_again(u64 linear, std::span<u8> bytes) const;
    void note_fetched(u64 linear, Gpa gpa);
    [[nodiscard]] Result<Gpa, X86Emul> translate(u64 linear, paging::Access access, bool modify = false,
                                                 paging::GuestPath* path = nullptr);
    [[nodiscard]] paging::GuestWalk walk(u64 linear, paging::Access access, paging::GuestPath* path);
    [[nodiscard]] paging::GuestWalk walk_as(u64 linear, paging::Access access, bool user, bool allow_user,
                                            paging::GuestPath* path = nullptr);
    [[nodiscard]] X86Emul read_write(emul::LinearAccess access, std::size_t bytes, bool write);
    [[nodiscard]] X86Emul read_write_page(const emul::LinearAccess& access, std::size_t at, unsigned bytes,
                                          bool write);
    [[nodiscard]] bool is_mmio(u64 gpa) const;
    [[nodiscard]] unsigned offer_to_bus(u64 gpa, std::size_t at, unsigned bytes, bool write);
    [[nodiscard]] X86Emul leave_for_mmio(bool write);
    void exit_for_fragment();
    [[nodiscard]] static Handled complete_emulated_mmio(Vcpu& vcpu);
    [[nodiscard]] Handled complete_mmio();
    [[nodiscard]] bool read_port_bus(u16 port, unsigned size, std::span<u8> bytes);
    void exit_for_pio(bool in, u16 port, unsigned size, std::size_t count);

    Vcpu& vcpu_;
    emul::Emulator emulator_{*this};
    std::optional<Exception> exception_;
    u64 fault_linear_ = 0; // of a page fault
    std::optional<u64> gpa_available_;
    FetchedPage fetched_;

    std::array<u8, 1024> value_{}; // of the access under way; the most that REP INS writes at once
    std::array<Fragment, 2> fragments_{};
    unsigned fragment_count_ = 0, fragment_ = 0, fragment_done_ = 0;
    bool mmio_needed_ = false, mmio_is_write_ = false, mmio_read_completed_ = false;
    bool pio_needed_ = false, pio_is_in_ = false, pio_completed_ = false;
};

} // namespace seamless::kvm
