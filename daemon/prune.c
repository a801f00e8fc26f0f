/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The prune job: carries a plan out, item by item, and then has the space freed.
 *
 * Each item is looked at again when its turn comes; what is used by then is left out of the result, and what is still
 * there, or there again, when its removal has ended. That of a container or a snapshot may take time, everything else
 * is done at once. A dry run does nothing of it and asks the store what a collection would free as things are. A job
 * that is cancelled ends with the item that is under way; what has gone is gone.
 */

#include <errno.h>

#include "daemon/collect.h"
#include "daemon/container.h"
#include "daemon/content.h"
#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/prune.h"
#include "daemon/snapshot.h"
#include "daemon/sync.h"
#include "shared/log.h"

typedef struct Prune {
        Manager *m;
        Job *job;
        GPtrArray *plan; /* PruneItem */
        GPtrArray *gone; /* PruneItem, borrowed from the plan */
        sd_event_source *begin;
        guint next;
        bool dry_run, space;
        uint64_t freed_before; /* bytes */
        bool removing;         /* a container's or snapshot's removal is under way */
        bool synchronous;      /* and was begun further up the stack */
        bool collecting;
        bool cancelled;
} Prune;

static void step(Prune *p);
static int on_begin(sd_event_source *source, void *userdata);

static void prune_free(Prune *p) {
        sd_event_source_disable_unref(p->begin);
        g_ptr_array_unref(p->gone);
        g_ptr_array_unref(p->plan);
        g_free(p);
}

static GVariant *plan_to_variant(GPtrArray *items) {
        GVariantBuilder rows;

        g_variant_builder_init(&rows, G_VARIANT_TYPE("a(ssst)"));
        for (guint i = 0; i < items->len; i++) {
                const PruneItem *item = g_ptr_array_index(items, i);

                g_variant_builder_add(&rows, "(ssst)", prune_kind_name(item->kind), item->ns, item->id, item->bytes);
        }
        return g_variant_builder_end(&rows);
}

static void finish(Prune *p, uint64_t freed) {
        GVariantDict dict;

        g_variant_dict_init(&dict, NULL);
        g_variant_dict_insert_value(&dict, "Plan", plan_to_variant(p->gone));
        g_variant_dict_insert(&dict, "Freed", "t", freed);
        g_variant_dict_insert(&dict, "DryRun", "b", p->dry_run);
        (void)job_finish_ok(p->job, g_variant_dict_end(&dict));
        prune_free(p);
}

static void on_collected(const CollectResult *result, const sd_bus_error *error, void *userdata) {
        Prune *p = userdata;
        uint64_t freed;

        if (error) {
                (void)job_finish_error(p->job, error->name, error->message);
                prune_free(p);
                return;
        }
        /* What an earlier item left may have gone with a collection that was under way already. */
        freed = p->dry_run ? result->freed : collect_freed(p->m) - p->freed_before;
        if (p->space && freed > 0) {
                PruneItem *item = prune_item_new(PRUNE_SPACE, "", "", freed);

                g_ptr_array_add(p->plan, item);
                g_ptr_array_add(p->gone, item);
        }
        finish(p, freed);
}

static void on_cancel(Job *job, void *userdata) {
        Prune *p = userdata;

        p->cancelled = true;
        if (p->removing)
                return; /* the end of that ends the job */
        if (p->collecting)
                collect_forget(p->m, p);
        (void)job_finish_cancelled(job);
        prune_free(p);
}

/* An error may be about what a loss of power brings back: the item has gone all the same. */
static void on_removed(int r, void *userdata) {
        Prune *p = userdata;
        PruneItem *item = g_ptr_array_index(p->plan, p->next - 1);

        p->removing = false;
        if (r >= 0 || !prune_exists(p->m, item))
                g_ptr_array_add(p->gone, item);
        if (!p->synchronous && p->m->collector) /* NULL once the manager goes, which cancels the job */
                step(p);
}

static void on_deleted(int r, const sd_bus_error *error _unused_, void *userdata) {
        on_removed(r, userdata);
}

static int begin_removal(Prune *p, const PruneItem *item, void *object) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        uint64_t mark = sync_mark(p->m->sync);
        int r;

        if (item->kind == PRUNE_CONTAINERS)
                return container_delete(object, false, false, on_deleted, p, &error);
        r = snapshot_remove(object);
        if (r >= 0)
                sync_wait(p->m->sync, mark, on_removed, p);
        return r;
}

/* False: it goes on when that has ended. */
static bool remove_later(Prune *p, const PruneItem *item, void *object) {
        p->removing = p->synchronous = true;
        if (begin_removal(p, item, object) < 0)
                p->removing = false;
        p->synchronous = false;
        return !p->removing;
}

static int remove_item(const PruneItem *item, void *object) {
        switch (item->kind) {
        case PRUNE_IMAGES:
                return image_remove(object, NULL);
        case PRUNE_CONTENT:
                return content_delete(object, NULL);
        default:
                return -EINVAL;
        }
}

/* False: it goes on later. */
static bool take(Prune *p, PruneItem *item) {
        void *object;

        if (p->dry_run) {
                g_ptr_array_add(p->gone, item);
                return true;
        }
        object = prune_find(p->m, item);
        if (!object)
                return true;
        if (item->kind == PRUNE_CONTAINERS || item->kind == PRUNE_SNAPSHOTS)
                return remove_later(p, item, object);
        if (remove_item(item, object) >= 0)
                g_ptr_array_add(p->gone, item);
        return true;
}

static void step(Prune *p) {
        while (!p->cancelled && p->next < p->plan->len) {
                const JobProgress progress = { .parts_done = p->next, .parts_total = p->plan->len };

                (void)job_progress(p->job, &progress);
                if (!take(p, g_ptr_array_index(p->plan, p->next++)))
                        return;
                if (!p->dry_run && sd_event_add_defer(p->m->event, &p->begin, on_begin, p) >= 0)
                        return; /* whoever calls meanwhile has a turn after each item */
        }
        if (p->cancelled) {
                (void)job_finish_cancelled(p->job);
                prune_free(p);
        } else if (p->space || (!p->dry_run && p->gone->len > 0)) {
                p->collecting = true;
                collect_then(p->m, p->dry_run, on_collected, p);
        } else
                finish(p, 0);
}

/* The reply with the job's path goes first; later the next item. */
static int on_begin(sd_event_source *source _unused_, void *userdata) {
        Prune *p = userdata;

        p->begin = sd_event_source_disable_unref(p->begin);
        step(p);
        return 0;
}

/**
 * prune_begin() - starts to prune
 * @ns: NULL: all namespaces
 * @ret: a job; its result holds Plan (a(ssst)), Freed (t) and DryRun (b)
 */
int prune_begin(Manager *m, Namespace *ns, const PruneOptions *options, Job **ret, sd_bus_error *error) {
        Prune *p = g_new0(Prune, 1);
        int r;

        p->m = m;
        p->dry_run = options->dry_run;
        p->freed_before = collect_freed(m);
        p->space = options->wanted[PRUNE_SPACE];
        p->plan = prune_plan(m, ns, options);
        p->gone = g_ptr_array_new();
        r = sd_event_add_defer(m->event, &p->begin, on_begin, p);
        if (r >= 0)
                r = job_new(m, ns ? ns->name : "", "prune", options->dry_run ? "plan" : "everything unused", on_cancel,
                            p, &p->job);
        if (r < 0) {
                prune_free(p);
                return error_set_errno(error, r, "Pruning cannot be begun");
        }
        *ret = p->job;
        return 0;
}
