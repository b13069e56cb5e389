// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without a fuzzer: every file of its corpus, then a number of mutations of them, each
// drawn from the seed and its own index alone. `replay CORPUS COUNT [SEED [INDEX FILE]]`; the last form
// writes the input of one index to a file instead.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <unistd.h>
#include <vector>

#include "fuzz/target.h"

extern "C" [[gnu::weak]] void __sanitizer_set_death_callback(void (*)());

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kMostBytes = 1024;
constexpr unsigned kHangSeconds = 60;

char now_running[512]; // for the last words

void last_words() { (void)!write(2, now_running, std::strlen(now_running)); }

void fatal_signal(int signal)
{
    last_words();
    std::signal(signal, SIG_DFL);
    std::raise(signal);
}

void run(const Bytes& input)
{
    alarm(kHangSeconds);
    (void)LLVMFuzzerTestOneInput(input.data(), input.size());
    alarm(0);
}

// Files in a fixed order, so that an index means the same everywhere.
std::vector<Bytes> replay_corpus(const char* folder)
{
    std::vector<std::filesystem::path> files;
    if (std::filesystem::is_directory(folder))
        for (const auto& entry : std::filesystem::directory_iterator(folder))
            files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    std::vector<Bytes> corpus;
    for (const auto& file : files) {
        std::ifstream stream(file, std::ios::binary);
        corpus.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
        std::snprintf(now_running, sizeof now_running, "\nreplay: %s\n", file.c_str());
        run(corpus.back());
    }
    return corpus;
}

class Mutator {
  public:
    Mutator(const std::vector<Bytes>& corpus, std::uint64_t seed, std::uint64_t index)
        : corpus_(corpus), random_(seed * 0x9e3779b97f4a7c15 + index)
    {}

    Bytes draw()
    {
        Bytes input;
        if (corpus_.empty() || below(4) == 0) {
            input.resize(below(kMostBytes));
            for (auto& byte : input)
                byte = static_cast<std::uint8_t>(random_());
        } else {
            input = corpus_[below(corpus_.size())];
        }
        for (std::size_t i = 1 + below(8); i > 0; --i)
            mutate(input);
        input.resize(std::min(input.size(), 4 * kMostBytes));
        return input;
    }

  private:
    std::size_t below(std::size_t end) { return random_() % end; }

    void mutate(Bytes& input)
    {
        constexpr std::uint8_t telling[] = {0, 1, 2, 0x7f, 0x80, 0xfe, 0xff};
        const std::size_t at = below(input.size() + 1);
        const auto place = input.begin() + static_cast<long>(at);
        switch (below(5)) {
        case 0:
            input.insert(place, static_cast<std::uint8_t>(random_()));
            break;
        case 1:
            input.erase(place, place + static_cast<long>(below(input.size() - at + 1)));
            break;
        case 2:
            if (at < input.size())
                input[at] ^= static_cast<std::uint8_t>(1u << below(8));
            break;
        case 3:
            if (at < input.size())
                input[at] = telling[below(std::size(telling))];
            break;
        default: // the end of another one
            if (!corpus_.empty()) {
                const Bytes& other = corpus_[below(corpus_.size())];
                input.resize(at);
                input.insert(input.end(), other.begin() + static_cast<long>(below(other.size() + 1)),
                             other.end());
            }
        }
    }

    const std::vector<Bytes>& corpus_;
    std::mt19937_64 random_;
};

} // namespace

int main(int argc, char** argv)
{
    if (argc < 3) {
        std::fprintf(stderr, "usage: %s CORPUS COUNT [SEED [INDEX FILE]]\n", argv[0]);
        return 2;
    }
    for (const int signal : {SIGABRT, SIGALRM})
        std::signal(signal, fatal_signal);
    if (__sanitizer_set_death_callback != nullptr)
        __sanitizer_set_death_callback(last_words);
    const std::vector<Bytes> corpus = replay_corpus(argv[1]);
    const std::uint64_t count = std::strtoull(argv[2], nullptr, 0);
    const std::uint64_t seed = argc > 3 ? std::strtoull(argv[3], nullptr, 0) : 1;
    if (argc > 5) {
        const Bytes input = Mutator(corpus, seed, std::strtoull(argv[4], nullptr, 0)).draw();
        std::ofstream(argv[5], std::ios::binary)
            .write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
        return 0;
    }
    for (std::uint64_t index = 0; index < count; ++index) {
        std::snprintf(now_running, sizeof now_running, "\nreplay: seed %llu, index %llu\n",
                      static_cast<unsigned long long>(seed), static_cast<unsigned long long>(index));
        run(Mutator(corpus, seed, index).draw());
    }
    std::printf("%zu inputs of the corpus, %llu mutations\n", corpus.size(),
                static_cast<unsigned long long>(count));
    return 0;
}
