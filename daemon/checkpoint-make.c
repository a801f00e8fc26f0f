/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Task.Checkpoint: the processes of a task are held still and dumped by the launcher, then run on or end.
 *
 * What can be refused is refused before anything is touched, this host's inability included. The record comes last, so
 * a checkpoint is there whole or not at all; and only then, with Exit, is the task ended. A failure at any step, a
 * cancellation and the end of the manager leave a task that runs, or is paused, as it was before; not before the
 * process that dumps has gone, which would hold it still once more, and writes into the directory. What takes longer
 * than is configured is given up like that, and where that process does not go even so its job ends without it. The
 * task may go at any moment; it is looked up again at every step.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "daemon/checkpoint.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/exec.h"
#include "daemon/freeze.h"
#include "daemon/launcher.h"
#include "daemon/snapshot.h"
#include "daemon/task-deferred.h"
#include "daemon/task-files.h"
#include "daemon/task.h"
#include "daemon/units.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/message.h"

/* What a dump that is given up may take to undo what it has begun, and then some. */
#define STOP_USEC (20 * USEC_PER_SEC)

typedef struct Make {
        Manager *manager;
        char *ns, *id;
        uint64_t container_created_at, task_created_at;
        Checkpoint *checkpoint; /* what it is to be; NULL once it is the container's, who may delete it */
        uint64_t bytes;
        bool exit;
        char *program; /* version of what dumps */
        int images;
        Freeze *freeze;
        Snapshot *snapshot; /* held */
        Job *job;           /* NULL: nobody waits any more */
        sd_event_source *timer;
        uint32_t serial;       /* of the check, then of the dump; 0: it has not begun, or is over */
        int life;              /* ends with the process that dumps; -1: it was never asked for */
        sd_event_source *over; /* that end, waited for after a failure */
        int failure;
        sd_bus_error error;
        bool cancelled, late;
        checkpoint_begun_t begun; /* NULL once it has been called */
        void *userdata;
} Make;

static void make_free(Make *k) {
        k->manager->makes = g_slist_remove(k->manager->makes, k);
        sd_event_source_disable_unref(k->over);
        sd_event_source_disable_unref(k->timer);
        sd_bus_error_free(&k->error);
        checkpoint_free(k->checkpoint);
        (void)safe_close(k->images);
        (void)safe_close(k->life);
        g_free(k->program);
        g_free(k->ns);
        g_free(k->id);
        g_free(k);
}

/* The task it began with; NULL where that has gone. */
static Task *task_of(const Make *k) {
        Container *c = container_same(k->manager, k->ns, k->id, k->container_created_at);

        return c && c->task && c->task->process.created_at == k->task_created_at ? c->task : NULL;
}

/* The end of a manager: what is held still is let go elsewhere, and the next one tidies up. */
static bool manager_ends(const Make *k) {
        return g_hash_table_size(k->manager->namespaces) == 0;
}

/* One of the container's next task, perhaps of the same name. */
static bool another_is_made(const Make *k, const Container *c) {
        return c && c->task && c->task->held && c->task != task_of(k);
}

/* Lets go of everything; the task runs on where it did. */
static void release(Make *k) {
        Container *c = container_same(k->manager, k->ns, k->id, k->container_created_at);
        Task *t = task_of(k);

        if (t)
                t->held = false;
        k->freeze = freeze_end(k->freeze);
        if (k->snapshot) {
                k->snapshot->busy = NULL;
                snapshot_job_end(k->snapshot);
        }
        if (c && !another_is_made(k, c))
                checkpoints_tidy(c);
        if (k->life >= 0)
                checkpoint_life_over(k->manager, k->ns, k->id, k->task_created_at);
}

static void discard(const Make *k) {
        g_autofree char *entry = g_strconcat(CHECKPOINT_NEW, k->checkpoint->name, NULL);

        checkpoint_dir_discard(k->manager, k->ns, k->id, entry);
}

/* Whoever waits is told, once. */
static void tell_failure(Make *k) {
        bool named = sd_bus_error_is_set(&k->error);
        Job *job = TAKE_PTR(k->job);

        if (job && k->cancelled)
                (void)job_finish_cancelled(job);
        else if (job)
                (void)job_finish_error(job,
                                       named ? k->error.name : error_kind_bus_name(error_kind_from_errno(k->failure)),
                                       named && k->error.message ? k->error.message : g_strerror(-k->failure));
}

