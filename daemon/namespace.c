/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Namespaces: tables that share a name.
 *
 * A namespace comes into being with CreateNamespace or with its first object, and goes only when it is deleted empty,
 * or with the failed call that it was made for.
 * Its labels are a record; one without labels is known by its directory alone. Owned by the manager.
 */

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/container.h"
#include "daemon/content-writer.h"
#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/lease.h"
#include "daemon/namespace.h"
#include "daemon/record.h"
#include "daemon/snapshot.h"
#include "daemon/task.h"
#include "shared/fd.h"
#include "shared/log.h"

static void task_free_value(void *p) {
        (void)task_free(p);
}

static void container_free_value(void *p) {
        (void)container_free(p);
}

/** object_walk_init() - begins a walk; see namespace.h */
void object_walk_init(ObjectWalk *w, Manager *m, size_t table) {
        *w = (ObjectWalk){ .table = table };
        g_hash_table_iter_init(&w->spaces, m->namespaces);
}

/** object_walk_next() - the next object */
void *object_walk_next(ObjectWalk *w) {
        void *value;

        for (;;) {
                if (w->inside && g_hash_table_iter_next(&w->objects, NULL, &value))
                        return value;
                w->inside = g_hash_table_iter_next(&w->spaces, NULL, &value);
                if (!w->inside)
                        return NULL;
                g_hash_table_iter_init(&w->objects, *(GHashTable **)((char *)value + w->table));
        }
}

/** namespace_new() - an empty namespace that nobody owns yet */
int namespace_new(Manager *m, const char *name, Namespace **ret) {
        Namespace *ns = g_new0(Namespace, 1);

        ns->manager = m;
        ns->name = g_strdup(name);
        ns->path = bus_object_path(name, NULL, NULL);
        ns->labels = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        ns->containers = g_hash_table_new(g_str_hash, g_str_equal);
        ns->tasks = g_hash_table_new(g_str_hash, g_str_equal);
        images_init(ns);
        contents_init(ns);
        ingests_init(ns);
        snapshots_init(ns);
        leases_init(ns);
        *ret = ns;
        return 0;
}

static void free_values(GHashTable *table, GDestroyNotify destroy) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, table);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                g_hash_table_iter_steal(&iter);
                destroy(value);
        }
        g_hash_table_unref(table);
}

/** namespace_free() - frees objects, never records: what they describe lives on */
Namespace *namespace_free(Namespace *ns) {
        if (!ns)
                return NULL;
        free_values(ns->tasks, task_free_value);
        free_values(ns->containers, container_free_value);
        leases_done(ns);
        snapshots_done(ns);
        ingests_done(ns);
        contents_done(ns);
        images_done(ns);
        g_hash_table_unref(ns->labels);
        ns->defaults = namespace_defaults_free(ns->defaults);
        g_free(ns->path);
        g_free(ns->name);
        g_free(ns);
        return NULL;
}

/** namespace_is_empty() - whether it may be deleted */
bool namespace_is_empty(const Namespace *ns) {
        return g_hash_table_size(ns->containers) == 0 && g_hash_table_size(ns->tasks) == 0 &&
               contents_count_recorded(ns) == 0 && g_hash_table_size(ns->ingests) == 0 &&
               g_hash_table_size(ns->images) == 0 && g_hash_table_size(ns->snapshots) == 0 &&
               g_hash_table_size(ns->leases) == 0;
}

/** namespace_save() - makes directory and labels durable */
int namespace_save(Namespace *ns) {
        g_autoptr(JsonObject) o = json_object_new();
        int r;

        record_set_labels(o, "labels", ns->labels);
        namespace_defaults_save(ns->defaults, o);
        r = record_write(ns->manager->state_fd, ns->name, "namespace", ns->name, o, true);
        if (r < 0)
                return log_error_errno(r, "Cannot write the record of namespace %s", ns->name);
        return 0;
}

/** namespace_set_labels() - replaces them, durably; takes @labels in any case */
int namespace_set_labels(Namespace *ns, GHashTable *labels, sd_bus_error *error) {
        GHashTable *before = ns->labels;
        int r;

        ns->labels = labels;
        r = namespace_save(ns);
        if (r < 0) {
                ns->labels = before;
                g_hash_table_unref(labels);
                return error_set_errno(error, r, "The labels of namespace \"%s\" cannot be stored", ns->name);
        }
        g_hash_table_unref(before);
        namespace_bus_changed(ns, "Labels");
        return 0;
}

/** namespace_load() - the labels of its record, if it has one */
int namespace_load(Namespace *ns) {
        g_autoptr(JsonObject) o = NULL;
        GHashTable *labels;
        int r;

        r = record_read(ns->manager->state_fd, ns->name, "namespace", ns->name, &o);
        if (r >= 0)
                r = record_get_labels(o, "labels", &labels);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        g_hash_table_unref(ns->labels);
        ns->labels = labels;
        ns->defaults = namespace_defaults_load(o);
        return 0;
}

static void destroy(void *ns) {
        (void)namespace_free(ns);
}

/* Tasks make this directory; it is empty once they are gone. */
static void remove_task_dir(Namespace *ns) {
        _cleanup_close_ int fd =
                openat(ns->manager->runtime_fd, "task", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

        if (fd >= 0 && unlinkat(fd, ns->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
                (void)log_warning_errno(errno, "Cannot remove the task directory of namespace %s", ns->name);
}

/** namespace_delete() - removes an empty namespace's directories and frees it; what is just being removed in there goes
 * with them, and is missed by nobody */
int namespace_delete(Namespace *ns) {
        Manager *m = ns->manager;
        int fds[] = { m->state_fd, m->runtime_fd }, r = 0;

        for (size_t i = 0; i < ELEMENTSOF(fds) && r >= 0; i++) {
                _cleanup_close_ int fd = openat(fds[i], "namespaces", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
                r = fd < 0 ? -errno : tree_remove_at(fd, ns->name);
                if (r == -ENOENT)
                        r = 0;
                if (r >= 0 && fd >= 0 && fds[i] == m->state_fd && fsync(fd) < 0)
                        r = -errno;
        }
        if (r < 0)
                return log_error_errno(r, "Cannot remove namespace %s", ns->name);
        remove_task_dir(ns);
        namespace_bus_removed(ns);
        g_hash_table_steal(m->namespaces, ns->name);
        manager_bury(m, ns, destroy);
        return 0;
}

/**
 * namespace_settle() - after a call that makes the namespace it names
 * @r: how the call has ended
 *
 * A call that has failed leaves no namespace that never held anything: nothing of that is on disk yet.
 */
int namespace_settle(Namespace *ns, int r) {
        g_autofree char *path = g_strdup_printf("namespaces/%s", ns->name);

        if (r < 0 && !streq(ns->name, DAVIT_DEFAULT_NAMESPACE) && namespace_is_empty(ns) &&
            faccessat(ns->manager->state_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
                (void)namespace_delete(ns);
        return r;
}
