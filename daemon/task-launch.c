/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The creation of a task, step by step.
 *
 * An earlier shim of the same name goes first, then the image's chain is mounted, then a shim is taken, then scope and
 * launch are asked for at the same moment and overlap. The shim is kept alive until systemd's job has ended whatever
 * else happens (systemd 252 leaks a scope whose process dies before it is attached), and a failure is told only when
 * what had been begun is undone. A Launch belongs to its task and ends with one call of done.
 */

#include <errno.h>
#include <string.h>

#include "daemon/chain.h"
#include "daemon/checkpoint.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/exec.h"
#include "daemon/keep-warm.h"
#include "daemon/launcher.h"
#include "daemon/limits.h"
#include "daemon/log-fields.h"
#include "daemon/pool.h"
#include "daemon/rootfs.h"
#include "daemon/scope-watch.h"
#include "daemon/stdio.h"
#include "daemon/sync.h"
#include "daemon/task-deferred.h"
#include "daemon/task.h"
#include "daemon/teardown.h"
#include "daemon/units.h"
#include "shared/fd.h"
#include "shared/log.h"

#define UNDO_TIMEOUT_USEC (5 * USEC_PER_SEC)

struct Launch {
        Task *task;
        Manager *manager;
        bool start;   /* execute at once */
        bool asked;   /* systemd may know the scope */
        bool held;    /* SHIM_START waits for the scope's properties */
        bool devices; /* and so does SHIM_LAUNCH, since they may change which devices can be opened */
        bool created; /* SHIM_CREATED has come, SHIM_START is due */
        bool failed;
        bool restore; /* of a checkpoint, see task-deferred.h */
        bool writes;  /* to its root file system */
        int images;   /* of the checkpoint; -1 */
        PlanResult plan;
        JsonNode *spec; /* where it is not the container's own */
        Stdio stdio;
        char *chain_id;
        const char *kind; /* of the chain */
        ChainForm form;
        ChainRequest *chain;
        LauncherRequest *request;
        UnitCall *unit; /* a job or a call at systemd that has not ended */
        sd_event_source *timer;
        int failure;
        sd_bus_error error;
        task_done_t done;
        void *userdata;
};

static void launch_next(Launch *l);

