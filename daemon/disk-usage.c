/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How much of everything there is, and what pruning would give back: the DiskUsage job.
 *
 * Images, committed snapshots and contents say their sizes in their records. What containers and other snapshots have
 * written is measured by workers, a handful of directories at a time; the repository's size and what nothing needs in
 * it come from the store. Layers that images share are counted once. Nothing is changed.
 */

#include <errno.h>
#include <string.h>

#include "daemon/checkpoint.h"
#include "daemon/collect.h"
#include "daemon/container.h"
#include "daemon/content.h"
#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/prune.h"
#include "daemon/record.h"
#include "daemon/snapshot-dir.h"
#include "daemon/store-client.h"
#include "shared/name.h"

#define BATCH 16U /* directories of one worker */

typedef struct Row {
        uint32_t number;
        uint64_t bytes, reclaimable;
} Row;

/* An upper directory that is still to be measured. */
typedef struct Upper {
        char *ns, *key;
        PruneKind kind; /* PRUNE_CONTAINERS or PRUNE_SNAPSHOTS */
        bool reclaimable;
} Upper;

typedef struct DiskUsage {
        Manager *m;
        Job *job;
        Row rows[_PRUNE_KIND_MAX];
        uint64_t repository;
        GHashTable *prunable; /* "kind ns id", a set */
        GArray *uppers;       /* Upper */
        guint next;
        guint batch[BATCH]; /* indices of those under way */
        guint n_batch;
        StoreOp *op;
        bool collecting;
        sd_event_source *begin;
} DiskUsage;

static void upper_clear(void *p) {
        Upper *u = p;

        g_free(u->ns);
        g_free(u->key);
}

static void usage_free(DiskUsage *d) {
        sd_event_source_disable_unref(d->begin);
        (void)store_op_free(d->op);
        g_array_unref(d->uppers);
        g_hash_table_unref(d->prunable);
        g_free(d);
}

static void fail(DiskUsage *d, const sd_bus_error *error) {
        (void)job_finish_error(d->job, error->name, error->message);
        usage_free(d);
}

/* ---- what the records say ---- */

static char *key_of(PruneKind kind, const char *ns, const char *id) {
        return g_strdup_printf("%d %s %s", (int)kind, ns, id);
}

static bool prunable(const DiskUsage *d, PruneKind kind, const char *ns, const char *id) {
        g_autofree char *key = key_of(kind, ns, id);

        return g_hash_table_contains(d->prunable, key);
}

static void find_prunable(DiskUsage *d) {
        const PruneOptions options = { .wanted = { true, true, true, true, false } };
        g_autoptr(GPtrArray) plan = prune_plan(d->m, NULL, &options);

        for (guint i = 0; i < plan->len; i++) {
                const PruneItem *item = g_ptr_array_index(plan, i);

                g_hash_table_add(d->prunable, key_of(item->kind, item->ns, item->id));
        }
}

typedef struct Pieces {
        GHashTable *seen; /* layers and manifests */
        uint64_t bytes;
} Pieces;

static void add_pieces(const ImageRecord *record, void *userdata) {
        uint64_t rest = record->size;
        Pieces *p = userdata;

        for (guint i = 0; i < record->layers->len; i++) {
                const ImageLayer *l = &g_array_index(record->layers, ImageLayer, i);

                rest -= MIN(rest, l->size);
                if (g_hash_table_add(p->seen, l->diff_id))
                        p->bytes += l->size;
        }
        if (g_hash_table_add(p->seen, record->digest))
                p->bytes += rest;
}

static void count_images(DiskUsage *d, Namespace *ns, Pieces *all, Pieces *kept) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->images);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const ImageRecord *record = ((const Image *)value)->record;

                d->rows[PRUNE_IMAGES].number++;
                image_record_foreach_platform(record, add_pieces, all);
                if (!prunable(d, PRUNE_IMAGES, ns->name, record->name))
                        image_record_foreach_platform(record, add_pieces, kept);
        }
}

static void add(Row *row, uint64_t bytes, bool reclaimable) {
        row->bytes += bytes;
        if (reclaimable)
                row->reclaimable += bytes;
}

