// SPDX-License-Identifier: Apache-2.0
// Opens the file and chooses the writer.
#include "trace/writer.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>

#include "trace/chrome.h"
#include "trace/jsonl.h"
#include "trace/text.h"

namespace seamless::trace {

Result<std::unique_ptr<Sink>, Errno> open_writer(const std::string& path)
{
    if (path.ends_with(".json")) {
        const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd < 0)
            return fail(Errno{errno});
        return std::unique_ptr<Sink>(std::make_unique<ChromeSink>(fd));
    }
    std::FILE* file = std::fopen(path.c_str(), "we");
    if (file == nullptr)
        return fail(Errno{errno});
    if (path.ends_with(".jsonl"))
        return std::unique_ptr<Sink>(std::make_unique<JsonlSink>(file));
    return std::unique_ptr<Sink>(std::make_unique<TextSink>(file));
}

} // namespace seamless::trace
