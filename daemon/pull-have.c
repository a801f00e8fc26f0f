/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Layers that need not be fetched again.
 *
 * A registry knows layers by the digests of their blobs, which may be compressed; the store knows them by their diff
 * ids. The records of images say which is which, each pair having been verified when it came in. What is offered here
 * is held for as long as the pull lasts: an image may be deleted meanwhile, its chain stays, and is looked at again
 * when the pull lets it go. Which layers an image needs is not known here, so all of the host's are offered.
 */

#include <string.h>

#include "daemon/collect.h"
#include "daemon/image.h"
#include "daemon/pull.h"
#include "daemon/roots.h"
#include "shared/macros.h"

#define LAYERS_MAX 8192U /* both requests stay below what their readers take */

struct PullHave {
        Manager *manager;
        GPtrArray *layers;   /* ImageLayer, owned */
        GHashTable *digests; /* of layers, borrowed */
        GHashTable *chains;  /* chain id -> RootHold */
};

static void layer_free(void *p) {
        ImageLayer *layer = p;

        g_free(layer->diff_id);
        g_free(layer->digest);
        g_free(layer);
}

static void add_layer(PullHave *have, const ImageLayer *layer) {
        ImageLayer *copy;

        if (g_hash_table_contains(have->digests, layer->digest))
                return;
        copy = g_new(ImageLayer, 1);
        *copy = (ImageLayer){ g_strdup(layer->diff_id), g_strdup(layer->digest), layer->size };
        g_ptr_array_add(have->layers, copy);
        g_hash_table_add(have->digests, copy->digest);
}

static void add_record(const ImageRecord *record, void *userdata) {
        PullHave *have = userdata;

        if (have->layers->len + record->layers->len > LAYERS_MAX ||
            g_hash_table_contains(have->chains, record->chain_id))
                return;
        g_hash_table_insert(have->chains, g_strdup(record->chain_id),
                            root_hold_new(have->manager, ROOT_CHAIN, record->chain_id));
        for (guint i = 0; i < record->layers->len; i++)
                add_layer(have, &g_array_index(record->layers, ImageLayer, i));
}

/** pull_have_new() - the layers of all images of all namespaces; or, where they are not to be relied on, none */
PullHave *pull_have_new(Manager *m, bool none) {
        PullHave *have = g_new(PullHave, 1);
        GHashTableIter spaces, images;
        void *ns, *image;

        *have = (PullHave){
                .manager = m,
                .layers = g_ptr_array_new_with_free_func(layer_free),
                .digests = g_hash_table_new(g_str_hash, g_str_equal),
                .chains = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
        };
        g_hash_table_iter_init(&spaces, m->namespaces);
        while (!none && g_hash_table_iter_next(&spaces, NULL, &ns)) {
                g_hash_table_iter_init(&images, ((Namespace *)ns)->images);
                while (g_hash_table_iter_next(&images, NULL, &image))
                        image_record_foreach_platform(((Image *)image)->record, add_record, have);
        }
        return have;
}

/* Whether a chain has lost its last root while it was held. */
static bool any_orphan(const PullHave *have) {
        g_autoptr(GHashTable) needed = roots_of(have->manager, ROOT_CHAIN);
        GHashTableIter iter;
        void *chain;

        g_hash_table_iter_init(&iter, have->chains);
        while (g_hash_table_iter_next(&iter, &chain, NULL))
                if (!g_hash_table_contains(needed, chain))
                        return true;
        return false;
}

/** pull_have_free() - lets go of what was held; NULL is fine */
PullHave *pull_have_free(PullHave *have) {
        GHashTableIter iter;
        void *hold;

        if (!have)
                return NULL;
        g_hash_table_iter_init(&iter, have->chains);
        while (g_hash_table_iter_next(&iter, NULL, &hold))
                (void)root_hold_free(hold);
        if (any_orphan(have))
                collect_schedule(have->manager);
        g_hash_table_unref(have->chains);
        g_hash_table_unref(have->digests);
        g_ptr_array_unref(have->layers);
        g_free(have);
        return NULL;
}

/** pull_have_digests() - "have" of shared/registry-protocol.h; a new reference */
JsonArray *pull_have_digests(const PullHave *have) {
        JsonArray *array = json_array_new();

        for (guint i = 0; i < have->layers->len; i++)
                json_array_add_string_element(array, ((ImageLayer *)g_ptr_array_index(have->layers, i))->digest);
        return array;
}

/** pull_have_layers() - "have" of an import, shared/store-protocol.h; a new reference */
JsonArray *pull_have_layers(const PullHave *have) {
        JsonArray *array = json_array_new();

        for (guint i = 0; i < have->layers->len; i++) {
                const ImageLayer *layer = g_ptr_array_index(have->layers, i);
                JsonObject *o = json_object_new();

                json_object_set_string_member(o, "digest", layer->digest);
                json_object_set_string_member(o, "diff_id", layer->diff_id);
                json_object_set_int_member(o, "size", (gint64)layer->size);
                json_array_add_object_element(array, o);
        }
        return array;
}
