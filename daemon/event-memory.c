/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the last manager has told, compared with what is true now.
 *
 * A manager that is killed may have done something and not told it, or told it and not come to the end of it. The
 * record of events says what it told last of every object; while the next one finds out what is there, a second telling
 * of the same is dropped here, and once it knows, what was never told is told: what is there and was not announced,
 * what has gone and was not said to. So each change is told once, whenever the manager died.
 */

#include <string.h>

#include "daemon/bus.h"
#include "daemon/container.h"
#include "daemon/content.h"
#include "daemon/event-internal.h"
#include "daemon/exec.h"
#include "daemon/image-bus.h"
#include "daemon/lease.h"
#include "daemon/snapshot-bus.h"
#include "daemon/task.h"
#include "shared/message.h"

/* In the order in which what has gone is told: what is part of something before that. */
static const struct {
        const char *kind;
        EventType end;
} kinds[] = {
        { "exec", EVENT_EXEC_DELETED },          { "task", EVENT_TASK_DELETE },
        { "container", EVENT_CONTAINER_DELETE }, { "snapshot", EVENT_SNAPSHOT_REMOVE },
        { "image", EVENT_IMAGE_DELETE },         { "content", EVENT_CONTENT_DELETE },
        { "lease", EVENT_LEASE_DELETE },         { "namespace", EVENT_NAMESPACE_DELETE },
};

/* exec\nNAMESPACE\nID\nEXEC, image\nNAMESPACE\nNAME\n, ...: no name has a line break. */
static char *key_of(EventType type, const char *ns, const char *id, const char *exec_id) {
        const char *name = event_info(type)->name;
        size_t n = strcspn(name, ".");

        if (g_str_has_prefix(name, "task.exec-"))
                return g_strdup_printf("exec\n%s\n%s\n%s", ns, id, exec_id ?: "");
        return g_strdup_printf("%.*s\n%s\n%s\n", (int)n, name, ns, id);
}

/* Whether a type says where something is in its life; a change of labels does not, and neither does what may happen to
 * it again. */
static bool is_step(EventType type) {
        return !g_str_has_suffix(event_info(type)->name, ".update") && type != EVENT_TASK_OOM &&
               type != EVENT_TASK_SECCOMP && type != EVENT_TASK_FAILED && type != EVENT_JOB_FAILED;
}

static void remember(Events *e, EventType type, char *key) {
        if (is_step(type))
                g_hash_table_insert(e->memory, key, GUINT_TO_POINTER(type + 1U));
        else
                g_free(key);
}

static char *number_key(EventType type, const char *ns, const char *id) {
        return g_strdup_printf("%s\n%s\n%s", event_info(type)->name, ns, id);
}

/* Of a task: the next one of its name begins anew. */
static void remember_number(Events *e, EventType type, const char *ns, const char *id, uint64_t number) {
        static const EventType numbered[] = { EVENT_TASK_OOM, EVENT_TASK_SECCOMP };

        if (number > 0)
                g_hash_table_insert(e->numbers, number_key(type, ns, id), GSIZE_TO_POINTER((gsize)number));
        for (size_t i = 0; i < G_N_ELEMENTS(numbered) && (type == EVENT_TASK_CREATE || type == EVENT_TASK_DELETE);
             i++) {
                g_autofree char *key = number_key(numbered[i], ns, id);
                (void)g_hash_table_remove(e->numbers, key);
        }
}

/** events_number() - which of a kind of event of a task was told last; the shim's number, 0 where none was */
uint64_t events_number(Manager *m, EventType type, const char *ns, const char *id) {
        g_autofree char *key = number_key(type, ns, id);

        return m->events ? (uint64_t)GPOINTER_TO_SIZE(g_hash_table_lookup(m->events->numbers, key)) : 0;
}

