/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events: what has happened to an object, told once and in one order.
 *
 * Each gets the next number, is kept (event-log.c), goes to those who listen on the bus and, when there is nothing
 * better to do, to the journal. Nothing here waits, on a start least of all: an event costs one write into memory.
 * It is told after what it tells of is true for whoever asks.
 */

#include "daemon/event.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/container.h"
#include "daemon/error.h"
#include "daemon/event-internal.h"
#include "daemon/exec.h"
#include "daemon/task.h"
#include "shared/log.h"
#include "shared/message.h"
#include "shared/process.h"

/** events_new() - goes on where the last manager has stopped */
int events_new(Manager *m, Events **ret) {
        Events *e = g_new0(Events, 1);
        int r;

        e->manager = m;
        e->log = (EventLog)EVENT_LOG_NULL;
        e->recovering = true;
        e->memory = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        e->numbers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        r = event_log_open(&e->log, m->runtime_fd, m->state_fd, event_memory_load, e);
        if (r >= 0)
                r = event_journal_new(e, &e->journal);
        if (r < 0) {
                (void)events_free(e);
                return log_error_errno(r, "Cannot open the record of events");
        }
        *ret = e;
        return 0;
}

/** events_free() - what has not come to the journal yet is the next manager's to write */
Events *events_free(Events *e) {
        if (!e)
                return NULL;
        e->journal = event_journal_free(e->journal);
        e->listeners = sd_bus_track_unref(e->listeners);
        event_log_close(&e->log);
        g_hash_table_unref(e->memory);
        g_hash_table_unref(e->numbers);
        g_free(e);
        return NULL;
}

/* One line of the record; a control character would end it, and is nothing a checked name has. */
static void add_field(GString *s, const char *name, const char *value) {
        g_string_append(s, name);
        g_string_append_c(s, '=');
        for (const char *p = value; *p; p++)
                g_string_append_c(s, g_ascii_iscntrl(*p) ? '?' : *p);
        g_string_append_c(s, '\n');
}

/* The sentence of the type, its @NAME@s replaced by the fields that stand in the record already. */
static void add_sentence(GString *s, const char *sentence) {
        size_t size = s->len;

        g_string_append(s, "MESSAGE=");
        while (*sentence) {
                const char *at = strchr(sentence, '@'), *end = at ? strchr(at + 1, '@') : NULL, *value;
                g_autofree char *name = NULL;
                size_t n;

                if (!end)
                        break;
                g_string_append_len(s, sentence, at - sentence);
                name = g_strndup(at + 1, (gsize)(end - at - 1));
                if (event_field(s->str, size, name, &value, &n)) {
                        g_autofree char *copy = g_strndup(value, n);
                        g_string_append(s, copy);
                }
                sentence = end + 1;
        }
        g_string_append(s, sentence);
        g_string_append_c(s, '\n');
}

static const char *detail(const GPtrArray *details, const char *name) {
        for (guint i = 0; i + 1 < details->len; i += 2)
                if (streq(g_ptr_array_index(details, i), name))
                        return g_ptr_array_index(details, i + 1);
        return NULL;
}

static int priority(EventType type, const GPtrArray *details) {
        const char *kind = detail(details, "EXIT_KIND");

        return kind && !streq(kind, "exited") ? 5 : event_info(type)->priority;
}

static GString *record(EventType type, const char *ns, const char *id, const char *object, uint64_t sequence,
                       uint64_t time, const GPtrArray *details) {
        const EventInfo *info = event_info(type);
        GString *s = g_string_sized_new(1024);

        g_string_append_printf(s, "DAVIT_SEQUENCE=%" PRIu64 "\nDAVIT_TIME=%" PRIu64 "\nDAVIT_EVENT=%s\n", sequence,
                               time, info->name);
        add_field(s, "CONTAINER_NAMESPACE", ns);
        add_field(s, "DAVIT_ID", id);
        for (guint i = 0; i + 1 < details->len; i += 2)
                add_field(s, g_ptr_array_index(details, i), g_ptr_array_index(details, i + 1));
        if (g_str_has_prefix(info->name, "task.") || g_str_has_prefix(info->name, "container."))
                add_field(s, "CONTAINER_ID", id);
        add_field(s, "DAVIT_OBJECT", object);
        g_string_append_printf(s, "MESSAGE_ID=%s\nPRIORITY=%d\nSYSLOG_IDENTIFIER=davitd\n", info->message_id,
                               priority(type, details));
        add_sentence(s, info->sentence);
        g_string_append_c(s, '\n');
        return s;
}

