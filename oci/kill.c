/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci kill: a signal for the container's first process, or for everything in it.
 */

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "oci/container.h"
#include "oci/group.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "shared/syscalls.h"

static gboolean arg_all, arg_regex;

static const GOptionEntry entries[] = {
        { "all", 'a', 0, G_OPTION_ARG_NONE, &arg_all, "Signal every process of the container", NULL },
        { "regex", 'r', 0, G_OPTION_ARG_NONE, &arg_regex, "ID is a regular expression, which several may match", NULL },
        {},
};

/* By name or number; 0, as in kill(2), only asks whether the first process is there. */
static gboolean parse_signal(const char *text, int *ret, GError **error) {
        *ret = streq(text, "0") ? 0 : signal_from_name(text);
        return *ret >= 0 || oci_fail(error, OCI_ERROR_FAILED, "unknown signal \"%s\"", text);
}

static gboolean kill_one(State *state, int signal, GError **error) {
        _cleanup_close_ int pidfd = state_pidfd(state);

        if (pidfd < 0)
                return oci_fail(error, OCI_ERROR_FAILED, "container not running");
        if (sys_pidfd_send_signal(pidfd, signal, NULL, 0) < 0)
                return errno == ESRCH ? oci_fail(error, OCI_ERROR_FAILED, "container not running")
                                      : oci_fail_errno(error, errno, "kill \"%s\"", state->id);
        return TRUE;
}

/* What is left of a stopped container may be killed too. */
static gboolean kill_all(State *state, int signal, GError **error) {
        int r;

        if (!state->group) /* the first process takes a pid namespace with it */
                return kill_one(state, signal, error);
        r = group_kill(state, signal);
        return r < 0 ? oci_fail_errno(error, r, "kill all of \"%s\"", state->id) : TRUE;
}

static gboolean kill_id(Oci *oci, const char *id, gconstpointer data, GError **error) {
        g_auto(State) state = STATE_NULL;
        int signal = *(const int *)data;

        if (!state_load(oci, id, &state, error))
                return FALSE;
        return arg_all && signal ? kill_all(&state, signal, error) : kill_one(&state, signal, error);
}

/** verb_kill() - davit-oci kill */
int verb_kill(Oci *oci, int argc, char *argv[], GError **error) {
        int signal = SIGTERM;

        if (!oci_parse(entries, "ID [SIGNAL]", "Sends a signal, TERM unless another is named, to a container.", &argc,
                       &argv, error))
                return -1;
        if (argc == 3) {
                if (!parse_signal(argv[2], &signal, error))
                        return -1;
                argc--;
        }
        if (!take_id(argc, argv, error))
                return -1;
        if (arg_regex)
                return oci_matching(oci, argv[1], kill_id, &signal, error) ? 0 : -1;
        return kill_id(oci, argv[1], &signal, error) ? 0 : -1;
}
