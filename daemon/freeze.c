/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Holding a container still while what it writes to is read.
 *
 * It is paused like anybody's pause, after a mark in /run/davit that says that this is ours: a manager that is killed
 * in between leaves the mark, and the next one lets the container run on. One that was paused before is not touched,
 * and has no mark. The container may go at any moment; then there is nothing to let go of.
 */

#include <string.h>

#include "daemon/error.h"
#include "daemon/freeze.h"
#include "daemon/record.h"
#include "daemon/task.h"
#include "shared/log.h"

#define KIND "frozen"

struct Freeze {
        Manager *manager;
        char *ns, *id;
        uint64_t created_at;
        bool asked; /* the shim has not answered yet */
        bool over;  /* freeze_end() has been called */
        freeze_done_t done;
        void *userdata;
};

static Freeze *freeze_free(Freeze *f) {
        g_free(f->ns);
        g_free(f->id);
        g_free(f);
        return NULL;
}

static void mark_remove(Manager *m, const char *ns, const char *id) {
        int r = record_remove(m->runtime_fd, ns, KIND, id, false);

        if (r < 0)
                (void)log_warning_errno(r, "Cannot remove the mark of frozen container %s/%s", ns, id);
}

static int mark_write(const Container *c) {
        g_autoptr(JsonObject) o = json_object_new();

        return record_write(c->ns->manager->runtime_fd, c->ns->name, KIND, c->id, o, false);
}

typedef struct Thaw {
        Manager *manager;
        char *ns, *id;
} Thaw;

/* A mark that stays after a failure is the next manager's. */
static void on_thawed(Task *t _unused_, int r, const sd_bus_error *error, void *userdata) {
        Thaw *x = userdata;

        if (r < 0)
                log_warning("Container %s/%s cannot be resumed: %s", x->ns, x->id,
                            error && error->message ? error->message : g_strerror(-r));
        else
                mark_remove(x->manager, x->ns, x->id);
        g_free(x->ns);
        g_free(x->id);
        g_free(x);
}

static void thaw(Manager *m, const char *ns, const char *id, Task *t) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Thaw *x = g_new(Thaw, 1);
        int r;

        *x = (Thaw){ m, g_strdup(ns), g_strdup(id) };
        r = task_pause(t, false, on_thawed, x, &error);
        if (r < 0)
                on_thawed(t, r, &error, x);
}

static void release(Freeze *f) {
        Namespace *ns = g_hash_table_lookup(f->manager->namespaces, f->ns);
        Container *c = ns ? g_hash_table_lookup(ns->containers, f->id) : NULL;

        if (c && c->created_at == f->created_at && c->task && !process_ended(&c->task->process) &&
            c->task->process.status == TASK_PAUSED)
                thaw(f->manager, f->ns, f->id, c->task);
        else
                mark_remove(f->manager, f->ns, f->id); /* it has gone, or somebody lets it run already */
        (void)freeze_free(f);
}

static void on_paused(Task *t _unused_, int r, const sd_bus_error *error, void *userdata) {
        Freeze *f = userdata;

        f->asked = false;
        if (f->over) {
                release(f);
                return;
        }
        if (r < 0)
                mark_remove(f->manager, f->ns, f->id);
        f->done(r, error, f->userdata);
}

/** freeze_begin() - see freeze.h */
int freeze_begin(Container *c, freeze_done_t done, void *userdata, Freeze **ret, sd_bus_error *error) {
        Task *t = c->task;
        Freeze *f;
        int r;

        *ret = NULL;
        if (!t || process_ended(&t->process) || t->process.status == TASK_CREATED || t->process.status == TASK_PAUSED)
                return 0;
        r = mark_write(c);
        if (r < 0)
                return error_set_errno(error, r, "Cannot note that container \"%s\" is held still", c->id);

        f = g_new0(Freeze, 1);
        *f = (Freeze){ c->ns->manager, g_strdup(c->ns->name), g_strdup(c->id), c->created_at, true, false, done,
                       userdata };
        r = task_pause(t, true, on_paused, f, error);
        if (r < 0) {
                mark_remove(f->manager, f->ns, f->id);
                (void)freeze_free(f);
                return r;
        }
        *ret = f;
        return 1;
}

/** freeze_end() - see freeze.h; NULL is fine */
Freeze *freeze_end(Freeze *f) {
        if (!f)
                return NULL;

        f->over = true;
        if (!f->asked)
                release(f);
        return NULL;
}

static int recover_one(const char *id, JsonObject *o _unused_, void *userdata) {
        Namespace *ns = userdata;
        Container *c = g_hash_table_lookup(ns->containers, id);
        Task *t = c ? c->task : NULL;

        if (t && !process_ended(&t->process) && t->process.status == TASK_PAUSED) {
                log_info("Container %s/%s was held still by a manager that has gone; it runs on", ns->name, id);
                thaw(ns->manager, ns->name, id, t);
        } else
                mark_remove(ns->manager, ns->name, id);
        return 0;
}

/** freeze_recover() - see freeze.h */
void freeze_recover(Manager *m) {
        GHashTableIter iter;
        void *ns;

        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &ns))
                (void)record_foreach(m->runtime_fd, ((Namespace *)ns)->name, KIND, recover_one, ns);
}
