/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A container's directory below --root.
 *
 * state.json is written once, when the container's first process exists, and never changed: whether the container is
 * created, running, paused or stopped is asked of the kernel each time. The process is known by number and start time,
 * so a number that belongs to somebody else by now is nobody. The directory is locked by those who change something.
 */

#include "oci/state.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "oci/group.h"
#include "plan/fields.h"
#include "plan/spec.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/process.h"

#define STATE_MAX (16U << 20)
#define ID_MAX 1024U

static const char *const names[_STATUS_MAX] = {
        [STATUS_CREATING] = "creating", [STATUS_CREATED] = "created", [STATUS_RUNNING] = "running",
        [STATUS_PAUSED] = "paused",     [STATUS_STOPPED] = "stopped",
};

/** status_name() - The word runtime.md has for a status. */
const char *status_name(Status status) {
        return names[status];
}

/** state_clear() - Frees the content and lets go of the lock; safe on STATE_NULL and twice. */
void state_clear(State *s) {
        g_clear_pointer(&s->id, g_free);
        g_clear_pointer(&s->bundle, g_free);
        g_clear_pointer(&s->rootfs, g_free);
        g_clear_pointer(&s->version, g_free);
        g_clear_pointer(&s->group, g_free);
        g_clear_pointer(&s->below, g_hash_table_unref);
        g_clear_pointer(&s->unit, g_free);
        g_clear_pointer(&s->slice, g_free);
        g_clear_pointer(&s->annotations, json_object_unref);
        s->dir_fd = safe_close(s->dir_fd);
}

/* One component of a path, of the characters all runtimes allow. */
static gboolean check_id(const char *id, GError **error) {
        if (!*id)
                return oci_fail(error, OCI_ERROR_USAGE, "the container id is empty");
        if (strlen(id) > ID_MAX || g_str_equal(id, ".") || g_str_equal(id, ".."))
                return oci_fail(error, OCI_ERROR_FAILED, "invalid container id \"%s\"", id);
        for (const char *p = id; *p; p++)
                if (!g_ascii_isalnum(*p) && !strchr("_+-.", *p))
                        return oci_fail(error, OCI_ERROR_FAILED,
                                        "invalid container id \"%s\": it is to be made of A-Z a-z 0-9 _ + - .", id);
        return TRUE;
}

static int lock(int fd) {
        int r;

        do
                r = flock(fd, LOCK_EX);
        while (r < 0 && errno == EINTR);
        return r;
}

/** state_new() - Makes the directory of a new container and locks it. */
gboolean state_new(Oci *oci, const char *id, State *ret, GError **error) {
        if (!check_id(id, error) || !oci_make_root(oci, error))
                return FALSE;
        if (mkdirat(oci->root_fd, id, 0700) < 0) {
                if (errno == EEXIST)
                        return oci_fail(error, OCI_ERROR_FAILED, "container with id exists: \"%s\" already exists", id);
                return oci_fail_errno(error, errno, "directory %s/%s", oci->root, id);
        }
        ret->id = g_strdup(id);
        ret->dir_fd = openat(oci->root_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        ret->created = g_get_real_time();
        ret->owner = getuid();
        if (ret->dir_fd < 0)
                (void)oci_fail_errno(error, errno, "directory %s/%s", oci->root, id);
        else if (state_lock(ret, error)) /* a delete may have been quicker */
                return TRUE;
        (void)unlinkat(oci->root_fd, id, AT_REMOVEDIR);
        return FALSE;
}

/** state_remove() - Removes the container's directory. What stays of it can be loaded, and removed, again. */
gboolean state_remove(Oci *oci, State *state, GError **error) {
        int r = tree_remove_at(oci->root_fd, state->id);

        return r >= 0 || oci_fail_errno(error, r, "remove %s/%s", oci->root, state->id);
}

static void add_string(JsonObject *object, const char *name, const char *value) {
        if (value)
                json_object_set_string_member(object, name, value);
}

/** time_to_string() - RFC 3339, UTC, with microseconds. */
char *time_to_string(gint64 usec) {
        time_t seconds = (time_t)(usec / G_USEC_PER_SEC);
        char text[32];
        struct tm tm;

        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));
        return g_strdup_printf("%s.%06dZ", text, (int)(usec % G_USEC_PER_SEC));
}

