/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Making a container, for create and run.
 *
 * The order: the maker is started, the bundle becomes a plan, directory and cgroup are made, the maker clones the first
 * process, and then that one is accompanied: it is let into its cgroup, gets its hooks run, hands over its terminal,
 * and is left waiting (create) or let go (run). Whatever fails on the way is undone in reverse, and poststop hooks run
 * if the hooks before them had begun.
 */

#include "oci/container.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "oci/console.h"
#include "oci/group.h"
#include "plan/fields.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/plan-check.h"
#include "shim/hook.h"
#include "shim/setup.h"

/** container_clear() - Lets go of everything; the container, if it was made, stays. */
void container_clear(Container *c) {
        if (c->plan)
                (void)munmap((void *)c->plan, c->plan->size);
        c->plan = NULL;
        plan_result_clear(&c->plan_file);
        made_clear(&c->made);
        c->listener = safe_close(c->listener);
        c->terminal = safe_close(c->terminal);
        maker_clear(&c->maker);
        bundle_clear(&c->bundle);
        state_clear(&c->state);
}

static gboolean build_plan(Container *c, GError **error) {
        const PlanContext context = {
                .namespace_ = "default",
                .id = c->state.id,
                .cache_dir = oci_cache_dir(),
                .bundle = TRUE,
                .units = c->oci->driver == GROUP_SYSTEMD,
                .flags = PLAN_BUNDLE | PLAN_CAPABILITIES_AT_MOST | (c->options->no_pivot ? PLAN_NO_PIVOT : 0) |
                         (c->options->no_new_keyring ? PLAN_KEEP_KEYRING : 0),
        };
        JsonObject *process = NULL;
        const void *data;
        gsize size;
        int r;

        if (!field_object(json_node_get_object(c->bundle.spec), "", "process", &process, error))
                return FALSE;
        if (!c->options->console_socket)
                console_size(process);
        if (!plan_build(c->bundle.spec, &context, &c->plan_file, error))
                return FALSE;
        r = memfd_map_sealed(c->plan_file.memfd, PLAN_SIZE_MAX, &data, &size);
        if (r < 0)
                return oci_fail_errno(error, r, "plan");
        c->plan = data;
        return TRUE;
}

static gboolean check_terminal(Container *c, GError **error) {
        gboolean detach = !c->options->run || c->options->detach;

        if (c->plan_file.terminal && detach && !c->options->console_socket)
                return oci_fail(error, OCI_ERROR_FAILED,
                                "process.terminal: needs --console-socket, as nobody stays to keep the terminal");
        if (!c->plan_file.terminal && c->options->console_socket)
                return oci_fail(error, OCI_ERROR_FAILED,
                                "--console-socket: the configuration does not ask for a terminal");
        return TRUE;
}

/* A socket in the container's directory; its name says what the container has come to. */
static gboolean listen_for_start(Container *c, GError **error) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        (void)g_snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", c->state.dir_fd,
                         STATE_MAKING);
        c->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (c->listener < 0 || bind(c->listener, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(c->listener, 4) < 0)
                return oci_fail_errno(error, errno, "socket of \"%s\"", c->state.id);
        return TRUE;
}

/* What a later call needs, or an earlier one of a hook asks for. */
static gboolean save_files(Container *c, GError **error) {
        gboolean hooks = c->plan->hooks.n > 0 || c->plan->seccomp.listener;
        int r;

        r = file_replace_at(c->state.dir_fd, STATE_CONFIG, c->bundle.config, c->bundle.config_size, 0600, false);
        if (r >= 0 && hooks)
                r = file_replace_at(c->state.dir_fd, STATE_PLAN, c->plan, c->plan->size, 0600, false);
        if (r >= 0 && c->options->run)
                r = file_replace_at(c->state.dir_fd, STATE_MAKING, "", 0, 0600, false);
        return r < 0 ? oci_fail_errno(error, r, "directory of \"%s\"", c->state.id) : TRUE;
}

static gboolean take_state(Container *c, GError **error) {
        const struct plan_namespace *n = plan_array(c->plan, c->plan->namespaces);
        JsonObject *config = json_node_get_object(c->bundle.spec);
        const char *version = NULL;

        if (!field_string(config, "", "ociVersion", &version, error) ||
            !field_object(config, "", "annotations", &c->state.annotations, error))
                return FALSE;
        if (c->state.annotations)
                (void)json_object_ref(c->state.annotations);
        c->state.version = g_strdup(version);
        c->state.bundle = g_strdup(c->bundle.path);
        c->state.rootfs = g_strdup(c->bundle.rootfs);
        c->state.namespaces = c->plan->clone_flags;
        for (guint i = 0; i < c->plan->namespaces.n; i++)
                c->state.namespaces |= n[i].clone_flag;
        return TRUE;
}

