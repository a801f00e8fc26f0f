/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which cgroup hierarchies there are and where.
 *
 * The unified one is where it is known to be mounted; those of version 1 have a directory each in /sys/fs/cgroup, by
 * the names of their controllers, as /proc/self/cgroup lists them. A hierarchy that is not mounted there limits nobody.
 */

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "oci/group.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shim/cgroup.h"

#define CGROUP_FILE_MAX 65536U

typedef struct Hierarchy {
        char *controllers; /* "cpu,cpuacct"; "": unified */
        char *mount;
} Hierarchy;

static void hierarchy_free(gpointer data) {
        Hierarchy *h = data;

        g_free(h->controllers);
        g_free(h->mount);
        g_free(h);
}

/* Why not every hierarchy is known, or 0. */
static int unknown;

static void add(GPtrArray *list, const char *controllers, char *mount) {
        Hierarchy *h;

        if (access(mount, F_OK) < 0) {
                if (errno != ENOENT && errno != ENOTDIR)
                        unknown = -errno;
                g_free(mount);
                return;
        }
        h = g_new0(Hierarchy, 1);
        h->controllers = g_strdup(controllers);
        h->mount = mount;
        g_ptr_array_add(list, h);
}

/* Asked once: hierarchies do not come and go while a command runs. */
static GPtrArray *hierarchies(void) {
        static GPtrArray *list;
        _cleanup_free_ char *text = NULL;
        g_auto(GStrv) lines = NULL;

        if (list)
                return list;
        list = g_ptr_array_new_with_free_func(hierarchy_free);
        unknown = file_read_at(AT_FDCWD, "/proc/self/cgroup", CGROUP_FILE_MAX, &text, NULL);
        if (unknown < 0)
                return list;
        lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line; line++) {
                g_auto(GStrv) parts = g_strsplit(*line, ":", 3);

                if (g_strv_length(parts) != 3)
                        continue;
                if (*parts[1] == '\0') {
                        const char *mount_point;
                        int r = cgroup_mount_point(&mount_point);

                        if (r >= 0)
                                add(list, "", g_strdup(mount_point));
                        else if (r != -EOPNOTSUPP)
                                unknown = r;
                } else
                        add(list, parts[1],
                            g_strconcat("/sys/fs/cgroup/",
                                        g_str_has_prefix(parts[1], "name=") ? parts[1] + 5 : parts[1], NULL));
        }
        return list;
}

/** group_known() - Whether all hierarchies were found, or a negative errno: groups of the others would be left behind.
 */
int group_known(void) {
        (void)hierarchies();
        return unknown;
}

static gboolean has(const Hierarchy *h, const char *controller) {
        g_auto(GStrv) list = g_strsplit(h->controllers, ",", -1);

        if (*controller == '\0')
                return *h->controllers == '\0';
        return g_strv_contains((const char *const *)list, controller);
}

/** group_of_process() - Where a process is in the unified hierarchy, or in systemd's own where there is none. */
char *group_of_process(pid_t pid) {
        g_autofree char *path = g_strdup_printf("/proc/%d/cgroup", (int)pid);
        _cleanup_free_ char *text = NULL;
        g_auto(GStrv) lines = NULL;
        const char *found = NULL;

        if (file_read_at(AT_FDCWD, path, CGROUP_FILE_MAX, &text, NULL) < 0)
                return NULL;
        lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line; line++)
                if (g_str_has_prefix(*line, "0::") || (!found && strstr(*line, ":name=systemd:")))
                        found = strchr(*line, '/');
        return g_strdup(found);
}

/** group_has_process() - Whether a process is in the group or below it, in any hierarchy. */
gboolean group_has_process(State *state, pid_t pid) {
        g_autofree char *file = g_strdup_printf("/proc/%d/cgroup", (int)pid);
        gsize n = strlen(state->group);
        _cleanup_free_ char *text = NULL;
        g_auto(GStrv) lines = NULL;

        if (file_read_at(AT_FDCWD, file, CGROUP_FILE_MAX, &text, NULL) < 0)
                return FALSE;
        lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line; line++) {
                const char *path = strchr(*line, '/');

                if (path && g_str_has_prefix(path, state->group) && (path[n] == '/' || path[n] == '\0'))
                        return TRUE;
        }
        return FALSE;
}

/* What exec --cgroup says for a hierarchy. */
static const char *below(State *state, const Hierarchy *h) {
        g_auto(GStrv) names = g_strsplit(h->controllers, ",", -1);
        const char *path = NULL;

        for (char **name = names; state->below && !path && *name; name++)
                path = g_hash_table_lookup(state->below, *name);
        if (state->below && !path)
                path = g_hash_table_lookup(state->below, "");
        return path ? path : "";
}

/** group_directory() - The group's directory where a controller of version 1 is, or with "" the unified one. */
char *group_directory(State *state, const char *controller) {
        GPtrArray *list = hierarchies();

        for (guint i = 0; state->group && i < list->len; i++) {
                const Hierarchy *h = list->pdata[i];

                if (has(h, controller))
                        return g_strconcat(h->mount, state->group, below(state, h), NULL);
        }
        return NULL;
}

/** group_directories() - The group's directory in every hierarchy, the unified one last. */
char **group_directories(State *state) {
        GPtrArray *list = hierarchies(), *ret = g_ptr_array_new();

        for (int unified = 0; unified < 2; unified++)
                for (guint i = 0; state->group && i < list->len; i++) {
                        const Hierarchy *h = list->pdata[i];

                        if ((*h->controllers == '\0') == unified)
                                g_ptr_array_add(ret, g_strconcat(h->mount, state->group, below(state, h), NULL));
                }
        g_ptr_array_add(ret, NULL);
        return (char **)g_ptr_array_free(ret, FALSE);
}

/** group_mounts() - Where the hierarchies are mounted, in the order of group_directories(). */
GPtrArray *group_mounts(void) {
        GPtrArray *list = hierarchies(), *ret = g_ptr_array_new();

        for (int unified = 0; unified < 2; unified++)
                for (guint i = 0; i < list->len; i++) {
                        const Hierarchy *h = list->pdata[i];

                        if ((*h->controllers == '\0') == unified)
                                g_ptr_array_add(ret, h->mount);
                }
        return ret;
}
