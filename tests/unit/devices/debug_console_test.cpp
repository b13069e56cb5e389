// SPDX-License-Identifier: Apache-2.0
// The debug console: text out, and the byte by which guests find it.
#include "devices/debug_console.h"

#include <gtest/gtest.h>

namespace seamless::devices {
namespace {

struct Collect : SerialSink {
    std::string text;
    void transmit(u8 byte) override { text += static_cast<char>(byte); }
};

TEST(DebugConsole, EveryByteGoesToTheSink)
{
    Collect sink;
    DebugConsole console(&sink);
    for (const u8 byte : {u8{'h'}, u8{'i'}, u8{0}, u8{0xff}})
        console.write(0, {&byte, 1});
    EXPECT_EQ(sink.text, std::string("hi\0\xff", 4));
}

TEST(DebugConsole, AReadSaysThatItIsThere)
{
    Collect sink;
    DebugConsole console(&sink);
    u8 byte = 0;
    console.read(0, {&byte, 1});
    EXPECT_EQ(byte, 0xe9);
    EXPECT_EQ(sink.text, "");
}

} // namespace
} // namespace seamless::devices