static gboolean limit(Container *c, gboolean scoped, GError **error) {
        JsonObject *linux_ = NULL, *resources = NULL;

        if ((c->state.driver == GROUP_SYSTEMD) != scoped)
                return TRUE;
        if (!field_object(json_node_get_object(c->bundle.spec), "", "linux", &linux_, error) ||
            !field_object(linux_, "linux.", "resources", &resources, error))
                return FALSE;
        if (scoped)
                return group_limit_rest(&c->state, resources, c->plan, error);
        return !resources || group_limit(&c->state, resources, error);
}

static void warn(Container *c) {
        JsonObject *process = NULL;

        if (field_object(json_node_get_object(c->bundle.spec), "", "process", &process, NULL))
                capabilities_warn(c->oci, process, (c->state.namespaces & CLONE_NEWUSER) != 0);
}

static gboolean make(Container *c, GError **error) {
        struct maker_request request = {};
        _cleanup_close_ int group = group_open(&c->state);
        int fds[3 + PRESERVED_MAX];
        gsize n = 0;

        if (group < 0 && group != -EOPNOTSUPP)
                return oci_fail_errno(error, group, "cgroup of \"%s\"", c->state.id);
        request.n_named = c->options->preserved.n_named;
        request.n_preserved = c->options->preserved.n;
        fds[n++] = c->plan_file.memfd;
        if (group >= 0) {
                request.flags |= MAKER_CGROUP;
                fds[n++] = group;
        }
        if (c->listener >= 0) {
                request.flags |= MAKER_START;
                fds[n++] = c->listener;
        }
        for (guint i = 0; i < request.n_preserved; i++)
                fds[n++] = 3 + (int)i;
        warn(c);
        if (!maker_make(&c->maker, &request, fds, n, &c->made, error))
                return FALSE;
        c->state.pid = c->made.pid;
        c->state.started = c->made.started;
        return TRUE;
}

/* The state is there before the first hook asks for it. */
static gboolean admit(Container *c, GError **error) {
        gboolean at_once = c->options->run && c->plan->hooks.n == 0;

        return group_scope(&c->state, c->made.pid, c->plan_file.unit_properties, error) &&
               (c->state.driver == GROUP_SYSTEMD || group_attach(&c->state, c->made.pid, error)) &&
               limit(c, TRUE, error) && state_save(&c->state, error) &&
               (!c->options->run || pid_file_write(c->options->pid_file, c->made.pid, error)) &&
               made_tell(&c->made, at_once ? SETUP_SCOPED_START : SETUP_SCOPED, -1, error);
}

static gboolean run_hooks(Container *c, GError **error) {
        _cleanup_close_ int fd = -1;

        if (!container_hooks(&c->state, c->plan, PLAN_HOOK_PRESTART, STATUS_CREATING, error) ||
            !container_hooks(&c->state, c->plan, PLAN_HOOK_CREATE_RUNTIME, STATUS_CREATING, error))
                return FALSE;
        fd = state_inside_memfd(&c->state, STATUS_CREATING);
        if (fd < 0)
                return oci_fail_errno(error, fd, "state for hooks");
        return made_tell(&c->made, SETUP_HOOKED, fd, error);
}

static gboolean take_terminal(Container *c, struct packet *packet, GError **error) {
        c->terminal = packet_take_fd(packet, 0);
        if (!c->options->console_socket)
                return TRUE;
        if (!console_send(c->options->console_socket, c->terminal, error))
                return FALSE;
        c->terminal = safe_close(c->terminal);
        return TRUE;
}

/* Created: the name of the socket changes, and the process is left alone with it. */
static gboolean leave(Container *c, GError **error) {
        if (renameat(c->state.dir_fd, STATE_MAKING, c->state.dir_fd, STATE_START) < 0)
                return oci_fail_errno(error, errno, "directory of \"%s\"", c->state.id);
        return pid_file_write(c->options->pid_file, c->made.pid, error) && made_tell(&c->made, SETUP_DETACH, -1, error);
}

