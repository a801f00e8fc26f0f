/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How a start of a task begins: of a container that has none, or of one that waits to be restored.
 *
 * What can be refused is refused here, before anything has happened. What follows is in task-launch.c.
 */

#include "daemon/error.h"
#include "daemon/keep-warm.h"
#include "daemon/launch-internal.h"
#include "daemon/log-fields.h"
#include "daemon/rootfs.h"
#include "daemon/task-deferred.h"
#include "shared/fd.h"

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
        g_atomic_int_inc(&l->manager->n_launches);
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
                                         l->manager->config.start_timeout_usec, 0, launch_timeout, l);
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
        t->own_spec = o->console_width && o->console_height;
        if (t->own_spec)
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
        t->own_spec = q->other_spec;
        if (t->own_spec)
                l->spec = json_node_ref(q->spec);
        begin(l, t);
        return 0;
}
