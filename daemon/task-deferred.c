/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tasks from a checkpoint.
 *
 * Such a task is created without a process: it has an object, streams, those who wait for its end, and a record in
 * /run/davit, so that the next manager has it too. Its start takes a shim and restores; when that fails the shim goes
 * and the task is what it was, to be started again or deleted. Streams that are a caller's descriptors do not outlive
 * the manager; a task of which there were some can only be deleted then.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/checkpoint.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/log-fields.h"
#include "daemon/record.h"
#include "daemon/rootfs.h"
#include "daemon/task-deferred.h"
#include "shared/fd.h"
#include "shared/log.h"

#define KIND "deferred"

struct Deferred {
        char *checkpoint;
        Stdio stdio;
        bool lost; /* descriptors that the last manager held */
        uint32_t console_width, console_height;
};

/** deferred_free() - with its descriptors */
Deferred *deferred_free(Deferred *d) {
        if (!d)
                return NULL;
        stdio_done(&d->stdio);
        g_free(d->checkpoint);
        g_free(d);
        return NULL;
}

static Deferred *deferred_new(const char *checkpoint) {
        Deferred *d = g_new0(Deferred, 1);

        d->checkpoint = g_strdup(checkpoint);
        stdio_init(&d->stdio);
        return d;
}

/** task_deferred_uses() - whether it is to go on from this checkpoint, or is just being brought back */
bool task_deferred_uses(const Task *t, const char *checkpoint) {
        return t->deferred && streq(t->deferred->checkpoint, checkpoint);
}

/** task_deferred_check() - an error for one that waits to be started: nothing of it runs */
int task_deferred_check(const Task *t, sd_bus_error *error) {
        return t->deferred ? error_precondition(error, "Task \"%s\" has not been started; start it first.", t->id) : 0;
}

/** task_deferred_stdio() - the streams it will have; NULL where it is none of these, or is just being started */
const Stdio *task_deferred_stdio(const Task *t) {
        return t->deferred && !t->launch ? &t->deferred->stdio : NULL;
}

/* ---- the record ---- */

static void set_paths(JsonObject *o, const GByteArray *paths) {
        JsonArray *array = json_array_new();

        for (guint at = 0; at < paths->len; at += (guint)strlen((const char *)paths->data + at) + 1)
                json_array_add_string_element(array, (const char *)paths->data + at);
        json_object_set_array_member(o, "paths", array);
}

static int record_save(const Task *t) {
        g_autoptr(JsonObject) o = json_object_new();
        const Deferred *d = t->deferred;
        const struct shim_stdio *modes = &d->stdio.modes;

        json_object_set_int_member(o, "container_created_at", (int64_t)t->container->created_at);
        json_object_set_int_member(o, "created_at", (int64_t)t->process.created_at);
        json_object_set_string_member(o, "checkpoint", d->checkpoint);
        json_object_set_string_member(o, "auto_remove", auto_remove_name(t->auto_remove));
        json_object_set_boolean_member(o, "terminal", t->process.terminal);
        json_object_set_boolean_member(o, "journal", t->journal);
        json_object_set_int_member(o, "in", modes->in);
        json_object_set_int_member(o, "out", modes->out);
        json_object_set_int_member(o, "err", modes->err);
        json_object_set_int_member(o, "listen_fds", modes->n_listen_fds);
        json_object_set_int_member(o, "console_width", d->console_width);
        json_object_set_int_member(o, "console_height", d->console_height);
        set_paths(o, d->stdio.paths);
        return record_write(t->ns->manager->runtime_fd, t->ns->name, KIND, t->id, o, false);
}

static void record_forget(Manager *m, const char *ns, const char *id) {
        int r = record_remove(m->runtime_fd, ns, KIND, id, false);

        if (r < 0)
                (void)log_warning_errno(r, "Cannot remove the record of the waiting task %s/%s", ns, id);
}

static uint32_t get_number(JsonObject *o, const char *key) {
        uint64_t v = 0;

        (void)record_get_u64(o, key, &v);
        return (uint32_t)v;
}

static bool get_bool(JsonObject *o, const char *key) {
        return json_object_get_boolean_member_with_default(o, key, FALSE);
}

