// SPDX-License-Identifier: Apache-2.0
// Registers of a virtio-mmio transport.
#include "devices/virtio/transport.h"

#include <algorithm>

#include "base/check.h"
#include "devices/little_endian.h"

namespace seamless::devices::virtio {
namespace {

constexpr u64 kConfig = static_cast<u64>(Register::Config);

u32 half(u64 value, u32 select)
{
    return select == 0 ? static_cast<u32>(value) : select == 1 ? static_cast<u32>(value >> 32) : 0;
}

void set_half(u64& value, u32 select, u32 to)
{
    if (select < 2)
        value = select == 0 ? with_field(value, 31, 0, to) : with_field(value, 63, 32, to);
}

} // namespace

Transport::Transport(Device& device, Worker& worker, DmaMemory& memory, InterruptLine& line, bool bounce)
    : device_(&device), memory_(&memory), line_(&line), bounce_(bounce)
{
    CHECK(device.queues() <= kMaxQueues);
    device.attach(*this, worker);
}

bool Transport::running() const
{
    return (status_ & status::DRIVER_OK) != 0 && (status_ & status::DEVICE_NEEDS_RESET) == 0 && !resetting_;
}

u64 Transport::offered() const
{
    using namespace feature;
    return device_->features() | VERSION_1 | ACCESS_PLATFORM | RING_INDIRECT_DESC | RING_EVENT_IDX;
}

// A driver of a TD that would pass addresses of private memory cannot work; better that it learns so now.
bool Transport::features_acceptable() const
{
    const u64 required = feature::VERSION_1 | (bounce_ ? feature::ACCESS_PLATFORM : 0);
    return (accepted_ & ~offered()) == 0 && (accepted_ & required) == required;
}

Transport::QueueState* Transport::selected()
{
    return queue_select_ < device_->queues() ? &queues_[queue_select_] : nullptr;
}

const Transport::QueueState* Transport::selected() const
{
    return queue_select_ < device_->queues() ? &queues_[queue_select_] : nullptr;
}

u32 Transport::read_queue_register(Register which) const
{
    const QueueState* queue = selected();
    if (queue == nullptr)
        return 0;
    return which == Register::QueueSizeMax ? u32{Queue::kMaxSize} : u32{queue->queue.enabled()};
}

u32 Transport::read_register(Register which) const
{
    switch (which) {
    case Register::MagicValue:
        return kMagic;
    case Register::Version:
        return kVersion;
    case Register::DeviceID:
        return static_cast<u32>(device_ == nullptr ? DeviceId::none : device_->id());
    case Register::VendorID:
        return kVendor;
    default:
        break;
    }
    if (device_ == nullptr)
        return 0;
    switch (which) {
    case Register::DeviceFeatures:
        return half(offered(), offered_select_);
    case Register::QueueSizeMax:
    case Register::QueueReady:
        return read_queue_register(which);
    case Register::InterruptStatus:
        return pending_;
    case Register::Status:
        return status_;
    case Register::SHMLenLow: // no device here has shared memory: a length of all ones says so
    case Register::SHMLenHigh:
    case Register::SHMBaseLow:
    case Register::SHMBaseHigh:
        return ~u32{0};
    default: // ConfigGeneration too: no device here changes its configuration
        return 0;
    }
}

// Registers are 32 bits wide and accessed so; the configuration in any width.
void Transport::read(u64 offset, std::span<u8> data)
{
    std::fill(data.begin(), data.end(), u8{0});
    if (offset < kConfig) {
        if (offset % 4 == 0 && data.size() == 4)
            store_le(data, read_register(static_cast<Register>(offset)));
        return;
    }
    const std::span<const u8> config = device_ == nullptr ? std::span<const u8>{} : device_->config();
    const std::span<const u8> rest = config.subspan(std::min<u64>(offset - kConfig, config.size()));
    std::copy_n(rest.begin(), std::min(rest.size(), data.size()), data.begin());
}

void Transport::write(u64 offset, std::span<const u8> data)
{
    if (device_ != nullptr && !resetting_ && offset < kConfig && offset % 4 == 0 && data.size() == 4)
        write_register(static_cast<Register>(offset), static_cast<u32>(load_le(data)));
}

void Transport::write_register(Register which, u32 value)
{
    switch (which) {
    case Register::DeviceFeaturesSel:
        offered_select_ = value;
        break;
    case Register::DriverFeatures:
        if ((status_ & status::FEATURES_OK) == 0)
            set_half(accepted_, accepted_select_, value);
        break;
    case Register::DriverFeaturesSel:
        accepted_select_ = value;
        break;
    case Register::QueueSel:
        queue_select_ = value;
        break;
    case Register::QueueNotify:
        if (value < device_->queues() && running())
            device_->worker().wake();
        break;
    case Register::InterruptACK:
        acknowledge(value);
        break;
    case Register::Status:
        write_status(static_cast<u8>(value));
        break;
    default:
        write_queue_register(which, value);
        break;
    }
}

// What describes a queue can change only while the queue is not in use.
void Transport::write_queue_register(Register which, u32 value)
{
    QueueState* state = selected();
    if (state == nullptr)
        return;
    if (which == Register::QueueReady) {
        if ((value & 1) == 0)
            state->queue.disable();
        else if (!state->queue.enabled())
            enable_queue(*state);
        return;
    }
    if (state->queue.enabled())
        return;
    Queue::Layout& layout = state->layout;
    switch (which) {
    case Register::QueueSize:
        layout.size = value;
        break;
    case Register::QueueDescLow:
    case Register::QueueDescHigh:
        set_half(layout.descriptors, which == Register::QueueDescHigh, value);
        break;
    case Register::QueueDriverLow:
    case Register::QueueDriverHigh:
        set_half(layout.driver, which == Register::QueueDriverHigh, value);
        break;
    case Register::QueueDeviceLow:
    case Register::QueueDeviceHigh:
        set_half(layout.device, which == Register::QueueDeviceHigh, value);
        break;
    default: // the read-only registers, and what is none
        break;
    }
}

void Transport::enable_queue(QueueState& state)
{
    if ((status_ & status::FEATURES_OK) == 0)
        return; // the layout depends on the features
    state.layout.event_index = (accepted_ & feature::RING_EVENT_IDX) != 0;
    if (!state.queue.enable(*memory_, state.layout))
        needs_reset();
}

// The driver sets bits one after the other, and clears them only by writing zero, which resets.
void Transport::write_status(u8 value)
{
    if (value == 0) {
        reset();
        return;
    }
    u8 set = value & static_cast<u8>(~status_ & ~status::DEVICE_NEEDS_RESET);
    if ((set & status::FEATURES_OK) != 0 && !features_acceptable())
        set &= static_cast<u8>(~status::FEATURES_OK);
    if (((status_ | set) & status::FEATURES_OK) == 0)
        set &= static_cast<u8>(~status::DRIVER_OK);
    status_ |= set;
    if ((set & status::DRIVER_OK) != 0 && running()) {
        device_->start(accepted_);
        device_->worker().wake(); // what the driver has made available before counts too
    }
}

// The device lets go of the driver's memory before the driver sees a status of zero. Waiting for that may let
// other processors in, whose writes then mean nothing.
void Transport::reset()
{
    resetting_ = true;
    for (QueueState& state : queues_)
        state.queue.disable();
    device_->worker().quiesce();
    device_->stop();
    for (QueueState& state : queues_)
        state.layout = {};
    queue_select_ = offered_select_ = accepted_select_ = 0;
    accepted_ = 0;
    status_ = 0;
    pending_ = 0;
    line_->set(false);
    resetting_ = false;
}

bool Transport::pop(unsigned queue, Chain& chain)
{
    if (!running())
        return false;
    const Queue::Pop popped = queues_[queue].queue.pop(chain);
    if (popped == Queue::Pop::broken)
        needs_reset();
    return popped == Queue::Pop::chain;
}

void Transport::push(unsigned queue, const Chain& chain, u64 written)
{
    const u32 length = static_cast<u32>(std::min<u64>(written, ~u32{0}));
    if (running() && queues_[queue].queue.push(chain.head, length))
        raise(interrupt::USED_BUFFER);
}

void Transport::needs_reset()
{
    status_ |= status::DEVICE_NEEDS_RESET;
    if ((status_ & status::DRIVER_OK) != 0)
        raise(interrupt::CONFIG_CHANGE);
}

void Transport::raise(u32 cause)
{
    pending_ |= cause;
    line_->set(true);
}

void Transport::acknowledge(u32 causes)
{
    pending_ &= ~causes;
    line_->set(false);
    if (pending_ != 0)
        line_->set(true);
}

} // namespace seamless::devices::virtio
