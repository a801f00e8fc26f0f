/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Holding a container still while what it writes to is read.
 *
 * It is paused like anybody's pause, after a mark in /run/davit that says that this is ours: a manager that is killed
 * in between leaves the mark, and the next one lets the container run on. It says which of the container's tasks it is
 * of, since the next one may be held still before the end of this is seen. One that was paused before is not touched,
 * and has no mark; one that is just being let go is held still again after that. What a manager that was killed has
 * left standing runs on once nobody dumps it any more (checkpoint-left.c). The container may go at any moment; then
 * there is nothing to let go of.
 */

#include <inttypes.h>
#include <string.h>

#include "daemon/error.h"
#include "daemon/freeze.h"
#include "daemon/record.h"
#include "daemon/task.h"
#include "shared/log.h"

#define KIND "frozen"
#define SEPARATOR ":" /* in no id */

struct Freeze {
        Manager *manager;
        char *ns, *id;
        uint64_t created_at, task_created_at;
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

static char *mark_name(const char *id, uint64_t task_created_at) {
        return g_strdup_printf("%s" SEPARATOR "%" PRIu64, id, task_created_at);
}

static void mark_drop(Manager *m, const char *ns, const char *mark) {
        int r = record_remove(m->runtime_fd, ns, KIND, mark, false);

        if (r < 0)
                (void)log_warning_errno(r, "Cannot remove the mark of frozen container %s/%s", ns, mark);
}

static void mark_remove(Manager *m, const char *ns, const char *id, uint64_t task_created_at) {
        g_autofree char *mark = mark_name(id, task_created_at);

        mark_drop(m, ns, mark);
}

static int mark_write(const Container *c) {
        g_autofree char *mark = mark_name(c->id, c->task->process.created_at);
        g_autoptr(JsonObject) o = json_object_new();

        return record_write(c->ns->manager->runtime_fd, c->ns->name, KIND, mark, o, false);
}

typedef struct Thaw {
        Manager *manager;
        char *ns, *id;
        uint64_t task_created_at;
        Freeze *next; /* waits to hold it still again */
} Thaw;

static void thaw_free(Thaw *x) {
        g_free(x->ns);
        g_free(x->id);
        g_free(x);
}

/* The answer to a freeze that has not been asked for at the shim. */
static void answer(Freeze *f, int r, const sd_bus_error *error) {
        f->asked = false;
        f->done(r, error, f->userdata);
}

/* Its task has gone. */
static void thaw_forget(Thaw *x) {
        Freeze *f = x->next;

        mark_remove(x->manager, x->ns, x->id, x->task_created_at);
        if (f && !f->over)
                answer(f, 0, NULL);
        else if (f)
                (void)freeze_free(f);
        thaw_free(x);
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
                mark_remove(x->manager, x->ns, x->id, x->task_created_at);
        if (next)
                freeze_ask(next, t);
        thaw_free(x);
}

static void thaw_now(Thaw *x, Task *t) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = task_pause(t, false, on_thawed, x, &error);
        if (r < 0)
                on_thawed(t, r, &error, x);
}

static Thaw *thaw_new(Manager *m, const char *ns, const char *id, Task *t) {
        Thaw *x = g_new(Thaw, 1);

        *x = (Thaw){
                .manager = m, .ns = g_strdup(ns), .id = g_strdup(id), .task_created_at = t->process.created_at
        };
        t->thaw = x;
        return x;
}

static void thaw(Manager *m, const char *ns, const char *id, Task *t) {
        thaw_now(thaw_new(m, ns, id, t), t);
}

/* NULL: it has gone. */
static Task *task_of(const Freeze *f) {
        Container *c = container_same(f->manager, f->ns, f->id, f->created_at);

        return c && c->task && c->task->process.created_at == f->task_created_at ? c->task : NULL;
}

static void release(Freeze *f) {
        Task *t = task_of(f);

        if (t && !process_ended(&t->process) && t->process.status == TASK_PAUSED)
                thaw(f->manager, f->ns, f->id, t);
        else
                mark_remove(f->manager, f->ns, f->id, f->task_created_at); /* it has gone, or somebody lets it run */
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
        Freeze *f = g_new(Freeze, 1);

        *f = (Freeze){
                .manager = c->ns->manager,
                .ns = g_strdup(c->ns->name),
                .id = g_strdup(c->id),
                .created_at = c->created_at,
                .task_created_at = c->task->process.created_at,
                .asked = true,
                .done = done,
                .userdata = userdata,
        };
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
                mark_remove(f->manager, f->ns, f->id, f->task_created_at);
                (void)freeze_free(f);
                return r;
        }
        *ret = f;
        return 1;
}