static GPtrArray *read_details(va_list ap) {
        GPtrArray *details = g_ptr_array_new();
        const char *name;

        while ((name = va_arg(ap, const char *))) {
                const char *value = va_arg(ap, const char *);

                if (!value)
                        continue;
                g_ptr_array_add(details, (void *)name);
                g_ptr_array_add(details, (void *)value);
        }
        return details;
}

/** event_emit() - tells what has happened; see event.h */
void event_emit(Manager *m, EventType type, const char *ns, const char *id, const char *object, ...) {
        g_autoptr(GPtrArray) details = NULL;
        uint64_t now = now_usec(CLOCK_REALTIME), sequence;
        Events *e = m->events;
        bool rotated;
        GString *s;
        va_list ap;

        if (!e)
                return;
        va_start(ap, object);
        details = read_details(ap);
        va_end(ap);
        if (event_memory_drop(e, type, ns, id, detail(details, "EXEC_ID")))
                return;
        (void)event_log_reserve(&e->log);
        sequence = e->log.next;
        s = record(type, ns, id, object, sequence, now, details);
        (void)event_log_append(&e->log, s->str, s->len, &rotated);
        g_string_free(s, TRUE);
        if (rotated)
                event_journal_rotated(e->journal);
        event_journal_wake(e->journal);
        event_bus_emit(e, type, ns, id, object, sequence, now, details);
}

/** event_container() - of a container, with its image */
void event_container(const Container *c, EventType type) {
        event_emit(c->ns->manager, type, c->ns->name, c->id, c->path, "IMAGE_NAME", c->image, NULL);
}

/** event_process() - of the first process of a task, or of a further one */
void event_process(const Process *p, EventType type) {
        const char *exec_id = *p->exec_id ? p->exec_id : NULL;
        bool ended = type == EVENT_TASK_EXIT || type == EVENT_EXEC_EXITED, end = event_is_end(type);
        const Task *t = p->task;
        char pid[16], status[16];

        /* An end that is older than the record was told before the record's beginning was forgotten. */
        if (ended && p->exited_at > 0 && p->manager->events && p->exited_at < p->manager->events->log.first_time)
                events_known(p->manager, type, t->ns->name, t->id, exec_id);
        if (ended && p->manager->events)
                event_memory_complete(p->manager->events, p);
        g_snprintf(pid, sizeof(pid), "%u", p->pid);
        g_snprintf(status, sizeof(status), "%u", p->exit_status);
        event_emit(p->manager, type, t->ns->name, t->id, p->path, "EXEC_ID", exec_id, "CONTAINER_PID",
                   p->pid > 0 && !end ? pid : NULL, "EXIT_STATUS", ended ? status : NULL, "EXIT_KIND",
                   ended ? exit_kind_name(p->exit_kind) : NULL, "OBJECT_SYSTEMD_UNIT", t->scope, NULL);
}

/** event_failed() - a start that has failed, with what the caller is told; error may be empty */
void event_failed(const Process *p, int r, const sd_bus_error *error) {
        bool named = error && sd_bus_error_is_set(error);
        const Task *t = p->task;

        event_emit(p->manager, EVENT_TASK_FAILED, t->ns->name, t->id, p->path, "EXEC_ID",
                   *p->exec_id ? p->exec_id : NULL, "ERROR_NAME",
                   named ? error->name : error_kind_bus_name(error_kind_from_errno(r)), "ERROR",
                   named && error->message ? error->message : g_strerror(-r), "OBJECT_SYSTEMD_UNIT", t->scope, NULL);
}

/** event_task() - of a task or of its first process */
void event_task(const Task *t, EventType type) {
        event_process(&t->process, type);
}

/** event_exec() - of a further process */
void event_exec(const Exec *e, EventType type) {
        event_process(&e->process, type);
}
