# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Which guests there are and where what is built for them is kept. Expects $checkout; tests/boot/lib.sh comes first.
# shellcheck disable=SC2034,SC2154 # used by those who source it, and set by that file

# Debian's releases, each with the kernel of its cloud images: 12 has 6.1, 13 has 6.12.
vm_suite() {
    case $1 in
        debian12) echo bookworm ;;
        debian13) echo trixie ;;
        *) die "no guest $1 (there are: debian12 debian13)" ;;
    esac
}

packages_vm="qemu-system-x86 qemu-utils mmdebstrap e2fsprogs cpio xz-utils zstd busybox-static python3 binutils"

# What Davit is linked with, what its tests call, and what a booted system cannot be without.
vm_packages_guest="systemd,systemd-sysv,dbus,polkitd,kmod,mount,procps,iproute2,util-linux,libcap2-bin,attr,
python3,python3-gi,gir1.2-glib-2.0,busybox-static,libostree-1-1,ostree,libjson-glib-1.0-0,libseccomp2,zlib1g,libzstd1,libisal2"
vm_packages_12="libssl3"
vm_packages_13="libssl3t64"
vm_packages_build="gcc,libc6-dev,make,pkg-config,gettext,libglib2.0-dev,libjson-glib-dev,libsystemd-dev,libseccomp-dev,
libostree-dev,zlib1g-dev,libzstd-dev,libssl-dev,libisal-dev"

vm_cache=$cache/vm

# vm_sources SUITE: the machine's own package sources, turned to another release where the guest has one.
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