/** event_memory_load() - an event of the record; a handler of event_log_open() */
void event_memory_load(const char *text, size_t size, void *userdata) {
        static const char *const names[] = { "DAVIT_EVENT", "CONTAINER_NAMESPACE", "DAVIT_ID", "EXEC_ID" };
        g_auto(GStrv) values = g_new0(char *, G_N_ELEMENTS(names) + 1);
        EventType type;

        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                const char *value = "";
                size_t n = 0;

                (void)event_field(text, size, names[i], &value, &n);
                values[i] = g_strndup(value, n);
        }
        type = event_type_from_name(values[0]);
        if (type >= _EVENT_TYPE_MAX)
                return;
        remember(userdata, type, key_of(type, values[1], values[2], values[3]));
        remember_number(userdata, type, values[1], values[2], event_number(text, size, EVENT_NUMBER));
}

static bool is_beginning(EventType type) {
        switch (type) {
        case EVENT_CONTAINER_CREATE:
        case EVENT_TASK_CREATE:
        case EVENT_EXEC_ADDED:
        case EVENT_IMAGE_CREATE:
        case EVENT_SNAPSHOT_PREPARE:
        case EVENT_SNAPSHOT_COMMIT:
        case EVENT_CONTENT_CREATE:
        case EVENT_LEASE_CREATE:
        case EVENT_NAMESPACE_CREATE:
                return true;
        default:
                return false;
        }
}

/* While it is being found out what is there: namespaces are no news then, and nothing is about what was said to have
 * gone. */
static bool drop_recovering(Events *e, EventType type, char *key) {
        unsigned before = GPOINTER_TO_UINT(g_hash_table_lookup(e->memory, key));
        bool told = before > 0 && (before - 1 == type || event_is_end((EventType)(before - 1)));

        if (told || type == EVENT_NAMESPACE_CREATE)
                g_free(key);
        else
                remember(e, type, key);
        return told || type == EVENT_NAMESPACE_CREATE;
}

/** event_memory_drop() - whether this has been told already; otherwise it is being told now */
bool event_memory_drop(Events *e, EventType type, const char *ns, const char *id, const char *exec_id) {
        g_autofree char *key = NULL;

        if (!e->recovering && g_hash_table_size(e->memory) == 0)
                return false;
        key = key_of(type, ns, id, exec_id);
        if (e->recovering)
                return drop_recovering(e, type, g_steal_pointer(&key));
        if (!g_hash_table_contains(e->memory, key))
                return false;
        if (is_beginning(type) || event_is_end(type))
                (void)g_hash_table_remove(e->memory, key);
        return !is_beginning(type);
}

/** events_known() - what a record says to have been told in an earlier boot, or has happened before what is kept */
void events_known(Manager *m, EventType type, const char *ns, const char *id, const char *exec_id) {
        char *key;

        if (!m->events || !m->events->recovering)
                return;
        key = key_of(type, ns, id, exec_id);
        if (g_hash_table_contains(m->events->memory, key))
                g_free(key);
        else
                remember(m->events, type, key);
}

/* ---- what is there ---- */

static EventType last(Events *e, const char *kind, const char *ns, const char *id, const char *exec_id) {
        g_autofree char *key = g_strdup_printf("%s\n%s\n%s\n%s", kind, ns, id, exec_id);
        unsigned type = GPOINTER_TO_UINT(g_hash_table_lookup(e->memory, key));

        return type > 0 ? (EventType)(type - 1) : _EVENT_TYPE_MAX;
}

/* Whether its beginning has to be told: it is younger than what is kept, and nothing of it is there. */
static bool unknown(Events *e, const char *kind, const char *ns, const char *id, uint64_t since) {
        return last(e, kind, ns, id, "") == _EVENT_TYPE_MAX && since >= e->log.first_time;
}

static EventType last_of(Events *e, const Process *p) {
        return last(e, *p->exec_id ? "exec" : "task", p->task->ns->name, p->task->id, p->exec_id);
}

/** event_memory_complete() - tells how a process has begun, where nobody did before the last manager was killed: its
 * end is just being told */