static void undo(Make *k) {
        if (!another_is_made(k, container_same(k->manager, k->ns, k->id, k->container_created_at)))
                discard(k);
        release(k);
        tell_failure(k);
        make_free(k);
}

static int on_over(sd_event_source *s _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        undo(userdata);
        return 0;
}

static int late(const Make *k, const char *why, sd_bus_error *error) {
        return error_unavailable(
                error,
                "The checkpoint of task \"%s\" was not made within %.6g s (CheckpointTimeoutUSec) and has "
                "been given up: %s.",
                k->id, (double)k->manager->config.checkpoint_timeout_usec / USEC_PER_SEC, why);
}

/* What dumps has been told to go, or killed by the launcher, and is there still: it is waited for without the job. */
static int on_stuck(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata) {
        static const char what[] = "what dumps it does not end, and it is held still until that has gone";
        Make *k = userdata;

        log_warning("The checkpoint of task %s/%s is given up, but %s", k->ns, k->id, what);
        if (k->late && !sd_bus_error_is_set(&k->error))
                (void)late(k, what, &k->error);
        tell_failure(k);
        return 0;
}

static void set_timer(Make *k, uint64_t usec, sd_event_time_handler_t handler) {
        k->timer = sd_event_source_disable_unref(k->timer);
        (void)sd_event_add_time_relative(k->manager->event, &k->timer, CLOCK_MONOTONIC, usec, 0, handler, k);
}

static void fail(Make *k, int r, const sd_bus_error *error) {
        if (manager_ends(k)) {
                make_free(k);
                return;
        }
        k->failure = r;
        if (error && sd_bus_error_is_set(error) && !sd_bus_error_is_set(&k->error))
                (void)sd_bus_error_copy(&k->error, error);
        if (k->life < 0 || sd_event_add_io(k->manager->event, &k->over, k->life, EPOLLIN, on_over, k) < 0)
                undo(k);
        else if (k->job)
                set_timer(k, STOP_USEC, on_stuck);
}

static int gone(const Make *k, sd_bus_error *error) {
        return error_precondition(error, "Task \"%s\" has ended meanwhile.", k->id);
}

/* ---- what takes too long ---- */

/* Its answer tells the end of it. */
static void give_up(Make *k) {
        (void)launcher_dump_end(k->manager->launcher, k->serial, false, NULL, NULL);
        set_timer(k, STOP_USEC, on_stuck);
}

static int on_late(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Make *k = userdata;

        k->late = true;
        if (k->begun)
                (void)launcher_dump_end(k->manager->launcher, k->serial, false, NULL, NULL);
        else if (k->serial > 0)
                give_up(k);
        else if (k->life < 0)
                fail(k, late(k, "its processes could not be held still", &error), &error);
        return 0;
}

/* ---- the end ---- */

static void succeed(Make *k) {
        GVariantDict dict;

        release(k);
        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "Bytes", "t", k->bytes);
        (void)job_finish_ok(k->job, g_variant_dict_end(&dict));
        make_free(k);
}

static void on_exited(Process *p _unused_, void *userdata) {
        Make *k = userdata;

        if (manager_ends(k))
                make_free(k);
        else
                succeed(k);
}

static void on_killed(Task *t _unused_, int r _unused_, const sd_bus_error *error _unused_, void *userdata _unused_) {
}

/* The checkpoint is there; a dump that cannot end what it holds leaves that to the supervisor. */
static void on_ended(int error, const char *message, void *userdata) {
        Make *k = userdata;
        Task *t = task_of(k);

        if (manager_ends(k) || !t) {
                on_exited(NULL, k);
                return;
        }
        if (error < 0) {
                log_warning("Task %s/%s is not ended by its dump (%s); killing it", k->ns, k->id, message);
                if (task_kill(t, "", SIGKILL, true, on_killed, NULL, NULL) < 0)
                        units_kill(k->manager->units, t->scope);
        }
        process_wait(&t->process, on_exited, k);
}

static int on_end_late(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata) {
        Make *k = userdata;
        Task *t = task_of(k);

        log_warning("Task %s/%s does not end after its checkpoint; killing it", k->ns, k->id);
        if (t)
                units_kill(k->manager->units, t->scope);
        return 0;
}

