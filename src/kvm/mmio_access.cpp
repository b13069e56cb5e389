// SPDX-License-Identifier: Apache-2.0
// The emulator's accesses: translated by the guest's tables, then memory, a device of KVM's, or user space.
#include <algorithm>
#include <cstring>

#include "kvm/backend_vmx/vmx.h"
#include "kvm/emulation.h"
#include "kvm/guest_memory.h"
#include "kvm/mmu/mmu.h"
#include "kvm/vm.h"
#include "mem/guest_access.h"

namespace seamless::kvm {

using namespace spec;
using namespace spec::kvm;
using paging::Access;
using paging::GuestWalk;

namespace {

constexpr u64 kApicPage = 0xfee00000;

paging::GuestPaging guest_paging(const VcpuVmx& vmx)
{
    using paging::PagingMode;
    const u64 cr0 = vmx_cr0(vmx), cr4 = vmx_cr4(vmx);
    const cpu::Vmcs& v = vmx.vmcs;
    PagingMode mode = PagingMode::none;
    if (cr0 & cr0::PG) {
        if (v.efer & efer::LMA)
            mode = cr4 & cr4::LA57 ? PagingMode::level5 : PagingMode::level4;
        else
            mode = cr4 & cr4::PAE ? PagingMode::pae : PagingMode::bits32;
    }
    return {.mode = mode,
            .cr3 = v.cr3,
            .wp = (cr0 & cr0::WP) != 0,
            .nxe = (v.efer & efer::NXE) != 0,
            .smep = (cr4 & cr4::SMEP) != 0,
            .smap = (cr4 & cr4::SMAP) != 0,
            .pse = (cr4 & cr4::PSE) != 0};
}

u64 traced_value(const u8* data, unsigned bytes)
{
    u64 value = 0;
    std::memcpy(&value, data, std::min<std::size_t>(bytes, sizeof value));
    return value;
}

} // namespace

bool VcpuEmulation::user_mode() const
{
    return segment_ar::dpl(vcpu_.vmx->vmcs.seg[static_cast<unsigned>(Seg::ss)].ar) == 3;
}

GuestWalk VcpuEmulation::walk(u64 linear, Access access, paging::GuestPath* path)
{
    const VcpuVmx& vmx = *vcpu_.vmx;
    const bool allow_user = !(vmx_cr4(vmx) & cr4::SMAP) || (vmx.vmcs.rflags & rflags::AC);
    return walk_as(linear, access, user_mode(), allow_user, path);
}

GuestWalk VcpuEmulation::walk_as(u64 linear, Access access, bool user, bool allow_user,
                                 paging::GuestPath* path)
{
    const std::shared_lock slots(vcpu_.vm().slots_lock); // roots are replaced under it
    const VcpuVmx& vmx = *vcpu_.vmx;
    const TdpMmu& mmu = vcpu_.vm().mmu;
    const paging::EptRoot root{
        .table = mmu.direct_root(), .levels = mmu.levels(), .shared_table = {}, .accessed_dirty = true};
    return paging::walk_guest(guest_paging(vmx), root, Gva(linear), access, user, allow_user, {.path = path});
}

// The guest's tables may be in memory that EPT does not map yet: then it is mapped, as for the guest's own
// walk. Each attempt maps a page, and a walk touches few.
Result<Gpa, X86Emul> VcpuEmulation::translate(u64 linear, Access access, bool modify, paging::GuestPath* path)
{
    constexpr int kAttempts = 64;
    for (int i = 0; i < kAttempts; ++i) {
        const GuestWalk w = walk(linear, access, path);
        if (w.outcome == GuestWalk::Outcome::ok)
            return w.gpa;
        if (w.outcome == GuestWalk::Outcome::page_fault) {
            fault_linear_ = linear;
            queue_exception(Vector::PF, w.error_code | (modify ? pferr::W : 0));
            return fail(X86EMUL_PROPAGATE_FAULT);
        }
        if (w.outcome == GuestWalk::Outcome::host_fault && !vcpu_.vm().host_memory_gone(w.host.value()))
            break;
        const u64 code = w.ept_access == Access::write ? PFERR_WRITE_MASK : PFERR_USER_MASK;
        const auto mapped = kvm_mmu_do_page_fault(vcpu_, w.gpa.value(), code, false);
        if (!mapped || mapped.value() == RET_PF_EMULATE)
            break; // tables in what is no memory
    }
    return fail(X86EMUL_UNHANDLEABLE);
}

std::optional<Gpa> VcpuEmulation::gva_to_gpa_system(u64 linear)
{
    constexpr int kAttempts = 64;
    for (int i = 0; i < kAttempts; ++i) {
        const GuestWalk w = walk_as(linear, Access::read, false, true);
        if (w.outcome == GuestWalk::Outcome::ok)
            return w.gpa;
        if (w.outcome == GuestWalk::Outcome::page_fault)
            break;
        if (w.outcome == GuestWalk::Outcome::host_fault && !vcpu_.vm().host_memory_gone(w.host.value()))
            break;
        const u64 code = w.ept_access == Access::write ? PFERR_WRITE_MASK : PFERR_USER_MASK;
        const auto mapped = kvm_mmu_do_page_fault(vcpu_, w.gpa.value(), code, false);
        if (!mapped || mapped.value() == RET_PF_EMULATE)
            break;
    }
    return std::nullopt;
}

// From the page that the last instruction came from, without a walk. The sequence is read again behind the
// copy: the memory may have been taken away under it.
bool VcpuEmulation::fetch_again(u64 linear, std::span<u8> bytes) const
{
    const FetchedPage& f = fetched_;
    if (!f.known || f.linear != align_down(linear, kPageSize) || f.user != user_mode() ||
        f.paging != guest_paging(*vcpu_.vmx) || !paging::unchanged(f.path))
        return false;
    const void* from = reinterpret_cast<const void*>(f.hva + linear % kPageSize);
    return mem::try_copy(bytes.data(), from, bytes.size()) == bytes.size() &&
           vcpu_.vm().mmu.invalidation_seq() == f.invalidation_seq;
}

void VcpuEmulation::note_fetched(u64 linear, Gpa gpa)
{
    const std::shared_lock slots(vcpu_.vm().slots_lock);
    const Gfn gfn = gfn_of(gpa);
    const Memslot* slot = vcpu_.vm().slots.find(gfn);
    if (!slot || vcpu_.vm().mmu.invalidation_seq() != fetched_.invalidation_seq)
        return;
    fetched_.linear = align_down(linear, kPageSize);
    fetched_.hva = slot->hva(gfn);
    fetched_.known = true;
}

X86Emul VcpuEmulation::fetch(u64 linear, std::span<u8> bytes)
{
    if (fetch_again(linear, bytes))
        return X86EMUL_CONTINUE;
    fetched_.known = false;
    fetched_.user = user_mode();
    fetched_.paging = guest_paging(*vcpu_.vmx);
    fetched_.invalidation_seq = vcpu_.vm().mmu.invalidation_seq();
    const auto gpa = translate(linear, Access::fetch, false, &fetched_.path);
    if (!gpa)
        return gpa.error();
    if (!kvm_vcpu_read_guest(vcpu_.vm(), gpa.value().value(), bytes.data(), bytes.size()))
        return X86EMUL_UNHANDLEABLE; // KVM fetches from memory only
    note_fetched(linear, gpa.value());
    return X86EMUL_CONTINUE;
}

bool VcpuEmulation::is_mmio(u64 gpa) const
{
    const Vcpu::MmioCache& cache = vcpu_.mmio_cache;
    return align_down(gpa, kPageSize) == kApicPage || (cache.valid && cache.gfn == gfn_of(Gpa(gpa)) &&
                                                       cache.generation == vcpu_.vm().slots.generation());
}

// In pieces of up to 8 bytes, until a piece that no device of KVM's claims. How much was served.
unsigned VcpuEmulation::offer_to_bus(u64 gpa, std::size_t at, unsigned bytes, bool write)
{
    unsigned served = 0;
    while (served < bytes) {
        const unsigned piece = std::min(8u, bytes - served);
        u8* const data = value_.data() + at + served;
        if (write ? !vcpu_.mmio_bus_write(gpa + served, piece, data)
                  : !vcpu_.mmio_bus_read(gpa + served, piece, data))
            break;
        if (!write)
            TRACE(vcpu_.trace(), trace::Event::kvm_mmio, "read", piece, gpa + served,
                  traced_value(data, piece));
        served += piece;
    }
    return served;
}

X86Emul VcpuEmulation::read_write_page(const emul::LinearAccess& access, std::size_t at, unsigned bytes,
                                       bool write)
{
    u64 gpa = gpa_available_.value_or(0);
    if (!gpa_available_ || !access.sole || gpa % kPageSize != access.linear % kPageSize) {
        const auto translated = translate(access.linear, write ? Access::write : Access::read, access.modify);
        if (!translated)
            return translated.error();
        gpa = translated.value().value();
    }
    u8* const data = value_.data() + at;
    if (!is_mmio(gpa) && (write ? kvm_vcpu_write_guest(vcpu_.vm(), gpa, data, bytes)
                                : kvm_vcpu_read_guest(vcpu_.vm(), gpa, data, bytes)))
        return X86EMUL_CONTINUE;
    if (write)
        TRACE(vcpu_.trace(), trace::Event::kvm_mmio, "write", bytes, gpa, traced_value(data, bytes));
    const unsigned served = offer_to_bus(gpa, at, bytes, write);
    if (served < bytes) {
        if (!write)
            TRACE(vcpu_.trace(), trace::Event::kvm_mmio, "unsatisfied-read", bytes - served, gpa + served,
                  trace::Absent{});
        fragments_[fragment_count_++] = {.gpa = gpa + served, .at = at + served, .len = bytes - served};
    }
    return X86EMUL_CONTINUE;
}

void VcpuEmulation::exit_for_fragment()
{
    const Fragment& fragment = fragments_[fragment_];
    kvm_run& run = vcpu_.run();
    run.exit_reason = KVM_EXIT_MMIO;
    run.mmio.phys_addr = fragment.gpa + fragment_done_;
    run.mmio.len = std::min(8u, fragment.len - fragment_done_);
    run.mmio.is_write = mmio_is_write_;
    if (mmio_is_write_)
        std::memcpy(run.mmio.data, value_.data() + fragment.at + fragment_done_, run.mmio.len);
}

X86Emul VcpuEmulation::leave_for_mmio(bool write)
{
    mmio_needed_ = true;
    mmio_is_write_ = write;
    fragment_ = fragment_done_ = 0;
    exit_for_fragment();
    return write ? X86EMUL_CONTINUE : X86EMUL_IO_NEEDED;
}

// The whole access is in value_. At most two pages; each gives at most one fragment.
X86Emul VcpuEmulation::read_write(emul::LinearAccess access, std::size_t bytes, bool write)
{
    fragment_count_ = 0;
    const std::size_t in_page = kPageSize - access.linear % kPageSize;
    const std::size_t first = std::min(bytes, in_page);
    X86Emul r = read_write_page(access, 0, static_cast<unsigned>(first), write);
    if (r == X86EMUL_CONTINUE && first < bytes) {
        access.linear += first;
        if (!((efer() & efer::LMA) && (segment(Seg::cs).ar & segment_ar::L)))
            access.linear = static_cast<u32>(access.linear);
        r = read_write_page(access, first, static_cast<unsigned>(bytes - first), write);
    }
    if (r != X86EMUL_CONTINUE || fragment_count_ == 0)
        return r;
    return leave_for_mmio(write);
}

X86Emul VcpuEmulation::read_emulated(emul::LinearAccess access, std::span<u8> bytes)
{
    if (bytes.size() > value_.size())
        return X86EMUL_UNHANDLEABLE;
    X86Emul r = X86EMUL_CONTINUE;
    if (mmio_read_completed_) {
        mmio_read_completed_ = false;
        TRACE(vcpu_.trace(), trace::Event::kvm_mmio, "read", bytes.size(), fragments_[0].gpa,
              traced_value(value_.data(), static_cast<unsigned>(bytes.size())));
    } else {
        r = read_write(access, bytes.size(), false);
    }
    if (r == X86EMUL_CONTINUE)
        std::copy_n(value_.begin(), bytes.size(), bytes.begin());
    return r;
}

X86Emul VcpuEmulation::write_emulated(emul::LinearAccess access, std::span<const u8> bytes)
{
    if (bytes.size() > value_.size())
        return X86EMUL_UNHANDLEABLE;
    std::copy(bytes.begin(), bytes.end(), value_.begin());
    return read_write(access, bytes.size(), true);
}

void VcpuEmulation::exit_for_pio(bool in, u16 port, unsigned size, std::size_t count)
{
    kvm_run& run = vcpu_.run();
    run.exit_reason = KVM_EXIT_IO;
    run.io.direction = in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT;
    run.io.size = static_cast<u8>(size);
    run.io.port = port;
    run.io.count = static_cast<u32>(count);
    run.io.data_offset = kPageSize * KVM_PIO_PAGE_OFFSET;
    pio_needed_ = true;
    pio_is_in_ = in;
}

// False: no device has this port. A device that goes away half way leaves zeros, as in KVM.
bool VcpuEmulation::read_port_bus(u16 port, unsigned size, std::span<u8> bytes)
{
    IoBus& bus = vcpu_.vm().bus(BusId::KVM_PIO_BUS);
    std::fill(bytes.begin(), bytes.end(), u8{0});
    for (std::size_t at = 0; at < bytes.size(); at += size)
        if (!bus.read(port, size, bytes.data() + at))
            return at != 0;
    return true;
}

X86Emul VcpuEmulation::pio_in(u16 port, unsigned size, std::span<u8> bytes)
{
    if (pio_completed_)
        std::copy_n(vcpu_.pio_data(), bytes.size(), bytes.begin());
    else if (!read_port_bus(port, size, bytes)) {
        std::memset(vcpu_.pio_data(), 0, bytes.size());
        exit_for_pio(true, port, size, bytes.size() / size);
        pio_completed_ = true; // once the VMM comes back
        return X86EMUL_IO_NEEDED;
    }
    pio_completed_ = false;
    for (std::size_t at = 0; at < bytes.size(); at += size)
        TRACE(vcpu_.trace(), trace::Event::kvm_pio, "read", size, port,
              traced_value(bytes.data() + at, size));
    return X86EMUL_CONTINUE;
}

X86Emul VcpuEmulation::pio_out(u16 port, std::span<const u8> bytes)
{
    const auto size = static_cast<unsigned>(bytes.size());
    TRACE(vcpu_.trace(), trace::Event::kvm_pio, "write", size, port, traced_value(bytes.data(), size));
    if (vcpu_.vm().bus(BusId::KVM_PIO_BUS).write(port, size, bytes.data()))
        return X86EMUL_CONTINUE;
    std::copy(bytes.begin(), bytes.end(), vcpu_.pio_data());
    exit_for_pio(false, port, size, 1);
    return X86EMUL_CONTINUE;
}

} // namespace seamless::kvm