void event_memory_complete(Events *e, const Process *p) {
        bool exec = *p->exec_id;
        const Task *t = p->task;
        EventType type;

        if (!e->recovering)
                return;
        if (t->container && unknown(e, "container", t->ns->name, t->id, t->container->created_at))
                event_container(t->container, EVENT_CONTAINER_CREATE);
        type = last_of(e, p);
        if (type == _EVENT_TYPE_MAX)
                event_process(p, exec ? EVENT_EXEC_ADDED : EVENT_TASK_CREATE);
        type = last_of(e, p);
        if ((type == EVENT_EXEC_ADDED || type == EVENT_TASK_CREATE) &&
            (p->started_at > 0 || p->exit_kind == EXIT_KIND_EXITED))
                event_process(p, exec ? EVENT_EXEC_STARTED : EVENT_TASK_START);
}

static void tell_exec(Events *e, Exec *x) {
        const Task *t = x->process.task;
        EventType type = last(e, "exec", t->ns->name, t->id, x->process.exec_id);

        if (type == EVENT_EXEC_ADDED && x->process.started_at > 0 && !process_ended(&x->process))
                event_exec(x, EVENT_EXEC_STARTED);
}

static void tell_task(Events *e, Task *t) {
        EventType type = last(e, "task", t->ns->name, t->id, "");
        const Process *p = &t->process;
        GHashTableIter iter;
        Exec *x;

        if (unknown(e, "task", t->ns->name, t->id, p->created_at)) {
                event_task(t, EVENT_TASK_CREATE);
                type = EVENT_TASK_CREATE;
        }
        if (type == EVENT_TASK_CREATE && p->started_at > 0 && !process_ended(p))
                event_task(t, EVENT_TASK_START);
        if (p->status == TASK_PAUSED && type == EVENT_TASK_START)
                event_task(t, EVENT_TASK_PAUSED);
        if (p->status == TASK_RUNNING && type == EVENT_TASK_PAUSED)
                event_task(t, EVENT_TASK_RESUMED);
        g_hash_table_iter_init(&iter, t->execs);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&x))
                tell_exec(e, x);
}

static void tell_store_objects(Events *e, Namespace *ns) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->snapshots);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Snapshot *s = value;
                if (unknown(e, "snapshot", ns->name, s->key, s->created))
                        snapshot_event(s,
                                       s->kind == SNAPSHOT_COMMITTED ? EVENT_SNAPSHOT_COMMIT : EVENT_SNAPSHOT_PREPARE);
        }
        g_hash_table_iter_init(&iter, ns->images);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Image *i = value;
                if (unknown(e, "image", ns->name, i->record->name, i->record->imported))
                        image_event(i, EVENT_IMAGE_CREATE);
        }
        g_hash_table_iter_init(&iter, ns->contents);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Content *c = value;
                if (unknown(e, "content", ns->name, c->digest, c->created))
                        content_event(c, EVENT_CONTENT_CREATE);
        }
        g_hash_table_iter_init(&iter, ns->leases);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Lease *l = value;
                if (unknown(e, "lease", ns->name, l->id, l->created))
                        lease_event(l, EVENT_LEASE_CREATE);
        }
}

static void tell_there(Events *e) {
        GHashTableIter iter, inner;
        Namespace *ns;
        void *value;

        g_hash_table_iter_init(&iter, e->manager->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&ns)) {
                tell_store_objects(e, ns);
                g_hash_table_iter_init(&inner, ns->containers);
                while (g_hash_table_iter_next(&inner, NULL, &value)) {
                        const Container *c = value;
                        if (unknown(e, "container", ns->name, c->id, c->created_at))
                                event_container(c, EVENT_CONTAINER_CREATE);
                }
                g_hash_table_iter_init(&inner, ns->tasks);
                while (g_hash_table_iter_next(&inner, NULL, &value))
                        tell_task(e, value);
        }
}

/* ---- what is there no more ---- */