static Deferred *read_deferred(JsonObject *o) {
        g_auto(GStrv) paths = NULL;
        const char *checkpoint;
        Deferred *d;

        if (record_get_string(o, "checkpoint", &checkpoint) < 0)
                return NULL;
        d = deferred_new(checkpoint);
        d->stdio.modes = (struct shim_stdio){ .in = (uint8_t)get_number(o, "in"),
                                              .out = (uint8_t)get_number(o, "out"),
                                              .err = (uint8_t)get_number(o, "err"),
                                              .n_listen_fds = (uint8_t)get_number(o, "listen_fds") };
        d->console_width = get_number(o, "console_width");
        d->console_height = get_number(o, "console_height");
        (void)record_get_strv(o, "paths", &paths);
        for (char **p = paths; p && *p; p++)
                g_byte_array_append(d->stdio.paths, (const guint8 *)*p, (guint)strlen(*p) + 1);
        d->lost = stdio_renew(&d->stdio) < 0;
        return d;
}

/* ---- creation ---- */

static int effective_spec(Container *c, const Deferred *d, JsonNode **ret, sd_bus_error *error) {
        return task_effective_spec(c, d->console_width, d->console_height, ret, error);
}

static int check(Container *c, Options *o, Deferred *d, bool *ret_terminal, sd_bus_error *error) {
        g_auto(PlanResult) plan = PLAN_RESULT_NULL;
        g_autoptr(JsonNode) spec = NULL;
        Checkpoint *k;
        int r;

        if (o->listen_fds && o->listen_fds->len > 0)
                return error_not_supported(error,
                                           "Container \"%s\" cannot be given sockets (ListenFDs) together with a "
                                           "checkpoint: its processes "
                                           "go on with the descriptors that they had.",
                                           c->id);
        r = effective_spec(c, d, &spec, error);
        if (r >= 0)
                r = checkpoint_check_restorable(c, d->checkpoint, spec, &k, error);
        if (r >= 0)
                r = task_check_first(c, error);
        if (r >= 0)
                r = rootfs_build(c, spec, 0, &plan, error);
        if (r < 0)
                return r;
        *ret_terminal = plan.terminal;
        return stdio_prepare(o, plan.terminal, &d->stdio, error);
}

static Task *make_task(Container *c, const char *scope, Deferred *d, bool terminal) {
        Task *t;

        (void)task_new(c, scope, &t);
        t->deferred = d;
        t->process.terminal = terminal;
        t->process.status = TASK_CREATED;
        t->spec_text = c->spec_text ? g_ref_string_acquire(c->spec_text) : NULL;
        return t;
}

/** task_defer() - see task-deferred.h */
int task_defer(Container *c, Options *o, bool at_once, Task **ret, sd_bus_error *error) {
        char scope[NAME_UNIT_MAX];
        bool terminal = false;
        Deferred *d;
        Task *t;
        int r;

        r = name_scope(c->ns->name, c->id, scope);
        if (r < 0)
                return r;
        d = deferred_new(o->checkpoint);
        d->console_width = o->console_width;
        d->console_height = o->console_height;
        r = check(c, o, d, &terminal, error);
        if (r < 0) {
                (void)deferred_free(d);
                return r;
        }
        t = make_task(c, scope, d, terminal);
        t->at_once = at_once;
        if (o->auto_remove >= 0 && c->auto_remove != AUTO_REMOVE_CONTAINER)
                t->auto_remove = o->auto_remove;
        if (d->stdio.modes.out == SHIM_STDIO_JOURNAL || d->stdio.modes.err == SHIM_STDIO_JOURNAL)
                (void)task_log_fields_write(t);
        r = at_once ? 0 : record_save(t);
        if (r < 0) {
                error_set_errno(error, r, "The task of container \"%s\" cannot be noted", c->id);
                task_forget(t);
                return r;
        }
        if (!at_once) {
                process_bus_added(&t->process);
                event_task(t, EVENT_TASK_CREATE);
        }
        *ret = t;
        return 0;
}

/* ---- start ---- */

