# SPDX-License-Identifier: Apache-2.0
# What report_test.py has the guest do: say where some of the kernel's functions are.
for name in entry_SYSCALL_64 panic; do
    echo "SYMBOL $name $(sed -n "s/^\([0-9a-f]*\) [tTwW] $name\$/\1/p" /proc/kallsyms)"
done
