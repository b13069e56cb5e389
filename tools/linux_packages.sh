# SPDX-License-Identifier: Apache-2.0
# Debian's kernel and a static busybox, for tests and the demo: downloaded once and unpacked outside the repository,
# never installed. To be sourced by bash.

linux_cache=${SEAMLESS_LINUX:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/seamless/linux}

# fetch_linux: fills $linux_cache with vmlinuz, modules/ (a link to lib/modules/VERSION) and busybox. Fails, with a word
# why, where they cannot be had.
fetch_linux() {
    [[ -r $linux_cache/vmlinuz && -r $linux_cache/busybox && -d $linux_cache/modules/ ]] && return 0
    command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null || {
        echo "No apt-get here: put vmlinuz, modules and busybox into $linux_cache by hand" >&2
        return 1
    }
    local kernel parts=$linux_cache/parts
    rm -rf "$parts" && mkdir -p "$parts" || return 1
    [[ $(id -u) == 0 ]] && apt-get -qq update
    # The package of the name without a version only depends on the newest.
    kernel=$(apt-cache depends linux-image-6.12-amd64 2> /dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1)
    [[ -n $kernel ]] || {
        echo "apt knows no linux-image-6.12-amd64 (of Debian 12's security updates); run apt-get update" >&2
        return 1
    }
    echo "Downloading $kernel and busybox-static"
    (cd "$parts" && apt-get -qq download "$kernel" busybox-static) || return 1
    local package
    for package in "$parts"/*.deb; do
        dpkg-deb -x "$package" "$parts/root" || return 1
    done
    local version=${kernel#linux-image-}
    rm -rf "$linux_cache/root" && mv "$parts/root" "$linux_cache/root" || return 1
    ln -sfn "root/boot/vmlinuz-$version" "$linux_cache/vmlinuz" &&
        ln -sfn "root/lib/modules/$version" "$linux_cache/modules" &&
        ln -sfn root/bin/busybox "$linux_cache/busybox" &&
        rm -rf "$parts"
}
