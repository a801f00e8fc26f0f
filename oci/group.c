/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Making and removing a container's cgroup.
 *
 * linux.cgroupsPath is a path below each hierarchy's mount point, or "slice:prefix:name" for a scope of systemd's. With
 * the driver "disabled" the container stays in the group of whoever makes it, and limits are refused. A new process
 * begins in the unified group by its clone; into the groups of version 1 it is written.
 */

#include "oci/group.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oci/group-systemd.h"
#include "plan/fields.h"
#include "shared/fd.h"
#include "shared/macros.h"

#define PARENT "/davit-oci/"

/* Absolute, without a step back, and not the root of everything. */
static gboolean check_path(const char *path, GError **error) {
        g_auto(GStrv) parts = g_strsplit(path, "/", -1);
        gboolean any = FALSE;

        for (char **part = parts; *part; part++) {
                if (g_str_equal(*part, "..") || strpbrk(*part, "\n\r"))
                        return oci_fail(error, OCI_ERROR_FAILED, "linux.cgroupsPath: \"%s\" is no path of a cgroup",
                                        path);
                any = any || (**part && !g_str_equal(*part, "."));
        }
        return any || oci_fail(error, OCI_ERROR_FAILED, "linux.cgroupsPath: \"%s\" is the root cgroup", path);
}

/* "slice:prefix:name", the slice system.slice where it is empty; a name that ends in .slice would be no scope. */
static gboolean choose_scope(State *state, const char *path, GError **error) {
        g_auto(GStrv) parts = NULL;

        if (!path || !*path) {
                state->slice = g_strdup("system.slice");
                state->unit = g_strdup_printf("davit-oci-%s.scope", state->id);
                return TRUE;
        }
        parts = g_strsplit(path, ":", -1);
        if (g_strv_length(parts) != 3 || !*parts[2] || strchr(path, '/'))
                return oci_fail(error, OCI_ERROR_FAILED,
                                "linux.cgroupsPath: expected to be of format \"slice:prefix:name\" for systemd "
                                "cgroups, got \"%s\" instead",
                                path);
        if (g_str_has_suffix(parts[2], ".slice"))
                return oci_fail(error, OCI_ERROR_FAILED, "linux.cgroupsPath: \"%s\" names a slice, not a container",
                                path);
        state->slice = g_strdup(*parts[0] ? parts[0] : "system.slice");
        state->unit =
                *parts[1] ? g_strdup_printf("%s-%s.scope", parts[1], parts[2]) : g_strdup_printf("%s.scope", parts[2]);
        return TRUE;
}

/* As /proc/PID/cgroup will have it, so that the two can be compared. */
static char *plain_path(const char *path) {
        g_auto(GStrv) parts = g_strsplit(path, "/", -1);
        GString *s = g_string_new(NULL);

        for (char **part = parts; *part; part++)
                if (**part && !g_str_equal(*part, "."))
                        g_string_append_printf(s, "/%s", *part);
        return g_string_free(s, FALSE);
}

/* Whatever is in the group goes with the container: nobody may be there before it. */
static gboolean check_empty(State *state, GError **error) {
        g_autofree char *group = NULL;

        if (group_is_empty(state))
                return TRUE;
        group = g_steal_pointer(&state->group);
        return oci_fail(error, OCI_ERROR_FAILED, "linux.cgroupsPath: cgroup \"%s\" is not empty", group);
}

/** group_choose() - Finds out where the container is to be; nothing is made. */
gboolean group_choose(Oci *oci, JsonObject *config, State *state, GError **error) {
        JsonObject *linux_ = NULL;
        const char *path = NULL;

        state->driver = oci->driver;
        if (oci->driver == GROUP_DISABLED)
                return TRUE;
        if (!field_object(config, "", "linux", &linux_, error) ||
            !field_string(linux_, "linux.", "cgroupsPath", &path, error))
                return FALSE;
        if (oci->driver == GROUP_SYSTEMD)
                return choose_scope(state, path, error);
        if (path && strchr(path, ':'))
                return oci_fail(error, OCI_ERROR_FAILED,
                                "linux.cgroupsPath: \"%s\" is of the form for --systemd-cgroup", path);
        if (path && *path) {
                if (!check_path(path, error)) /* before anybody could take it for the container's */
                        return FALSE;
                state->group = plain_path(path);
        } else
                state->group = g_strconcat(PARENT, state->id, NULL);
        return check_empty(state, error);
}

