/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Container.Commit: what a container has written becomes a layer of a new image.
 *
 * Two workers in turn: one reads the snapshot into a chain while the container is held still, one writes manifest and
 * configuration, from those of the container's image and the changes that are asked for. In between the chain is held
 * as a root. The record comes last, so an image is there whole or not at all.
 */

#include <string.h>
#include <time.h>

#include "daemon/chain.h"
#include "daemon/collect.h"
#include "daemon/commit.h"
#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/record.h"
#include "daemon/roots.h"
#include "daemon/store-client.h"
#include "shared/process.h"

typedef struct Work {
        Manager *manager;
        Job *job;
        char *ns, *image, *parent;
        JsonObject *request; /* of the second worker */
        RootHold *holds[3];  /* chain; manifest and configuration of the container's image */
        Commit *commit;      /* the first worker */
        StoreOp *op;         /* the second */
} Work;

static void work_free(Work *w) {
        for (size_t i = 0; i < ELEMENTSOF(w->holds); i++)
                (void)root_hold_free(w->holds[i]);
        json_object_unref(w->request);
        g_free(w->ns);
        g_free(w->image);
        g_free(w->parent);
        g_free(w);
}

static void work_fail(Work *w, const sd_bus_error *error, bool cancelled) {
        if (cancelled)
                (void)job_finish_cancelled(w->job);
        else
                (void)job_finish_error(w->job, error->name, error->message);
        collect_schedule(w->manager); /* what has been published is garbage */
        work_free(w);
}

/* The worker knows no names; the record is read as that of an image which has one. */
static ImageRecord *record_of(JsonObject *result, const char *name) {
        JsonNode *node = json_object_get_member(result, "image");
        g_autoptr(JsonObject) named = json_object_new();
        ImageRecord *record = NULL;
        JsonObjectIter iter;
        const char *member;
        JsonNode *value;

        if (!node || !JSON_NODE_HOLDS_OBJECT(node))
                return NULL;
        json_object_iter_init(&iter, json_node_get_object(node));
        while (json_object_iter_next(&iter, &member, &value))
                json_object_set_member(named, member, json_node_copy(value));
        json_object_set_string_member(named, "name", name);
        return image_record_parse(named, &record, NULL) < 0 ? NULL : record;
}

static int accept_image(Work *w, JsonObject *result, sd_bus_error *error) {
        ImageRecord *record = record_of(result, w->image);
        GVariantDict dict;
        Namespace *ns;
        Image *image;
        int r;

        if (!record)
                return error_internal(error, "The store worker's account of the image cannot be used.");
        r = manager_namespace(w->manager, w->ns, true, &ns, error);
        if (r < 0) {
                (void)image_record_free(record);
                return r;
        }
        r = image_put(ns, record, &image);
        if (r < 0)
                return error_set_errno(error, r, "The record of image \"%s\" cannot be written", w->image);

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert(&dict, "Image", "s", image->record->name);
        g_variant_dict_insert(&dict, "Digest", "s", image->record->digest);
        (void)job_finish_ok(w->job, g_variant_dict_end(&dict));
        return 0;
}

static void on_composed(StoreOp *op, JsonObject *result, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        Work *w = userdata;

        w->op = NULL; /* frees itself */
        if (!error && accept_image(w, result, &failure) < 0)
                error = &failure;
        if (error)
                work_fail(w, error, error != &failure && store_op_cancel_asked(op));
        else
                work_free(w);
}

static JsonArray *diff_ids_of(const SnapshotCommit *commit) {
        JsonArray *array = json_array_new();

        for (guint i = 0; i < json_array_get_length(commit->layers); i++) {
                JsonNode *node = json_array_get_element(commit->layers, i);
                const char *id;

                if (JSON_NODE_HOLDS_OBJECT(node) && record_get_string(json_node_get_object(node), "diff_id", &id) >= 0)
                        json_array_add_string_element(array, id);
        }
        return array;
}

/* The chain is there: its first worker lets go of it when this returns. */
static void on_committed(const SnapshotCommit *commit, const sd_bus_error *error, bool cancelled, void *userdata) {
        static const StoreHandlers handlers = { .done = on_composed };
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        Work *w = userdata;

        w->commit = NULL;
        if (commit && cancelled) { /* the worker was faster than the wish */
                (void)error_precondition(&failure, "The commit was cancelled.");
                error = &failure;
        } else if (commit) {
                w->holds[0] = root_hold_new(w->manager, ROOT_CHAIN, commit->chain_id);
                json_object_set_array_member(w->request, "diff_ids", diff_ids_of(commit));
                json_object_set_string_member(w->request, "chain_id", commit->chain_id);
                if (store_op_start(w->manager->event, w->request, NULL, 0, &handlers, w, &w->op, &failure) < 0)
                        error = &failure;
        }
        if (error)
                work_fail(w, error, cancelled);
}

static void on_cancel(Job *job _unused_, void *userdata) {
        Work *w = userdata;

        if (w->commit)
                commit_cancel(w->commit);
        else
                store_op_cancel(w->op);
}

static JsonObject *request_of(const Container *c, const ContainerCommitOptions *o) {
        JsonObject *request = json_object_new();
        ChainForm form;

        json_object_set_string_member(request, "operation", "compose");
        json_object_set_string_member(request, "parent", c->image_digest ?: "");
        json_object_set_string_member(request, "author", o->author ?: "");
        json_object_set_string_member(request, "message", o->message ?: "");
        record_set_strv(request, "changes", o->changes);
        json_object_set_int_member(request, "created", (gint64)now_usec(CLOCK_REALTIME));
        chain_form(c->ns->manager, &form);
        json_object_set_string_member(request, "rootfs", chain_form_word(&form));
        return request;
}

static Work *work_new(const Container *c, const ContainerCommitOptions *o) {
        Manager *m = c->ns->manager;
        Work *w = g_new0(Work, 1);

        w->manager = m;
        w->ns = g_strdup(c->ns->name);
        w->image = g_strdup(o->image);
        w->request = request_of(c, o);
        if (c->image_digest && *c->image_digest)
                w->holds[1] = root_hold_new(m, ROOT_CONTENT, c->image_digest);
        if (c->image_config && *c->image_config)
                w->holds[2] = root_hold_new(m, ROOT_CONTENT, c->image_config);
        return w;
}

/** container_commit_begin() - see commit.h */
int container_commit_begin(Container *c, const ContainerCommitOptions *o, Job **ret, sd_bus_error *error) {
        g_autofree char *subject = g_strdup_printf("%s/%s", c->ns->name, c->id);
        Snapshot *s = c->snapshot_key ? snapshot_find(c->ns, c->snapshot_key) : NULL;
        const char *runner;
        Work *w;
        int r;

        if (!s)
                return error_precondition(
                        error, "Container \"%s\" has no snapshot; only what stands on one can be committed.", c->id);
        runner = o->pause ? snapshot_runner(s, NULL) : NULL;
        w = work_new(c, o);
        r = commit_begin(s, runner ? g_hash_table_lookup(c->ns->containers, runner) : NULL, on_committed, w, &w->commit,
                         error);
        if (r < 0) {
                work_free(w);
                return r;
        }
        (void)job_new(c->ns->manager, c->ns->name, "commit", subject, on_cancel, w, &w->job);
        commit_show(w->commit, w->job);
        *ret = w->job;
        return 0;
}
