// SPDX-License-Identifier: Apache-2.0
// Level-triggered irqfds (RESAMPLE) need the kernel's IOAPIC, so a split irqchip refuses them.
#include "kvm/irqchip/irqfd.h"

#include <algorithm>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kvm/eventfd.h"
#include "kvm/irqchip/host_timer.h"
#include "kvm/vm.h"

namespace seamless::kvm {

using namespace spec::kvm;

Result<void, Errno> Irqfds::ioctl(const kvm_irqfd& args)
{
    if ((args.flags & ~(KVM_IRQFD_FLAG_DEASSIGN | KVM_IRQFD_FLAG_RESAMPLE)) || args.gsi >= KVM_MAX_IRQ_ROUTES)
        return fail(Errno{EINVAL});
    return args.flags & KVM_IRQFD_FLAG_DEASSIGN ? deassign(args) : assign(args);
}

Result<void, Errno> Irqfds::start()
{
    if (thread_.joinable())
        return {};
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    stop_ = eventfd(0, EFD_CLOEXEC);
    epoll_event event{.events = EPOLLIN, .data = {.fd = stop_}};
    if (epoll_ < 0 || stop_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, stop_, &event) != 0)
        return fail(Errno{errno});
    thread_ = start_quiet_thread([this] { run(); });
    return {};
}

Result<void, Errno> Irqfds::assign(const kvm_irqfd& args)
{
    if (!vm_.irqchip_split)
        return fail(Errno{EAGAIN}); // KVM: the interrupt controller is not there yet
    if (args.flags & KVM_IRQFD_FLAG_RESAMPLE)
        return fail(Errno{EINVAL});
    const int fd = TRY(duplicate_eventfd(static_cast<int>(args.fd)));
    const Source source{.identity = eventfd_identity(fd), .gsi = args.gsi};
    const std::lock_guard lock(mutex_);
    const auto refuse = [&](int why) {
        close(fd);
        return fail(Errno{why});
    };
    for (const auto& [other, known] : sources_)
        if (known.identity != 0 && known.identity == source.identity)
            return refuse(EBUSY);
    if (const auto started = start(); !started)
        return refuse(started.error().value);
    sources_[fd] = source;
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}}; // one that is signalled already fires at once
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) {
        sources_.erase(fd);
        return refuse(errno);
    }
    return {};
}

// What is not there is no error, as in KVM.
Result<void, Errno> Irqfds::deassign(const kvm_irqfd& args)
{
    const int fd = TRY(duplicate_eventfd(static_cast<int>(args.fd)));
    const u64 identity = eventfd_identity(fd);
    close(fd);
    const std::lock_guard lock(mutex_);
    const auto found = std::find_if(sources_.begin(), sources_.end(), [&](const auto& entry) {
        return entry.second.identity == identity && entry.second.gsi == args.gsi;
    });
    if (found == sources_.end())
        return {};
    (void)epoll_ctl(epoll_, EPOLL_CTL_DEL, found->first, nullptr);
    close(found->first);
    sources_.erase(found);
    return {};
}

// Under the lock, so that deassignment returns only when no interrupt of it is on its way.
void Irqfds::raise(int fd)
{
    const std::lock_guard lock(mutex_);
    const auto found = sources_.find(fd);
    if (found == sources_.end())
        return;
    u64 count;
    const iovec to{&count, sizeof count};
    // The VMM's descriptor may be blocking, and somebody else may read it too.
    ssize_t n = preadv2(fd, &to, 1, -1, RWF_NOWAIT);
    if (n < 0 && errno == EOPNOTSUPP) // an old kernel: it was readable just now
        n = read(fd, &count, sizeof count);
    if (n < 0)
        return;
    (void)vm_.irq_routing.set_irq(vm_, found->second.gsi, true);
}

void Irqfds::run()
{
    for (;;) {
        epoll_event event{};
        if (epoll_wait(epoll_, &event, 1, -1) < 1)
            continue;
        if (event.data.fd == stop_)
            return;
        raise(event.data.fd);
    }
}

void Irqfds::shut_down()
{
    if (thread_.joinable()) {
        const u64 one = 1;
        [[maybe_unused]] const ssize_t written = write(stop_, &one, sizeof one);
        thread_.join();
    }
    for (const auto& [fd, source] : sources_)
        close(fd);
    sources_.clear();
    for (int* fd : {&epoll_, &stop_}) {
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
    }
}

} // namespace seamless::kvm
