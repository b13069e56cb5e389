// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without a fuzzer: every file of its corpus, then a number of mutations of them, each
// drawn from the seed and its own index alone. `replay CORPUS COUNT [SEED [INDEX FILE]] [KIND=FLOOR...]`:
// with INDEX and FILE it writes the input of one index to a file instead. A floor is the least number of
// different things of a kind (depth.h) that the run must reach.
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

#include "fuzz/depth.h"
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

// What was reached; false if a floor was not.
bool report_depth(const std::vector<std::string>& floors)
{
    const auto& kinds = seamless::fuzz::Depth::kinds();
    for (const auto& [kind, what] : kinds)
        std::printf("reached %zu %s\n", what.size(), kind.c_str());
    bool deep = true;
    for (const std::string& floor : floors) {
        const auto equals = floor.find('=');
        const auto at = kinds.find(floor.substr(0, equals));
        const std::size_t least = std::strtoull(floor.c_str() + equals + 1, nullptr, 0);
        if (at != kinds.end() && at->second.size() >= least)
            continue;
        std::printf("SHALLOW: fewer than %s\n", floor.c_str());
        deep = false;
    }
    return deep;
}

std::uint64_t number_at(const std::vector<std::string>& arguments, std::size_t i, std::uint64_t otherwise)
{
    return i < arguments.size() ? std::strtoull(arguments[i].c_str(), nullptr, 0) : otherwise;
}

int write_input(const Bytes& input, const std::string& file)
{
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
    return 0;
}

} // namespace

int main(int argc, char** argv)
{
    std::vector<std::string> arguments, floors;
    for (int i = 1; i < argc; ++i)
        (std::strchr(argv[i], '=') != nullptr ? floors : arguments).emplace_back(argv[i]);
    if (arguments.size() < 2) {
        std::fprintf(stderr, "usage: %s CORPUS COUNT [SEED [INDEX FILE]] [KIND=FLOOR...]\n", argv[0]);
        return 2;
    }
    for (const int signal : {SIGABRT, SIGALRM})
        std::signal(signal, fatal_signal);
    if (__sanitizer_set_death_callback != nullptr)
        __sanitizer_set_death_callback(last_words);
    const std::vector<Bytes> corpus = replay_corpus(arguments[0].c_str());
    const std::uint64_t count = number_at(arguments, 1, 0), seed = number_at(arguments, 2, 1);
    if (arguments.size() > 4)
        return write_input(Mutator(corpus, seed, number_at(arguments, 3, 0)).draw(), arguments[4]);
    for (std::uint64_t index = 0; index < count; ++index) {
        std::snprintf(now_running, sizeof now_running, "\nreplay: seed %llu, index %llu\n",
                      static_cast<unsigned long long>(seed), static_cast<unsigned long long>(index));
        run(Mutator(corpus, seed, index).draw());
    }
    std::printf("%zu inputs of the corpus, %llu mutations\n", corpus.size(),
                static_cast<unsigned long long>(count));
    return report_depth(floors) ? 0 : 1;
}
