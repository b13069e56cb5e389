// SPDX-License-Identifier: Apache-2.0
// Options that every fuzz target needs, whoever starts it: the processor handles its own faults.

extern "C" [[gnu::used, gnu::visibility("default")]] const char* __asan_default_options()
{
    return "allow_user_segv_handler=1:use_sigaltstack=0:detect_stack_use_after_return=0:handle_abort=0";
}