static void end_task(Make *k) {
        uint32_t serial = k->serial;
        int r;

        k->serial = 0;
        set_timer(k, STOP_USEC, on_end_late);
        r = launcher_dump_end(k->manager->launcher, serial, true, on_ended, k);
        if (r < 0)
                on_ended(r, g_strerror(-r), k);
}

static void tell(const Make *k, const Task *t) {
        event_emit(k->manager, EVENT_TASK_CHECKPOINTED, k->ns, k->id, t->process.path, "CHECKPOINT_NAME",
                   k->checkpoint->name, "OBJECT_SYSTEMD_UNIT", t->scope, NULL);
}

/* Cannot be kept: those who wait for their end at the dump are held still as before, and then run on. */
static void refuse_dump(Make *k) {
        if (k->serial > 0)
                (void)launcher_dump_end(k->manager->launcher, k->serial, false, NULL, NULL);
        k->serial = 0;
}

static void accept_dump(Make *k, const struct launcher_dumped *d) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Task *t = task_of(k);
        int r;

        k->checkpoint->bytes = k->bytes = d->bytes;
        r = !t || process_ended(&t->process) ? gone(k, &error) : 0;
        if (r >= 0) {
                r = checkpoint_dir_finish(t->container, k->checkpoint, k->program);
                if (r < 0)
                        error_set_errno(&error, r, "Checkpoint \"%s\" cannot be kept", k->checkpoint->name);
        }
        if (r < 0) {
                refuse_dump(k);
                fail(k, r, &error);
                return;
        }
        tell(k, t);
        checkpoint_add(t->container, g_steal_pointer(&k->checkpoint));
        if (k->exit)
                end_task(k);
        else
                succeed(k);
}

/* ---- the dump ---- */

static int dump_failure(const Make *k, const struct launcher_dumped *d, const char *text, sd_bus_error *error) {
        g_autofree char *why = g_strdup(*text ? text : g_strerror(-d->error));

        if (g_str_has_suffix(why, "."))
                why[strlen(why) - 1] = '\0';
        if (k->late)
                return late(k, k->begun ? "\"criu check\" did not answer" : why, error);
        switch (d->cause) {
        case LAUNCHER_DUMP_MISSING:
                return error_not_supported(error, "This host cannot make checkpoints: %s.", why);
        case LAUNCHER_DUMP_REFUSED:
                return error_precondition(error, "Task \"%s\" cannot be checkpointed as it is: %s.", k->id, why);
        default:
                if (d->error == -ECONNRESET)
                        return error_unavailable(error,
                                                 "The launcher has gone while it made the checkpoint; try again.");
                return error_set(error, error_kind_from_errno(d->error), "The checkpoint of task \"%s\" failed: %s.",
                                 k->id, why);
        }
}

static void on_dumped(const struct launcher_dumped *d, const char *text, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Make *k = userdata;
        int r;

        if (d->error < 0 || !k->exit)
                k->serial = 0;
        if (manager_ends(k) || k->cancelled || k->late || d->error < 0) {
                r = d->error < 0 ? dump_failure(k, d, text, &error)
                    : k->late    ? late(k, "its end came too late", &error)
                                 : -ECANCELED;
                refuse_dump(k); /* a cancellation may have crossed its success */
                fail(k, r, &error);
        } else
                accept_dump(k, d);
}

static int dump(Make *k, const Task *t, sd_bus_error *error) {
        static const struct {
                uint32_t option, flag;
        } flags[] = {
                { CHECKPOINT_TCP, LAUNCHER_DUMP_TCP },
                { CHECKPOINT_UNIX, LAUNCHER_DUMP_UNIX },
                { CHECKPOINT_TERMINAL, LAUNCHER_DUMP_TERMINAL },
                { CHECKPOINT_LOCKS, LAUNCHER_DUMP_LOCKS },
        };
        struct launcher_dump body = { .pid = (int32_t)t->process.pid,
                                      .start_time = t->process.start_time,
                                      .flags = k->exit ? LAUNCHER_DUMP_EXIT : 0 };
        int life[2], r;

        for (size_t i = 0; i < ELEMENTSOF(flags); i++)
                if (k->checkpoint->flags & flags[i].option)
                        body.flags |= flags[i].flag;
        r = checkpoint_life_new(k->manager, k->ns, k->id, k->task_created_at, life);
        if (r < 0)
                return error_set_errno(error, r, "The checkpoint of task \"%s\" failed", k->id);
        k->life = life[0];
        r = launcher_dump(k->manager->launcher, &body, k->images, life[1], on_dumped, k, &k->serial);
        (void)safe_close(life[1]);
        return r < 0 ? error_unavailable(error, "The launcher cannot be reached: %s.", g_strerror(-r)) : 0;
}

