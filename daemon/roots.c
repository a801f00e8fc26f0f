/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What has to stay in the store.
 *
 * Records are the only roots: images, snapshots, containers, leases and what running operations hold name chains and
 * contents, the store knows what those are made of. Nothing is counted, so nothing can be counted wrong: whoever wants
 * to know walks over the tables, and the reason of each root comes along for those who ask why something is kept.
 */

#include <string.h>

#include "daemon/container.h"
#include "daemon/content.h"
#include "daemon/image.h"
#include "daemon/lease.h"
#include "daemon/roots.h"
#include "daemon/snapshot.h"
#include "shared/macros.h"

struct RootHold {
        Manager *manager;
        RootKind kind;
        char *target;
        GList *link; /* in Manager.holds: a pull lets go of thousands */
};

/** root_hold_new() - keeps a chain or a content in the store until root_hold_free() */
RootHold *root_hold_new(Manager *m, RootKind kind, const char *target) {
        RootHold *h = g_new(RootHold, 1);

        m->holds = g_list_prepend(m->holds, h);
        *h = (RootHold){ m, kind, g_strdup(target), m->holds };
        return h;
}

/** root_hold_free() - lets it go; NULL is fine */
RootHold *root_hold_free(RootHold *h) {
        if (!h)
                return NULL;

        h->manager->holds = g_list_delete_link(h->manager->holds, h->link);
        g_free(h->target);
        g_free(h);
        return NULL;
}

/** image_record_visit_roots() - an image needs its chain, its manifest and its configuration, of every platform */
void image_record_visit_roots(const ImageRecord *record, const RootReason *why, root_visit_t visit, void *userdata) {
        visit(ROOT_CHAIN, record->chain_id, why, userdata);
        visit(ROOT_CONTENT, record->digest, why, userdata);
        visit(ROOT_CONTENT, record->config_digest, why, userdata);
        if (record->index && *record->index)
                visit(ROOT_CONTENT, record->index, why, userdata);
        for (guint i = 0; record->platforms && i < record->platforms->len; i++)
                image_record_visit_roots(g_ptr_array_index(record->platforms, i), why, visit, userdata);
}

/** image_visit_roots() - of all images of a namespace */
void image_visit_roots(const Namespace *ns, root_visit_t visit, void *userdata) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->images);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const ImageRecord *record = ((Image *)value)->record;
                const RootReason why = { "image", ns->name, record->name };

                image_record_visit_roots(record, &why, visit, userdata);
        }
}

/** snapshot_visit_roots() - a snapshot needs the chain it is, or the one it stands on */
void snapshot_visit_roots(const Namespace *ns, root_visit_t visit, void *userdata) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->snapshots);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Snapshot *s = value;
                const RootReason why = { "snapshot", ns->name, s->key };

                const char *chain = s->kind == SNAPSHOT_COMMITTED ? s->chain_id : s->parent;

                if (*chain && (!s->doomed || s->n_jobs > 0))
                        visit(ROOT_CHAIN, chain, &why, userdata);
        }
}

/** container_visit_roots() - a container needs manifest and configuration of its image: what a commit is made from */
void container_visit_roots(const Namespace *ns, root_visit_t visit, void *userdata) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->containers);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Container *c = value;
                const RootReason why = { "container", ns->name, c->id };

                if (c->image_digest && *c->image_digest)
                        visit(ROOT_CONTENT, c->image_digest, &why, userdata);
                if (c->image_config && *c->image_config)
                        visit(ROOT_CONTENT, c->image_config, &why, userdata);
        }
}

/** roots_visit() - calls @visit for every root of every namespace */
void roots_visit(Manager *m, root_visit_t visit, void *userdata) {
        static const RootReason operation = { "operation", "", "" };
        GHashTableIter iter;
        void *ns;

        g_hash_table_iter_init(&iter, m->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &ns)) {
                image_visit_roots(ns, visit, userdata);
                snapshot_visit_roots(ns, visit, userdata);
                container_visit_roots(ns, visit, userdata);
                lease_visit_roots(ns, visit, userdata);
                content_visit_roots(ns, visit, userdata);
        }
        for (GList *l = m->holds; l; l = l->next) {
                const RootHold *h = l->data;

                visit(h->kind, h->target, &operation, userdata);
        }
}

typedef struct Gather {
        RootKind kind;
        GHashTable *set;
        const char *wanted; /* instead of a set: whether this one is among them */
        bool found;
} Gather;

static void gather(RootKind kind, const char *target, const RootReason *why _unused_, void *userdata) {
        Gather *g = userdata;

        if (kind != g->kind)
                return;
        if (g->set && !g_hash_table_contains(g->set, target))
                g_hash_table_add(g->set, g_strdup(target));
        if (g->wanted && streq(g->wanted, target))
                g->found = true;
}

/** roots_have() - whether anything needs @target */
bool roots_have(Manager *m, RootKind kind, const char *target) {
        GHashTableIter iter;
        Gather g = { .kind = kind, .wanted = target };
        void *ns;

        /* Nearly every chain is that of an image: asked for at the end of every container. */
        g_hash_table_iter_init(&iter, m->namespaces);
        while (!g.found && g_hash_table_iter_next(&iter, NULL, &ns))
                image_visit_roots(ns, gather, &g);
        if (!g.found)
                roots_visit(m, gather, &g);
        return g.found;
}

/** roots_of() - all targets of a kind, each once; the caller's to unref */
GHashTable *roots_of(Manager *m, RootKind kind) {
        Gather g = { .kind = kind };

        g.set = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        roots_visit(m, gather, &g);
        return g.set;
}

static JsonArray *to_array(Manager *m, RootKind kind) {
        g_autoptr(GHashTable) set = roots_of(m, kind);
        JsonArray *array = json_array_new();
        GHashTableIter iter;
        void *target;

        g_hash_table_iter_init(&iter, set);
        while (g_hash_table_iter_next(&iter, &target, NULL))
                json_array_add_string_element(array, target);
        return array;
}

/** roots_to_json() - STORE_ROOTS of shared/store-protocol.h; a new reference */
JsonObject *roots_to_json(Manager *m) {
        JsonObject *o = json_object_new();

        json_object_set_array_member(o, "chains", to_array(m, ROOT_CHAIN));
        json_object_set_array_member(o, "contents", to_array(m, ROOT_CONTENT));
        return o;
}
