/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another name for a container: its record, its place in the table and its object move, its snapshot stays under its
 * own key.
 *
 * What runs has its name in its unit, its directory and its cgroup, so a running task forbids it; the record of one
 * that has ended goes. The new record is durable before the old one is removed, and says whose place it takes: what a
 * crash in between leaves is finished when the records are read again.
 */

#include <errno.h>

#include "daemon/bus.h"
#include "daemon/checkpoint.h"
#include "daemon/container.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/record.h"
#include "daemon/rootfs.h"
#include "daemon/snapshot.h"
#include "daemon/task.h"
#include "shared/log.h"
#include "shared/process.h"

typedef struct Rename {
        Manager *manager;
        char *ns, *id, *to;
        uint64_t created_at;
        container_renamed_t done;
        void *userdata;
} Rename;

static void rename_free(Rename *q) {
        g_free(q->ns);
        g_free(q->id);
        g_free(q->to);
        g_free(q);
}

static int save_as(Container *c, char *id, sd_bus_error *error) {
        uint64_t updated = c->updated_at;
        char *before = c->id;
        int r;

        c->id = id;
        g_free(c->renamed_from);
        c->renamed_from = g_strdup(before);
        c->updated_at = now_usec(CLOCK_REALTIME);
        r = container_save(c);
        if (r >= 0)
                return 0;
        c->id = before;
        g_free(g_steal_pointer(&c->renamed_from));
        c->updated_at = updated;
        return error_set_errno(error, r, "The record of container \"%s\" cannot be written", id);
}

static int rename_now(Container *c, const char *to, sd_bus_error *error) {
        char *id = g_strdup(to), *before = c->id, *path = c->path;
        Namespace *ns = c->ns;
        int r;

        r = save_as(c, id, error);
        if (r < 0) {
                g_free(id);
                return r;
        }
        g_hash_table_steal(ns->containers, before);
        r = record_remove(container_root_fd(c), ns->name, "containers", before,
                          c->auto_remove != AUTO_REMOVE_CONTAINER);
        if (r < 0)
                (void)log_error_errno(r, "Cannot remove the record of container %s/%s", ns->name, before);
        checkpoints_renamed(c, before);
        container_bus_removed(c);
        event_emit(ns->manager, EVENT_CONTAINER_DELETE, ns->name, before, c->path, "IMAGE_NAME", c->image,
                   "CONTAINER_NEW_ID", c->id, NULL);
        c->path = bus_object_path(ns->name, "container", c->id);
        g_hash_table_insert(ns->containers, c->id, c);
        container_bus_renamed(c, before);
        g_free(before);
        g_free(path);
        return 0;
}

/* The record of @c under the name it had before is what a crash has left: it was made at the same time. */
static bool finish(Namespace *ns, const Container *c) {
        Container *before = c->renamed_from ? g_hash_table_lookup(ns->containers, c->renamed_from) : NULL;

        if (!before || before == c || before->created_at != c->created_at)
                return false;
        log_info("Container %s/%s was being renamed to %s; it is now", ns->name, before->id, c->id);
        (void)record_remove(container_root_fd(before), ns->name, "containers", before->id, true);
        g_hash_table_remove(ns->containers, before->id);
        ns->manager->n_containers--;
        (void)container_free(before);
        return true;
}

/** containers_finish_renames() - once all records of a namespace have been read */
void containers_finish_renames(Namespace *ns) {
        g_autoptr(GList) names = g_hash_table_get_keys(ns->containers);

        for (GList *l = names; l; l = l->next)
                l->data = g_strdup(l->data);
        for (GList *l = names; l; l = l->next) {
                const Container *c = g_hash_table_lookup(ns->containers, l->data);

                if (c)
                        (void)finish(ns, c);
                g_free(l->data);
        }
}

static void on_task_deleted(int r, const struct shim_exited *e _unused_, const sd_bus_error *given, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Rename *q = userdata;
        Container *c = container_same(q->manager, q->ns, q->id, q->created_at);

        if (r >= 0 && !c)
                r = error_not_found(&error, "Container \"%s\" has gone meanwhile.", q->id);
        else if (r >= 0) {
                r = container_check_taskless(c, &error);
                if (r >= 0)
                        r = container_check_stays(c, &error);
                if (r >= 0)
                        r = container_check_new(c->ns, q->to, &error);
                if (r >= 0)
                        r = rename_now(c, q->to, &error);
        }
        q->done(r, c, sd_bus_error_is_set(&error) ? &error : given, q->userdata);
        rename_free(q);
}

/** container_rename() - see container.h; done is called once unless an error is returned */
int container_rename(Container *c, const char *to, container_renamed_t done, void *userdata, sd_bus_error *error) {
        const Snapshot *s = c->snapshot_key ? snapshot_find(c->ns, c->snapshot_key) : NULL;
        Rename *q;
        int r;

        r = container_check_stays(c, error);
        if (r >= 0 && streq(c->id, to))
                return error_exists(error, "Container \"%s\" is called that already.", to);
        if (r >= 0)
                r = container_check_new(c->ns, to, error);
        if (r >= 0 && s)
                r = snapshot_check_idle(s, error);
        if (r < 0)
                return r;
        if (!c->task) {
                r = rename_now(c, to, error);
                if (r >= 0)
                        done(0, c, NULL, userdata);
                return r;
        }
        if (c->task->deferred)
                return error_precondition(
                        error, "Container \"%s\" has a task that waits to be started; delete it first.", c->id);
        if (c->task->launch || !process_ended(&c->task->process))
                return error_precondition(error, "Container \"%s\" runs; stop it first.", c->id);
        q = g_new0(Rename, 1);
        *q = (Rename){ c->ns->manager, g_strdup(c->ns->name), g_strdup(c->id), g_strdup(to), c->created_at, done,
                       userdata };
        r = task_delete(c->task, false, on_task_deleted, q, error);
        if (r < 0)
                rename_free(q);
        return r;
}
