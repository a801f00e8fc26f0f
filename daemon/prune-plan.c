/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What may be pruned: the plan, from the tables alone.
 *
 * Never what is pinned, what a lease names, what a container that stays uses, or what runs. A container goes when it
 * has no task or its task has ended; what it alone has used may go with it in the same plan. Nothing is changed here.
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus.h"
#include "daemon/container.h"
#include "daemon/content.h"
#include "daemon/image.h"
#include "daemon/lease.h"
#include "daemon/prune.h"
#include "daemon/snapshot.h"
#include "daemon/task.h"

#define LABEL_ROOT "davit.gc.root"

typedef struct Plan {
        Manager *m;
        const PruneOptions *options;
        GPtrArray *items;
        GHashTable *doomed; /* Container, a set */
        GHashTable *roots;  /* digests of contents that are kept, a set */
} Plan;

static const char *const kind_names[_PRUNE_KIND_MAX] = {
        [PRUNE_CONTAINERS] = "containers", [PRUNE_IMAGES] = "images", [PRUNE_SNAPSHOTS] = "snapshots",
        [PRUNE_CONTENT] = "content",       [PRUNE_SPACE] = "space",
};

/** prune_kind_name() - the word on the bus */
const char *prune_kind_name(PruneKind kind) {
        return kind_names[kind];
}

/** prune_kind_from_name() - _PRUNE_KIND_INVALID for anything that is not a word of ours */
PruneKind prune_kind_from_name(const char *name) {
        for (PruneKind k = 0; k < _PRUNE_KIND_MAX; k++)
                if (streq(kind_names[k], name))
                        return k;
        return _PRUNE_KIND_INVALID;
}

static void item_free(void *p) {
        PruneItem *item = p;

        g_free(item->ns);
        g_free(item->id);
        g_free(item);
}

/** prune_item_new() - copies the strings */
PruneItem *prune_item_new(PruneKind kind, const char *ns, const char *id, uint64_t bytes) {
        PruneItem *item = g_new(PruneItem, 1);

        *item = (PruneItem){ kind, g_strdup(ns), g_strdup(id), bytes };
        return item;
}

/* ---- what may go ---- */

static bool container_idle(const Container *c) {
        return c->visible && (!c->task || process_ended(&c->task->process));
}

/* Whether a container that stays names it; @field is where the name stands in a Container. */
static bool used(const Namespace *ns, GHashTable *doomed, size_t field, const char *name) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->containers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const char *s = *(char *const *)((const char *)value + field);

                if (s && streq(s, name) && !(doomed && g_hash_table_contains(doomed, value)))
                        return true;
        }
        return false;
}

static bool image_free_to_go(const Image *image, GHashTable *doomed) {
        const char *name = image->record->name;

        return !image->record->pinned && !lease_of(image->ns, "image", name) &&
               !used(image->ns, doomed, offsetof(Container, image), name);
}

static bool snapshot_free_to_go(const Snapshot *s, GHashTable *doomed) {
        return !s->n_jobs && !s->busy && !s->doomed && !snapshot_child(s) && !lease_of(s->ns, "snapshot", s->key) &&
               !g_hash_table_contains(s->labels, LABEL_ROOT) &&
               !used(s->ns, doomed, offsetof(Container, snapshot_key), s->key);
}

/* @roots: all contents that are kept, by labels and leases too; NULL: to be asked for this one. */
static bool content_free_to_go(const Content *c, GHashTable *roots) {
        return c->recorded && !c->derived &&
               !(roots ? g_hash_table_contains(roots, c->digest)
                       : roots_have(c->ns->manager, ROOT_CONTENT, c->digest));
}

/* A name that says no tag: one that stands for a digest alone. */
static bool untagged(const char *name) {
        const char *at = strchr(name, '@'), *colon = at ? memrchr(name, ':', (size_t)(at - name)) : NULL;

        return at && !(colon && !memchr(colon, '/', (size_t)(at - colon)));
}

static bool asked_for(const Plan *p, GHashTable *labels, uint64_t came) {
        return (p->options->until == 0 || came < p->options->until) && bus_labels_match(labels, p->options->labels);
}

/* ---- the walk ---- */

static void plan_containers(Plan *p, Namespace *ns) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->containers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Container *c = value;

                if (!container_idle(c) || !asked_for(p, c->labels, c->created_at))
                        continue;
                g_hash_table_add(p->doomed, value);
                g_ptr_array_add(p->items, prune_item_new(PRUNE_CONTAINERS, ns->name, c->id, 0));
        }
}

