// SPDX-License-Identifier: Apache-2.0
// Runs inside Linux in a TD, linked statically: asks /dev/tdx_guest for a TDREPORT with REPORTDATA 00 01 02
// ..., and prints it as one line of hex digits.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/ioctl.h>

namespace {

// Linux: "TDX Guest API".
struct tdx_report_req {
    unsigned char reportdata[64];
    unsigned char tdreport[1024];
};
constexpr unsigned long TDX_CMD_GET_REPORT0 = _IOWR('T', 1, tdx_report_req);

int complain(const char* what)
{
    std::printf("TDREPORT: %s: %s\n", what, std::strerror(errno));
    return 1;
}

} // namespace

int main()
{
    const int fd = open("/dev/tdx_guest", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return complain("/dev/tdx_guest");
    tdx_report_req request{};
    for (unsigned i = 0; i < sizeof request.reportdata; ++i)
        request.reportdata[i] = static_cast<unsigned char>(i);
    if (ioctl(fd, TDX_CMD_GET_REPORT0, &request) != 0)
        return complain("TDX_CMD_GET_REPORT0");
    std::printf("TDREPORT ");
    for (const unsigned char byte : request.tdreport)
        std::printf("%02x", byte);
    std::printf("\n");
    return 0;
}
