# SPDX-License-Identifier: Apache-2.0
# The Debian packages the build needs, and how ./check and ./demo get them. To be sourced by bash.

build_packages=(cmake ninja-build g++ binutils python3 libfmt-dev libzydis-dev libssl-dev libslirp-dev libcli11-dev libgtest-dev
    libgmock-dev nlohmann-json3-dev)

# need_packages PACKAGE...: installs what is missing, or says what to install and fails.
need_packages() {
    local missing=() package
    command -v dpkg-query > /dev/null || {
        echo "This is no Debian: install what corresponds to these packages: $*" >&2
        return 0 # CMake will name what is really missing
    }
    for package in "$@"; do
        [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]} == 0)) && return 0
    if [[ $(id -u) != 0 ]]; then
        echo "Missing packages. Install them with: sudo apt-get install ${missing[*]}" >&2
        return 1
    fi
    echo "Installing ${missing[*]}"
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "${missing[@]}" \
        > /dev/null
}