static bool there(Manager *m, const char *kind, const char *ns_name, const char *id, const char *exec_id) {
        Namespace *ns = g_hash_table_lookup(m->namespaces, ns_name);
        Task *t;

        if (!ns || streq(kind, "namespace"))
                return ns;
        if (streq(kind, "container"))
                return g_hash_table_contains(ns->containers, id);
        if (streq(kind, "snapshot"))
                return g_hash_table_contains(ns->snapshots, id);
        if (streq(kind, "image"))
                return g_hash_table_contains(ns->images, id);
        if (streq(kind, "content"))
                return g_hash_table_contains(ns->contents, id);
        if (streq(kind, "lease"))
                return g_hash_table_contains(ns->leases, id);
        t = g_hash_table_lookup(ns->tasks, id);
        return t && (streq(kind, "task") || g_hash_table_contains(t->execs, exec_id));
}

static char *path_of(const char *kind, const char *ns, const char *id, const char *exec_id) {
        g_autofree char *task = NULL, *prefix = NULL;
        char *path = NULL;

        if (streq(kind, "namespace"))
                return bus_object_path(ns, NULL, NULL);
        if (!streq(kind, "exec"))
                return bus_object_path(ns, kind, id);
        task = bus_object_path(ns, "task", id);
        prefix = g_strconcat(task, "/exec", NULL);
        return sd_bus_path_encode(prefix, exec_id, &path) < 0 ? NULL : path;
}

/* How a process has ended that ran when the manager was killed and of which nothing is left, nobody knows. */
static void tell_gone(Events *e, EventType before, EventType end, char **k) {
        g_autofree char *path = path_of(k[0], k[1], k[2], k[3]);
        bool exec = streq(k[0], "exec");
        bool ran = before == EVENT_TASK_START || before == EVENT_TASK_PAUSED || before == EVENT_TASK_RESUMED ||
                   before == EVENT_EXEC_STARTED;

        if (!path)
                return;
        if (ran)
                event_emit(e->manager, exec ? EVENT_EXEC_EXITED : EVENT_TASK_EXIT, k[1], k[2], path, "EXEC_ID",
                           exec ? k[3] : NULL, "EXIT_STATUS", "255", "EXIT_KIND", "lost", NULL);
        event_emit(e->manager, end, k[1], k[2], path, "EXEC_ID", exec ? k[3] : NULL, NULL);
}

static void tell_all_gone(Events *e, const char *kind, EventType end) {
        g_autoptr(GList) keys = g_list_sort(g_hash_table_get_keys(e->memory), (GCompareFunc)strcmp);
        g_autoptr(GPtrArray) gone = g_ptr_array_new_with_free_func(g_free);

        for (GList *l = keys; l; l = l->next)
                g_ptr_array_add(gone, g_strdup(l->data)); /* telling changes the table */
        for (guint i = 0; i < gone->len; i++) {
                const char *key = g_ptr_array_index(gone, i);
                g_auto(GStrv) k = g_strsplit(key, "\n", 4);
                EventType before;

                if (g_strv_length(k) != 4 || !streq(k[0], kind) || there(e->manager, k[0], k[1], k[2], k[3]))
                        continue;
                before = last(e, k[0], k[1], k[2], k[3]);
                if (!event_is_end(before))
                        tell_gone(e, before, end, k);
        }
}

/* What was said to have gone and is still being taken away is not to be told again when that is done. */
static gboolean is_done_with(void *key, void *value, void *userdata) {
        g_auto(GStrv) k = g_strsplit(key, "\n", 4);
        Events *e = userdata;

        return !event_is_end((EventType)(GPOINTER_TO_UINT(value) - 1U)) || g_strv_length(k) != 4 ||
               !there(e->manager, k[0], k[1], k[2], k[3]);
}

/** events_recovered() - everything that is there is known: tells what was not told */
void events_recovered(Manager *m) {
        Events *e = m->events;

        if (!e || !e->recovering)
                return;
        for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
                tell_all_gone(e, kinds[i].kind, kinds[i].end);
        tell_there(e);
        e->recovering = false;
        g_hash_table_remove_all(e->numbers);
        (void)g_hash_table_foreach_remove(e->memory, is_done_with, e);
}
