// SPDX-License-Identifier: Apache-2.0
// The 16550A UART as a state machine.
#include "devices/serial.h"

#include <algorithm>

namespace seamless::devices {
namespace {

enum Register : unsigned {
    kData,
    kInterruptEnable,
    kInterruptId,
    kLineControl,
    kModemControl,
    kLineStatus,
    kModemStatus,
    kScratch
};

constexpr u8 IER_RX = 1, IER_THRE = 2, IER_MASK = 0x0f;
constexpr u8 IIR_NONE = 1, IIR_THRE = 2, IIR_RX = 4, IIR_FIFO = 0xc0;
constexpr u8 FCR_ENABLE = 1, FCR_CLEAR_RX = 2;
constexpr u8 LCR_DLAB = 0x80;
constexpr u8 MCR_DTR = 1, MCR_RTS = 2, MCR_OUT1 = 4, MCR_OUT2 = 8, MCR_LOOP = 0x10, MCR_MASK = 0x1f;
constexpr u8 LSR_DR = 1, LSR_THRE = 0x20, LSR_TEMT = 0x40;
constexpr u8 MSR_CTS = 0x10, MSR_DSR = 0x20, MSR_RI = 0x40, MSR_DCD = 0x80;

} // namespace

// A wide access touches consecutive byte registers, as on the ISA bus. The line is told after each register:
// a controller that waits for edges must see the line fall between two causes.
void Serial::read(u64 offset, std::span<u8> data)
{
    for (std::size_t i = 0; i < data.size(); ++i) {
        data[i] = read_register(static_cast<unsigned>((offset + i) % kPorts));
        update_line();
    }
}

void Serial::write(u64 offset, std::span<const u8> data)
{
    for (std::size_t i = 0; i < data.size(); ++i) {
        write_register(static_cast<unsigned>((offset + i) % kPorts), data[i]);
        update_line();
    }
}

void Serial::update_line()
{
    if (line_ != nullptr)
        line_->set(interrupt());
}

std::size_t Serial::receive(std::span<const u8> bytes)
{
    if (modem_control_ & MCR_LOOP) // the chip's input is disconnected in loopback
        return 0;
    const std::size_t room = kReceiveBuffer - std::min(kReceiveBuffer, received_.size());
    const std::size_t taken = std::min(room, bytes.size());
    received_.insert(received_.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
    update_line();
    return taken;
}

bool Serial::interrupt() const { return interrupt_id() != IIR_NONE && (modem_control_ & MCR_OUT2) != 0; }

u8 Serial::interrupt_id() const
{
    if ((interrupt_enable_ & IER_RX) && !received_.empty())
        return IIR_RX;
    if ((interrupt_enable_ & IER_THRE) && transmit_pending_)
        return IIR_THRE;
    return IIR_NONE;
}

u8 Serial::line_status() const
{
    return static_cast<u8>(LSR_THRE | LSR_TEMT | (received_.empty() ? 0 : LSR_DR));
}

u8 Serial::modem_status() const
{
    if ((modem_control_ & MCR_LOOP) == 0)
        return MSR_CTS | MSR_DSR | MSR_DCD;
    // In loopback the four modem outputs drive the four inputs.
    return static_cast<u8>(
        (modem_control_ & MCR_RTS ? MSR_CTS : 0) | (modem_control_ & MCR_DTR ? MSR_DSR : 0) |
        (modem_control_ & MCR_OUT1 ? MSR_RI : 0) | (modem_control_ & MCR_OUT2 ? MSR_DCD : 0));
}

u8 Serial::read_data()
{
    if (!received_.empty()) {
        last_data_ = received_.front();
        received_.pop_front();
    }
    return last_data_;
}

u8 Serial::read_register(unsigned index)
{
    const bool divisor = (line_control_ & LCR_DLAB) != 0;
    switch (index) {
    case kData:
        return divisor ? static_cast<u8>(divisor_) : read_data();
    case kInterruptEnable:
        return divisor ? static_cast<u8>(divisor_ >> 8) : interrupt_enable_;
    case kInterruptId: {
        const u8 id = interrupt_id();
        if (id == IIR_THRE)
            transmit_pending_ = false; // reading IIR acknowledges this source
        return static_cast<u8>(id | (fifo_ ? IIR_FIFO : 0));
    }
    case kLineControl:
        return line_control_;
    case kModemControl:
        return modem_control_;
    case kLineStatus:
        return line_status();
    case kModemStatus:
        return modem_status();
    default:
        return scratch_;
    }
}

void Serial::transmit(u8 value)
{
    transmit_pending_ = true;
    if ((modem_control_ & MCR_LOOP) == 0)
        sink_.transmit(value);
    else if (received_.size() < kReceiveBuffer)
        received_.push_back(value);
}

void Serial::write_register(unsigned index, u8 value)
{
    const bool divisor = (line_control_ & LCR_DLAB) != 0;
    switch (index) {
    case kData:
        if (divisor)
            divisor_ = static_cast<u16>(with_field(divisor_, 7, 0, value));
        else
            transmit(value);
        break;
    case kInterruptEnable:
        if (divisor) {
            divisor_ = static_cast<u16>(with_field(divisor_, 15, 8, value));
            break;
        }
        if (value & ~interrupt_enable_ & IER_THRE)
            transmit_pending_ = true; // enabling the source while the register is empty raises it
        interrupt_enable_ = value & IER_MASK;
        break;
    case kInterruptId: // FCR when written
        if (value & FCR_CLEAR_RX || fifo_ != ((value & FCR_ENABLE) != 0))
            received_.clear();
        fifo_ = (value & FCR_ENABLE) != 0;
        break;
    case kLineControl:
        line_control_ = value;
        break;
    case kModemControl:
        modem_control_ = value & MCR_MASK;
        break;
    case kScratch:
        scratch_ = value;
        break;
    default: // the status registers are read-only
        break;
    }
}

} // namespace seamless::devices
