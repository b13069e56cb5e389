// SPDX-License-Identifier: Apache-2.0
// A wire from a device to an interrupt controller.
#pragma once

namespace seamless::devices {

class InterruptLine {
  public:
    virtual ~InterruptLine() = default;
    // `asserted` is the level now; telling the same level again changes nothing.
    virtual void set(bool asserted) = 0;
};

} // namespace seamless::devices
