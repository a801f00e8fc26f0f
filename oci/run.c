/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci run: create and start in one, and without --detach also wait and delete.
 *
 * The exit status is the container's: its exit code, or 128 and the signal that ended it.
 */

#include "oci/console.h"
#include "oci/container.h"

static const GOptionEntry entries[] = {
        { "detach", 'd', 0, G_OPTION_ARG_NONE, &arg_create.detach, "Leave it running and return", NULL },
        { "keep", 0, 0, G_OPTION_ARG_NONE, &arg_create.keep, "Do not delete it at its end", NULL },
        {},
};

/* poststart: a failure stops the container (runtime.md "Lifecycle", step 9). */
static gboolean started(Container *c, GError **error) {
        if (container_hooks(&c->state, c->plan, PLAN_HOOK_POSTSTART, STATUS_RUNNING, error))
                return TRUE;
        made_kill(&c->made);
        (void)container_remove(c->oci, &c->state, c->plan, NULL);
        return FALSE;
}

static int wait_for(Container *c, GError **error) {
        int status = 255, r;

        state_unlock(&c->state);
        r = c->terminal >= 0 ? console_relay(c->terminal, c->made.pidfd) : signals_relay(c->made.pidfd);
        if (r < 0 || !made_wait(&c->made, &status)) {
                (void)oci_fail_errno(error, r, "wait for \"%s\"", c->state.id);
                return -1;
        }
        if (c->options->keep || !state_lock(&c->state, NULL)) /* or somebody else has deleted it */
                return status;
        return container_remove(c->oci, &c->state, c->plan, error) ? status : -1;
}

/** verb_run() - davit-oci run */
int verb_run(Oci *oci, int argc, char *argv[], GError **error) {
        g_auto(Container) container = CONTAINER_NULL;

        if (!create_parse("ID", "Makes a container, runs it, and removes it when it has ended.", entries, &argc, &argv,
                          error))
                return -1;
        arg_create.run = TRUE;
        if (!arg_create.detach)
                signals_hold();
        if (!container_create(&container, oci, argv[1], &arg_create, error) || !started(&container, error))
                return -1;
        return arg_create.detach ? 0 : wait_for(&container, error);
}