/** launch_free() - cancels everything that waits; done is not called */
Launch *launch_free(Launch *l) {
        if (!l)
                return NULL;
        l->manager->n_launches--;
        chain_request_cancel(l->chain);
        launcher_request_cancel(l->request);
        unit_call_cancel(l->unit);
        teardown_forget(l->manager, l);
        sd_event_source_disable_unref(l->timer);
        plan_result_clear(&l->plan);
        if (l->spec)
                json_node_unref(l->spec);
        stdio_done(&l->stdio);
        (void)safe_close(l->images);
        sd_bus_error_free(&l->error);
        g_free(l->chain_id);
        g_free(l);
        return NULL;
}

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
static void undo(Launch *l) {
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

static void launch_fail(Launch *l, int r, const sd_bus_error *error) {
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
                undo(l);
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

static int on_timeout(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        Launch *l = userdata;
        int r;

        r = error_unavailable(
                &error, "Container \"%s\" was not ready in time; see the journal of davit-launcher.service and %s.",
                l->task->id, l->task->scope);
        unit_call_cancel(g_steal_pointer(&l->unit));
        if (l->failed)
                undo(l);
        else
                launch_fail(l, r, &error);
        return 0;
}

/* The task exists: announced, then whoever asked is answered, then what can wait. */
static void succeed(Launch *l) {
        Task *t = l->task;
        bool known = t->process.visible;

        t->launch = NULL;
        if (l->restore)
                task_deferred_started(t);
        scope_limits_apply(&t->limits, l->plan.unit_properties);
        t->watched.known = true;
        process_bus_added(&t->process);
        l->done(t, 0, NULL, l->userdata);
        if (!known)
                event_task(t, EVENT_TASK_CREATE);
        scope_watch_add(t);
        if (t->process.status == TASK_RUNNING)
                event_task(t, EVENT_TASK_START);
        if (t->process.status == TASK_RUNNING)
                (void)task_files_write_state(t);
        pool_refill(l->manager->pool);
        (void)launch_free(l);
}

static void on_launched(const LinkAnswer *a, void *userdata);
static int launch_now(Launch *l);

static int send_start(Launch *l) {
        l->created = false;
        return link_request(l->task->link, SHIM_START, NULL, NULL, NULL, 0, on_launched, l);
}

static void note_pid(Task *t, int pid, uint64_t start_time) {
        t->process.pid = (uint32_t)pid;
        t->process.start_time = start_time;
}

/* Whoever asked for the terminal of a task that waited for its start. */
static void tell_terminal(Task *t, struct packet *p) {
        _cleanup_close_ int fd = packet_take_fd(p, 0);

        process_tell_terminal(&t->process, fd);
}

static void on_launched(const LinkAnswer *a, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autofree char *what = NULL;
        Launch *l = userdata;
        Task *t = l->task;
        int r;

        if (l->failed)
                return;
        if (a->head && a->head->type == SHIM_CREATED) {
                const struct shim_created *c = a->body;
                note_pid(t, c->pid, c->start_time);
                (void)process_set_status(&t->process, TASK_CREATED);
                if (!l->start) {
                        succeed(l);
                        return;
                }
                l->created = true;
                r = l->held ? 0 : send_start(l);
                if (r < 0)
                        launch_fail(l, r, NULL);
                return;
        }
        if (a->head && a->head->type == SHIM_STARTED) {
                const struct shim_started *s = a->body;
                (void)process_set_started(&t->process, s->pid, s->start_time, now_usec(CLOCK_REALTIME));
                tell_terminal(t, a->packet);
                succeed(l);
                return;
        }
        what = g_strdup_printf("Container \"%s\" cannot be started", t->id);
        if (stdio_drop_unknown(&l->stdio, a->head && a->head->type == SHIM_FAILED ? a->body : NULL))
                r = error_precondition(
                        &error, "%s: davit-launcher.service is of a version without DropAfterUSec; restart it.", what);
        else
                r = task_failure_of(t, "", what, a, &error);
        launch_fail(l, r, &error);
}

static void on_scope(int r, const sd_bus_error *error, void *userdata) {
        Launch *l = userdata;
        Task *t = l->task;

        l->unit = NULL;
        if (r >= 0 && t->link && !link_alive(t->link))
                r = -ECONNRESET;
        if (r >= 0 && t->link)
                r = link_request(t->link, SHIM_SCOPE, NULL, t->scope, NULL, 0, NULL, NULL);
        if (l->failed) {
                undo(l);
                return;
        }
        if (r < 0)
                launch_fail(l, r, error);
}

static void on_properties(int r, const sd_bus_error *error, void *userdata) {
        Launch *l = userdata;

        l->unit = NULL;
        l->held = false;
        if (l->failed) {
                undo(l);
                return;
        }
        if (r >= 0 && l->devices)
                r = launch_now(l);
        else if (r >= 0 && l->created)
                r = send_start(l);
        if (r < 0)
                launch_fail(l, r, error);
}

/* The files say first what is to be taken back if this comes to nothing. */
static int note_start(Launch *l) {
        Task *t = l->task;
        uint64_t noted = 0;
        int r;

        t->noted = l->writes && t->container->checkpoints ? t->container->starts + 1 : 0;
        r = task_files_write_state(t); /* first, for it tells the next manager what is to be undone */
        if (r >= 0 && l->writes)
                r = checkpoints_note_start(t->container, &noted);
        return r;
}

static int send_launch(Launch *l) {
        struct shim_launch body = { .stdio = l->stdio.modes,
                                    .start = l->start && !l->held ? SHIM_LAUNCH_START : SHIM_LAUNCH_CREATE };
        g_autofree int *fds = g_new(int, l->stdio.fds->len + 3);
        const Stdio *io = &l->stdio;
        _cleanup_close_ int dir = -1;
        Task *t = l->task;
        guint n = 0;
        int r;

        dir = task_dir_open(l->manager, t->ns->name, t->id, true);
        if (dir < 0)
                return dir;
        r = note_start(l);
        if (r < 0)
                return r;
        fds[n++] = l->plan.memfd;
        fds[n++] = dir;
        if (l->restore) {
                body.start = SHIM_LAUNCH_RESTORE;
                fds[n++] = l->images;
        }
        for (guint i = 0; i < io->fds->len; i++)
                fds[n++] = g_array_index(io->fds, int, i);
        return link_request_text(t->link, SHIM_LAUNCH, &body, (const char *)io->paths->data, io->paths->len, fds, n,
                                 on_launched, l);
}

static int ask_scope(Launch *l, uint32_t pid) {
        g_autofree char *description = g_strdup_printf("Davit container %s/%s", l->task->ns->name, l->task->id);
        char slice[NAME_UNIT_MAX];
        ScopeRequest q = {
                .name = l->task->scope,
                .slice = slice,
                .description = description,
                .pid = pid,
                .pidfd = link_pidfd(l->task->link),
                .timeout_stop_usec = l->task->container->stop_timeout_usec,
                .properties = l->plan.unit_properties,
        };
        int r;

        r = name_slice(l->task->ns->name, slice);
        if (r < 0)
                return r;
        l->asked = true;
        return units_start_scope(l->manager->units, &q, on_scope, l, &l->unit);
}

/* What is slow and need not be first happens while systemd works. */
static int write_files(Launch *l) {
        Task *t = l->task;
        Container *c = t->container;
        int r;

        r = c->spec ? container_save(c) : 0;
        if (t->spec_text)
                g_ref_string_release(g_steal_pointer(&t->spec_text));
        if (r >= 0 && l->spec) {
                g_autofree char *text = spec_to_string(l->spec);
                t->spec_text = g_ref_string_new(text);
        } else if (r >= 0)
                t->spec_text = g_ref_string_acquire(c->spec_text);
        if (r >= 0)
                r = task_files_write_spec(t);
        if (r >= 0 && !c->visible)
                container_bus_added(c);
        if (r >= 0 && t->auto_remove == AUTO_REMOVE_NO)
                r = task_record_save(t);
        return r;
}

static int launch_now(Launch *l) {
        int r = send_launch(l);

        return r < 0 ? r : write_files(l);
}

static int use_warm_shim(Launch *l, WarmShim *s) {
        Task *t = l->task;
        uint32_t pid = (uint32_t)s->pid;
        int r;

        r = link_new(l->manager, &s->socket, &s->pidfd, &task_link_handlers, t, &t->link);
        if (r >= 0)
                r = ask_scope(l, pid);
        return r < 0 ? r : launch_now(l);
}

static void on_shim(WarmShim *s, int error, void *userdata) {
        Launch *l = userdata;
        int r = error;

        l->request = NULL;
        if (s)
                r = use_warm_shim(l, s);
        if (r < 0)
                launch_fail(l, r, NULL);
}

static bool has_property(GPtrArray *properties, const PlanUnitProperty *p) {
        for (guint i = 0; properties && i < properties->len; i++) {
                const PlanUnitProperty *q = g_ptr_array_index(properties, i);
                if (streq(p->name, q->name) && g_variant_equal(p->value, q->value))
                        return true;
        }
        return false;
}

/* What the scope is to have and has not; the array is the caller's, what is in it the plan's. With any property systemd
 * sets those of version 1 all again, its list of devices too, and denies every one until it has: not even /dev/null can
 * be opened then. */
static GPtrArray *other_properties(Launch *l, GPtrArray *present) {
        GPtrArray *wanted = l->plan.unit_properties, *others = g_ptr_array_new();

        for (guint i = 0; wanted && i < wanted->len; i++) {
                PlanUnitProperty *p = g_ptr_array_index(wanted, i);
                if (has_property(present, p))
                        continue;
                l->devices = l->devices || limits_hybrid(l->manager->limits) || g_str_has_prefix(p->name, "Device");
                g_ptr_array_add(others, p);
        }
        return others;
}

static int use_parked(Launch *l, Parked *k) {
        g_autoptr(GPtrArray) others = other_properties(l, k->properties);
        Task *t = l->task;
        int r = 0;

        l->asked = true;
        t->link = g_steal_pointer(&k->link);
        link_set_handlers(t->link, &task_link_handlers, t);
        if (others->len > 0) {
                l->held = true;
                r = units_set_properties(l->manager->units, t->scope, others, on_properties, l, &l->unit);
        }
        parked_free(k);
        return r < 0 || l->devices ? r : launch_now(l);
}

static int take_shim(Launch *l) {
        WarmShim shim = WARM_SHIM_NULL;
        Task *t = l->task;
        Parked *k;
        int r;

        k = pool_take(l->manager->pool, t->ns->name, t->id);
        if (k)
                return use_parked(l, k);
        r = launcher_take(l->manager->launcher, &shim, on_shim, l, &l->request);
        if (r <= 0)
                return r;
        return use_warm_shim(l, &shim);
}

/* The launcher has told meanwhile what the kernel mounts, and it is not what the plan was made for. */
static int plan_again(Launch *l) {
        Container *c = l->task->container;
        g_autoptr(JsonNode) spec = NULL;
        ChainForm form;
        int r;

        chain_form_of(l->manager, l->kind, &form);
        if (form.form == l->form.form)
                return 0;
        if (l->spec)
                spec = json_node_ref(l->spec);
        r = spec ? 0 : container_load_spec(c, &spec, NULL);
        plan_result_clear(&l->plan);
        if (r >= 0)
                r = rootfs_build(c, spec, l->stdio.modes.n_listen_fds, &l->plan, NULL);
        l->form = form;
        return r < 0 ? r : 1;
}

static void on_chain(int error, const char *message, void *userdata) {
        _cleanup_bus_error_ sd_bus_error e = SD_BUS_ERROR_NULL;
        Launch *l = userdata;
        int r;

        l->chain = NULL;
        r = plan_again(l); /* also where it stands: mounted is not yet mounted upon */
        if (r > 0 || (r == 0 && error >= 0)) {
                launch_next(l);
                return;
        }
        if (error >= 0) {
                launch_fail(l, r, NULL);
                return;
        }
        r = error_precondition(&e, "The layers of container \"%s\" cannot be mounted: %s.", l->task->id,
                               message && *message ? message : g_strerror(-error));
        launch_fail(l, r, &e);
}

static void on_earlier_gone(void *userdata) {
        launch_next(userdata);
}

static void launch_next(Launch *l) {
        Task *t = l->task;
        int r = 1;

        if (teardown_wait(l->manager, t->ns->name, t->id, on_earlier_gone, l))
                return;
        if (l->chain_id)
                r = chain_mount(l->manager, l->chain_id, l->kind, &l->form, on_chain, l, &l->chain);
        if (r > 0)
                r = take_shim(l);
        if (r < 0)
                launch_fail(l, r, NULL);
}

/* A root that the configuration says is only read, or a host's directory, is nothing to keep account of. */
static bool writes_root(const Container *c, JsonNode *spec) {
        JsonObject *o = json_node_get_object(spec);
        JsonNode *node = json_object_get_member(o, "root");

        if (!container_uses_overlay(c))
                return false;
        return !node || !JSON_NODE_HOLDS_OBJECT(node) ||
               !json_object_get_boolean_member_with_default(json_node_get_object(node), "readonly", FALSE);
}

/* o NULL: the streams are there already */
static int prepare(Launch *l, Container *c, JsonNode *spec, Options *o, sd_bus_error *error) {
        unsigned n_listen = l->stdio.modes.n_listen_fds;
        RootfsPlan rootfs = {};
        int r;

        if (o && o->listen_fds)
                n_listen = o->listen_fds->len;
        r = rootfs_check_free(c, error);
        if (r >= 0)
                r = rootfs_build(c, spec, n_listen, &l->plan, error);
        if (r < 0)
                return r;
        l->writes = writes_root(c, spec);
        r = o ? stdio_prepare(o, l->plan.terminal, &l->stdio, error) : 0;
        if (r < 0)
                return r;
        r = rootfs_plan(c, &rootfs, error);
        if (r < 0)
                return r;
        l->chain_id = g_steal_pointer(&rootfs.chain_id);
        l->kind = rootfs.kind;
        l->form = rootfs.form;
        rootfs_plan_done(&rootfs);
        return 0;
}

/** task_effective_spec() - the container's configuration, with the size of a terminal where one is given (not 0) */
int task_effective_spec(Container *c, uint32_t width, uint32_t height, JsonNode **ret, sd_bus_error *error) {
        SpecOptions console = { .console_width = width, .console_height = height };
        g_autoptr(JsonNode) spec = NULL;
        g_autoptr(GError) g = NULL;
        JsonNode *copy;
        int r;

        r = container_load_spec(c, &spec, error);
        if (r < 0)
                return r;
        if (!width || !height) {
                *ret = g_steal_pointer(&spec);
                return 0;
        }
        copy = spec_copy(spec);
        if (!spec_apply_options(copy, &console, &g)) {
                json_node_unref(copy);
                return error_set_gerror(error, g);
        }
        *ret = copy;
        return 0;
}

static Launch *launch_new(Container *c, bool start, task_done_t done, void *userdata) {
        Launch *l = g_new0(Launch, 1);

        l->manager = c->ns->manager;
        l->manager->n_launches++;
        l->start = start;
        l->images = -1;
        l->plan = (PlanResult)PLAN_RESULT_NULL;
        stdio_init(&l->stdio);
        l->done = done;
        l->userdata = userdata;
        return l;
}

/* A container whose task has ended is started again once that is deleted; one that has another task already is not. */
static int refuse_second(const Task *t, sd_bus_error *error) {
        if (t->deleting)
                return error_exists(error, "The task of container \"%s\" is just being deleted; try again.", t->id);
        if (t->launch)
                return error_exists(error, "Container \"%s\" is being started already.", t->id);
        if (process_ended(&t->process))
                return error_exists(error, "Container \"%s\" has a task that has ended; delete the task first.", t->id);
        if (t->process.status == TASK_CREATED)
                return error_exists(error, "Container \"%s\" has a task already, which waits to be started.", t->id);
        return error_exists(error, "Container \"%s\" is %s already.", t->id, task_status_name(t->process.status));
}

/** task_check_first() - whether the container may get a task */
int task_check_first(const Container *c, sd_bus_error *error) {
        return c->task ? refuse_second(c->task, error) : container_check_stays(c, error);
}

static void begin(Launch *l, Task *t) {
        l->task = t;
        t->launch = l;
        (void)sd_event_add_time_relative(l->manager->event, &l->timer, CLOCK_MONOTONIC,
                                         l->manager->config.start_timeout_usec, 0, on_timeout, l);
        launch_next(l);
}

/**
 * task_launch() - begins to create the task of a container
 *
 * An error that is clear before anything has begun is returned and done not called; every other end is told by done,
 * on failure with a NULL task once everything is undone.
 */
int task_launch(Container *c, Options *o, bool start, task_done_t done, void *userdata, sd_bus_error *error) {
        g_autoptr(JsonNode) spec = NULL;
        char scope[NAME_UNIT_MAX];
        Launch *l;
        Task *t;
        int r;

        r = task_check_first(c, error);
        if (r < 0)
                return r;
        keep_warm_touch(c->ns->manager->keep_warm);
        r = task_effective_spec(c, o->console_width, o->console_height, &spec, error);
        if (r >= 0)
                r = name_scope(c->ns->name, c->id, scope);
        if (r < 0)
                return error_set_errno(error, r, "Container \"%s\" cannot be started", c->id);
        l = launch_new(c, start, done, userdata);
        r = prepare(l, c, spec, o, error);
        if (r < 0) {
                (void)launch_free(l);
                return r;
        }
        (void)task_new(c, scope, &t);
        t->at_once = start;
        t->whole = !c->visible;
        if (o->console_width && o->console_height)
                l->spec = g_steal_pointer(&spec);
        t->process.terminal = l->plan.terminal;
        if (o->auto_remove >= 0 && c->auto_remove != AUTO_REMOVE_CONTAINER)
                t->auto_remove = o->auto_remove;
        if (l->stdio.modes.out == SHIM_STDIO_JOURNAL || l->stdio.modes.err == SHIM_STDIO_JOURNAL)
                (void)task_log_fields_write(t);
        begin(l, t);
        return 0;
}

/** task_restore() - see task-deferred.h; an error that is clear before anything has begun is returned */
int task_restore(Task *t, TaskRestore *q, task_done_t done, void *userdata, sd_bus_error *error) {
        Launch *l;
        int r;

        keep_warm_touch(t->ns->manager->keep_warm);
        l = launch_new(t->container, true, done, userdata);
        stdio_done(&l->stdio);
        l->stdio = q->stdio;
        stdio_init(&q->stdio);
        l->restore = true;
        l->images = take_fd(&q->images);
        r = prepare(l, t->container, q->spec, NULL, error);
        if (r >= 0 && l->plan.terminal != t->process.terminal)
                r = error_precondition(error, "Task \"%s\" was created %s a terminal; delete it and create it again.",
                                       t->id, t->process.terminal ? "with" : "without");
        if (r < 0) {
                (void)launch_free(l);
                return r;
        }
        if (q->other_spec)
                l->spec = json_node_ref(q->spec);
        begin(l, t);
        return 0;
}
