/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci exec: a further process in a container.
 *
 * What it is to be comes from a file (--process) or is the container's own process with other arguments. It joins the
 * group in which the container's first process is now, which is where a system that manages groups of its own wants it,
 * or the one that --cgroup names.
 * Without --detach davit-oci waits, and ends with its status.
 */

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "oci/console.h"
#include "oci/container.h"
#include "oci/exec-process.h"
#include "oci/group.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shim/cgroup.h"
#include "shim/setup.h"

static gboolean arg_detach, arg_ignore_paused;
static char *arg_console_socket, *arg_pid_file, *arg_process, **arg_cgroup;
static gint arg_preserve_fds;

static const GOptionEntry entries[] = {
        { "process", 'p', 0, G_OPTION_ARG_FILENAME, &arg_process, "File with the process as in config.json", "FILE" },
        { "detach", 'd', 0, G_OPTION_ARG_NONE, &arg_detach, "Leave it running and return", NULL },
        { "console-socket", 0, 0, G_OPTION_ARG_FILENAME, &arg_console_socket,
          "Socket that gets the master of the process's terminal", "PATH" },
        { "pid-file", 0, 0, G_OPTION_ARG_FILENAME, &arg_pid_file, "Write the process's id to a file", "FILE" },
        { "preserve-fds", 0, 0, G_OPTION_ARG_INT, &arg_preserve_fds, "Pass on so many descriptors from 3 on", "N" },
        { "cgroup", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &arg_cgroup,
          "A group below the container's, which is there (can be repeated)", "[CONTROLLER:]PATH" },
        { "ignore-paused", 0, 0, G_OPTION_ARG_NONE, &arg_ignore_paused,
          "Also in a paused container, where it begins once that is resumed", NULL },
        {},
};

typedef struct Exec {
        const Oci *oci;
        State state;
        Maker maker;
        PlanResult plan;
        Made made;
        Preserved preserved;
        int terminal;
} Exec;

static void exec_clear(Exec *x) {
        x->terminal = safe_close(x->terminal);
        made_clear(&x->made);
        plan_result_clear(&x->plan);
        maker_clear(&x->maker);
        state_clear(&x->state);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Exec, exec_clear)

static gboolean check_status(State *state, GError **error) {
        Status status = state_status(state);

        if (status == STATUS_RUNNING || status == STATUS_CREATED || (status == STATUS_PAUSED && arg_ignore_paused))
                return TRUE;
        return oci_fail(error, OCI_ERROR_FAILED, "cannot exec in a %s container", status_name(status));
}

static gboolean build_plan(Exec *x, int argc, char *argv[], GError **error) {
        const PlanContext context = {
                .namespace_ = "default",
                .id = x->state.id,
                .bundle = TRUE,
                .cache_dir = oci_cache_dir(),
                .flags = PLAN_BUNDLE | PLAN_CAPABILITIES_AT_MOST,
        };
        g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/%s", x->state.dir_fd, STATE_CONFIG);
        g_autoptr(JsonNode) spec = json_load(path, error), process = NULL;

        if (!spec)
                return FALSE;
        process = exec_process(spec, arg_process, argc - 2, argv + 2, error);
        if (process && !arg_console_socket)
                console_size(json_node_get_object(process));
        if (!process || !plan_build_exec(spec, process, "exec", &context, &x->plan, error))
                return FALSE;
        if (x->plan.terminal && arg_detach && !arg_console_socket)
                return oci_fail(error, OCI_ERROR_FAILED,
                                "a terminal needs --console-socket when nobody stays to keep it");
        if (!x->plan.terminal && arg_console_socket)
                return oci_fail(error, OCI_ERROR_FAILED, "--console-socket: the process does not ask for a terminal");
        capabilities_warn(x->oci, json_node_get_object(process), (x->state.namespaces & CLONE_NEWUSER) != 0);
        return TRUE;
}

