# shellcheck shell=bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Functions of quickstart: packages, build, and the private systemd of this checkout (up, install, exec, down).
# Expects $checkout. All state of one instance stands in $state; two checkouts never share one.

build_dir=${DAVIT_BUILD:-$checkout/build}
cache=${DAVIT_CACHE:-/var/cache/davit-quickstart}
instance=$(printf %s "$checkout" | sha256sum | cut -c1-12)
state=/var/lib/davit-quickstart/$instance
boot_path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

packages_build="autoconf automake autopoint autoconf-archive gettext gcc libc6-dev make pkg-config xz-utils git
    libglib2.0-dev libjson-glib-dev libsystemd-dev libseccomp-dev libostree-dev zlib1g-dev libzstd-dev libssl-dev libisal-dev libcurl4-openssl-dev"
packages_boot="systemd dbus polkitd python3 python3-gi gir1.2-glib-2.0 iproute2 util-linux"

say() { printf '==> %s\n' "$*"; }
die() { printf 'quickstart: %s\n' "$*" >&2; exit 1; }

# packages_need NAME...: installs what is missing, without letting any of it start a service.
packages_need() {
    local missing=() name
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${Status}' "$name" 2>/dev/null)" = "install ok installed" ] || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "Installing ${#missing[@]} Debian packages: ${missing[*]}"
    local log policy=/usr/sbin/policy-rc.d made=
    log=$(mktemp)
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        made=1
    fi
    # The lists may be older than the archive, so a first failure is answered with an update.
    if ! apt_install "${missing[@]}" >"$log" 2>&1; then
        apt-get -q update >>"$log" 2>&1 && apt_install "${missing[@]}" >>"$log" 2>&1 || made=failed$made
    fi
    case $made in *1) rm -f $policy ;; esac
    case $made in failed*) tail -n 30 "$log" >&2; rm -f "$log"; die "apt-get could not install the packages" ;; esac
    rm -f "$log"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install "$@" </dev/null
}

# build: configures once and brings the build directory up to date. Output is shown where it fails.
build() {
    # shellcheck disable=SC2086
    packages_need $packages_build
    mkdir -p "$build_dir"
    local log=$build_dir/quickstart.log
    (
        flock 8
        if [ ! -x "$checkout/configure" ] || [ "$checkout/configure.ac" -nt "$checkout/configure" ]; then
            say "Generating the build system"
            "$checkout/autogen.sh" >"$log" 2>&1 || { tail -n 40 "$log" >&2; die "autogen.sh failed"; }
        fi
        if ! grep -q -- "--prefix=/usr'* " "$build_dir/config.status" 2>/dev/null ||
            [ "$checkout/configure" -nt "$build_dir/config.status" ]; then
            say "Configuring"
            (cd "$build_dir" && "$checkout/configure" -q --prefix=/usr --sysconfdir=/etc --localstatedir=/var \
                --libexecdir=/usr/libexec --enable-werror) >"$log" 2>&1 || { tail -n 40 "$log" >&2; die "configure failed"; }
        fi
        say "Building in $build_dir"
        env -u MAKEFLAGS -u MAKELEVEL make -s -C "$build_dir" -j"$(nproc)" >"$log" 2>&1 || { tail -n 60 "$log" >&2; die "make failed; the whole log: $log"; }
    ) 8>"$build_dir/.quickstart-lock"
}

# The start time tells a recycled PID from the one that was recorded.
process_start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

boot_is_up() {
    [ -s "$state/pid" ] && [ -s "$state/start-time" ] &&
        [ "$(process_start_time "$(cat "$state/pid")")" = "$(cat "$state/start-time")" ]
}

# What there is to do with a private systemd that is up.
boot_hint() {
    say "The private systemd is up, with Davit in it"
    echo "    ./quickstart exec -- bash          look around, for instance: davitctl ps -a"
    echo "    ./quickstart exec -- davitctl help what there is to do"
    echo "    ./quickstart install               replace Davit by what is in this checkout now"
    echo "    ./quickstart down                  end it"
}