/**
 * state_to_json() - The container's state as runtime.md has it, and a little more.
 * @pid: as the reader sees it; 0: none
 */
JsonNode *state_to_json(State *s, Status status, pid_t pid) {
        JsonObject *object = json_object_new();
        g_autofree char *created = time_to_string(s->created);
        JsonNode *node = json_node_new(JSON_NODE_OBJECT);

        add_string(object, "ociVersion", s->version ? s->version : OCI_VERSION);
        add_string(object, "id", s->id);
        add_string(object, "status", status_name(status));
        json_object_set_int_member(object, "pid", status == STATUS_STOPPED ? 0 : pid);
        add_string(object, "bundle", s->bundle);
        add_string(object, "rootfs", s->rootfs);
        add_string(object, "created", created);
        if (s->annotations)
                json_object_set_object_member(object, "annotations", json_object_ref(s->annotations));
        json_node_take_object(node, object);
        return node;
}

/** state_memfd() - state_to_json() as a file for hooks; a descriptor, or a negative errno. */
int state_memfd(State *state, Status status, pid_t pid) {
        g_autoptr(JsonNode) node = state_to_json(state, status, pid);
        g_autofree char *text = spec_to_string(node);

        return memfd_sealed("davit-oci-state", text, strlen(text));
}

/** state_save() - Writes state.json. */
gboolean state_save(State *s, GError **error) {
        g_autoptr(JsonNode) node = state_to_json(s, STATUS_CREATING, s->pid);
        JsonObject *object = json_node_get_object(node);
        g_autofree char *text = NULL;
        int r;

        json_object_remove_member(object, "status");
        json_object_set_int_member(object, "createdUsec", s->created);
        json_object_set_int_member(object, "startTime", (gint64)s->started);
        json_object_set_int_member(object, "namespaces", (gint64)s->namespaces);
        json_object_set_int_member(object, "owner", s->owner);
        add_string(object, "cgroupManager", group_driver_name(s->driver));
        add_string(object, "cgroup", s->group);
        add_string(object, "unit", s->unit);
        text = spec_to_string(node);
        r = file_replace_at(s->dir_fd, STATE_FILE, text, strlen(text), 0600, false);
        return r < 0 ? oci_fail_errno(error, r, "state of \"%s\"", s->id) : TRUE;
}

static gboolean take_string(JsonObject *object, const char *name, char **ret, GError **error) {
        const char *value = NULL;

        if (!field_string(object, STATE_FILE ": ", name, &value, error))
                return FALSE;
        *ret = g_strdup(value);
        return TRUE;
}

static gboolean state_parse(State *s, JsonObject *object, GError **error) {
        gint64 created = 0, started = 0, namespaces = 0, owner = 0, pid = 0;
        g_autofree char *driver = NULL;

        if (!take_string(object, "bundle", &s->bundle, error) || !take_string(object, "rootfs", &s->rootfs, error) ||
            !take_string(object, "ociVersion", &s->version, error) ||
            !take_string(object, "cgroup", &s->group, error) || !take_string(object, "unit", &s->unit, error) ||
            !take_string(object, "cgroupManager", &driver, error) ||
            !field_int(object, "", "createdUsec", 0, G_MAXINT64, &created, error) ||
            !field_int(object, "", "startTime", 0, G_MAXINT64, &started, error) ||
            !field_int(object, "", "namespaces", 0, G_MAXINT64, &namespaces, error) ||
            !field_int(object, "", "owner", 0, G_MAXUINT32, &owner, error) ||
            !field_int(object, "", "pid", 0, G_MAXINT32, &pid, error) ||
            !field_object(object, "", "annotations", &s->annotations, error))
                return FALSE;
        if (!group_driver_parse(driver, &s->driver))
                return oci_fail(error, OCI_ERROR_FAILED, "state of \"%s\" is damaged", s->id);
        if (s->annotations)
                (void)json_object_ref(s->annotations);
        s->created = created;
        s->started = (guint64)started;
        s->namespaces = (guint64)namespaces;
        s->owner = (guint)owner;
        s->pid = (pid_t)pid;
        return TRUE;
}