static void count_snapshots(DiskUsage *d, Namespace *ns) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->snapshots);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Snapshot *s = value;
                const char *user = snapshot_user(s);
                PruneKind kind = user ? PRUNE_CONTAINERS : PRUNE_SNAPSHOTS;
                bool reclaimable = prunable(d, kind, ns->name, user ?: s->key);
                Upper u = { g_strdup(ns->name), g_strdup(s->key), kind, reclaimable };

                d->rows[PRUNE_SNAPSHOTS].number += !user;
                if (s->kind == SNAPSHOT_ACTIVE)
                        g_array_append_val(d->uppers, u);
                else {
                        add(&d->rows[kind], s->size, reclaimable);
                        upper_clear(&u);
                }
        }
}

/* Checkpoints are their containers'. */
static void count_checkpoints(DiskUsage *d, Namespace *ns) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->containers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Container *c = value;

                if (c->checkpoints)
                        add(&d->rows[PRUNE_CONTAINERS], checkpoints_bytes(c),
                            prunable(d, PRUNE_CONTAINERS, ns->name, c->id));
        }
}

static void count_contents(DiskUsage *d, Namespace *ns) {
        Row *row = &d->rows[PRUNE_CONTENT];
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->contents);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Content *c = value;

                if (!c->recorded || c->derived)
                        continue;
                row->number++;
                add(row, c->size, prunable(d, PRUNE_CONTENT, ns->name, c->digest));
        }
}

static void count(DiskUsage *d) {
        g_autoptr(GHashTable) all = g_hash_table_new(g_str_hash, g_str_equal),
                              kept = g_hash_table_new(g_str_hash, g_str_equal);
        Pieces a = { .seen = all }, k = { .seen = kept };
        GHashTableIter iter;
        void *value;

        find_prunable(d);
        g_hash_table_iter_init(&iter, d->m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                count_images(d, value, &a, &k);
                count_snapshots(d, value);
                count_contents(d, value);
                count_checkpoints(d, value);
                d->rows[PRUNE_CONTAINERS].number += g_hash_table_size(((Namespace *)value)->containers);
        }
        d->rows[PRUNE_IMAGES].bytes = a.bytes;
        d->rows[PRUNE_IMAGES].reclaimable = a.bytes - k.bytes;
}

/* ---- what workers say ---- */

static void measure(DiskUsage *d);

static GVariant *result(const DiskUsage *d) {
        GVariantBuilder rows;
        GVariantDict dict;

        g_variant_builder_init(&rows, G_VARIANT_TYPE("a(sutt)"));
        for (PruneKind k = 0; k < _PRUNE_KIND_MAX; k++)
                g_variant_builder_add(&rows, "(sutt)", prune_kind_name(k), d->rows[k].number, d->rows[k].bytes,
                                      d->rows[k].reclaimable);
        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert_value(&dict, "Rows", g_variant_builder_end(&rows));
        g_variant_dict_insert(&dict, "Repository", "t", d->repository);
        return g_variant_dict_end(&dict);
}

static void on_collected(const CollectResult *r, const sd_bus_error *error, void *userdata) {
        DiskUsage *d = userdata;

        d->collecting = false;
        if (error) {
                fail(d, error);
                return;
        }
        d->rows[PRUNE_SPACE] = (Row){ 0, r->freed, r->freed };
        (void)job_finish_ok(d->job, result(d));
        usage_free(d);
}

static void on_space(StoreOp *op _unused_, JsonObject *o, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        DiskUsage *d = userdata;

        d->op = NULL; /* frees itself */
        if (!error && record_get_u64(o, "bytes", &d->repository) < 0) {
                (void)error_internal(&failure, "The store worker's result cannot be used; see the journal.");
                error = &failure;
        }
        if (error) {
                fail(d, error);
                return;
        }
        d->collecting = true;
        collect_then(d->m, true, on_collected, d);
}

static void ask_space(DiskUsage *d) {
        static const StoreHandlers handlers = { .done = on_space };
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        g_autoptr(JsonObject) request = json_object_new();

        json_object_set_string_member(request, "operation", "space");
        if (store_op_start(d->m->event, request, NULL, 0, &handlers, d, &d->op, &error) < 0)
                fail(d, &error);
}