static int copy_if_empty(int parent, int dir, const char *name) {
        _cleanup_free_ char *own = NULL, *value = NULL;
        _cleanup_close_ int fd = -1;

        if (file_read_at(dir, name, 65536, &own, NULL) < 0 || strspn(own, "\n") < strlen(own))
                return 0;
        if (file_read_at(parent, name, 65536, &value, NULL) < 0)
                return 0;
        fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
        return fd < 0 || write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

/* Version 1's cpuset holds nobody before it has CPUs and memory. */
static int prepare_level(int parent, int dir) {
        int r = copy_if_empty(parent, dir, "cpuset.cpus");

        return r < 0 ? r : copy_if_empty(parent, dir, "cpuset.mems");
}

/* Version 2 hands controllers down one level at a time. */
static void hand_down(int dir) {
        _cleanup_free_ char *have = NULL, *given = NULL;
        _cleanup_close_ int fd = -1;
        g_auto(GStrv) names = NULL, enabled = NULL;

        if (file_read_at(dir, "cgroup.controllers", 4096, &have, NULL) < 0 ||
            file_read_at(dir, "cgroup.subtree_control", 4096, &given, NULL) < 0)
                return;
        fd = openat(dir, "cgroup.subtree_control", O_WRONLY | O_CLOEXEC);
        names = g_strsplit_set(have, " \n", -1);
        enabled = g_strsplit_set(given, " \n", -1);
        for (char **name = names; fd >= 0 && *name; name++) {
                g_autofree char *word = g_strconcat("+", *name, NULL);

                if (**name && !g_strv_contains((const char *const *)enabled, *name) &&
                    write(fd, word, strlen(word)) < 0)
                        continue; /* missed when a limit needs it */
        }
}

/* Makes the path below a mount point, level by level. */
static int make_path(const char *mount, const char *path) {
        g_auto(GStrv) parts = g_strsplit(path, "/", -1);
        _cleanup_close_ int dir = open(mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (dir < 0)
                return -errno;
        for (char **part = parts; *part; part++) {
                int next, r;

                if (!**part || g_str_equal(*part, "."))
                        continue;
                hand_down(dir);
                if (mkdirat(dir, *part, 0755) < 0 && errno != EEXIST)
                        return -errno;
                next = openat(dir, *part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0)
                        return -errno;
                r = prepare_level(dir, next);
                safe_close(dir);
                dir = next;
                if (r < 0)
                        return r;
        }
        return 0;
}

/** group_make() - Makes the group in every hierarchy. */
gboolean group_make(State *state, GError **error) {
        g_autoptr(GPtrArray) mounts = NULL;

        if (!state->group || state->driver != GROUP_CGROUPFS)
                return TRUE;
        if (group_known() < 0)
                return oci_fail_errno(error, group_known(), "find the cgroup hierarchies");
        mounts = group_mounts();
        if (mounts->len == 0)
                return oci_fail(error, OCI_ERROR_FAILED,
                                "no cgroup hierarchy is mounted: use --cgroup-manager=disabled");
        for (guint i = 0; i < mounts->len; i++) {
                int r = make_path(mounts->pdata[i], state->group);

                if (r < 0)
                        return oci_fail_errno(error, r, "cgroup %s%s", (char *)mounts->pdata[i], state->group);
        }
        return TRUE;
}

/** group_open() - The group's directory in the unified hierarchy, which a process can be cloned into.
 *
 * Return: a descriptor, -EOPNOTSUPP where there is no such group, or a negative errno.
 */
int group_open(State *state) {
        g_autofree char *path = group_directory(state, "");
        int fd;

        if (!path)
                return state->group && group_known() < 0 ? group_known() : -EOPNOTSUPP;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/** group_scope() - Has systemd make a scope around the container's first process, and finds out where that is. */
gboolean group_scope(State *state, pid_t pid, GPtrArray *properties, GError **error) {
        g_autofree char *group = NULL, *end = NULL;

        if (state->driver != GROUP_SYSTEMD)
                return TRUE;
        if (!scope_start(state, state->slice, pid, properties, error))
                return FALSE;
        group = group_of_process(pid);
        end = g_strconcat("/", state->unit, NULL);
        if (!group || !g_str_has_suffix(group, end)) { /* what is in there is not ours to kill */
                scope_stop(state);
                return oci_fail(error, OCI_ERROR_FAILED, "unit %s: the container is not in it", state->unit);
        }
        state->group = g_steal_pointer(&group);
        return TRUE;
}

/* systemd makes groups only where a limit needs one. */
static gboolean is_missing(State *state, const char *mount) {
        g_autofree char *path = g_strconcat(mount, state->group, NULL);

        return state->driver == GROUP_SYSTEMD && access(path, F_OK) < 0 && errno == ENOENT;
}

/** group_attach() - Moves a process into the groups of version 1. */
gboolean group_attach(State *state, pid_t pid, GError **error) {
        g_autoptr(GPtrArray) mounts = group_mounts();
        g_auto(GStrv) directories = group_directories(state);
        g_autofree char *number = g_strdup_printf("%d", (int)pid), *unified = group_directory(state, "");

        if (state->group && group_known() < 0)
                return oci_fail_errno(error, group_known(), "find the cgroup hierarchies");
        for (guint i = 0; directories[i]; i++) {
                g_autofree char *path = g_strconcat(directories[i], "/cgroup.procs", NULL);
                _cleanup_close_ int fd = -1;

                if (g_strcmp0(directories[i], unified) == 0 || is_missing(state, mounts->pdata[i]))
                        continue;
                fd = open(path, O_WRONLY | O_CLOEXEC);
                if (fd < 0 || write(fd, number, strlen(number)) < 0)
                        return oci_fail_errno(error, errno, "cgroup %s", directories[i]);
        }
        return TRUE;
}

/* A container may have made groups below its own. */
static int remove_below(int dir) {
        struct dirent *e;
        DIR *d;
        int r;

        r = dir_stream(dir, &d);
        if (r < 0)
                return r;
        while ((e = readdir(d))) {
                _cleanup_close_ int child = -1;

                if (e->d_type != DT_DIR || *e->d_name == '.')
                        continue;
                child = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (child >= 0)
                        (void)remove_below(child);
                if (unlinkat(dir, e->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                        r = -errno;
        }
        (void)closedir(d);
        return r;
}

static int remove_one(const char *path) {
        int fd, r;

        if (rmdir(path) == 0 || errno == ENOENT)
                return 0;
        if (errno != EBUSY && errno != ENOTEMPTY)
                return -errno;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        r = remove_below(fd);
        safe_close(fd);
        if (r < 0)
                return r;
        return rmdir(path) < 0 && errno != ENOENT ? -errno : 0;
}

/** group_remove() - Removes the group from every hierarchy; 0 or a negative errno. */
int group_remove(State *state) {
        g_auto(GStrv) directories = group_directories(state);
        g_autofree char *unified = NULL;
        int r = 0;

        if (state->driver == GROUP_SYSTEMD) { /* which removes what is empty, but for a scope that nobody ever was in */
                if (!state->unit || !state->group) /* we have not come to make it: one of that name is not ours */
                        return 0;
                unified = group_directory(state, "");
                if (!unified || access(unified, F_OK) == 0 || errno != ENOENT)
                        scope_stop(state);
                return 0;
        }

        for (char **directory = directories; *directory; directory++) {
                int k = remove_one(*directory);

                r = r < 0 ? r : k;
        }
        return r;
}
