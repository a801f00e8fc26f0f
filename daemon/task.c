/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tasks: a container that has been started, its shim's link and what becomes of it.
 *
 * The shim is the truth about processes; this object repeats what it says. The end of the first process is told to
 * those who wait before anything is torn down; a shim that dies without having told is an end of kind "lost", and its
 * scope is stopped. Owned by the table of its namespace; task_forget() is the only way out.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/exec.h"
#include "daemon/log-fields.h"
#include "daemon/scope-watch.h"
#include "daemon/task-deferred.h"
#include "daemon/task-files.h"
#include "daemon/task-seccomp.h"
#include "daemon/task.h"
#include "daemon/teardown.h"
#include "daemon/units.h"
#include "shared/exit-record.h"
#include "shared/log.h"
#include "shared/shim-drop.h"

#define STATUS_LOST 255U

static void exec_free_value(void *p) {
        (void)exec_free(p);
}

/** task_new() - a task in creation: in the tables, not yet on the bus */
int task_new(Container *c, const char *scope, Task **ret) {
        Task *t = g_new0(Task, 1);

        t->ns = c->ns;
        t->container = c;
        t->id = g_strdup(c->id);
        t->scope = g_strdup(scope);
        t->runtime = g_strdup(c->runtime.name);
        memcpy(t->boot_id, c->ns->manager->boot_id, sizeof(t->boot_id));
        t->auto_remove = c->auto_remove;
        t->execs = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, exec_free_value);
        process_init(&t->process, t, "", bus_object_path(c->ns->name, "task", c->id));
        t->process.command = g_strdupv(c->command);
        g_hash_table_insert(c->ns->tasks, t->id, t);
        g_queue_init(&t->updates);
        scope_limits_init(&t->limits, units_default_tasks_max(c->ns->manager->units));
        c->ns->manager->n_tasks++;
        c->task = t;
        *ret = t;
        return 0;
}

/** task_free() - frees the object alone */
Task *task_free(Task *t) {
        if (!t)
                return NULL;
        task_update_drop(t);
        scope_watch_remove(t);
        t->launch = launch_free(t->launch);
        t->deferred = deferred_free(t->deferred);
        t->link = link_free(t->link); /* those who wait for the process look at it once more */
        g_hash_table_unref(t->execs);
        process_done(&t->process);
        if (t->spec_text)
                g_ref_string_release(t->spec_text);
        g_free(t->id);
        g_free(t->scope);
        g_free(t->runtime);
        g_free(t);
        return NULL;
}

static void task_unlink(Task *t) {
        if (g_hash_table_lookup(t->ns->tasks, t->id) == t) {
                g_hash_table_remove(t->ns->tasks, t->id);
                t->ns->manager->n_tasks--;
        }
        if (t->container && t->container->task == t)
                t->container->task = NULL;
        t->container = NULL;
}

static void destroy(void *t) {
        (void)task_free(t);
}

/** task_leave() - off the bus and out of the tables; done is called when shim and directory have gone too. Frees the
 * task, also where its durable record cannot be removed, which is what is returned. */
int task_leave(Task *t, bool discard, void (*done)(void *userdata), void *userdata) {
        Exec *e;
        GHashTableIter iter;
        int r = 0;

        g_hash_table_iter_init(&iter, t->execs);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&e)) {
                if (e->process.visible)
                        event_exec(e, EVENT_EXEC_DELETED);
                process_bus_removed(&e->process);
        }
        if (t->process.visible)
                event_task(t, EVENT_TASK_DELETE);
        process_bus_removed(&t->process);
        task_deferred_forget(t);
        task_update_drop(t);
        scope_watch_remove(t);
        if (t->container && t->auto_remove == AUTO_REMOVE_NO)
                r = task_record_remove(t);
        if (t->journal)
                task_log_fields_remove(t);
        task_unlink(t);
        teardown_start(t, discard, done, userdata);
        manager_bury(t->ns->manager, t, destroy);
        return r;
}

/** task_forget() - task_leave() that nobody waits for */
void task_forget(Task *t) {
        (void)task_leave(t, false, NULL, NULL);
}

/* An exec that has not been told to have ended when its shim has gone never will be. */
static void lose_execs(Task *t) {
        g_autoptr(GList) execs = g_hash_table_get_values(t->execs);

        for (GList *l = execs; l; l = l->next) {
                Exec *e = l->data;
                if (!process_ended(&e->process) && e->process.status != TASK_CREATED)
                        exec_exited(e, STATUS_LOST, EXIT_KIND_LOST, now_usec(CLOCK_REALTIME));
        }
}

static bool execs_running(Task *t) {
        GHashTableIter iter;
        Exec *e;

        g_hash_table_iter_init(&iter, t->execs);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&e))
                if (!process_ended(&e->process) && e->process.status != TASK_CREATED)
                        return true;
        return false;
}

static void auto_remove(Task *t) {
        Container *c = t->container;
        bool whole = t->auto_remove == AUTO_REMOVE_CONTAINER;

        /* First: without its task's directory it would look like one that was never started. */
        if (whole && c)
                (void)container_remove_record(c);
        task_forget(t);
        if (whole && c)
                container_forget(c);
}

/*
 * The end of the first process. A kept task's record is durable before anybody hears of it; one that goes by itself is
 * out of the tables before the handler ends, so whoever reads the pipe and comes back at once finds the name free.
 */
