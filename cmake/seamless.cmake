# SPDX-License-Identifier: Apache-2.0
# Helpers of the build: one library per source folder, one unit-test program per folder.

find_package(fmt REQUIRED)
find_package(zydis REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(Threads REQUIRED)

# libslirp brings a pkg-config file whose dependencies only its own build needs.
find_path(SLIRP_INCLUDE_DIR slirp/libslirp.h REQUIRED)
find_library(SLIRP_LIBRARY slirp REQUIRED)
add_library(slirp::slirp UNKNOWN IMPORTED)
set_target_properties(slirp::slirp PROPERTIES IMPORTED_LOCATION "${SLIRP_LIBRARY}"
  INTERFACE_INCLUDE_DIRECTORIES "${SLIRP_INCLUDE_DIR}")

set(SEAMLESS_SANITIZE "" CACHE STRING "Sanitizers, as given to -fsanitize=")
option(SEAMLESS_PRECOMPILED "Compile the headers that nearly every file reads once" OFF)
option(SEAMLESS_FUZZ "Build tests/fuzz with libFuzzer (clang only)" OFF)

add_library(seamless_flags INTERFACE)
target_compile_options(seamless_flags INTERFACE
  -Wall -Wextra -Wconversion -Wshadow -Werror -Wno-missing-field-initializers
  $<$<CXX_COMPILER_ID:GNU>:-Wno-interference-size>
  $<$<CXX_COMPILER_ID:Clang>:-Wno-gnu-statement-expression>
  -fvisibility=hidden)
if(SEAMLESS_SANITIZE)
  add_compile_options(-fsanitize=${SEAMLESS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${SEAMLESS_SANITIZE})
  if(SEAMLESS_SANITIZE MATCHES undefined)
    add_compile_options(-fno-sanitize=vptr) # it needs RTTI, which src/ does without
  endif()
endif()

if(SEAMLESS_FUZZ)
  add_compile_options($<$<COMPILE_LANGUAGE:C,CXX>:-fsanitize=fuzzer-no-link>) # counts edges; brings no main()
endif()

# Reading the standard library's and the test library's headers is a third of the sanitized build. Files still name
# what they use: the other presets read every header where it is included.
set(SEAMLESS_COMMON_HEADERS <algorithm> <array> <atomic> <chrono> <condition_variable> <functional> <map> <memory> <mutex>
  <optional> <span> <string> <string_view> <thread> <unordered_map> <vector> <fmt/format.h>)

# seamless_precompiled(<target> <of> <headers...>): target shares what <of>, the first of its kind, has compiled.
function(seamless_precompiled target of)
  if(NOT SEAMLESS_PRECOMPILED)
    return()
  endif()
  if(target STREQUAL of)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  else()
    target_precompile_headers(${target} REUSE_FROM ${of})
  endif()
endfunction()

# seamless_layer(<folder> <folders it may include>...): the library of src/<folder>. Every *.cpp and *.S there,
# in subfolders too, belongs to it. tools/check_layers.py compares the includes with the same list.
function(seamless_layer name)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cpp ${CMAKE_SOURCE_DIR}/src/${name}/*.S)
  list(TRANSFORM ARGN PREPEND seamless_)
  if(sources)
    add_library(seamless_${name} STATIC ${sources})
    target_include_directories(seamless_${name} PUBLIC ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(seamless_${name} PUBLIC ${ARGN} PRIVATE seamless_flags PUBLIC fmt::fmt Threads::Threads)
    target_compile_options(seamless_${name} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fno-exceptions -fno-rtti>)
    seamless_precompiled(seamless_${name} seamless_base "${SEAMLESS_COMMON_HEADERS}")
  else()
    add_library(seamless_${name} INTERFACE)
    target_include_directories(seamless_${name} INTERFACE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(seamless_${name} INTERFACE ${ARGN} fmt::fmt Threads::Threads)
  endif()
endfunction()