/* A process that the kernel keeps busy cannot be held still, and the answer would not come; this makes it come. */
static void call_off(const Freeze *f) {
        Task *t = task_of(f);
        int r;

        if (!t || !t->link || t->process.status != TASK_PAUSING || (t->thaw && t->thaw->next == f))
                return;
        r = link_request(t->link, SHIM_RESUME, NULL, NULL, NULL, 0, NULL, NULL);
        if (r < 0)
                (void)log_warning_errno(r, "Container %s/%s cannot be resumed", f->ns, f->id);
}

/** freeze_end() - see freeze.h; NULL is fine */
Freeze *freeze_end(Freeze *f) {
        if (!f)
                return NULL;

        f->over = true;
        if (f->asked)
                call_off(f);
        else
                release(f);
        return NULL;
}

/* NULL: neither the namespace nor the container need be there any more. */
static Task *task_in(const Namespace *ns, const char *id) {
        Container *c = ns ? g_hash_table_lookup(ns->containers, id) : NULL;

        return c ? c->task : NULL;
}

static void thaw_late(Thaw *x) {
        Task *t = task_in(g_hash_table_lookup(x->manager->namespaces, x->ns), x->id);

        if (t && t->thaw == x && !process_ended(&t->process) && t->process.status == TASK_PAUSED)
                thaw_now(x, t);
        else if (t && t->thaw == x)
                on_thawed(t, 0, NULL, x); /* it has ended, or somebody lets it run already */
        else
                thaw_forget(x);
}

static void wait_for_dump(Thaw *x) {
        Manager *m = x->manager;

        if (!m->thaws)
                m->thaws = g_ptr_array_new();
        g_ptr_array_add(m->thaws, x);
}

static bool is_dumped(const Thaw *x) {
        const Task *t = task_in(g_hash_table_lookup(x->manager->namespaces, x->ns), x->id);

        return t && t->thaw == x && t->held;
}

/** freeze_settled() - see freeze.h */
void freeze_settled(Manager *m) {
        g_autoptr(GPtrArray) thaws = g_steal_pointer(&m->thaws);

        for (guint i = 0; thaws && i < thaws->len; i++) {
                Thaw *x = g_ptr_array_index(thaws, i);

                if (is_dumped(x))
                        wait_for_dump(x);
                else
                        thaw_late(x);
        }
}

/* NULL: it has gone. */
static Task *task_marked(const Namespace *ns, const char *mark) {
        g_auto(GStrv) names = g_strsplit(mark, SEPARATOR, 2);
        Task *t = names[0] ? task_in(ns, names[0]) : NULL;
        g_autofree char *own = t ? mark_name(t->id, t->process.created_at) : NULL;

        return own && streq(own, mark) ? t : NULL;
}

static int recover_one(const char *mark, JsonObject *o _unused_, void *userdata) {
        Namespace *ns = userdata;
        Task *t = task_marked(ns, mark);

        if (t && !process_ended(&t->process) && t->process.status == TASK_PAUSED) {
                log_info("Container %s/%s was held still by a manager that has gone; it runs on", ns->name, t->id);
                if (t->held)
                        wait_for_dump(thaw_new(ns->manager, ns->name, t->id, t));
                else
                        thaw(ns->manager, ns->name, t->id, t);
        } else
                mark_drop(ns->manager, ns->name, mark);
        return 0;
}

static int stop_one(const char *mark, JsonObject *o _unused_, void *userdata) {
        Namespace *ns = userdata;
        Task *t = task_marked(ns, mark);
        int r;

        if (!t || !t->link || process_ended(&t->process) || t->process.status == TASK_RUNNING || t->held)
                return 0;
        r = link_request(t->link, SHIM_RESUME, NULL, NULL, NULL, 0, NULL, NULL);
        if (r < 0)
                (void)log_warning_errno(r, "Container %s/%s stands still until the next start", ns->name, t->id);
        return 0;
}

static void foreach_mark(Manager *m, record_handler_t handler) {
        GHashTableIter iter;
        void *ns;

        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &ns))
                (void)record_foreach(m->runtime_fd, ((Namespace *)ns)->name, KIND, handler, ns);
}

/** freeze_stop() - see freeze.h; the shims may read it when we have gone; the marks are for the next to check, and what
 * a dump still holds is for it to let go */
void freeze_stop(Manager *m) {
        for (guint i = 0; m->thaws && i < m->thaws->len; i++)
                thaw_free(g_ptr_array_index(m->thaws, i));
        g_clear_pointer(&m->thaws, g_ptr_array_unref);
        foreach_mark(m, stop_one);
}

/** freeze_recover() - see freeze.h */
void freeze_recover(Manager *m) {
        foreach_mark(m, recover_one);
}
