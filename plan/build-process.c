/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * process: arguments, environment, user, working directory, terminal and the small switches.
 *
 * Serves containers and execs. Names of users are not looked up: process.user.username carries the
 * image form "user[:group]" and is resolved by the shim inside the container's root.
 */

#include <string.h>

#include "plan/build-internal.h"

#define LISTEN_FDS_MAX 32U /* as plan-check.c */

static gboolean build_args(Build *b, GError **error) {
        g_autoptr(GPtrArray) args = NULL;

        if (!field_strings(b->process, "process.", "args", &args, error))
                return FALSE;
        if (!args || args->len == 0)
                return plan_fail(error, PLAN_ERROR_INVALID, "process.args: is missing or empty");
        if (*(const char *)args->pdata[0] == '\0')
                return plan_fail(error, PLAN_ERROR_INVALID, "process.args[0]: is empty");
        b->plan.process.args = writer_strings(&b->writer, (const char *const *)args->pdata, args->len);
        return TRUE;
}

/* One variable, one value: the last assignment wins, in the place of the first. HOSTNAME goes with a name given here.
 */
static gboolean build_env(Build *b, GError **error) {
        g_autoptr(GHashTable) places = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        g_autoptr(GPtrArray) env = NULL, once = g_ptr_array_new();
        g_autofree char *hostname = NULL;

        if (!field_strings(b->process, "process.", "env", &env, error))
                return FALSE;
        for (guint i = 0; env && i < env->len; i++) {
                const char *e = env->pdata[i], *equals = strchr(e, '=');
                gpointer at;
                char *key;

                if (!equals || equals == e)
                        return plan_fail(error, PLAN_ERROR_INVALID, "process.env[%u]: \"%s\" is not KEY=value", i, e);
                key = g_strndup(e, (gsize)(equals - e));
                if (g_hash_table_lookup_extended(places, key, NULL, &at)) {
                        once->pdata[GPOINTER_TO_UINT(at)] = (gpointer)e;
                        g_free(key);
                        continue;
                }
                g_hash_table_insert(places, key, GUINT_TO_POINTER(once->len));
                g_ptr_array_add(once, (gpointer)e);
        }
        if (build_names_itself(b) && !g_hash_table_contains(places, "HOSTNAME")) {
                hostname = g_strconcat("HOSTNAME=", b->context->id, NULL);
                g_ptr_array_add(once, hostname);
        }
        b->plan.process.env = writer_strings(&b->writer, (const char *const *)once->pdata, once->len);
        return TRUE;
}

