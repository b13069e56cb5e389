# SPDX-License-Identifier: Apache-2.0
# What a module for Debian's kernel is built with, of the same version as the kernel that tools/linux_packages.sh fetched,
# unpacked beside it. To be sourced by bash, after that file.

# fetch_headers: fills $linux_cache/headers. Fails, with a word why, where they cannot be had.
fetch_headers() {
    local version folder=$linux_cache/headers parts package
    version=$(basename "$(readlink -f "$linux_cache/modules")")
    [[ -e $folder/ready-$version ]] && return 0
    command -v apt-get > /dev/null && command -v dpkg-deb > /dev/null && command -v make > /dev/null && command -v gcc-12 > /dev/null || {
        echo "A module needs apt-get, dpkg-deb, make and gcc-12" >&2
        return 1
    }
    parts=$(mktemp -d) || return 1
    echo "Downloading linux-headers-$version" >&2
    (cd "$parts" && apt-get -qq download "linux-headers-$version" "linux-headers-${version%-*}-common" "linux-kbuild-${version%-*}" 2> /dev/null) || {
        rm -rf "$parts"
        echo "apt has no headers of $version (any more): remove $linux_cache for a newer kernel" >&2
        return 1
    }
    rm -rf "$folder" && mkdir -p "$folder" || return 1
    for package in "$parts"/*.deb; do
        dpkg-deb -x "$package" "$folder" || return 1
    done
    rm -rf "$parts"
    local source=$folder/usr/src/linux-headers-$version
    # They look for each other where they would be installed. Without vmlinux nobody asks for pahole.
    sed -i "s|/usr/src/|$folder/usr/src/|" "$source/Makefile" && rm -f "$source/vmlinux" && ln -sfn "$source" "$folder/build" &&
        touch "$folder/ready-$version"
}

# build_module FOLDER OUT: FOLDER/*.c with its Kbuild, built in OUT.
build_module() {
    mkdir -p "$2" && cp "$1"/* "$2"/ && make -s -C "$linux_cache/headers/build" M="$2" modules
}
