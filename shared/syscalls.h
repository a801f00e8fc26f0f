/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Raw system calls and kernel constants that glibc 2.36 does not wrap; the only place where syscall(2) is called. */

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif

static inline pid_t sys_clone3(struct clone_args *args) {
        return (pid_t)syscall(SYS_clone3, args, sizeof(*args));
}

static inline int sys_openat2(int dir_fd, const char *path, const struct open_how *how) {
        return (int)syscall(SYS_openat2, dir_fd, path, how, sizeof(*how));
}

static inline int sys_pidfd_open(pid_t pid, unsigned flags) {
        return (int)syscall(SYS_pidfd_open, pid, flags);
}

static inline int sys_pidfd_send_signal(int pidfd, int sig, siginfo_t *info, unsigned flags) {
        return (int)syscall(SYS_pidfd_send_signal, pidfd, sig, info, flags);
}

static inline int sys_pivot_root(const char *new_root, const char *put_old) {
        return (int)syscall(SYS_pivot_root, new_root, put_old);
}

static inline int sys_capset(struct __user_cap_header_struct *header, const struct __user_cap_data_struct *data) {
        return (int)syscall(SYS_capset, header, data);
}

static inline int sys_capget(struct __user_cap_header_struct *header, struct __user_cap_data_struct *data) {
        return (int)syscall(SYS_capget, header, data);
}

static inline int sys_seccomp(unsigned operation, unsigned flags, void *args) {
        return (int)syscall(SYS_seccomp, operation, flags, args);
}

/* sched/types.h of the kernel declares more than goes with sched.h of the C library. */
struct sys_sched_attr {
        uint32_t size;
        uint32_t policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
};

static inline int sys_sched_setattr(pid_t pid, const struct sys_sched_attr *attr, unsigned flags) {
        return (int)syscall(SYS_sched_setattr, pid, attr, flags);
}

/* Sets of CPUs of any size, where the C library's have 1024. */
static inline int sys_sched_setaffinity(pid_t pid, size_t size, const void *mask) {
        return (int)syscall(SYS_sched_setaffinity, pid, size, mask);
}

static inline int sys_set_mempolicy(int mode, const void *nodes, unsigned long n) {
        return (int)syscall(SYS_set_mempolicy, mode, nodes, n);
}

static inline int sys_bpf(int command, void *attr, unsigned size) {
        return (int)syscall(SYS_bpf, command, attr, size);
}

static inline int sys_ioprio_set(int which, int who, int priority) {
        return (int)syscall(SYS_ioprio_set, which, who, priority);
}

/* A fresh anonymous session keyring for the caller. */
static inline long sys_keyctl_join_session(void) {
        return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL, 0, 0, 0);
}

/* The kernel's own answer: "(unreachable)" for a directory outside the root, where getcwd(3) searches for a way. */
static inline long sys_getcwd(char *buffer, size_t size) {
        return syscall(SYS_getcwd, buffer, size);
}