static gboolean let_go(Container *c, GError **error) {
        _cleanup_close_ int fd = -1;

        (void)unlinkat(c->state.dir_fd, STATE_MAKING, 0);
        if (hooks_given(c->plan, PLAN_HOOK_START_CONTAINER)) {
                fd = state_inside_memfd(&c->state, STATUS_CREATED);
                if (fd < 0)
                        return oci_fail_errno(error, fd, "state for hooks");
        }
        return made_tell(&c->made, SETUP_START, fd, error);
}

/* Until it waits for its start, or runs. */
static gboolean accompany(Container *c, GError **error) {
        for (;;) {
                struct packet packet;
                int message = made_hear(&c->made, &packet, error);
                gboolean ok = message >= 0;

                if (message == 0)
                        (void)unlinkat(c->state.dir_fd, STATE_MAKING, 0);
                if (message <= 0)
                        return ok;
                if (message == SETUP_TERMINAL)
                        ok = take_terminal(c, &packet, error);
                else if (message == SETUP_LISTENER)
                        ok = listener_send(&c->state, c->plan, c->made.pid, &packet, error);
                else if (message == SETUP_HOOKS)
                        ok = run_hooks(c, error);
                else if (message == SETUP_READY)
                        ok = c->options->run ? let_go(c, error) : leave(c, error);
                packet_done(&packet);
                if (!ok || (message == SETUP_READY && !c->options->run))
                        return ok;
        }
}

/* The limit on memory that holds, in bytes, and where it is written; G_MAXUINT64: none that is a plain number.
 * "unified" comes last with either driver. */
static guint64 find_memory_limit(JsonObject *spec, const char **ret_field) {
        JsonObject *linux_ = NULL, *resources = NULL, *memory = NULL, *unified = NULL;
        const char *text = NULL;
        gint64 limit = 0;
        char *end;

        if (!field_object(spec, "", "linux", &linux_, NULL) ||
            !field_object(linux_, "", "resources", &resources, NULL) ||
            !field_object(resources, "", "memory", &memory, NULL) ||
            !field_object(resources, "", "unified", &unified, NULL))
                return G_MAXUINT64;
        if (field_string(unified, "", "memory.max", &text, NULL) && text) {
                guint64 max = g_ascii_strtoull(text, &end, 10);

                *ret_field = "unified.memory.max";
                return *end ? G_MAXUINT64 : max;
        }
        *ret_field = "memory.limit";
        return field_int(memory, "", "limit", 1, G_MAXINT64, &limit, NULL) && limit > 0 ? (guint64)limit : G_MAXUINT64;
}

/* The kernel kills for want of memory without a word to us. */
static void explain(Container *c, GError **error) {
        const char *field = NULL;
        guint64 limit;

        if (!g_error_matches(*error, OCI_ERROR, OCI_ERROR_KILLED))
                return;
        limit = find_memory_limit(json_node_get_object(c->bundle.spec), &field);
        if (limit < PLAN_MEMORY_MIN)
                g_prefix_error(error, "linux.resources.%s may be too small (%" G_GUINT64_FORMAT " bytes): ", field,
                               limit);
}

static void undo(Container *c) {
        if (!c->exists)
                return;
        made_kill(&c->made);
        if (c->options->pid_file && c->state.pid > 0)
                (void)unlink(c->options->pid_file);
        if (!container_remove(c->oci, &c->state, c->state.pid > 0 ? c->plan : NULL, NULL) && c->state.pid == 0)
                (void)state_remove(c->oci, &c->state, NULL); /* nothing has been made that it would be kept for */
}

/**
 * container_create() - Makes a container, and with @options->run starts it.
 *
 * On failure nothing of it is left.
 */
gboolean container_create(Container *c, Oci *oci, const char *id, const CreateOptions *options, GError **error) {
        c->oci = oci;
        c->options = options;
        if (!maker_spawn(&c->maker, error) || !bundle_load(options->bundle, options->config, &c->bundle, error) ||
            !state_new(oci, id, &c->state, error))
                return FALSE;
        c->exists = TRUE;
        if (build_plan(c, error) && check_terminal(c, error) && take_state(c, error) &&
            group_choose(oci, json_node_get_object(c->bundle.spec), &c->state, error) && save_files(c, error) &&
            group_make(&c->state, error) && limit(c, FALSE, error) && (options->run || listen_for_start(c, error)) &&
            make(c, error) && admit(c, error) && accompany(c, error))
                return TRUE;
        explain(c, error);
        undo(c);
        return FALSE;
}
