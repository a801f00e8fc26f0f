/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Hooks of the host's side, and the plan that is kept for them.
 *
 * The plan of a container that has hooks for its start or its end is a file in its directory: whoever starts or deletes
 * it later need not read a configuration again that may have changed.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oci/container.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shim/hook.h"

/** container_hooks() - Runs the hooks of a stage on the host, with the container's state as @status has it. */
gboolean container_hooks(State *state, const struct plan *plan, guint32 stage, Status status, GError **error) {
        struct fault fault = FAULT_NULL;
        _cleanup_close_ int fd = -1;

        if (!plan || !hooks_given(plan, stage))
                return TRUE;
        fd = state_memfd(state, status, state->pid);
        if (fd < 0)
                return oci_fail_errno(error, fd, "state for hooks");
        if (hooks_run(plan, stage, fd, state->bundle, &fault) < 0)
                return oci_fail(error, OCI_ERROR_FAILED, "%s", fault.text);
        return TRUE;
}

/** container_hooks_after() - Runs the poststop hooks; one that fails is a warning and keeps no other from being run. */
void container_hooks_after(Oci *oci, State *state, const struct plan *plan) {
        const struct plan_hook *h = plan ? plan_array(plan, plan->hooks) : NULL;
        _cleanup_close_ int fd = -1;

        if (!plan || !hooks_given(plan, PLAN_HOOK_POSTSTOP))
                return;
        fd = state_memfd(state, STATUS_STOPPED, 0);
        if (fd < 0) {
                oci_warn(oci, "state for hooks: %s", g_strerror(-fd));
                return;
        }
        for (guint32 i = 0; i < plan->hooks.n; i++) {
                struct fault fault = FAULT_NULL;

                if (h[i].stage == PLAN_HOOK_POSTSTOP && hook_run(plan, &h[i], fd, state->bundle, &fault) < 0)
                        oci_warn(oci, "%s", fault.text);
        }
}

/**
 * plan_load() - The plan that was kept with the container; NULL when there is none.
 * @ret_memory: to be freed with free(); the plan is in it
 */
const struct plan *plan_load(State *state, void **ret_memory, GError **error) {
        char *data = NULL;
        size_t size;
        int r;

        r = file_read_at(state->dir_fd, STATE_PLAN, PLAN_SIZE_MAX, &data, &size);
        if (r == -ENOENT)
                return NULL;
        if (r >= 0)
                r = plan_check(data, size);
        if (r < 0) {
                free(data);
                (void)oci_fail_errno(error, r, "plan of \"%s\"", state->id);
                return NULL;
        }
        *ret_memory = data;
        return (const void *)data;
}

/* The number of the container's first process as it sees itself: the last of NSpid in /proc/PID/status. */
static pid_t pid_inside(pid_t pid) {
        g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)pid);
        _cleanup_free_ char *text = NULL;
        char *line, *last;

        if (file_read_at(AT_FDCWD, path, 65536, &text, NULL) < 0)
                return pid;
        line = strstr(text, "\nNSpid:");
        if (!line)
                return pid;
        line++;
        line[strcspn(line, "\n")] = '\0';
        last = strrchr(line, '\t');
        return last ? (pid_t)strtol(last, NULL, 10) : pid;
}

/** state_inside_memfd() - The state for hooks that run in the container's namespaces; a descriptor or negative errno.
 */
int state_inside_memfd(State *state, Status status) {
        return state_memfd(state, status, pid_inside(state->pid));
}
