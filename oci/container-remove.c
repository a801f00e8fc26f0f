/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The end of a container: what is left of it is killed, its cgroup and its directory go, poststop hooks are told.
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "oci/container.h"
#include "oci/group.h"
#include "shared/macros.h"
#include "shared/syscalls.h"

#define END_TIMEOUT_MS 10000

/** container_end() - Kills a container that has not stopped, and waits until it has. */
gboolean container_end(State *state, GError **error) {
        _cleanup_close_ int pidfd = state_pidfd(state);
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        if (pidfd < 0)
                return TRUE;
        (void)sys_pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
        if (group_is_frozen(state)) /* the freezer of version 1 holds even the dead */
                (void)group_freeze(state, FALSE, NULL);
        while (poll(&p, 1, END_TIMEOUT_MS) < 0)
                if (errno != EINTR)
                        return oci_fail_errno(error, errno, "wait for the end of \"%s\"", state->id);
        if (!p.revents)
                return oci_fail(error, OCI_ERROR_FAILED, "container \"%s\" does not die", state->id);
        return TRUE;
}

/**
 * container_remove() - Removes a container that has stopped.
 * @plan: for its poststop hooks, or NULL; what they fail with is only a warning
 */
gboolean container_remove(Oci *oci, State *state, const struct plan *plan, GError **error) {
        int r;

        r = group_known();
        if (r >= 0)
                r = group_kill_wait(state);
        if (r >= 0)
                r = group_remove(state);
        if (r < 0)
                return oci_fail_errno(error, r, "cgroup of \"%s\"", state->id);
        if (!state_remove(oci, state, error))
                return FALSE;
        container_hooks_after(oci, state, plan);
        return TRUE;
}