static int begin(Task *t, task_done_t done, void *userdata, sd_bus_error *error) {
        Container *c = t->container;
        Deferred *d = t->deferred;
        g_autoptr(JsonNode) spec = NULL;
        TaskRestore q = { .images = -1 };
        Checkpoint *k;
        int r;

        r = effective_spec(c, d, &spec, error);
        if (r >= 0)
                r = checkpoint_check_restorable(c, d->checkpoint, spec, &k, error);
        if (r < 0)
                return r;
        r = checkpoint_dir_open_images(c, k->name);
        if (r < 0)
                return error_set_errno(error, r, "Checkpoint \"%s\" cannot be opened", k->name);
        q.images = r;
        q.spec = spec;
        q.other_spec = d->console_width > 0 && d->console_height > 0;
        stdio_init(&q.stdio);
        r = stdio_copy(&d->stdio, &q.stdio);
        if (r < 0)
                error_set_errno(error, r, "The streams of task \"%s\" cannot be handed on", t->id);
        else
                r = task_restore(t, &q, done, userdata, error);
        stdio_done(&q.stdio);
        (void)safe_close(q.images);
        return r;
}

/** task_deferred_start() - restores it; on failure it stays what it is, or goes where the same call has created it */
int task_deferred_start(Task *t, task_done_t done, void *userdata, sd_bus_error *error) {
        int r;

        if (t->deferred->lost)
                return error_precondition(error,
                                          "The streams of task \"%s\" went with the manager that had been given them; "
                                          "delete the task and create it again.",
                                          t->id);
        r = begin(t, done, userdata, error);
        if (r >= 0)
                return 0;
        process_tell_terminal(&t->process, -1);
        return error_set_errno(error, r, "Task \"%s\" cannot be started", t->id);
}

/** task_deferred_started() - nothing of the time before is kept */
void task_deferred_started(Task *t) {
        if (!t->at_once)
                record_forget(t->ns->manager, t->ns->name, t->id);
        t->deferred = deferred_free(t->deferred);
}

/** task_deferred_forget() - it goes without having run */
void task_deferred_forget(Task *t) {
        if (t->deferred && !t->at_once)
                record_forget(t->ns->manager, t->ns->name, t->id);
}

/* ---- what the last manager has left ---- */

static bool is_of(const Container *c, JsonObject *o) {
        uint64_t created_at = 0;

        return record_get_u64(o, "container_created_at", &created_at) >= 0 && created_at == c->created_at;
}

static int recover(Container *c, JsonObject *o) {
        char scope[NAME_UNIT_MAX];
        const char *remove = "";
        Deferred *d;
        Task *t;
        int r;

        r = name_scope(c->ns->name, c->id, scope);
        if (r < 0)
                return r;
        d = read_deferred(o);
        if (!d)
                return -EBADMSG;
        t = make_task(c, scope, d, get_bool(o, "terminal"));
        (void)record_get_u64(o, "created_at", &t->process.created_at);
        (void)record_get_string(o, "auto_remove", &remove);
        if (auto_remove_from_name(remove) >= 0)
                t->auto_remove = auto_remove_from_name(remove);
        t->journal = get_bool(o, "journal");
        process_bus_added(&t->process);
        return 0;
}

/** task_deferred_recover() - a start that was cut off has been undone: the task is what it was before */
void task_deferred_recover(Container *c) {
        Manager *m = c->ns->manager;
        g_autoptr(JsonObject) o = NULL;

        if (!c->task && record_read(m->runtime_fd, c->ns->name, KIND, c->id, &o) >= 0 && is_of(c, o))
                (void)recover(c, o);
}

static int recover_one(const char *id, JsonObject *o, void *userdata) {
        Namespace *ns = userdata;
        Container *c = g_hash_table_lookup(ns->containers, id);
        bool known = c && is_of(c, o);

        if (known && !c->task)
                return recover(c, o);
        if (known && c->task->deferred)
                return 0;
        /* One that has been asked for its state and has not answered may have to be undone yet. */
        if (!known || c->task->process.status != TASK_UNKNOWN)
                record_forget(ns->manager, ns->name, id);
        return 0;
}

/** tasks_deferred_recover() - those that nobody had begun to start */
void tasks_deferred_recover(Manager *m) {
        GHashTableIter iter;
        void *ns;

        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &ns))
                (void)record_foreach(m->runtime_fd, ((Namespace *)ns)->name, KIND, recover_one, ns);
}
