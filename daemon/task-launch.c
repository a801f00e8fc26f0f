/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The creation of a task, step by step, once launch-begin.c has found nothing against it.
 *
 * An earlier shim of the same name goes first, then the image's chain is mounted, then a shim is taken, then scope and
 * launch are asked for at the same moment and overlap. The shim is kept alive until systemd's job has ended whatever
 * else happens (systemd 252 leaks a scope whose process dies before it is attached). What fails is launch-undo.c's. A
 * Launch belongs to its task and ends with one call of done.
 */

#include <errno.h>
#include <string.h>

#include "daemon/chain.h"
#include "daemon/checkpoint.h"
#include "daemon/error.h"
#include "daemon/event.h"
#include "daemon/keep-warm.h"
#include "daemon/launch-internal.h"
#include "daemon/launcher.h"
#include "daemon/limits.h"
#include "daemon/pool.h"
#include "daemon/rootfs.h"
#include "daemon/scope-watch.h"
#include "daemon/stdio.h"
#include "daemon/task-deferred.h"
#include "daemon/task-files.h"
#include "daemon/task.h"
#include "daemon/teardown.h"
#include "daemon/units.h"
#include "shared/fd.h"

/** launch_free() - cancels everything that waits; done is not called */
Launch *launch_free(Launch *l) {
        if (!l)
                return NULL;
        (void)g_atomic_int_dec_and_test(&l->manager->n_launches);
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
                (void)process_set_started(&t->process, s->pid, s->start_time,
                                          shim_started_at(s, now_usec(CLOCK_REALTIME)));
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
        if (r >= 0)
                keep_warm_attached(l->manager->keep_warm);
        if (r >= 0 && t->link && !link_alive(t->link))
                r = -ECONNRESET;
        if (r >= 0 && t->link)
                r = link_request(t->link, SHIM_SCOPE, NULL, t->scope, NULL, 0, NULL, NULL);
        if (l->failed) {
                launch_undo(l);
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
                launch_undo(l);
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
        l->written = true;
        if (r >= 0)
                r = task_files_write_spec(t);
        if (r >= 0 && !c->visible)
                container_bus_added(c);
        if (r >= 0 && t->auto_remove == AUTO_REMOVE_NO)
                r = task_record_save(t);
        return r;
}

/** launch_keep_spec() - its container's configuration, of which it is made, is about to change. False: its files have
 * it. */
bool launch_keep_spec(Launch *l, JsonNode *spec) {
        if (l->written)
                return false;
        if (!l->spec)
                l->spec = json_node_ref(spec);
        l->task->own_spec = true;
        return true;
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

void launch_next(Launch *l) {
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
