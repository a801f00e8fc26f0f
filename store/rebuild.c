/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A chain's root file system, made again from what the store keeps of its layers.
 *
 * The chain and its layers are pinned while that goes on. Nothing of an image's archive is needed: layers' trees come
 * from their records, files from the objects.
 */

#include <gio/gio.h>

#include "store/chain-load.h"
#include "store/error.h"
#include "store/import.h"
#include "store/request.h"
#include "store/rootfs.h"

typedef struct {
        Store *store;
        StoreJob *job;
        Ingest *ingest;
        Objects *objects;
        Unpack *unpack;
        Tree *chain;
} Rebuild;

static gboolean rebuild_locked(Rebuild *r, const Rootfs *rootfs, GError **error) {
        g_autofree char *ref = store_ref(REF_EROFS, rootfs->chain_id);
        g_autoptr(GHashTable) refs = g_hash_table_new(g_str_hash, g_str_equal);

        if (!objects_promote(r->objects, error) || !rootfs_move(r->ingest, rootfs, error))
                return FALSE;
        if (!rootfs->commit[0])
                return store_sync(r->store, error);
        g_hash_table_insert(refs, ref, (gpointer)rootfs->commit);
        return ingest_pin(r->ingest, ref, error) && store_set_refs(r->store, refs, error);
}

static gboolean rebuild(Rebuild *r, Rootfs *rootfs, JsonNode **ret, GError **error) {
        gboolean ok;

        r->ingest = ingest_begin(r->store, error);
        if (!r->ingest)
                return FALSE;
        r->objects = objects_new(r->job, r->store->objects_fd, r->ingest->stage_fd);
        r->unpack = unpack_new(r->job, r->store, r->ingest, r->objects, NULL, FALSE);
        if (!chain_load(r->unpack, r->store, r->ingest, rootfs->chain_id, r->chain, NULL, error))
                return FALSE;
        tree_sort(tree_root(r->chain));
        if (!rootfs_build(r->job, r->ingest, r->objects, r->chain, rootfs, error))
                return FALSE;
        *ret = rootfs_record(r->store->directory, rootfs, r->chain);
        if (!rootfs->built)
                return TRUE;
        if (!store_sync(r->store, error) || !store_lock(r->store, FALSE, error))
                return FALSE;
        ok = rebuild_locked(r, rootfs, error);
        store_unlock(r->store, FALSE);
        return ok;
}

/* What libostree does not find the store does not have, as little as a chain without a ref. */
static void name_lost(const char *chain_id, GError **error) {
        g_autoptr(GError) lost = NULL;

        if (!error || !g_error_matches(*error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND))
                return;
        lost = g_steal_pointer(error);
        store_fail(error, STORE_FAIL_NOT_FOUND, "The store has lost a part of chain %s: %s", chain_id, lost->message);
}

/** store_rootfs() - make a chain's root file system in this form if it is missing: {"rootfs":ROOTFS}
 *
 * A chain that is not in the store, or not all of it: STORE_FAIL_NOT_FOUND.
 */
JsonNode *store_rootfs(Store *s, StoreJob *job, const char *chain_id, RootfsForm form, Ingest **held, GError **error) {
        Rebuild r = { .store = s, .job = job };
        Rootfs rootfs = { .form = form };
        g_autoptr(JsonNode) record = NULL;
        JsonObject *o;
        gboolean ok;

        if (!digest_parse(chain_id, rootfs.chain_id, error))
                return NULL;
        r.chain = tree_new();
        ok = rebuild(&r, &rootfs, &record, error);
        g_clear_pointer(&r.objects, objects_free);
        if (ok)
                *held = g_steal_pointer(&r.ingest);
        g_clear_pointer(&r.ingest, ingest_end);
        tree_free(r.chain);
        g_clear_pointer(&r.unpack, unpack_free);
        if (!ok) {
                name_lost(chain_id, error);
                return NULL;
        }
        o = json_object_new();
        json_object_set_member(o, "rootfs", g_steal_pointer(&record));
        return request_object(o);
}