static void on_frozen(int r, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        Make *k = userdata;
        Task *t = task_of(k);

        if (r < 0 && error && sd_bus_error_is_set(error))
                (void)sd_bus_error_copy(&failure, error);
        else if (r < 0)
                error_set_errno(&failure, r, "The container cannot be held still");
        else if (!t || process_ended(&t->process))
                r = gone(k, &failure);
        else if (k->cancelled)
                r = -ECANCELED;
        else
                r = dump(k, t, &failure);
        if (r < 0)
                fail(k, r, &failure);
}

/* Before all is written; afterwards it is too late for a change of mind. */
static void on_cancel(Job *job _unused_, void *userdata) {
        Make *k = userdata;

        k->cancelled = true;
        if (k->serial > 0)
                give_up(k);
        else if (k->life < 0)
                fail(k, -ECANCELED, NULL);
}

/* ---- the beginning ---- */

static int check_execs(const Task *t, sd_bus_error *error) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, t->execs);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Exec *e = value;

                if (!process_ended(&e->process))
                        return error_precondition(
                                error, "Exec \"%s\" of task \"%s\" is not of the task's first process; end it first.",
                                e->process.exec_id, t->id);
        }
        return 0;
}

static int check_state(const Task *t, sd_bus_error *error) {
        enum task_status status = t->process.status;

        if (t->launch)
                return error_precondition(error, "Task \"%s\" is still being created; try again when that is done.",
                                          t->id);
        if (process_ended(&t->process))
                return error_precondition(error, "Task \"%s\" has ended; start its container again.", t->id);
        if (status == TASK_CREATED || t->starting)
                return error_precondition(error, "Task \"%s\" has not been started; start it first.", t->id);
        if (t->held)
                return error_precondition(error, "A checkpoint of task \"%s\" is being made already.", t->id);
        if (!t->link || (status != TASK_RUNNING && status != TASK_PAUSED))
                return error_unavailable(error, "Task \"%s\" is %s; try again.", t->id, task_status_name(status));
        return 0;
}

/* All that can be said before anything has happened. */
static int check(Task *t, const char *name, uint32_t flags, sd_bus_error *error) {
        const Container *c = t->container;
        g_autoptr(JsonNode) spec = NULL;
        const Snapshot *s = c->snapshot_key && *c->snapshot_key ? snapshot_find(c->ns, c->snapshot_key) : NULL;
        int r;

        r = checkpoint_check_name(name, error);
        if (r < 0)
                return r;
        if (!runtime_is_own(t->runtime))
                return error_not_supported(error,
                                           "Task \"%s\" is run by \"%s\"; only those of Davit's own runtime can be "
                                           "checkpointed.",
                                           t->id, t->runtime);
        if (c->auto_remove == AUTO_REMOVE_CONTAINER)
                return error_precondition(error, "Container \"%s\" goes with its task, and its checkpoints with it.",
                                          c->id);
        r = checkpoint_check_new(c, name, error);
        if (r >= 0)
                r = check_state(t, error);
        if (r >= 0)
                r = task_load_spec(t, &spec, error);
        if (r >= 0)
                r = checkpoint_check_namespaces(c, spec, error);
        if (r >= 0)
                r = container_check_stays(c, error);
        if (r >= 0)
                r = check_execs(t, error);
        if (r >= 0 && s)
                r = snapshot_check_idle(s, error);
        if (r >= 0 && t->process.terminal && !(flags & CHECKPOINT_TERMINAL))
                r = error_precondition(error, "Task \"%s\" has a terminal, which has to be allowed (AllowTerminal).",
                                       t->id);
        return r;
}

static int prepare(Make *k, Task *t, sd_bus_error *error) {
        Container *c = t->container;
        g_autoptr(JsonNode) spec = NULL;
        int r;

        r = task_load_spec(t, &spec, error);
        if (r < 0)
                return r;
        k->checkpoint->shape = checkpoint_shape(spec);
        k->checkpoint->starts = c->starts;
        r = checkpoint_dir_begin(c, k->checkpoint->name, &k->images);
        if (r < 0)
                return error_set_errno(error, r, "No directory can be made for checkpoint \"%s\"", k->checkpoint->name);
        return 0;
}

