/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a container's first process (init.c) or an exec (exec.c) is made from, and the sections that make it.
 * The shim fills struct setup before it clones; the child works through it and executes the program.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "shared/plan.h"
#include "shim/fault.h"
#include "shim/stdio.h"

/* A capability set, bit n is capability n. */
typedef uint64_t capset;

struct identity {
        uint32_t uid, gid;
        size_t n_groups;
        gid_t *groups; /* owned */
        char *home;    /* owned; NULL: not known */
};
struct setup {
        const struct plan *plan;
        struct fault *fault;
        int sock;           /* to the shim */
        int root_fd;        /* the container's root, a mount of its own */
        int null_fd;        /* the host's /dev/null, verified, O_PATH */
        int net_ns_fd;      /* a new network namespace to enter instead of making one, or -1 */
        int net_sock;       /* where a network namespace to enter comes from in time, or -1 */
        int init_pidfd;     /* exec only: whose namespaces are joined */
        int *mount_fds;     /* one a mount of the plan: a detached bind mount, or -1 */
        int *namespace_fds; /* one a namespace of the plan to join */
        char *cgroup_path;  /* owned: the process's group as a host path, for a container without a cgroup namespace */
        struct stdio stdio;
        struct identity identity;
        char *command;       /* owned: the executable that args[0] means */
        char **env;          /* owned vector; the strings are the plan's or ours */
        int terminal_fd;     /* the pty's slave, or -1 */
        uint64_t join_flags; /* CLONE_NEW*; exec: of the container; else: of those named by path that are entered */
        int start_fd;        /* where a container that nobody supervises waits for its start, or -1 */
        int state_fd;        /* the state that hooks are told, or -1 */
};
#define SETUP_NULL                                                                                                     \
        {                                                                                                              \
                .stdio = STDIO_NULL, .sock = -1, .root_fd = -1, .null_fd = -1, .init_pidfd = -1, .net_ns_fd = -1,      \
                .net_sock = -1, .terminal_fd = -1, .start_fd = -1, .state_fd = -1                                      \
        }

/* Messages between the shim and a child in the making. */
enum setup_message {
        SETUP_FAULT = 1,    /* child: struct fault follows */
        SETUP_TERMINAL,     /* child: with the pty's master */
        SETUP_READY,        /* child: waits for SETUP_START */
        SETUP_EXECUTING,    /* child: the next thing is execve; end of file without a fault means it has succeeded */
        SETUP_MAPPED,       /* shim: the user namespace has its maps, mounts that depend on them are ready */
        SETUP_SCOPED,       /* shim: the child is in its cgroup */
        SETUP_SCOPED_START, /* shim: the same, and it need not wait for SETUP_START */
        SETUP_START,        /* shim; fd, where the container has hooks: the state they are told */
        SETUP_HOOKS,        /* child: everything is mounted; waits for SETUP_HOOKED */
        SETUP_HOOKED,       /* shim, once its own hooks have run; fd: the state for those of the child */
        SETUP_LISTENER,     /* child: with the descriptor its seccomp filter asks at */
        SETUP_DETACH,       /* shim: it goes away, the start comes over start_fd */
        SETUP_CRIU,         /* child: criu is next; fds: options for it, where it logs */
};

/* The longest of them; the others are the first four bytes. */
struct setup_record {
        uint32_t message;
        struct fault fault;
};
/* the child's side */
_noreturn_ void init_main(struct setup *s);
_noreturn_ void exec_main(struct setup *s);
_noreturn_ void restore_main(struct setup *s);
int setup_tell(struct setup *s, uint32_t message, int fd);
int setup_await(struct setup *s, uint32_t *ret, int *ret_fd);
_noreturn_ void setup_die(struct setup *s);
int setup_expect(struct setup *s, uint32_t first, uint32_t second, uint32_t *ret, int *ret_fd);
int setup_begin(struct setup *s);
int setup_identity(struct setup *s);
int setup_release(struct setup *s);
/* sections, in the order in which they happen */
int namespace_enter(struct setup *s);
int namespace_become_root(struct setup *s);
int namespace_identify(struct setup *s);
int namespace_network(struct setup *s);
int namespace_loopback(struct setup *s);
int namespace_keyring(struct setup *s);
int rootfs_attach(struct setup *s);
int mounts_make(struct setup *s, bool cgroup, int *cgroup_targets);
int mounts_make_cgroup(struct setup *s, const int *cgroup_targets);
bool mounts_need_cgroup_first(const struct plan *plan);
int devices_make(struct setup *s);
int masks_make(struct setup *s);
int sysctls_write(struct setup *s, const char *prefix);
int labels_set(struct setup *s);
int terminal_open(struct setup *s, bool console);
int rootfs_finish(struct setup *s);
int rootfs_pivot(struct setup *s);
int stdio_open_null(struct setup *s);
int stdio_prepare(struct setup *s);
int stdio_apply(struct setup *s);
int rlimits_set(struct setup *s);
int scheduling_set(struct setup *s);
int affinity_begin(struct setup *s);
int user_resolve(struct setup *s);
int user_become(struct setup *s);
int capability_bound(struct setup *s);
int capability_apply(struct setup *s, bool keep_admin);
int cwd_make(struct setup *s);
int cwd_enter(struct setup *s, bool final);
int command_find(struct setup *s);
int environment_make(struct setup *s);
int filter_load_asking(const struct plan *plan, int sock);
int filter_load(struct fault *fault, const struct plan *plan, const struct plan_seccomp *filter);
_noreturn_ void command_run(struct setup *s);