boot_up() {
    # shellcheck disable=SC2086
    packages_need $packages_boot
    build
    mkdir -p "$state" "$cache"
    exec 9>"$state/up-lock"
    flock 9
    if boot_is_up; then
        boot_install
        exec 9>&-
        return
    fi
    boot_clean
    say "Booting a private systemd"
    mkdir -p "$state"/{mnt,ctl,var/davit,var/davit-tests,var/containerd,var/containers,var/tmp}
    chmod 700 "$state" "$state/var/davit"
    mkfifo -m 600 "$state/ctl/ready"
    local in
    exec {in}<>"$state/ctl/ready"
    printf '%s\n' "$checkout" >"$state/checkout"
    local line launch=(setsid -f)
    # Under a real systemd the boot gets a delegated scope, so that limits and tidy-up are systemd's.
    [ ! -d /run/systemd/system ] || launch+=(systemd-run -q --scope --collect -p Delegate=yes --unit="davit-quickstart-$instance")
    "${launch[@]}" "$checkout/tests/boot/supervise" "$checkout" "$build_dir" "$state" "$cache" \
        9>&- {in}>&- </dev/null >"$state/boot.log" 2>&1
    if ! read -r -t 120 line <&$in || [ "$line" != ready ]; then
        tail -n 40 "$state/boot.log" >&2
        boot_down >&2
        die "the private systemd did not come up"
    fi
    exec {in}>&-
    # "degraded" is an answer too; what failed is shown, and the boot stays up to be looked at.
    if ! (boot_exec systemctl is-system-running --wait >/dev/null); then
        say "Some units of the private systemd failed:"
        (boot_exec systemctl --failed --no-legend --plain) || true
    fi
    exec 9>&-
}

# boot_root_install ROOT: what `make install` gives, in the root file system of the boot.
boot_root_install() {
    env -u MAKEFLAGS -u MAKELEVEL make -s -C "$build_dir" install DESTDIR="$1" >"$build_dir/quickstart-install.log" 2>&1 || {
        tail -n 40 "$build_dir/quickstart-install.log" >&2
        return 1
    }
}

# boot_install: replaces the installed files in the running boot, then has systemd and D-Bus read them again.
# Services run the new programs at their next start; davitd, the launcher and their sockets are restarted here.
boot_install() {
    say "Installing into the private systemd"
    boot_root_install "/proc/$(cat "$state/pid")/root" || die "make install failed"
    (boot_exec /bin/sh -s) <<'END' || die "the installed units could not be restarted"
set -e
systemctl daemon-reload
journalctl --update-catalog
busctl -q call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus ReloadConfig
for socket in davit-launcher.socket davit-store.socket davit-store-snapshot.socket davit-registry.socket; do
    [ ! -e /usr/lib/systemd/system/$socket ] || systemctl -q enable $socket
done
active=$(systemctl is-active davitd.service || true)
systemctl stop davitd.service davit-launcher.service 2>/dev/null || true
for socket in davit-launcher.socket davit-store.socket davit-store-snapshot.socket davit-registry.socket; do
    [ ! -e /usr/lib/systemd/system/$socket ] || systemctl start $socket
done
[ "$active" != active ] || systemctl start davitd.service
END
}

# boot_exec COMMAND...: replaces this process by COMMAND inside the boot.
boot_exec() {
    local pid dir
    pid=$(cat "$state/pid")
    while read -r dir; do
        echo $BASHPID >"$dir/cgroup.procs" || die "cannot enter $dir"
    done <"$state/exec-cgroups"
    # shellcheck disable=SC2016  # "$0" is the inner shell's.
    # The command dies with this process: nsenter forks and would not hand a signal on.
    exec nsenter -t "$pid" -m -u -i -n -p -C -- /usr/bin/env -i "PATH=$boot_path" "TERM=${TERM:-dumb}" LANG=C.UTF-8 \
        HOME=/root USER=root LOGNAME=root SHELL=/bin/bash "DAVIT_BUILD=$build_dir" \
        setpriv --pdeathsig TERM /bin/sh -c 'cd "$0" 2>/dev/null || cd /; exec "$@"' "$PWD" "$@"
}

boot_down() {
    if [ ! -d "$state" ]; then
        say "The private systemd is not up"
        return 0
    fi
    if boot_is_up; then
        # The death of its PID 1 takes the whole pid namespace and, with the last process, the mounts.
        kill -KILL "$(cat "$state/pid")" 2>/dev/null || true
    fi
    # The supervisor holds this lock until it has reaped PID 1.
    if [ -e "$state/supervisor-lock" ]; then
        flock -w 60 "$state/supervisor-lock" true || die "the private systemd does not end"
    fi
    boot_clean
    rm -rf --one-file-system "$state"
    rmdir /var/lib/davit-quickstart 2>/dev/null || true
    say "The private systemd is down"
}

# boot_clean: removes what a boot that has ended left behind.
boot_clean() {
    local dir pid
    [ ! -e "$state/cgroups" ] || while read -r dir; do
        [ -d "$dir" ] || continue
        # Host-side parents of `exec` commands end with their children; wait for the last of them.
        find "$dir" -depth -name cgroup.procs -exec cat {} + 2>/dev/null | sort -u | while read -r pid; do
            [ "$pid" = 0 ] || tail --pid="$pid" -s 0.05 -f /dev/null
        done
        find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || say "left behind: $dir"
    done <"$state/cgroups"
    find "$state" -mindepth 1 -maxdepth 1 ! -name up-lock -exec rm -rf --one-file-system {} + 2>/dev/null || true
}