static void take_snapshot(Make *k, const Container *c) {
        k->snapshot = c->snapshot_key && *c->snapshot_key ? snapshot_find(c->ns, c->snapshot_key) : NULL;
        if (!k->snapshot)
                return;
        snapshot_job_begin(k->snapshot);
        k->snapshot->busy = "checkpointed";
}

/* From here on failures are the job's. */
static void start(Make *k, Task *t) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autofree char *subject = g_strdup_printf("%s/%s", k->ns, k->id);
        int r;

        (void)job_new(k->manager, k->ns, "checkpoint", subject, on_cancel, k, &k->job);
        k->begun(k->job, 0, NULL, k->userdata);
        k->begun = NULL;
        k->checkpoint->created = now_usec(CLOCK_REALTIME);
        take_snapshot(k, t->container);
        r = freeze_begin(t->container, on_frozen, k, &k->freeze, &error);
        t->held = true;
        if (r == 0)
                r = dump(k, t, &error);
        if (r < 0)
                fail(k, r, &error);
}

static void on_checked(const struct launcher_dumped *d, const char *text, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Make *k = userdata;
        Task *t = task_of(k);
        int r;

        k->serial = 0;
        if (d->error < 0)
                r = dump_failure(k, d, text, &error);
        else if (k->late)
                r = late(k, "\"criu check\" answered too late", &error);
        else if (!t)
                r = gone(k, &error);
        else
                r = check(t, k->checkpoint->name, k->checkpoint->flags, &error);
        if (r >= 0)
                r = prepare(k, t, &error);
        if (r < 0) {
                k->begun(NULL, r, &error, k->userdata);
                make_free(k);
                return;
        }
        k->program = g_strdup(text);
        start(k, t);
}

/** checkpoint_make() - see checkpoint.h; begun may be called before this returns */
int checkpoint_make(Task *t, const CheckpointOptions *o, checkpoint_begun_t begun, void *userdata,
                    sd_bus_error *error) {
        static const struct launcher_dump only_check = { .flags = LAUNCHER_DUMP_CHECK };
        Launcher *launcher = t->ns->manager->launcher;
        Make *k;
        int r;

        r = check(t, o->name, o->flags, error);
        if (r < 0)
                return r;
        k = g_new0(Make, 1);
        *k = (Make){ .manager = t->ns->manager,
                     .ns = g_strdup(t->ns->name),
                     .id = g_strdup(t->id),
                     .container_created_at = t->container->created_at,
                     .task_created_at = t->process.created_at,
                     .checkpoint = g_new0(Checkpoint, 1),
                     .exit = o->exit,
                     .images = -1,
                     .life = -1,
                     .begun = begun,
                     .userdata = userdata };
        k->manager->makes = g_slist_prepend(k->manager->makes, k);
        k->checkpoint->name = g_strdup(o->name);
        k->checkpoint->flags = o->flags;
        k->checkpoint->usable = true;
        r = launcher_dump(launcher, &only_check, -1, -1, on_checked, k, &k->serial);
        if (r < 0) {
                make_free(k);
                return error_unavailable(error, "The launcher cannot be reached: %s.", g_strerror(-r));
        }
        set_timer(k, k->manager->config.checkpoint_timeout_usec, on_late);
        return 0;
}

/* Whether nothing of its dump is there any more, at the time given (CLOCK_MONOTONIC) at the latest. */
static bool wait_over(const Make *k, uint64_t end) {
        struct pollfd p = { .fd = k->life, .events = POLLIN };
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        return k->life < 0 || poll(&p, 1, now < end ? (int)((end - now) / 1000) + 1 : 0) > 0;
}

/** checkpoints_stop() - see checkpoint.h; what cannot be waited for stays held, and marked for the next manager */
void checkpoints_stop(Manager *m) {
        uint64_t end = now_usec(CLOCK_MONOTONIC) + STOP_USEC;
        GSList *next;

        for (GSList *l = m->makes; l; l = l->next)
                refuse_dump(l->data);
        for (GSList *l = m->makes; l; l = next) {
                Make *k = l->data;
                Task *t = task_of(k);

                next = l->next;
                if (t && wait_over(k, end))
                        t->held = false;
                if (k->over) /* nobody else knows it */
                        make_free(k);
        }
}