static gboolean build_groups(Build *b, JsonObject *user, GError **error) {
        g_autoptr(GArray) groups = g_array_new(FALSE, TRUE, sizeof(guint32));
        JsonArray *array = NULL;

        if (!field_array(user, "process.user.", "additionalGids", &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                guint32 gid;
                gint64 v;

                if (!node_int(json_array_get_element(array, i), &v) || v < 0 || v >= G_MAXUINT32)
                        return plan_fail(error, PLAN_ERROR_INVALID, "process.user.additionalGids[%u]: is no group id",
                                         i);
                gid = (guint32)v;
                g_array_append_val(groups, gid);
        }
        b->plan.process.groups = writer_array(&b->writer, groups->data, groups->len, sizeof(guint32));
        return TRUE;
}

#define USERNAME_MAX 512U /* a user's name and a group's */

static gboolean check_username(const char *name, GError **error) {
        const char *colon = strchr(name, ':');

        if (strlen(name) > USERNAME_MAX)
                return plan_fail(error, PLAN_ERROR_INVALID, "process.user.username: longer than %u bytes",
                                 USERNAME_MAX);
        if (*name == ':' || (colon && (!colon[1] || strchr(colon + 1, ':'))))
                return plan_fail(error, PLAN_ERROR_INVALID, "process.user.username: \"%s\" is not user[:group]", name);
        for (const char *p = name; *p; p++)
                if (g_ascii_iscntrl(*p) || *p == ' ')
                        return plan_fail(error, PLAN_ERROR_INVALID,
                                         "process.user.username: has a space or control character");
        return TRUE;
}

static gboolean build_user(Build *b, GError **error) {
        gint64 uid = 0, gid = 0, umask = 0;
        const char *username = NULL;
        JsonObject *user = NULL;

        if (!field_object(b->process, "process.", "user", &user, error))
                return FALSE;
        if (!field_int(user, "process.user.", "uid", 0, G_MAXUINT32 - 1, &uid, error) ||
            !field_int(user, "process.user.", "gid", 0, G_MAXUINT32 - 1, &gid, error) ||
            !field_int(user, "process.user.", "umask", 0, 0777, &umask, error) ||
            !field_string(user, "process.user.", "username", &username, error) || !build_groups(b, user, error))
                return FALSE;
        b->plan.process.uid = (guint32)uid;
        b->plan.process.gid = (guint32)gid;
        if (field_given(user, "umask")) {
                b->plan.flags |= PLAN_UMASK;
                b->plan.process.umask = (guint32)umask;
        }
        if (username && *username) {
                if (!check_username(username, error))
                        return FALSE;
                b->plan.process.user = writer_string(&b->writer, username);
        }
        return TRUE;
}

static gboolean build_terminal(Build *b, GError **error) {
        gint64 width = 0, height = 0;
        gboolean terminal = FALSE;
        JsonObject *size = NULL;

        if (!field_bool(b->process, "process.", "terminal", &terminal, error) ||
            !field_object(b->process, "process.", "consoleSize", &size, error) ||
            !field_int(size, "process.consoleSize.", "width", 0, G_MAXUINT16, &width, error) ||
            !field_int(size, "process.consoleSize.", "height", 0, G_MAXUINT16, &height, error))
                return FALSE;
        if (!terminal) /* config.md: consoleSize is ignored then */
                return TRUE;
        b->plan.flags |= PLAN_TERMINAL;
        b->plan.process.console_width = (guint32)width;
        b->plan.process.console_height = (guint32)height;
        return TRUE;
}

static gboolean build_cwd(Build *b, GError **error) {
        const char *cwd = NULL;

        if (!field_string(b->process, "process.", "cwd", &cwd, error))
                return FALSE;
        if (!cwd)
                return plan_fail(error, PLAN_ERROR_INVALID, "process.cwd: is missing");
        if (!build_path("process.cwd", cwd, error))
                return FALSE;
        b->plan.process.cwd = writer_string(&b->writer, cwd);
        return TRUE;
}

static gboolean build_labels(Build *b, GError **error) {
        const char *apparmor = NULL, *selinux = NULL;

        if (!field_string(b->process, "process.", "apparmorProfile", &apparmor, error) ||
            !field_string(b->process, "process.", "selinuxLabel", &selinux, error))
                return FALSE;
        if (apparmor && *apparmor)
                b->plan.process.apparmor_profile = writer_string(&b->writer, apparmor);
        if (selinux && *selinux)
                b->plan.process.selinux_label = writer_string(&b->writer, selinux);
        return TRUE;
}

static gboolean build_switches(Build *b, GError **error) {
        gboolean no_new_privileges = FALSE;
        gint64 score = 0;

        if (!field_bool(b->process, "process.", "noNewPrivileges", &no_new_privileges, error) ||
            !field_int(b->process, "process.", "oomScoreAdj", -1000, 1000, &score, error))
                return FALSE;
        if (no_new_privileges)
                b->plan.flags |= PLAN_NO_NEW_PRIVS;
        if (field_given(b->process, "oomScoreAdj")) {
                b->plan.flags |= PLAN_OOM_SCORE_ADJ;
                b->plan.process.oom_score_adj = (gint32)score;
        }
        if (b->context->n_listen_fds > LISTEN_FDS_MAX)
                return plan_fail(error, PLAN_ERROR_INVALID, "listen fds: %u are more than %u", b->context->n_listen_fds,
                                 LISTEN_FDS_MAX);
        b->plan.process.n_listen_fds = b->context->n_listen_fds;
        return TRUE;
}

static gboolean is_root_name(const char *user) {
        gsize n = strcspn(user, ":");

        return (n == 1 && *user == '0') || (n == 4 && strncmp(user, "root", 4) == 0);
}

/*
 * A user by name, or by number in the image's form, is what people write who think of a process
 * without privileges: it begins as execve(2) would leave it, with the ambient set alone. (A root of
 * another name gets everything back at execve.) Numbers in uid and gid are taken as they are.
 */
static void drop_for_user(Build *b) {
        struct plan_process *p = &b->plan.process;

        if (p->user == 0 || is_root_name((const char *)b->writer.bytes->data + p->user))
                return;
        p->cap_permitted = p->cap_ambient;
        p->cap_effective = p->cap_ambient;
}

/** build_process() - Section "Process", "POSIX process", "Linux Process", "User". */
gboolean build_process(Build *b, GError **error) {
        if (!b->process)
                return plan_fail(error, PLAN_ERROR_INVALID, "process: is missing");
        if (!build_args(b, error) || !build_env(b, error) || !build_cwd(b, error) || !build_user(b, error) ||
            !build_terminal(b, error) || !build_labels(b, error) || !build_switches(b, error) ||
            !build_capabilities(b, error) || !build_rlimits(b, error) || !build_scheduling(b, error) ||
            !build_affinity(b, error))
                return FALSE;
        drop_for_user(b);
        return TRUE;
}
