/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How a task ends.
 *
 * When the first process has ended everything else in payload/ is killed and reaped, what was only the task's is
 * removed, and the shim goes. A stop is the container's own stop signal and, after its time, SIGKILL to all. Both work
 * the same whether a manager is there or not.
 */

#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>

#include "shared/fd.h"
#include "shared/process.h"
#include "shared/syscalls.h"
#include "shim/capability.h"
#include "shim/foreign.h"
#include "shim/setup.h"
#include "shim/shim.h"

#define CAP(c) (UINT64_C(1) << (c))

/* What reaping, killing, exec, records and clean-up take. */
#define NEEDED                                                                                                         \
        (CAP(CAP_SYS_ADMIN) | CAP(CAP_SYS_CHROOT) | CAP(CAP_SYS_PTRACE) | CAP(CAP_KILL) | CAP(CAP_SETUID) |            \
         CAP(CAP_SETGID) | CAP(CAP_SETPCAP) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_DAC_READ_SEARCH) | CAP(CAP_FOWNER) |     \
         CAP(CAP_CHOWN) | CAP(CAP_SYS_RESOURCE))

/** shim_confine() - give up what a running task does not need
 *
 * The permitted set stays whole: an exec may be asked for any capability the host has, and could not regain it. Only
 * what is in effect shrinks. The manager may add a filter that holds for execs as well.
 */
void shim_confine(struct shim *s) {
        struct fault fault = FAULT_NULL;
        uint64_t permitted;

        if (s->confined || !s->plan)
                return;
        s->confined = true;
        if (capability_get(&permitted) >= 0)
                (void)capability_set(permitted & NEEDED, permitted, 0);
        (void)filter_load(&fault, s->plan, &s->plan->supervisor_seccomp);
}

static void remove_path(const char *path) {
        _cleanup_free_ char *parent = strdup(path);
        _cleanup_close_ int fd = -1;
        char *slash = parent ? strrchr(parent, '/') : NULL;

        if (!slash || slash == parent)
                return;
        *slash = '\0';
        fd = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0)
                (void)tree_remove_at(fd, slash + 1);
}

/** shim_cleanup() - remove what belongs to the task alone: an overlay's upper and work directories, the path socket */
void shim_cleanup(struct shim *s) {
        if (s->work)
                remove_path(s->work);
        if (s->upper)
                remove_path(s->upper);
        free(TAKE_PTR(s->work));
        free(TAKE_PTR(s->upper));
        if (s->listener >= 0 && s->task_dir >= 0)
                (void)unlinkat(s->task_dir, "shim", 0);
        s->listener = safe_close(s->listener);
}

/** shim_end_continue() - whether the rest of the container has gone; if so, clean up and be done */
void shim_end_continue(struct shim *s) {
        bool populated = false, frozen;

        if (s->phase != SHIM_PHASE_ENDING)
                return;
        if (s->cgroup.payload_fd >= 0 && cgroup_state(&s->cgroup, &populated, &frozen) >= 0 && populated)
                return;
        if (s->execs || !foreign_delete(s))
                return;
        shim_cleanup(s);
        s->phase = SHIM_PHASE_DONE;
}

/** shim_end() - the first process has ended: the container ends with it */
void shim_end(struct shim *s) {
        bool populated = false, frozen = false;

        s->phase = SHIM_PHASE_ENDING;
        s->kill_at = 0;
        if (s->cgroup.payload_fd >= 0 && (cgroup_state(&s->cgroup, &populated, &frozen) < 0 || populated))
                shim_kill_all(s);
        shim_end_continue(s);
}

/** shim_kill_all() - SIGKILL to everything in payload/, and to a first process that is not in it yet */
void shim_kill_all(struct shim *s) {
        s->killed = true;
        if (s->init.pidfd >= 0)
                (void)sys_pidfd_send_signal(s->init.pidfd, SIGKILL, NULL, 0);
        (void)cgroup_kill(&s->cgroup, SIGKILL);
}

static void stop_begin(struct shim *s, int signal) {
        bool still = s->paused || s->pausing;

        process_note_signal(&s->init, signal);
        if (s->foreign) {
                foreign_signal(s, signal, 0);
                if (still)
                        foreign_freeze(s, false, 0);
                return;
        }
        (void)sys_pidfd_send_signal(s->init.pidfd, signal, NULL, 0);
        if (still) {
                (void)cgroup_freeze(&s->cgroup, false);
                s->paused = s->pausing = false;
        }
}

/** shim_stop() - ask the container to end, and see to it after the time given if @force
 *
 * A container that has not started has nothing to end in order: it is killed. A paused one is thawed, or it would not
 * hear.
 */
void shim_stop(struct shim *s, int signal, bool force, uint64_t timeout_usec) {
        uint64_t now;

        if (s->phase == SHIM_PHASE_WARM || s->phase == SHIM_PHASE_PARKED ||
            (s->phase == SHIM_PHASE_FAILED && s->scoped)) {
                s->phase = SHIM_PHASE_DONE;
                return;
        }
        if (s->phase != SHIM_PHASE_ALIVE)
                return;
        if (s->init.state != PROCESS_RUNNING) {
                shim_kill_all(s);
                return;
        }
        signal = signal > 0 ? signal : s->stop_signal > 0 ? (int)s->stop_signal : SIGTERM;
        stop_begin(s, signal);
        if (!force)
                return;
        now = now_usec(CLOCK_MONOTONIC);
        if (timeout_usec == 0)
                shim_kill_all(s);
        else
                s->kill_at = timeout_usec < UINT64_MAX - now ? now + timeout_usec : UINT64_MAX;
}

/** shim_discard() - end at once, whatever state the task is in */
void shim_discard(struct shim *s) {
        switch (s->phase) {
        case SHIM_PHASE_ALIVE:
                if (s->init.state == PROCESS_MAKING) {
                        struct fault fault = FAULT_NULL;

                        (void)fault_set(&fault, SHIM_STEP_PLAN, ECANCELED, "the task was discarded");
                        shim_failed(s, &s->init, &fault);
                        if (!s->foreign || !s->scoped)
                                s->phase = SHIM_PHASE_DONE;
                        return;
                }
                shim_kill_all(s);
                return;
        case SHIM_PHASE_ENDING:
                return;
        default:
                s->phase = SHIM_PHASE_DONE;
        }
}
