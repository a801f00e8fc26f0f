/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Loading a chain.
 *
 * Its layers' trees come from their tar-split records and are merged; no file is opened. A layer that several chains of
 * one operation have is read once, so that what they share is the same inodes, which is how their difference is found
 * quickly. The chain is pinned first: collection leaves it alone while the operation lives.
 */

#include "store/chain-load.h"

#include <string.h>

#include "store/chain.h"
#include "store/error.h"

static gboolean pin(Store *store, Ingest *ingest, const guint8 chain_id[DIGEST_SIZE], GError **error) {
        g_autofree char *ref = store_ref(REF_CHAIN, chain_id);
        gboolean ok;

        if (!store_lock(store, FALSE, error))
                return FALSE;
        ok = ingest_pin(ingest, ref, error);
        store_unlock(store, FALSE);
        return ok;
}

static void add_layer(GPtrArray *layers, const Unpacked *u) {
        ImageLayer *l = g_new0(ImageLayer, 1);

        /* As it would be exported now, plain, whatever it was in when it came. */
        memcpy(l->diff_id, u->diff_id, DIGEST_SIZE);
        memcpy(l->digest, u->diff_id, DIGEST_SIZE);
        l->has_digest = TRUE;
        l->size = u->layer->tar_size;
        l->media_type = g_strdup(MEDIA_OCI_LAYER);
        g_ptr_array_add(layers, l);
}

/** chain_load() - see the header */
gboolean chain_load(Unpack *u, Store *store, Ingest *ingest, const guint8 chain_id[DIGEST_SIZE], Tree *chain,
                    GPtrArray *layers, GError **error) {
        g_auto(GStrv) ids = NULL;
        char hex[DIGEST_HEX];

        digest_hex(chain_id, hex);
        if (!pin(store, ingest, chain_id, error))
                return FALSE;
        ids = store_chain_layers(store, hex, error);
        if (!ids)
                return FALSE;
        for (char **id = ids; *id; id++) {
                guint8 diff_id[DIGEST_SIZE];

                if (!digest_parse_hex(*id, diff_id))
                        return store_fail(error, STORE_FAIL_INTERNAL, "Chain %s names a layer that is not a digest",
                                          hex);
                if (!unpack_replay(u, diff_id, error) ||
                    !chain_apply(chain, unpack_find(u, diff_id)->layer->tree, error))
                        return FALSE;
                if (layers)
                        add_layer(layers, unpack_find(u, diff_id));
        }
        return TRUE;
}
