// SPDX-License-Identifier: Apache-2.0
// The VMM owns `first` and may write anything there: it is only compared.
#include "kvm/coalesced_mmio.h"

#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

#include "base/address.h"

namespace seamless::kvm {

using namespace spec::kvm;

class CoalescedMmio::Zone final : public IoDevice {
  public:
    Zone(CoalescedMmio& owner, const kvm_coalesced_mmio_zone& z) : zone(z), owner_(owner) {}
    bool read(u64, unsigned, void*) override { return false; }
    bool write(u64 addr, unsigned len, const void* data) override
    {
        return contains(addr, len) && owner_.push(*this, addr, len, data);
    }
    [[nodiscard]] bool contains(u64 addr, u64 len) const
    {
        return addr + len >= addr && addr >= zone.addr && addr + len <= zone.addr + zone.size;
    }
    const kvm_coalesced_mmio_zone zone;

  private:
    CoalescedMmio& owner_;
};

CoalescedMmio::CoalescedMmio(IoBus (&buses)[kBusCount]) : buses_(buses) {}

CoalescedMmio::~CoalescedMmio()
{
    for (const auto& zone : zones_)
        bus_of(zone->zone).remove(*zone);
    if (ring_)
        munmap(ring_, kPageSize);
    if (ring_fd_ >= 0)
        close(ring_fd_);
}

IoBus& CoalescedMmio::bus_of(const kvm_coalesced_mmio_zone& zone)
{
    return buses_[static_cast<unsigned>(zone.pio ? BusId::KVM_PIO_BUS : BusId::KVM_MMIO_BUS)];
}

Result<int, Errno> CoalescedMmio::ring_locked()
{
    if (ring_)
        return ring_fd_;
    const int fd = memfd_create("kvm-coalesced-mmio", MFD_CLOEXEC);
    if (fd < 0)
        return fail(Errno{errno});
    void* at = ftruncate(fd, kPageSize) == 0
                   ? mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                   : MAP_FAILED;
    if (at == MAP_FAILED) {
        close(fd);
        return fail(Errno{ENOMEM});
    }
    const std::lock_guard lock(ring_mutex_);
    ring_ = at;
    ring_fd_ = fd;
    return fd;
}

Result<int, Errno> CoalescedMmio::ring_fd()
{
    const std::lock_guard lock(mutex_);
    return ring_locked();
}

Result<void, Errno> CoalescedMmio::register_zone(const kvm_coalesced_mmio_zone& zone)
{
    if (zone.pio > 1)
        return fail(Errno{EINVAL});
    const std::lock_guard lock(mutex_);
    TRY(ring_locked());
    auto created = std::make_unique<Zone>(*this, zone);
    TRY(bus_of(zone).add(zone.addr, zone.size, *created));
    zones_.push_back(std::move(created));
    return {};
}

Result<void, Errno> CoalescedMmio::unregister_zone(const kvm_coalesced_mmio_zone& zone)
{
    if (zone.pio > 1)
        return fail(Errno{EINVAL});
    const std::lock_guard lock(mutex_);
    std::erase_if(zones_, [&](const std::unique_ptr<Zone>& known) {
        if (known->zone.pio != zone.pio || !known->contains(zone.addr, zone.size))
            return false;
        bus_of(zone).remove(*known);
        return true;
    });
    return {};
}

bool CoalescedMmio::push(const Zone& zone, u64 addr, unsigned len, const void* data)
{
    if (len > sizeof(kvm_coalesced_mmio{}.data))
        return false;
    const std::lock_guard lock(ring_mutex_);
    auto* ring = static_cast<kvm_coalesced_mmio_ring*>(ring_);
    auto* entries = reinterpret_cast<kvm_coalesced_mmio*>(ring + 1);
    const u32 at = __atomic_load_n(&ring->last, __ATOMIC_RELAXED);
    if (at >= KVM_COALESCED_MMIO_MAX)
        return false;
    const u32 next = (at + 1) % KVM_COALESCED_MMIO_MAX;
    if (next == __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE))
        return false;
    kvm_coalesced_mmio entry{.phys_addr = addr, .len = len, .pio = zone.zone.pio, .data = {}};
    std::memcpy(entry.data, data, len);
    entries[at] = entry;
    __atomic_store_n(&ring->last, next, __ATOMIC_RELEASE); // the VMM may read the entry now
    return true;
}

} // namespace seamless::kvm
