// SPDX-License-Identifier: Apache-2.0
// The checks and their errnos are KVM's, in its order. KVM API: "KVM_IOEVENTFD".
#include "kvm/ioeventfd.h"

#include <algorithm>
#include <cstring>
#include <unistd.h>

#include "kvm/eventfd.h"

namespace seamless::kvm {

using namespace spec::kvm;

class Ioeventfd : public IoDevice {
  public:
    // Takes `fd` over.
    Ioeventfd(const kvm_ioeventfd& args, BusId on, int fd)
        : addr(args.addr),
          len(args.len),
          datamatch(args.datamatch),
          wildcard(!(args.flags & KVM_IOEVENTFD_FLAG_DATAMATCH)),
          bus(on),
          fd_(fd)
    {}
    ~Ioeventfd() override { close(fd_); }

    bool read(u64, unsigned, void*) override { return false; }
    bool write(u64 at, unsigned bytes, const void* data) override
    {
        if (!matches(at, bytes, data))
            return false;
        const u64 one = 1;
        // EAGAIN only says that the counter is full: the listener has plenty to wake up for.
        [[maybe_unused]] const ssize_t written = ::write(fd_, &one, sizeof one);
        return true;
    }
    bool is_ioeventfd() const override { return true; }

    [[nodiscard]] bool collides(const Ioeventfd& other) const
    {
        return bus == other.bus && addr == other.addr &&
               (len == 0 || other.len == 0 ||
                (len == other.len && (wildcard || other.wildcard || datamatch == other.datamatch)));
    }

    const u64 addr;
    const u32 len;
    const u64 datamatch;
    const bool wildcard;
    const BusId bus;

  private:
    [[nodiscard]] bool matches(u64 at, unsigned bytes, const void* data) const
    {
        if (at != addr)
            return false;
        if (len == 0)
            return true;
        if (bytes != len)
            return false;
        if (wildcard)
            return true;
        u64 value = 0;
        std::memcpy(&value, data, bytes);
        return value == datamatch;
    }

    int fd_;
};

Ioeventfds::Ioeventfds(IoBus (&buses)[kBusCount]) : buses_(buses) {}

Ioeventfds::~Ioeventfds()
{
    for (const auto& e : list_)
        for (IoBus& bus : buses_)
            bus.remove(*e);
}

Result<void, Errno> Ioeventfds::ioctl(const kvm_ioeventfd& args)
{
    const BusId bus = args.flags & KVM_IOEVENTFD_FLAG_PIO ? BusId::KVM_PIO_BUS : BusId::KVM_MMIO_BUS;
    const std::lock_guard lock(mutex_);
    if (args.flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
        return deassign(args, bus);
    return assign(args, bus);
}

Result<void, Errno> Ioeventfds::assign(const kvm_ioeventfd& args, BusId bus)
{
    const bool length_known =
        args.len == 0 || args.len == 1 || args.len == 2 || args.len == 4 || args.len == 8;
    if (!length_known || args.addr + args.len < args.addr)
        return fail(Errno{EINVAL});
    if (args.flags & ~KVM_IOEVENTFD_VALID_FLAG_MASK)
        return fail(Errno{EINVAL});
    if (args.len == 0 && (args.flags & KVM_IOEVENTFD_FLAG_DATAMATCH))
        return fail(Errno{EINVAL});
    auto created = std::make_unique<Ioeventfd>(args, bus, TRY(duplicate_eventfd(args.fd)));
    for (const auto& other : list_)
        if (created->collides(*other))
            return fail(Errno{EEXIST});
    TRY(buses_[static_cast<unsigned>(bus)].add(args.addr, args.len, *created));
    if (args.len == 0 && bus == BusId::KVM_MMIO_BUS)
        TRY(buses_[static_cast<unsigned>(BusId::KVM_FAST_MMIO_BUS)].add(args.addr, 0, *created));
    list_.push_back(std::move(created));
    return {};
}

Result<void, Errno> Ioeventfds::deassign(const kvm_ioeventfd& args, BusId bus)
{
    // KVM compares the eventfd too; two registrations never collide, so address, length and datamatch
    // suffice.
    const bool wildcard = !(args.flags & KVM_IOEVENTFD_FLAG_DATAMATCH);
    close(TRY(duplicate_eventfd(args.fd)));
    const auto found = std::find_if(list_.begin(), list_.end(), [&](const auto& e) {
        return e->bus == bus && e->addr == args.addr && e->len == args.len && e->wildcard == wildcard &&
               (wildcard || e->datamatch == args.datamatch);
    });
    if (found == list_.end())
        return fail(Errno{ENOENT});
    for (IoBus& b : buses_)
        b.remove(**found);
    list_.erase(found);
    return {};
}

} // namespace seamless::kvm
