/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Holding a container still while what it writes to is read.
 *
 * It is paused like anybody's pause, after a mark in /run/davit that says that this is ours: a manager that is killed
 * in between leaves the mark, and the next one lets the container run on. One that was paused before is not touched,
 * and has no mark; one that is just being let go is held still again after that. The container may go at any moment;
 * then there is nothing to let go of.
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
        bool asked; /* the shim has not answered yet, or is not asked yet: see Thaw.next */
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

static void on_paused(Task *t, int r, const sd_bus_error *error, void *userdata);

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
        Freeze *next; /* waits to hold it still again */
} Thaw;

/* The answer to a freeze that has not been asked for at the shim. */
static void answer(Freeze *f, int r, const sd_bus_error *error) {
        f->asked = false;
        f->done(r, error, f->userdata);
}

static void freeze_ask(Freeze *f, Task *t) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        if (process_ended(&t->process)) {
                answer(f, 0, NULL);
                return;
        }
        r = task_pause(t, true, on_paused, f, &error);
        if (r < 0)
                answer(f, r, &error);
}

/* A mark that stays after a failure is the next manager's; one that is to be held still again keeps its mark. */
static void on_thawed(Task *t, int r, const sd_bus_error *error, void *userdata) {
        Thaw *x = userdata;
        Freeze *next = x->next && !x->next->over ? x->next : NULL;

        t->thaw = NULL;
        if (x->next && !next)
                (void)freeze_free(x->next);
        if (r < 0)
                log_warning("Container %s/%s cannot be resumed: %s", x->ns, x->id,
                            error && error->message ? error->message : g_strerror(-r));
        else if (!next)
                mark_remove(x->manager, x->ns, x->id);
        if (next)
                freeze_ask(next, t);
        g_free(x->ns);
        g_free(x->id);
        g_free(x);
}

static void thaw(Manager *m, const char *ns, const char *id, Task *t) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Thaw *x = g_new(Thaw, 1);
        int r;

        *x = (Thaw){ m, g_strdup(ns), g_strdup(id), NULL };
        t->thaw = x;
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

        if (f->over)
                release(f);
        else
                answer(f, r, error);
}

static Freeze *freeze_new(const Container *c, freeze_done_t done, void *userdata) {
        Freeze *f = g_new0(Freeze, 1);

        *f = (Freeze){ c->ns->manager, g_strdup(c->ns->name), g_strdup(c->id), c->created_at, true, false, done,
                       userdata };
        return f;
}

/* Whoever waits already waits for a commit that has been given up, since there is one at a time. */
static Freeze *freeze_after(Thaw *x, Freeze *f) {
        if (x->next)
                (void)freeze_free(x->next);
        x->next = f;
        return f;
}

/** freeze_begin() - see freeze.h */
int freeze_begin(Container *c, freeze_done_t done, void *userdata, Freeze **ret, sd_bus_error *error) {
        Task *t = c->task;
        Freeze *f;
        int r;

        *ret = NULL;
        if (!t || process_ended(&t->process))
                return 0;
        if (t->launch || t->starting || (t->thaw && t->thaw->next && !t->thaw->next->over))
                return error_precondition(error, "Container \"%s\" is just being %s; try again when that is done.",
                                          c->id, t->thaw ? "held still" : "started");
        if (t->thaw) {
                *ret = freeze_after(t->thaw, freeze_new(c, done, userdata));
                return 1;
        }
        if (t->process.status == TASK_CREATED || t->process.status == TASK_PAUSED)
                return 0;
        r = mark_write(c);
        if (r < 0)
                return error_set_errno(error, r, "Cannot note that container \"%s\" is held still", c->id);

        f = freeze_new(c, done, userdata);
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

static int stop_one(const char *id, JsonObject *o _unused_, void *userdata) {
        Namespace *ns = userdata;
        Container *c = g_hash_table_lookup(ns->containers, id);
        Task *t = c ? c->task : NULL;
        int r;

        if (!t || !t->link || process_ended(&t->process) || t->process.status == TASK_RUNNING)
                return 0;
        r = link_request(t->link, SHIM_RESUME, NULL, NULL, NULL, 0, NULL, NULL);
        if (r < 0)
                (void)log_warning_errno(r, "Container %s/%s stands still until the next start", ns->name, id);
        return 0;
}

static void foreach_mark(Manager *m, record_handler_t handler) {
        GHashTableIter iter;
        void *ns;

        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &ns))
                (void)record_foreach(m->runtime_fd, ((Namespace *)ns)->name, KIND, handler, ns);
}

/** freeze_stop() - see freeze.h; the shims may read it when we have gone; the marks are for the next to check */
void freeze_stop(Manager *m) {
        foreach_mark(m, stop_one);
}

/** freeze_recover() - see freeze.h */
void freeze_recover(Manager *m) {
        foreach_mark(m, recover_one);
}