/**
 * state_load() - What is known of a container.
 *
 * One that was left half made by a davit-oci that died is known too: it has no process and counts as stopped.
 */
gboolean state_load(Oci *oci, const char *id, State *ret, GError **error) {
        g_autoptr(JsonNode) node = NULL;
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        if (!check_id(id, error) || !oci_open_root(oci, error))
                return FALSE;
        ret->id = g_strdup(id);
        ret->driver = GROUP_DISABLED;
        if (oci->root_fd >= 0)
                ret->dir_fd = openat(oci->root_fd, id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (oci->root_fd < 0 || (ret->dir_fd < 0 && errno == ENOENT))
                return oci_fail(error, OCI_ERROR_FAILED, "container \"%s\" does not exist", id);
        if (ret->dir_fd < 0)
                return oci_fail_errno(error, errno, "directory %s/%s", oci->root, id);
        r = file_read_at(ret->dir_fd, STATE_FILE, STATE_MAX, &text, &size);
        if (r == -ENOENT)
                return TRUE;
        if (r < 0)
                return oci_fail_errno(error, r, "state of \"%s\"", id);
        node = spec_parse(text, size, error);
        if (!node)
                return FALSE;
        if (!JSON_NODE_HOLDS_OBJECT(node))
                return oci_fail(error, OCI_ERROR_FAILED, "state of \"%s\" is damaged", id);
        return state_parse(ret, json_node_get_object(node), error);
}

/** state_lock() - Waits for others who change the container; fails when it has gone meanwhile. */
gboolean state_lock(State *s, GError **error) {
        struct stat st;

        if (lock(s->dir_fd) < 0 || fstat(s->dir_fd, &st) < 0)
                return oci_fail_errno(error, errno, "lock of \"%s\"", s->id);
        if (st.st_nlink == 0)
                return oci_fail(error, OCI_ERROR_FAILED, "container \"%s\" does not exist", s->id);
        return TRUE;
}

/** state_unlock() - Lets others change the container. */
void state_unlock(State *s) {
        (void)flock(s->dir_fd, LOCK_UN);
}

/* The container's first process; a descriptor, or -ESRCH. One that has ended and was not collected is as good as gone.
 */
static int open_process(State *s, struct process_stat *ret) {
        int fd = s->pid > 0 ? process_open(s->pid, s->started) : -ESRCH;

        if (fd >= 0 && (process_stat(s->pid, ret) < 0 || ret->state == 'Z' || ret->state == 'X')) {
                safe_close(fd);
                return -ESRCH;
        }
        return fd;
}

/** state_pidfd() - The container's first process; a descriptor, or -ESRCH. */
int state_pidfd(State *s) {
        struct process_stat stat;

        return open_process(s, &stat);
}

/** state_ending() - Whether the first process has gone or is on its way: what it shared is not to be had any more. */
gboolean state_ending(State *s) {
        struct process_stat stat;
        _cleanup_close_ int pidfd = open_process(s, &stat);

        return pidfd < 0 || stat.exiting;
}

/** state_status() - What the container is doing. */
Status state_status(State *s) {
        _cleanup_close_ int pidfd = state_pidfd(s);

        if (pidfd < 0)
                return STATUS_STOPPED;
        if (faccessat(s->dir_fd, STATE_MAKING, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return STATUS_CREATING;
        if (group_is_frozen(s))
                return STATUS_PAUSED;
        return faccessat(s->dir_fd, STATE_START, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ? STATUS_CREATED : STATUS_RUNNING;
}
