/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A start of a task that comes to nothing.
 *
 * What had been begun is undone before whoever asked is told, and that begins when no job of systemd's is under way. A
 * task that the start has made goes, and so does one that was created before and whose program cannot be executed; one
 * that waited to be restored stays as it was.
 */

#include "daemon/checkpoint.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/launch-internal.h"
#include "daemon/pool.h"
#include "daemon/sync.h"
#include "daemon/task-files.h"
#include "daemon/teardown.h"

static void after_undo(void *userdata) {
        Launch *l = userdata;

        l->done(NULL, l->failure, &l->error, l->userdata);
        pool_refill(l->manager->pool); /* a shim was used up all the same */
        (void)launch_free(l);
}

static void after_fall_back(void *userdata) {
        Launch *l = userdata;

        l->task->launch = NULL;
        process_tell_terminal(&l->task->process, -1);
        after_undo(l);
}

/* A task that there was before stays, and is as it was; until its shim has gone it is still being started. */
static void fall_back(Launch *l) {
        Task *t = l->task;

        pool_discard(l->manager->pool, t->ns->name, t->id);
        if (!t->link && l->asked)
                units_kill(l->manager->units, t->scope); /* what was restored knows no parent's death */
        if (t->auto_remove == AUTO_REMOVE_NO)
                (void)task_record_remove(t);
        teardown_start(t, true, after_fall_back, l);
}

/* The task leaves, its shim (if any) is told to go, and whoever asked hears when it has gone. */
static void leave(Launch *l) {
        Task *t = l->task;

        t->launch = NULL;
        l->task = NULL;
        pool_discard(l->manager->pool, t->ns->name, t->id);
        if (!t->link && l->asked)
                units_stop(l->manager->units, t->scope);
        (void)task_leave(t, true, after_undo, l);
}

static void on_record_gone(int r _unused_, void *userdata) {
        leave(userdata);
}

/* Everything of ours is quiet. A container that the same call has defined loses its record first: the task's directory
 * is what says that it was never started whole. */
void launch_undo(Launch *l) {
        Container *c = l->task->container;
        Sync *sync = l->manager->sync;
        uint64_t mark = sync_mark(sync);
        Task *t = l->task;

        l->timer = sd_event_source_disable_unref(l->timer);
        checkpoints_forget_start(c, t->noted);
        t->noted = 0;
        if (l->restore && !t->at_once) {
                fall_back(l);
                return;
        }
        if (t->whole && container_recorded(c)) {
                c->deleting = true; /* nobody writes it anew */
                (void)container_remove_record(c);
        }
        if (sync_mark(sync) == mark)
                leave(l);
        else
                sync_wait(sync, mark, on_record_gone, l);
}

void launch_fail(Launch *l, int r, const sd_bus_error *error) {
        if (l->failed)
                return;
        l->failed = true;
        l->failure = r;
        if (error && sd_bus_error_is_set(error))
                (void)sd_bus_error_copy(&l->error, error);
        else
                error_set_errno(&l->error, r, "Container \"%s\" cannot be started", l->task->id);
        event_failed(&l->task->process, r, &l->error);
        chain_request_cancel(g_steal_pointer(&l->chain));
        launcher_request_cancel(g_steal_pointer(&l->request));
        if (!l->unit)
                launch_undo(l);
}

/** launch_shim_gone() - the shim's end before the task was created */
void launch_shim_gone(Launch *l) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        l->task->link = link_free(l->task->link);
        r = error_unavailable(&error, "The supervisor of container \"%s\" died while it was being started.",
                              l->task->id);
        launch_fail(l, r, &error);
}

int launch_timeout(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Launch *l = userdata;
        int r;

        r = error_unavailable(
                &error, "Container \"%s\" was not ready in time; see the journal of davit-launcher.service and %s.",
                l->task->id, l->task->scope);
        unit_call_cancel(g_steal_pointer(&l->unit));
        if (l->failed)
                launch_undo(l);
        else
                launch_fail(l, r, &error);
        return 0;
}

typedef struct Failed {
        int r;
        sd_bus_error error;
        task_done_t done;
        void *userdata;
} Failed;

static void after_failed(void *userdata) {
        Failed *f = userdata;

        if (f->done)
                f->done(NULL, f->r, &f->error, f->userdata);
        sd_bus_error_free(&f->error);
        g_free(f);
}

/** task_start_failed() - the program of a created task cannot be executed, and its shim is ending: the task goes, what
 * it was made of stays. done (may be NULL) is called when nothing of it is left; error is what it is told. */
void task_start_failed(Task *t, int r, const sd_bus_error *error, task_done_t done, void *userdata) {
        Failed *f = g_new0(Failed, 1);

        *f = (Failed){ .r = r, .done = done, .userdata = userdata };
        (void)sd_bus_error_copy(&f->error, error);
        event_failed(&t->process, r, error);
        checkpoints_forget_start(t->container, t->noted);
        t->noted = 0;
        (void)task_leave(t, true, after_failed, f);
}
