// SPDX-License-Identifier: Apache-2.0
// A simulated host with the real processor, TDX module and KVM, and the ioctls of a VMM upon it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "cpu/processor.h"
#include "kvm/vcpu.h"
#include "kvm/vm.h"
#include "platform/platform.h"
#include "rig/memory.h"
#include "spec/kvm_abi.h"
#include "uapi/device.h"

namespace seamless::abi {

using namespace spec::kvm;
using trace::Event;

// Keeps what was traced; `watch` is called for each record, on the thread of the vCPU.
struct Recorder : trace::Sink {
    std::vector<trace::Record> records;
    std::function<void(const trace::Record&)> watch;

    std::mutex mutex; // several vCPUs may write

    void write(const trace::Record& record) override
    {
        {
            const std::lock_guard lock(mutex);
            records.push_back(record);
        }
        if (watch)
            watch(record);
    }
    [[nodiscard]] std::vector<trace::Record> of(Event event) const
    {
        std::vector<trace::Record> found;
        for (const auto& r : records)
            if (r.event == event)
                found.push_back(r);
        return found;
    }
    // Exits with `reason`, as KVM names it.
    [[nodiscard]] std::size_t exits(std::string_view reason) const
    {
        std::size_t n = 0;
        for (const auto& r : of(Event::kvm_exit))
            n += r.values[0].text == reason;
        return n;
    }
};

using rig::Memory;

class Host {
  public:
    explicit Host(const kvm::x86_ops& ops = kvm::vt_x86_ops)
    {
        platform::Parameters p;
        p.make_lp = cpu::make_processor(cpu::EngineMode::full);
        p.logical_processors = 6;
        p.memory_bytes = u64{2} << 30;
        p.trace_sink = &trace;
        p.ops = ops;
        platform = std::move(platform::Platform::create(p)).value();
        device = std::make_unique<uapi::Device>(*platform);
        sys = device->open();
    }

    long ioctl(int fd, unsigned long request, const void* arg)
    {
        return device->ioctl(fd, request, const_cast<void*>(arg));
    }
    long ioctl(int fd, unsigned long request, u64 arg = 0)
    {
        return device->ioctl(fd, request, reinterpret_cast<void*>(arg));
    }

    Recorder trace;
    std::unique_ptr<platform::Platform> platform;
    std::unique_ptr<uapi::Device> device;
    int sys = -1;
};

} // namespace seamless::abi
