/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a task's object, with force also of what still runs.
 *
 * Whoever deletes many at once wants them gone, and everybody else an answer: the end of a container is work for the
 * kernel, for systemd, for the bus and for the disk, which one of them alone keeps two processors busy with. So few are
 * killed at a time, and after each the machine is left to others for some times as long as it took to go. One that does
 * not go, since the kernel cannot end it, holds up nobody: there is a turn every now and then whatever happens. The
 * callback is called exactly once, when shim and files have gone and nothing of the task comes back.
 */

#include <errno.h>

#include "daemon/error.h"
#include "daemon/sync.h"
#include "daemon/task.h"
#include "daemon/teardown.h"
#include "daemon/units.h"
#include "shared/log.h"

#define TURN_USEC (USEC_PER_SEC / 50)
#define REST_FACTOR 3 /* with 2 a list beside it waits 5 ms now and then, with 3 some 4, with none 10 */

typedef struct Delete {
        Manager *manager;
        Task *task;
        bool killed;
        uint64_t killed_at; /* usec, CLOCK_MONOTONIC */
        unsigned pending; /* shim and files, and their being durably gone */
        int r;
        struct shim_exited exit;
        task_deleted_t done;
        void *userdata;
} Delete;

/* A supervisor that cannot kill leaves it to systemd; one that has gone is dealt with where that is told. */
static void on_killed(const LinkAnswer *a, void *userdata) {
        Task *t = userdata;

        if (a->head && a->error < 0)
                units_kill(t->ns->manager->units, t->scope);
}

static void kill_next(Manager *m);

static void kill_it(Delete *d) {
        struct shim_kill body = { .signal = SIGKILL, .all = 1 };
        Task *t = d->task;

        d->killed = true;
        (void)sd_event_now(d->manager->event, CLOCK_MONOTONIC, &d->killed_at);
        d->manager->n_deletes++;
        if (!t->link || link_request(t->link, SHIM_KILL, &body, NULL, NULL, 0, on_killed, t) < 0)
                units_kill(d->manager->units, t->scope);
}

static int on_turn(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Manager *m = userdata;

        m->delete_rest = false;
        if (!g_queue_is_empty(&m->deletes))
                kill_it(g_queue_pop_head(&m->deletes));
        kill_next(m);
        return 0;
}

static void set_turn(Manager *m, uint64_t usec) {
        int r;

        if (!m->delete_turn)
                r = sd_event_add_time_relative(m->event, &m->delete_turn, CLOCK_MONOTONIC, usec, 1, on_turn, m);
        else {
                (void)sd_event_source_set_time_relative(m->delete_turn, usec);
                r = sd_event_source_set_enabled(m->delete_turn, SD_EVENT_ONESHOT);
        }
        if (r < 0)
                (void)log_warning_errno(r, "Deletes may have to wait for each other");
}

static uint32_t at_once(void) {
        return MAX(g_get_num_processors() / 2, 1U);
}

static bool has_turn(Manager *m) {
        return m->delete_turn && sd_event_source_get_enabled(m->delete_turn, NULL) > 0;
}

/* A turn counts from the last kill, not from the last that came to wait for one. */
static void kill_next(Manager *m) {
        bool killed = false;

        if (m->delete_rest)
                return;
        while (m->n_deletes < at_once() && !g_queue_is_empty(&m->deletes)) {
                kill_it(g_queue_pop_head(&m->deletes));
                killed = true;
        }
        if (!g_queue_is_empty(&m->deletes) && (killed || !has_turn(m)))
                set_turn(m, TURN_USEC);
}

/* One has gone, which was killed then; a slow machine rests for longer, but no longer than a turn. */
static void rest(Manager *m, uint64_t killed) {
        uint64_t now;

        if (m->delete_rest || g_queue_is_empty(&m->deletes) || sd_event_now(m->event, CLOCK_MONOTONIC, &now) < 0)
                return;
        m->delete_rest = true;
        set_turn(m, MIN(REST_FACTOR * (now - killed) / at_once(), TURN_USEC));
}

/* The next manager of this boot sees no task in what could not be removed, and one after it a task that has ended. */
static void finish(Delete *d) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

        if (--d->pending > 0)
                return;
        if (d->r < 0 && d->exit.kind) /* the only one who will be told */
                error_set_errno(&error, d->r,
                                "The task, which ended %u, %s, is deleted, but may be back, ended, after a restart",
                                d->exit.status, exit_kind_name(d->exit.kind));
        else if (d->r < 0)
                error_set_errno(&error, d->r, "The task is deleted, but may be back, ended, after a restart");
        d->done(d->r, &d->exit, &error, d->userdata);
        g_free(d);
}

static void on_durable(int r, void *userdata) {
        Delete *d = userdata;

        if (d->r >= 0)
                d->r = r;
        finish(d);
}

static void on_gone(void *userdata) {
        Delete *d = userdata;

        if (d->killed) {
                d->manager->n_deletes--;
                rest(d->manager, d->killed_at);
                kill_next(d->manager);
        }
        finish(d);
}

/* Its start has failed before it could be killed, and took it away: it is gone, as was wanted. */
static void on_taken_away(Delete *d) {
        const Task *t = d->task;

        d->pending = 1;
        if (!teardown_wait(d->manager, t->ns->name, t->id, on_gone, d))
                on_gone(d);
}

static void on_end(Process *p, void *userdata) {
        Delete *d = userdata;
        Sync *sync = d->manager->sync;
        uint64_t mark = sync_mark(sync);

        (void)g_queue_remove(&d->manager->deletes, d);
        if (!p && !d->task->container) {
                on_taken_away(d);
                return;
        }
        if (!p) {
                if (d->killed)
                        d->manager->n_deletes--;
                d->done(-ESRCH, NULL, NULL, d->userdata);
                g_free(d);
                return;
        }
        d->exit.status = p->exit_status;
        d->exit.kind = p->exit_kind;
        d->exit.exited_at = p->exited_at;
        d->pending = 2;
        d->r = task_leave(d->task, true, on_gone, d);
        sync_wait(sync, mark, on_durable, d);
}

/* One that waits to be started from a checkpoint has nothing that could end. */
static int delete_deferred(Task *t, task_deleted_t done, void *userdata) {
        Delete *d = g_new0(Delete, 1);

        *d = (Delete){ .manager = t->ns->manager, .pending = 2, .done = done, .userdata = userdata };
        d->r = task_leave(t, true, on_gone, d);
        finish(d);
        return 0;
}

/** task_delete() - the end of a task's object; with force also of what still runs. done when shim and files have gone.
 */
int task_delete(Task *t, bool force, task_deleted_t done, void *userdata, sd_bus_error *error) {
        Manager *m = t->ns->manager;
        Delete *d;

        if (t->launch)
                return error_precondition(error, "Task \"%s\" is still being created; try again when that is done.",
                                          t->id);
        if (t->deleting)
                return error_precondition(error, "Task \"%s\" is being deleted already.", t->id);
        if (t->deferred)
                return delete_deferred(t, done, userdata);
        if (!process_ended(&t->process) && !force)
                return error_precondition(error, "Task \"%s\" is %s; stop it first, or force it.", t->id,
                                          task_status_name(t->process.status));
        t->deleting = true;
        d = g_new0(Delete, 1);
        *d = (Delete){ .manager = m, .task = t, .done = done, .userdata = userdata };
        if (!process_ended(&t->process)) {
                g_queue_push_tail(&m->deletes, d);
                kill_next(m);
        }
        process_wait(&t->process, on_end, d);
        return 0;
}
