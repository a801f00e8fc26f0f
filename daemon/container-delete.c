/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The deletion of a container, together with its task where it has one.
 *
 * A task that has ended goes without asking; one that runs only by force. The container is looked up again when its
 * task has gone: it may have removed itself meanwhile, which is as good, or have been started again, which is not.
 */

#include <errno.h>

#include "daemon/container.h"
#include "daemon/error.h"
#include "daemon/rootfs.h"
#include "daemon/snapshot.h"
#include "daemon/sync.h"
#include "daemon/task.h"
#include "shared/log.h"

typedef struct Delete {
        Manager *manager;
        char *ns, *id;
        uint64_t created_at;
        bool keep_snapshot;
        container_done_t done;
        void *userdata;
} Delete;

static void delete_free(Delete *d) {
        g_free(d->ns);
        g_free(d->id);
        g_free(d);
}

static void answer(Delete *d, int r, const sd_bus_error *error) {
        d->done(r, error, d->userdata);
        delete_free(d);
}

/* What has been said to be deleted does not come back, whatever happens to the machine; and the table says what the
 * disk does, so a container whose record stays does so too. */
static void on_durable(int r, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Delete *d = userdata;
        Container *c = container_again(d->manager, d->ns, d->id, d->created_at);

        if (r < 0 && c && container_recorded(c)) {
                c->deleting = false;
                r = error_set_errno(&error, r, "The record of container \"%s\" cannot be removed", d->id);
                answer(d, r, &error);
                return;
        }
        if (c && d->keep_snapshot)
                g_free(g_steal_pointer(&c->snapshot_key));
        if (c)
                container_drop(c);
        if (r < 0)
                r = error_set_errno(&error, r, "Container \"%s\" is deleted, but it may be back after a loss of power",
                                    d->id);
        answer(d, r, &error);
}

static int erase(Delete *d, Container *c, sd_bus_error *error) {
        Snapshot *s = c->snapshot_key ? snapshot_find(c->ns, c->snapshot_key) : NULL;
        uint64_t mark = sync_mark(d->manager->sync);
        int r = 0;

        if (!d->keep_snapshot)
                r = rootfs_unpin_prepare(c);
        else if (s)
                r = snapshot_disown(s);
        if (r < 0) {
                error_set_errno(error, r, "The snapshot of container \"%s\" cannot be %s", c->id,
                                d->keep_snapshot ? "kept" : "removed");
                return r;
        }
        r = container_remove_record(c);
        if (r < 0) {
                error_set_errno(error, r, "The record of container \"%s\" cannot be removed", c->id);
                return r;
        }
        c->deleting = true;
        sync_wait(d->manager->sync, mark, on_durable, d);
        return 0;
}

static void on_task_deleted(int r, const struct shim_exited *e _unused_, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error own = SD_BUS_ERROR_NULL;
        Delete *d = userdata;
        Container *c = container_same(d->manager, d->ns, d->id, d->created_at);

        if (r >= 0 && c) {
                r = container_check_taskless(c, &own);
                if (r >= 0)
                        r = container_check_stays(c, &own);
                if (r >= 0)
                        r = erase(d, c, &own);
                if (r >= 0)
                        return;
                error = &own;
        }
        answer(d, r, error);
}

/** container_delete() - see container.h; done is called once unless an error is returned */
int container_delete(Container *c, bool force, bool keep_snapshot, container_done_t done, void *userdata,
                     sd_bus_error *error) {
        const Snapshot *s = c->snapshot_key ? snapshot_find(c->ns, c->snapshot_key) : NULL;
        Delete *d;
        int r;

        r = container_check_stays(c, error);
        if (r < 0)
                return r;
        if (keep_snapshot && s && s->ephemeral)
                return error_precondition(
                        error, "Container \"%s\" goes with its task, and what it wrote with it: that cannot be kept.",
                        c->id);
        d = g_new0(Delete, 1);
        *d = (Delete){ .manager = c->ns->manager,
                       .ns = g_strdup(c->ns->name),
                       .id = g_strdup(c->id),
                       .created_at = c->created_at,
                       .keep_snapshot = keep_snapshot,
                       .done = done,
                       .userdata = userdata };
        if (!c->task) {
                r = erase(d, c, error);
                if (r < 0)
                        delete_free(d);
                return r;
        }
        r = task_delete(c->task, force, on_task_deleted, d, error);
        if (r < 0)
                delete_free(d);
        return r;
}