static void plan_images(Plan *p, Namespace *ns) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->images);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Image *image = value;

                if (image_free_to_go(image, p->doomed) && asked_for(p, image->labels, image->record->imported) &&
                    (!p->options->dangling || untagged(image->record->name)))
                        g_ptr_array_add(p->items, prune_item_new(PRUNE_IMAGES, ns->name, image->record->name,
                                                                 image->record->size));
        }
}

/* What belongs to a container that goes is not a row of its own. */
static void plan_snapshots(Plan *p, Namespace *ns) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->snapshots);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Snapshot *s = value;

                if (snapshot_free_to_go(s, p->doomed) && !snapshot_user(s) && asked_for(p, s->labels, s->created))
                        g_ptr_array_add(p->items, prune_item_new(PRUNE_SNAPSHOTS, ns->name, s->key, s->size));
        }
}

static void plan_contents(Plan *p, Namespace *ns) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->contents);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Content *c = value;

                if (content_free_to_go(c, p->roots) && asked_for(p, c->labels, c->created))
                        g_ptr_array_add(p->items, prune_item_new(PRUNE_CONTENT, ns->name, c->digest, c->size));
        }
}

static int by_place(const void *a, const void *b) {
        const PruneItem *x = *(PruneItem *const *)a, *y = *(PruneItem *const *)b;
        int r = (x->kind > y->kind) - (x->kind < y->kind);

        if (r == 0)
                r = strcmp(x->ns, y->ns);
        return r != 0 ? r : strcmp(x->id, y->id);
}

static void plan_namespace(Plan *p, Namespace *ns) {
        static void (*const walks[_PRUNE_KIND_MAX])(Plan * p, Namespace * ns) = {
                [PRUNE_CONTAINERS] = plan_containers,
                [PRUNE_IMAGES] = plan_images,
                [PRUNE_SNAPSHOTS] = plan_snapshots,
                [PRUNE_CONTENT] = plan_contents,
        };

        for (PruneKind k = 0; k < _PRUNE_KIND_MAX; k++)
                if (p->options->wanted[k] && walks[k])
                        walks[k](p, ns);
}

/** prune_plan() - what would go, in order; nothing of it is changed */
GPtrArray *prune_plan(Manager *m, Namespace *ns, const PruneOptions *options) {
        g_autoptr(GHashTable) doomed = g_hash_table_new(NULL, NULL), roots = roots_of(m, ROOT_CONTENT);
        Plan p = { m, options, g_ptr_array_new_with_free_func(item_free), doomed, roots };
        GHashTableIter iter;
        void *value;

        if (ns)
                plan_namespace(&p, ns);
        g_hash_table_iter_init(&iter, m->namespaces);
        while (!ns && g_hash_table_iter_next(&iter, NULL, &value))
                plan_namespace(&p, value);
        g_ptr_array_sort(p.items, by_place);
        return p.items;
}

static void *find(Manager *m, const PruneItem *item) {
        Namespace *ns = g_hash_table_lookup(m->namespaces, item->ns);

        if (!ns)
                return NULL;
        switch (item->kind) {
        case PRUNE_CONTAINERS:
                return g_hash_table_lookup(ns->containers, item->id);
        case PRUNE_IMAGES:
                return g_hash_table_lookup(ns->images, item->id);
        case PRUNE_SNAPSHOTS:
                return snapshot_find(ns, item->id);
        case PRUNE_CONTENT:
                return g_hash_table_lookup(ns->contents, item->id);
        default:
                return NULL;
        }
}

/** prune_exists() - whether there is something of an item's name */
bool prune_exists(Manager *m, const PruneItem *item) {
        return find(m, item) != NULL;
}

/** prune_find() - the object of an item, when it still may go; NULL otherwise */
void *prune_find(Manager *m, const PruneItem *item) {
        void *object = find(m, item);
        bool may_go = false;

        if (!object)
                return NULL;
        if (item->kind == PRUNE_CONTAINERS)
                may_go = container_idle(object);
        else if (item->kind == PRUNE_IMAGES)
                may_go = image_free_to_go(object, NULL);
        else if (item->kind == PRUNE_SNAPSHOTS)
                may_go = snapshot_free_to_go(object, NULL);
        else
                may_go = content_free_to_go(object, NULL);
        return may_go ? object : NULL;
}
