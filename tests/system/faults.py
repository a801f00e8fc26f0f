# SPDX-License-Identifier: LGPL-2.1-or-later
"""Fault injection: which system calls a process makes, which of them can fail with what, and fail-call that does it."""

import contextlib
import errno
import functools
import os
import random
import re
import signal
import subprocess
import uuid

import davit

#: Left out, because they cannot fail where their arguments are right, or because of what else is said.
EXEMPT = {
    "exit": "does not return", "exit_group": "does not return", "rt_sigreturn": "does not return",
    "restart_syscall": "the kernel's own",
    "close": "closes whatever it returns; one that is not made at all leaves a descriptor open that nobody knows",
    "munmap": "gives back", "madvise": "a hint", "brk": "mmap is taken instead, which is failed", "lseek": "of files and directories",
    "futex": "libc's own", "set_robust_list": "libc's own", "rseq": "libc's own", "set_tid_address": "libc's own",
    "arch_prctl": "libc's own",
    **{name: "cannot fail" for name in (
        "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "umask", "uname",
        "clock_gettime", "clock_getres", "gettimeofday", "time", "getrandom", "sched_yield", "rt_sigaction", "rt_sigprocmask", "sigaltstack",
        "alarm", "getpgrp", "getsid", "getpgid", "sched_getaffinity", "sysinfo", "getsockname", "getpeername", "personality",
        "timerfd_settime")},
    **{name: "of a process that is pinned or one's own child, by root: fails only when that has gone" for name in (
        "kill", "tgkill", "pidfd_send_signal")},
}

#: The same for one process.
EXEMPT_OF = {
    ("davitd", "sendmsg"): "sd-bus drops a message that the kernel has no memory for, an answer among them, and the next is sent",
}

#: Where a write cannot fail that is a wake-up.
NO_ROOM_NEEDED = ("pipe:", "anon_inode:[eventfd]")

#: An errno for each that the kernel's documentation names; EIO for what is not here.
ERRORS = {
    **dict.fromkeys(("openat", "open", "openat2", "open_tree", "socket", "socketpair", "pipe2", "accept4", "dup", "eventfd2", "signalfd4",
                     "timerfd_create", "epoll_create1", "inotify_init1", "pidfd_open", "fcntl", "memfd_create"), errno.EMFILE),
    **dict.fromkeys(("mkdirat", "mkdir", "mknodat", "mknod", "symlinkat", "symlink", "linkat", "renameat", "renameat2", "rename", "write", "pwrite64",
                     "writev", "fallocate", "ftruncate", "fsetxattr", "lsetxattr", "inotify_add_watch"), errno.ENOSPC),
    **dict.fromkeys(("mmap", "mremap", "mprotect", "sendmsg", "recvmsg", "sendto", "recvfrom", "sendmmsg", "setsockopt",
                     "getsockopt", "bind", "listen", "connect", "epoll_ctl", "mount", "fsopen", "fsconfig", "fsmount", "move_mount",
                     "mount_setattr", "pivot_root", "unshare", "setns", "chdir", "fchdir", "chroot", "ioctl", "execve", "execveat", "seccomp",
                     "add_key", "keyctl", "setgroups", "sethostname", "setdomainname"), errno.ENOMEM),
    **dict.fromkeys(("clone", "clone3", "fork", "vfork", "setresuid", "setuid"), errno.EAGAIN),
    **dict.fromkeys(("prctl", "capset", "capget", "setresgid", "setgid", "prlimit64", "setpriority", "ioprio_set",
                     "sched_setattr", "sched_setscheduler", "fchown", "fchownat", "fchmod", "fchmodat", "setsid"), errno.EPERM),
    **dict.fromkeys(("epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll", "select", "pselect6", "nanosleep", "clock_nanosleep",
                     "waitid", "wait4", "flock"), errno.EINTR),
    **dict.fromkeys(("umount2", "dup2", "dup3"), errno.EBUSY),
    "access": errno.EIO,
}


@functools.cache
def fail_call():
    """fail-call, compiled once in a boot."""
    here = os.path.dirname(os.path.abspath(__file__))
    path = f"{davit.FIXTURES}/fail-call"
    source = f"{here}/fail-call.c"
    if not os.path.exists(path) or os.path.getmtime(path) < os.path.getmtime(source):
        os.makedirs(davit.FIXTURES, exist_ok=True)
        part = f"{path}.{uuid.uuid4().hex}"
        davit.run("cc", "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-o", part, source)
        os.rename(part, path)
    return path


