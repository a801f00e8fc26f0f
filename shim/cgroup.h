/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The sub-groups of a task's scope: supervisor/ for the shim, payload/init and payload/exec-<id> for the container. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroup {
        int scope_fd; /* the unit's own directory, in the unified hierarchy */
        int payload_fd;
        int init_fd;   /* payload/init */
        int events_fd; /* payload/cgroup.events, while somebody waits for it; or -1 */
        char *path;    /* owned: the unit's directory below the mount point */
        bool left_behind; /* an exec's group could not be removed with it */
        int left_fd;      /* epoll of left; -1: there is none */
        int left[64];     /* cgroup.events of such groups, until the last process of each has gone */
        unsigned n_left;  /* those beyond go with the next that does */
};
#define CGROUP_RUNTIME "runtime" /* payload/runtime: another runtime's own processes, while they run */
#define CGROUP_NULL                                                                                                    \
        { .scope_fd = -1, .payload_fd = -1, .init_fd = -1, .events_fd = -1, .left_fd = -1 }

int cgroup_mount_point(const char **ret);
int cgroup_own_path(char **ret);
int cgroup_enter(struct cgroup *c, const char *unit, size_t unit_size);
int cgroup_attach_init(struct cgroup *c, pid_t pid);
int cgroup_make_exec(struct cgroup *c, const char *exec_id);
void cgroup_remove_exec(struct cgroup *c, const char *exec_id);
void cgroup_sweep_execs(struct cgroup *c);
int cgroup_kill(struct cgroup *c, int signal);
int cgroup_freeze(struct cgroup *c, bool on);
int cgroup_state(struct cgroup *c, bool *ret_populated, bool *ret_frozen);
int cgroup_read(pid_t pid, char **ret);
int cgroup_write(int dir, const char *name, const char *text);
char *cgroup_line(char *text, const char *prefix);
int cgroup_list(struct cgroup *c, int (*callback)(void *userdata, const char *group, pid_t pid), void *userdata);
void cgroup_done(struct cgroup *c);
