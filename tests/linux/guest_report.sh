# SPDX-License-Identifier: Apache-2.0
# What report_test.py has the guest do: say where some of the kernel's functions are.
sed -n -E "s/^([0-9a-f]*) [tTwW] (entry_SYSCALL_64|panic)\$/SYMBOL \2 \1/p" /proc/kallsyms
