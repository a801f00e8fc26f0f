/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One task's supervisor: its state, and the parts that act on it. */

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "shared/message.h"
#include "shared/plan.h"
#include "shim/cgroup.h"
#include "shim/drop.h"
#include "shim/fault.h"
#include "shim/oom.h"
#include "shim/process.h"
#include "shim/unified.h"
#include "shim/violation.h"

enum shim_phase {
        SHIM_PHASE_WARM = 0, /* forked ahead of time, knows nothing */
        SHIM_PHASE_PARKED,   /* waits in a scope of its own for a plan */
        SHIM_PHASE_ALIVE,    /* has a container: see init.state */
        SHIM_PHASE_ENDING,   /* the first process has ended, the rest is being killed */
        SHIM_PHASE_FAILED,   /* the container could not be made; stays until systemd is done with the scope */
        SHIM_PHASE_DONE,
        _SHIM_PHASE_MAX,
};

struct shim {
        enum shim_phase phase;
        bool scoped, start, confined, oom_protected;
        bool pausing, paused;
        bool killed; /* everything in payload/ was sent SIGKILL */
        int control, listener, signal_fd, task_dir, pid_ns_fd;
        int net_ns_fd;      /* a network namespace made ahead of time, which nobody is in yet; or -1 */
        int net_sockets[2]; /* of it, for streams to the journal; or -1 */
        struct cgroup cgroup;
        struct oom oom;
        struct violations violations;
        struct drops drops;
        struct unified_undo unified; /* of the last change */
        struct process init, *execs;
        uint64_t namespace_flags; /* what the container does not share with the host */
        uint32_t stop_signal;
        uint64_t stop_timeout_usec;
        uint64_t kill_at;    /* CLOCK_MONOTONIC, microseconds; 0: no stop is running */
        uint64_t give_up_at; /* the same: when a container without a scope or a manager is given up */
        uint32_t pause_serial;
        char *upper, *work;      /* owned: to be removed with the task */
        const struct plan *plan; /* mapped until the container runs, or, of another runtime, to the end */
        struct foreign *foreign; /* owned; NULL: the shim makes the container itself */
        struct restore *restore; /* owned; while criu makes the container's processes */
};
#define SHIM_NULL                                                                                                      \
        {                                                                                                              \
                .control = -1, .listener = -1, .signal_fd = -1, .task_dir = -1, .pid_ns_fd = -1, .net_ns_fd = -1,      \
                .net_sockets = { -1, -1 }, .cgroup = CGROUP_NULL, .oom = OOM_NULL, .violations = VIOLATIONS_NULL,      \
                .drops = DROPS_NULL, .init = PROCESS_NULL                                                              \
        }

/* supervise.c */
_noreturn_ void shim_main(int control, int signal_fd);
int shim_tell(struct shim *s, uint16_t type, uint32_t serial, const void *body, const char *text, const int *fds,
              size_t n_fds);
void shim_reply(struct shim *s, uint32_t serial, int error, const char *text);
struct process *shim_process(struct shim *s, const char *exec_id);
void shim_reap(struct shim *s);

/* request.c */
void shim_request(struct shim *s, struct packet *p);

/* launch.c */
void shim_launch(struct shim *s, struct packet *p, const struct shim_launch *request, const char *text,
                 size_t text_size, uint32_t serial);
void shim_scope(struct shim *s, const char *unit, size_t unit_size, uint32_t serial);
void shim_start(struct shim *s, uint32_t serial);
void shim_failed(struct shim *s, struct process *p, const struct fault *fault);
void shim_drop_plan(struct shim *s);

/* exec.c */
void shim_exec(struct shim *s, struct packet *p, const struct shim_exec *request, const char *text, size_t text_size,
               uint32_t serial);

/* ending.c */
void shim_kill_all(struct shim *s);
void shim_stop(struct shim *s, int signal, bool force, uint64_t timeout_usec);
void shim_discard(struct shim *s);
void shim_end(struct shim *s);
void shim_end_continue(struct shim *s);
void shim_cleanup(struct shim *s);
void shim_confine(struct shim *s);