static void finish(Task *t, uint32_t status, uint32_t kind, uint64_t exited_at) {
        Process *p = &t->process;

        if (process_ended(p))
                return;
        process_set_exited(p, status, kind, exited_at);
        event_task(t, EVENT_TASK_EXIT);
        if (t->auto_remove == AUTO_REMOVE_NO && !t->deleting) /* its record goes with it */
                (void)task_record_save(t);
        process_tell(p);
        if (t->auto_remove != AUTO_REMOVE_NO && !t->deleting && !execs_running(t))
                auto_remove(t);
}

/** task_exited() - the shim has told the end of the first process or of an exec */
void task_exited(Task *t, const struct shim_exited *e) {
        g_autofree char *exec_id = g_strndup(e->exec_id, sizeof(e->exec_id));
        Exec *exec;

        if (!*exec_id) {
                finish(t, e->status, e->kind, e->exited_at);
                return;
        }
        exec = g_hash_table_lookup(t->execs, exec_id);
        if (exec)
                exec_exited(exec, e->status, e->kind, e->exited_at);
        if (process_ended(&t->process) && t->auto_remove != AUTO_REMOVE_NO && t->container && !t->deleting &&
            !execs_running(t))
                auto_remove(t);
}

/* The shim writes its record before it tells anyone, so one that died in between has still said how it ended. */
static bool read_exit(Task *t, struct exit_record *ret) {
        _cleanup_close_ int fd = -1;

        fd = task_dir_open(t->ns->manager, t->ns->name, t->id, false);
        return fd >= 0 && exit_record_read(fd, EXIT_RECORD_NAME, ret) >= 0;
}

/** task_lost() - there is no shim any more: the end is what its record says, or unknown */
void task_lost(Task *t) {
        struct exit_record record;
        bool ended = process_ended(&t->process);

        t->link = link_free(t->link);
        task_oom_recover(t);
        task_violation_recover(t);
        if (!ended && read_exit(t, &record)) {
                process_set_dropped(&t->process, record.dropped_bytes);
                if (record.pid > 0) /* else its record has it, unless it never ran */
                        t->process.pid = record.pid;
                finish(t, record.status, record.kind, record.exited_at);
        } else if (!ended) {
                log_warning("The shim of task %s/%s has gone without a word; killing %s", t->ns->name, t->id, t->scope);
                units_kill(t->ns->manager->units, t->scope);
                finish(t, STATUS_LOST, EXIT_KIND_LOST, now_usec(CLOCK_REALTIME));
        }
}

/* Nobody waits for the sentence any more, but it is kept. */
static void late_failure(Task *t, Exec *e, const LinkAnswer *a) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        if (!e && !task_start_is_over(a))
                return;
        r = task_failure_of(t, e ? e->process.exec_id : "", "A start that the last manager was asked for", a, &error);
        if (e) {
                event_failed(&e->process, r, &error);
                exec_forget(e);
        } else
                task_start_failed(t, r, &error, NULL, NULL);
}

/* What the last manager has asked for finds this one: the program of a created task or exec runs, or it never will. */
static void late_answer(Task *t, const LinkAnswer *a) {
        const struct shim_started *s = a->head->type == SHIM_STARTED ? a->body : NULL;
        const struct shim_failed *f = a->head->type == SHIM_FAILED ? a->body : NULL;
        g_autofree char *exec_id = g_strndup(s ? s->exec_id : f->exec_id, SHIM_EXEC_ID_MAX);
        Exec *e = *exec_id ? g_hash_table_lookup(t->execs, exec_id) : NULL;
        Process *p = *exec_id ? (e ? &e->process : NULL) : &t->process;

        if (!p || p->status != TASK_CREATED)
                return;
        if (s && e)
                exec_started(e, s, packet_take_fd(a->packet, 0));
        else if (s)
                task_started(t, s);
        else
                late_failure(t, e, a);
}

static void task_dropped(Task *t, const struct shim_dropped *d) {
        g_autofree char *exec_id = g_strndup(d->exec_id, sizeof(d->exec_id));
        Exec *e = *exec_id ? g_hash_table_lookup(t->execs, exec_id) : NULL;

        if (e || !*exec_id)
                process_set_dropped(e ? &e->process : &t->process, d->bytes);
}

static void on_event(const LinkAnswer *event, void *userdata) {
        Task *t = userdata;

        switch (event->head->type) {
        case SHIM_STARTED:
        case SHIM_FAILED:
                late_answer(t, event);
                break;
        case SHIM_EXITED:
                task_exited(t, event->body);
                break;
        case SHIM_STATE:
                task_state(t, event->body);
                break;
        case SHIM_OOM:
                task_oom(t, event->body);
                break;
        case SHIM_VIOLATION:
                task_violation(t, event->body);
                break;
        case SHIM_DROPPED:
                task_dropped(t, event->body);
                break;
        default:
                log_debug("Task %s/%s: message %u is not expected now", t->ns->name, t->id, event->head->type);
        }
}

static void on_gone(void *userdata) {
        Task *t = userdata;

        if (t->launch) {
                launch_shim_gone(t->launch);
                return;
        }
        lose_execs(t);
        if (process_ended(&t->process)) {
                t->link = link_free(t->link);
                if (t->auto_remove != AUTO_REMOVE_NO && t->container && !t->deleting)
                        auto_remove(t);
                return;
        }
        task_lost(t);
}

const LinkHandlers task_link_handlers = { on_event, on_gone };