static int take_usage(DiskUsage *d, JsonObject *o) {
        JsonNode *node = json_object_get_member(o, "usage");
        JsonArray *array = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;

        if (!array || json_array_get_length(array) != d->n_batch)
                return -EBADMSG;
        for (guint i = 0; i < d->n_batch; i++) {
                const Upper *u = &g_array_index(d->uppers, Upper, d->batch[i]);
                uint64_t bytes;

                node = json_array_get_element(array, i);
                if (!JSON_NODE_HOLDS_OBJECT(node) || record_get_u64(json_node_get_object(node), "bytes", &bytes) < 0)
                        return -EBADMSG;
                add(&d->rows[u->kind], bytes, u->reclaimable);
        }
        return 0;
}

static void on_measured(StoreOp *op _unused_, JsonObject *o, const sd_bus_error *error, void *userdata) {
        _cleanup_bus_error_ sd_bus_error failure = SD_BUS_ERROR_NULL;
        DiskUsage *d = userdata;

        d->op = NULL; /* frees itself */
        if (!error && take_usage(d, o) < 0) {
                (void)error_internal(&failure, "The store worker's result cannot be used; see the journal.");
                error = &failure;
        }
        if (error)
                fail(d, error);
        else
                measure(d);
}

/* The next directories; those that have gone meanwhile hold nothing. */
static size_t open_batch(DiskUsage *d, int fds[BATCH]) {
        d->n_batch = 0;
        while (d->next < d->uppers->len && d->n_batch < BATCH) {
                guint i = d->next++;
                const Upper *u = &g_array_index(d->uppers, Upper, i);
                Namespace *ns = g_hash_table_lookup(d->m->namespaces, u->ns);
                const Snapshot *s = ns ? snapshot_find(ns, u->key) : NULL;
                int fd = s && s->kind == SNAPSHOT_ACTIVE ? snapshot_dir_open(s) : -1;

                if (fd < 0)
                        continue;
                d->batch[d->n_batch] = i;
                fds[d->n_batch++] = fd;
        }
        return d->n_batch;
}

static void measure(DiskUsage *d) {
        static const StoreHandlers handlers = { .done = on_measured };
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const JobProgress progress = { .parts_done = d->next, .parts_total = d->uppers->len };
        g_autoptr(JsonObject) request = json_object_new();
        int fds[BATCH], r;
        size_t n;

        (void)job_progress(d->job, &progress);
        n = open_batch(d, fds);
        if (n == 0) {
                ask_space(d);
                return;
        }
        json_object_set_string_member(request, "operation", "usage");
        r = store_op_start_at(d->m->event, DAVIT_STORE_SNAPSHOT_SOCKET, request, fds, n, &handlers, d, &d->op, &error);
        for (size_t i = 0; i < n; i++)
                (void)safe_close(fds[i]);
        if (r < 0)
                fail(d, &error);
}

static int on_begin(sd_event_source *source _unused_, void *userdata) {
        DiskUsage *d = userdata;

        d->begin = sd_event_source_disable_unref(d->begin);
        count(d);
        measure(d);
        return 0;
}

static void on_cancel(Job *job, void *userdata) {
        DiskUsage *d = userdata;

        if (d->collecting)
                collect_forget(d->m, d);
        (void)job_finish_cancelled(job);
        usage_free(d);
}

/** disk_usage_begin() - starts to measure; the job's result holds Rows (a(sutt)) and Repository (t) */
int disk_usage_begin(Manager *m, Job **ret, sd_bus_error *error) {
        DiskUsage *d = g_new0(DiskUsage, 1);
        int r;

        d->m = m;
        d->prunable = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        d->uppers = g_array_new(FALSE, TRUE, sizeof(Upper));
        g_array_set_clear_func(d->uppers, upper_clear);
        r = sd_event_add_defer(m->event, &d->begin, on_begin, d);
        if (r >= 0)
                r = job_new(m, "", "disk-usage", "store", on_cancel, d, &d->job);
        if (r < 0) {
                usage_free(d);
                return error_set_errno(error, r, "Measuring cannot be begun");
        }
        *ret = d->job;
        return 0;
}
