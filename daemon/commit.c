/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading a snapshot's upper directory into the store: hold the container still, have a worker read, let it run on.
 *
 * What comes of it, a committed snapshot or an image, is the caller's. A failure at any step, a cancellation and the
 * end of the manager leave the snapshot as it was and the container as it was; what the worker had published is garbage
 * that the next collection takes.
 */

#include <errno.h>

#include "daemon/chain.h"
#include "daemon/collect.h"
#include "daemon/commit.h"
#include "daemon/error.h"
#include "daemon/freeze.h"
#include "daemon/snapshot-dir.h"
#include "daemon/store-client.h"
#include "shared/log.h"
#include "shared/name.h"

struct Commit {
        Manager *manager;
        Snapshot *snapshot; /* held by snapshot_job_begin() */
        char *parent;
        Freeze *freeze;
        StoreOp *op;
        Job *job; /* NULL: nobody watches */
        bool cancelled;
        commit_done_t done;
        void *userdata;
};

static void commit_free(Commit *c) {
        g_free(c->parent);
        g_free(c);
}

static void commit_end(Commit *c, const SnapshotCommit *result, const sd_bus_error *error) {
        c->freeze = freeze_end(c->freeze);
        c->snapshot->busy = NULL;
        c->done(result, error, c->cancelled, c->userdata);
        snapshot_job_end(c->snapshot);
        commit_free(c);
}

static void on_done(StoreOp *op _unused_, JsonObject *o, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        SnapshotCommit result = { 0 };
        Commit *c = userdata;

        c->op = NULL; /* frees itself */
        if (!error && snapshot_commit_parse(o, c->parent, &result) < 0) {
                (void)error_internal(&failure, "The store worker's account of the commit cannot be used.");
                collect_schedule(c->manager);
                error = &failure;
        }
        commit_end(c, error ? NULL : &result, error);
        snapshot_commit_done(&result);
}

static void on_progress(StoreOp *op _unused_, const struct store_progress *p, void *userdata) {
        const JobProgress progress = { p->bytes_done, p->bytes_total, p->layers_done, p->layers_total };
        Commit *c = userdata;

        if (c->job)
                (void)job_progress(c->job, &progress);
}

static int start_reading(Commit *c, sd_bus_error *error) {
        static const StoreHandlers handlers = { .progress = on_progress, .done = on_done };
        g_autoptr(JsonObject) request = json_object_new();
        _cleanup_close_ int upper = -1;
        ChainForm form;

        upper = snapshot_dir_open(c->snapshot);
        if (upper < 0)
                return error_set_errno(error, upper, "The directory of snapshot \"%s\" cannot be opened",
                                       c->snapshot->key);
        json_object_set_string_member(request, "operation", "commit");
        json_object_set_string_member(request, "parent", c->parent);
        chain_form(c->manager, &form);
        json_object_set_string_member(request, "rootfs", chain_form_word(&form));
        return store_op_start_at(c->manager->event, DAVIT_STORE_SNAPSHOT_SOCKET, request, &upper, 1, &handlers, c,
                                 &c->op, error);
}

static void on_frozen(int r, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        Commit *c = userdata;

        if (r < 0 && error && sd_bus_error_is_set(error))
                (void)sd_bus_error_copy(&failure, error);
        else if (r < 0)
                (void)error_set_errno(&failure, r, "The container cannot be held still");
        else
                r = start_reading(c, &failure);
        if (r < 0)
                commit_end(c, NULL, &failure);
}

/** commit_begin() - see commit.h */
int commit_begin(Snapshot *s, Container *container, commit_done_t done, void *userdata, Commit **ret,
                 sd_bus_error *error) {
        Commit *c;
        int r;

        r = snapshot_check_idle(s, error);
        if (r < 0)
                return r;
        c = g_new0(Commit, 1);
        *c = (Commit){ .manager = s->ns->manager, .snapshot = s, .done = done, .userdata = userdata };
        c->parent = g_strdup(s->parent);
        if (container)
                r = freeze_begin(container, on_frozen, c, &c->freeze, error);
        if (r == 0)
                r = start_reading(c, error);
        if (r < 0) {
                commit_free(c);
                return r;
        }

        snapshot_job_begin(s);
        s->busy = "committed";
        *ret = c;
        return 0;
}

/** commit_show() - progress goes to @job from now on */
void commit_show(Commit *c, Job *job) {
        c->job = job;
}

/** commit_cancel() - asks for the end; done still comes, at once where nothing has been read yet */
void commit_cancel(Commit *c) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;

        if (c->cancelled)
                return;
        c->cancelled = true;
        if (c->op) {
                store_op_cancel(c->op);
                return;
        }
        (void)error_precondition(&error, "The commit was cancelled.");
        commit_end(c, NULL, &error);
}
