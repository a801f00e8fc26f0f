/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci start: lets the program of a created container run.
 *
 * The container's process waits at a socket in the container's directory. Connected to it, it is talked with as while
 * it was made: what its startContainer hooks or its execve fail with is told here.
 */

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "oci/container.h"
#include "shared/macros.h"
#include "shim/hook.h"
#include "shim/setup.h"

static const GOptionEntry entries[] = { {} };

static gboolean check_status(State *state, GError **error) {
        switch (state_status(state)) {
        case STATUS_CREATED:
                return TRUE;
        case STATUS_RUNNING:
                return oci_fail(error, OCI_ERROR_FAILED, "cannot start an already running container");
        case STATUS_STOPPED:
                return oci_fail(error, OCI_ERROR_FAILED, "cannot start a container that has stopped");
        default:
                return oci_fail(error, OCI_ERROR_FAILED, "cannot start a container in the %s state",
                                status_name(state_status(state)));
        }
}

static gboolean reach(State *state, Made *made, GError **error) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        (void)g_snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", state->dir_fd, STATE_START);
        made->pid = state->pid;
        made->pidfd = state_pidfd(state);
        made->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (made->sock < 0 || connect(made->sock, (const struct sockaddr *)&address, sizeof(address)) < 0)
                return oci_fail_errno(error, errno, "reach the process of \"%s\"", state->id);
        return TRUE;
}

static gboolean start(State *state, const struct plan *plan, Made *made, GError **error) {
        _cleanup_close_ int fd = -1;
        struct packet packet;
        int message;

        if (plan && hooks_given(plan, PLAN_HOOK_START_CONTAINER)) {
                fd = state_inside_memfd(state, STATUS_CREATED);
                if (fd < 0)
                        return oci_fail_errno(error, fd, "state for hooks");
        }
        if (!made_tell(made, SETUP_START, fd, error))
                return FALSE;
        while ((message = made_hear(made, &packet, error)) > 0) {
                gboolean ok =
                        message != SETUP_LISTENER || (plan && listener_send(state, plan, state->pid, &packet, error));

                packet_done(&packet);
                if (!ok)
                        return FALSE;
        }
        if (message < 0)
                return FALSE;
        (void)unlinkat(state->dir_fd, STATE_START, 0);
        return container_hooks(state, plan, PLAN_HOOK_POSTSTART, STATUS_RUNNING, error);
}

/** verb_start() - davit-oci start */
int verb_start(Oci *oci, int argc, char *argv[], GError **error) {
        g_auto(State) state = STATE_NULL;
        g_auto(Made) made = MADE_NULL;
        _cleanup_free_ void *memory = NULL;
        g_autoptr(GError) inner = NULL;
        const struct plan *plan;

        if (!oci_parse(entries, "ID", "Runs the program of a container that has been created.", &argc, &argv, error) ||
            !take_id(argc, argv, error) || !state_load(oci, argv[1], &state, error) || !state_lock(&state, error) ||
            !check_status(&state, error))
                return -1;
        plan = plan_load(&state, &memory, &inner);
        if (inner) {
                g_propagate_error(error, g_steal_pointer(&inner));
                return -1;
        }
        if (!reach(&state, &made, error))
                return -1;
        if (start(&state, plan, &made, error))
                return 0;
        (void)container_end(&state, NULL); /* runtime.md: it is stopped; delete does the rest */
        return -1;
}