/* The group to begin in, in the unified hierarchy; -EOPNOTSUPP: none; or another negative errno. */
static int open_group(State *state) {
        g_autofree char *path = NULL, *directory = NULL;
        const char *mount_point;
        int fd, r;

        if (!state->group)
                return -EOPNOTSUPP;
        if (state->below)
                return group_open(state);
        r = cgroup_mount_point(&mount_point);
        if (r < 0)
                return r;
        path = group_of_process(state->pid);
        if (!path)
                return -ESRCH;
        directory = g_strconcat(mount_point, path, NULL);
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

static gboolean make(Exec *x, GError **error) {
        struct maker_request request = {
                .flags = MAKER_INIT,
                .init_pid = x->state.pid,
                .join = x->state.namespaces,
                .n_preserved = x->preserved.n,
                .n_named = x->preserved.n_named,
        };
        _cleanup_close_ int group = open_group(&x->state), init = state_pidfd(&x->state);
        int fds[3 + PRESERVED_MAX];
        gsize n = 0;

        if (init < 0)
                return oci_fail(error, OCI_ERROR_FAILED, "cannot exec in a stopped container");
        if (group < 0 && group != -EOPNOTSUPP)
                return oci_fail_errno(error, group, "%scgroup of \"%s\"", x->state.below ? "--cgroup: below the " : "",
                                      x->state.id);
        fds[n++] = x->plan.memfd;
        if (group >= 0) {
                request.flags |= MAKER_CGROUP;
                fds[n++] = group;
        }
        fds[n++] = init;
        for (guint i = 0; i < request.n_preserved; i++)
                fds[n++] = 3 + (int)i;
        return maker_make(&x->maker, &request, fds, n, &x->made, error);
}

static gboolean take_terminal(Exec *x, struct packet *packet, GError **error) {
        x->terminal = packet_take_fd(packet, 0);
        if (!arg_console_socket)
                return TRUE;
        if (!console_send(arg_console_socket, x->terminal, error))
                return FALSE;
        x->terminal = safe_close(x->terminal);
        return TRUE;
}

static gboolean send_listener(Exec *x, struct packet *packet, GError **error) {
        const void *plan;
        size_t size;
        int r = memfd_map_sealed(x->plan.memfd, PLAN_SIZE_MAX, &plan, &size);
        gboolean ok;

        if (r < 0)
                return oci_fail_errno(error, r, "plan");
        ok = listener_send(&x->state, plan, x->made.pid, packet, error);
        (void)munmap((void *)plan, size);
        return ok;
}

static gboolean accompany(Exec *x, GError **error) {
        for (;;) {
                struct packet packet;
                int message = made_hear(&x->made, &packet, error);
                gboolean ok = message >= 0;

                if (message <= 0)
                        return ok;
                if (message == SETUP_TERMINAL)
                        ok = take_terminal(x, &packet, error);
                else if (message == SETUP_LISTENER)
                        ok = send_listener(x, &packet, error);
                packet_done(&packet);
                if (!ok)
                        return FALSE;
        }
}

/* Of a container that ends meanwhile anything may be missed first. */
static void explain(Exec *x, GError **error) {
        if (!state_ending(&x->state))
                return;
        g_clear_error(error);
        (void)oci_fail(error, OCI_ERROR_FAILED, "cannot exec in a stopped container");
}

static gboolean begin(Exec *x, GError **error) {
        if (!make(x, error)) {
                explain(x, error);
                return FALSE;
        }
        if (group_attach(&x->state, x->made.pid, error) && pid_file_write(arg_pid_file, x->made.pid, error) &&
            made_tell(&x->made, SETUP_SCOPED, -1, error) && accompany(x, error))
                return TRUE;
        explain(x, error);
        made_kill(&x->made);
        if (arg_pid_file)
                (void)unlink(arg_pid_file);
        return FALSE;
}

static gboolean parse(Exec *x, int *argc, char ***argv, GError **error) {
        g_autoptr(GArray) all = g_array_new(TRUE, TRUE, sizeof(GOptionEntry));

        for (const GOptionEntry *e = entries; e->long_name; e++)
                g_array_append_vals(all, e, 1);
        for (const GOptionEntry *e = exec_process_entries; e->long_name; e++)
                g_array_append_vals(all, e, 1);
        if (!oci_parse((const GOptionEntry *)(gpointer)all->data, "ID [COMMAND [ARGUMENT...]]",
                       "Runs a further process in a container.", argc, argv, error) ||
            !preserved_check(arg_preserve_fds, &x->preserved, error))
                return FALSE;
        if (*argc < 2)
                return oci_fail(error, OCI_ERROR_USAGE, "exec: the container's id is missing");
        if (*argc < 3 && !arg_process)
                return oci_fail(error, OCI_ERROR_USAGE, "exec: neither a command nor --process is given");
        if (*argc > 2 && arg_process)
                return oci_fail(error, OCI_ERROR_USAGE, "exec: both a command and --process are given");
        return TRUE;
}

/** verb_exec() - davit-oci exec */
int verb_exec(Oci *oci, int argc, char *argv[], GError **error) {
        g_auto(Exec) x = {
                .oci = oci,          .state = STATE_NULL, .maker = MAKER_NULL, .plan = PLAN_RESULT_NULL,
                .made = MADE_NULL, .terminal = -1,
        };
        int status = 255, r;

        if (!parse(&x, &argc, &argv, error))
                return -1;
        if (!arg_detach)
                signals_hold();
        if (!maker_spawn(&x.maker, error) || !state_load(oci, argv[1], &x.state, error) ||
            !check_status(&x.state, error) || !group_below(&x.state, arg_cgroup, error) ||
            !build_plan(&x, argc, argv, error) || !begin(&x, error))
                return -1;
        if (arg_detach)
                return 0;
        r = x.terminal >= 0 ? console_relay(x.terminal, x.made.pidfd) : signals_relay(x.made.pidfd);
        if (r < 0 || !made_wait(&x.made, &status)) {
                (void)oci_fail_errno(error, r, "wait for the process");
                return -1;
        }
        return status;
}