@functools.cache
def call_names():
    """{number: name} of this architecture, by the compiler."""
    text = subprocess.run(["cc", "-E", "-dM", "-include", "sys/syscall.h", "-x", "c", "/dev/null"], capture_output=True,
                          text=True, check=True).stdout
    return {int(number): name for name, number in re.findall(r"^#define __NR_(\w+) (\d+)$", text, re.MULTILINE)}


@functools.cache
def call_numbers():
    return {name: number for number, name in call_names().items()}


class Point:
    """One call of one process in an operation, and what is to become of it."""

    def __init__(self, role, name, nth, kill=False, detail=""):
        self.role, self.name, self.nth, self.kill, self.detail = role, name, nth, kill, detail

    def __str__(self):
        what = "kill" if self.kill else errno.errorcode[ERRORS.get(self.name, errno.EIO)]
        return f"{self.role}: {self.name} {self.nth} {what} ({self.detail})"

    def options(self, process):
        result = ["--process", str(process), "--call", str(call_numbers()[self.name]), "--nth", str(self.nth)]
        return result + (["--kill"] if self.kill else ["--error", str(ERRORS.get(self.name, errno.EIO))])


class Record:
    """What processes did: [(process, name, nth, detail)]; a call before `first` and one after `last` returns true is
    no more looked at."""

    def __init__(self, log):
        self.calls, self.programs = [], []
        counts = {}
        with open(log, encoding="utf-8", errors="replace") as f:
            for line in f:
                kind, process, rest = line.rstrip("\n").split(" ", 2)
                process = int(process)
                if kind == "exec":
                    self.programs.append((len(self.calls), process, rest))
                    continue
                number, _, detail = rest.partition(" ")
                name = call_names().get(int(number), number)
                counts[process, name] = counts.get((process, name), 0) + 1
                self.calls.append((process, name, counts[process, name], detail))

    def of(self, process, own=lambda program: True, executed=True):
        """The calls of one process while it executes what `own` takes; executed: from the beginning on."""
        taken, mine = [], executed
        programs = {at: program for at, k, program in self.programs if k == process}
        for i, call in enumerate(self.calls + [None]):
            if i in programs:
                mine = own(programs[i])
            if call and call[0] == process and mine:
                taken.append(call)
        return taken

    def processes(self):
        return sorted({call[0] for call in self.calls})


def can_fail(role, name, nth, detail):
    if name in EXEMPT or (role, name) in EXEMPT_OF or (name == "write" and detail.startswith(NO_ROOM_NEEDED)):
        return False
    # The last message of a process hands over the listener of its filter. A call that is taken back has the number -1, of
    # which the filter asks that listener, and nobody has it yet.
    return not (role in ("init", "exec") and name == "sendmsg" and nth > 1)


def points(role, calls, kill=False):
    """Those of the recorded calls that can fail, or all at which the process can be killed."""
    return [Point(role, name, nth, kill, detail) for _, name, nth, detail in calls
            if (name not in ("exit_group", "exit") if kill else can_fail(role, name, nth, detail))]


def sample(all_points, size, seed):
    """The first occurrence of each call in each role, in an order of the seed's, then others; at most `size`."""
    chooser = random.Random(seed)
    first = [p for p in all_points if p.nth == 1 and not p.kill]
    rest = [p for p in all_points if p.nth != 1 or p.kill]
    chooser.shuffle(first)
    chooser.shuffle(rest)
    # A third of them is not the first of its kind.
    return (first[:size * 2 // 3] + rest)[:size]


class Attached:
    """fail-call on a process that runs, for the time of a block."""

    def __init__(self, pid, *options, follow=False):
        self.log = f"/run/fail-call-{uuid.uuid4().hex[:8]}"
        self.argv = [fail_call(), "--log", self.log, *(["--follow"] if follow else []), *options, "--attach", str(pid)]

    def __enter__(self):
        self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise AssertionError(f"{' '.join(self.argv)}: cannot attach")
        return self

    def ended(self, timeout):
        """Whether it has happened, or there is nobody left whom it could happen to."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout)
            return True
        return False

    def hit(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return "hit" in f.read()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait()
        self.process.stdout.close()

    def remove(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.log)


def children(pid):
    """Of a single-threaded process."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(child) for child in f.read().split()]
    except OSError:
        return []


def parent(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        return int(f.read().rpartition(")")[2].split()[1])


def descriptors(pid):
    """{descriptor: what it is}, for a comparison."""
    found = []
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.append(re.sub(r"\d+", "N", os.readlink(f"/proc/{pid}/fd/{fd}")))
    return sorted(found)


