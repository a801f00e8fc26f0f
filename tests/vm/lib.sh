# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Which guests there are and where what is built for them is kept. Expects $checkout; tests/boot/lib.sh comes first.
# shellcheck disable=SC2034,SC2154 # used by those who source it, and set by that file

# Debian's releases, each with the kernel of its cloud images: 12 has 6.1, 13 has 6.12; and 12 with the kernel of its
# backports, a 6.12 that costs neither a root nor a build of its own.
vm_suite() {
    case $1 in
        debian12|debian12-backports) echo bookworm ;;
        debian13) echo trixie ;;
        *) die "no guest $1 (there are: debian12 debian12-backports debian13)" ;;
    esac
}

packages_vm="qemu-system-x86 qemu-utils mmdebstrap e2fsprogs kmod cpio xz-utils zstd busybox-static python3 binutils"

# What Davit is linked with, what its tests call, and what a booted system cannot be without.
vm_packages_guest="systemd,systemd-sysv,dbus,polkitd,kmod,mount,procps,iproute2,util-linux,libcap2-bin,attr,
python3,python3-gi,gir1.2-glib-2.0,busybox-static,apparmor,libostree-1-1,ostree,libjson-glib-1.0-0,libseccomp2,zlib1g,libzstd1,libisal2"
vm_packages_12="libssl3,libcurl4,criu,iptables"
vm_packages_13="libssl3t64,libcurl4t64"
vm_packages_build="gcc,libc6-dev,make,pkg-config,gettext,libglib2.0-dev,libjson-glib-dev,libsystemd-dev,libseccomp-dev,
libostree-dev,zlib1g-dev,libzstd-dev,libssl-dev,libisal-dev,libcurl4-openssl-dev"

vm_cache=$cache/vm

# vm_sources SUITE OUTPUT: the machine's own package sources, turned to another release where the guest has one.
vm_sources() {
    local host list
    # shellcheck source=/dev/null
    host=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")
    for list in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
        if [ -s "$list" ] && grep -q "$host" "$list"; then
            sed "s/\\b$host\\b/$1/g" "$list" >"$2"
            return
        fi
    done
    die "no Debian package sources for $host found"
}

# vm_download SUITE DIRECTORY PACKAGE: the package that PACKAGE is the newest name of, from the machine's sources but
# without its lists or anything else of the machine being touched.
vm_download() {
    local work=$2 list=$2/$1.sources real
    mkdir -p "$work"/{lists/partial,cache/archives/partial}
    vm_sources "$1" "$list"
    # Suites that grow beside a release (backports) are where its own packages are; updates and security are not theirs.
    case $1 in *-*) sed -i "1,/^$/!d; s/^Suites:.*/Suites: $1/" "$list" ;; esac
    local options=(-q -o APT::Sandbox::User=root -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none
        -o Dir::Etc::SourceList="$list" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$work/lists"
        -o Dir::Cache="$work/cache")
    apt-get "${options[@]}" update
    real=$(apt-cache "${options[@]}" depends "$3" | sed -n "s/^ *Depends: *\(linux-image-[0-9].*\)/\1/p" | head -n 1)
    (cd "$work" && apt-get "${options[@]}" download "$real")
    rm -rf "$work"/{lists,cache} "$list"
}
