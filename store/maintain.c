/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Operations on what is in the store: a chain's root file system, removal with collection, verification.
 *
 * Collection is mark and sweep: images of all namespaces and the chains the manager says are in use keep what they
 * name, everything else loses its ref, and libostree prunes what no ref reaches, all under the exclusive lock. Refs go
 * first, so a crash leaves garbage that the next collection finds, never a ref to something missing.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/image-name.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "store/chain.h"
#include "store/error.h"
#include "store/import.h"
#include "store/layer.h"
#include "store/publish.h"

static JsonNode *object_node(JsonObject *o) {
        JsonNode *n = json_node_init_object(json_node_alloc(), o);

        json_object_unref(o);
        return n;
}

static char **metadata_strings(GVariant *metadata, const char *key, GError **error) {
        char **list = NULL;

        if (!g_variant_lookup(metadata, key, "^as", &list))
                store_fail(error, STORE_FAIL_INTERNAL, "A commit of the store has no '%s'", key);
        return list;
}

/* The layers of a chain that is in the store. */
static char **chain_layers(Store *s, const char *hex, GError **error) {
        g_autofree char *ref = g_strconcat(REF_CHAIN, hex, NULL), *commit = NULL;
        g_autoptr(GVariant) metadata = NULL;

        if (!store_resolve(s, ref, &commit, error))
                return NULL;
        if (!commit) {
                store_fail(error, STORE_FAIL_NOT_FOUND, "Chain sha256:%s is not in the store", hex);
                return NULL;
        }
        metadata = store_commit_metadata(s, commit, error);
        return metadata ? metadata_strings(metadata, "davit.layers", error) : NULL;
}

typedef struct {
        Store *store;
        StoreJob *job;
        Ingest *ingest;
        Objects *objects;
        GPtrArray *layers;
        Tree *chain;
} Rebuild;

static gboolean rebuild_chain(Rebuild *r, const char *hex, GError **error) {
        g_auto(GStrv) layers = chain_layers(r->store, hex, error);

        if (!layers)
                return FALSE;
        for (char **l = layers; *l; l++) {
                g_auto(Split) split = { NULL };
                guint8 diff_id[DIGEST_SIZE];
                Layer *layer;

                if (!digest_parse_hex(*l, diff_id))
                        return store_fail(error, STORE_FAIL_INTERNAL, "Chain %s names a layer that is not a digest",
                                          hex);
                if (!store_load_split(r->store, diff_id, &split, error))
                        return FALSE;
                layer = layer_replay(r->job, &split, error);
                if (!layer)
                        return FALSE;
                g_ptr_array_add(r->layers, layer);
                if (!chain_apply(r->chain, layer->tree, error))
                        return FALSE;
        }
        tree_sort(tree_root(r->chain));
        return TRUE;
}

static gboolean rebuild(Rebuild *r, const guint8 chain_id[DIGEST_SIZE], JsonNode **ret, GError **error) {
        char hex[DIGEST_HEX];
        const Inode *top;

        digest_hex(chain_id, hex);
        r->ingest = ingest_begin(r->store, FALSE, error);
        if (!r->ingest || !rebuild_chain(r, hex, error))
                return FALSE;
        r->objects = objects_new(r->job, r->store->objects_fd, r->ingest->stage_fd);
        if (!publish_checkout(r->job, r->store, r->ingest, r->objects, r->chain, chain_id, error) ||
            !store_sync(r->store, error) || !publish_move_checkout(r->store, r->ingest, chain_id, error) ||
            !store_sync(r->store, error))
                return FALSE;
        top = tree_root(r->chain)->inode;
        *ret = rootfs_record(r->store->directory, chain_id, top->uid, top->gid, top->mode);
        return TRUE;
}

/** store_rootfs() - make a chain's checkout if it is missing: {"rootfs":ROOTFS} */
JsonNode *store_rootfs(Store *s, StoreJob *job, const char *chain_id, GError **error) {
        Rebuild r = { .store = s, .job = job };
        guint8 digest[DIGEST_SIZE];
        JsonNode *rootfs = NULL;
        JsonObject *o;
        gboolean ok;

        if (!digest_parse(chain_id, digest, error))
                return NULL;
        r.layers = g_ptr_array_new_with_free_func((GDestroyNotify)layer_free);
        r.chain = tree_new();
        ok = rebuild(&r, digest, &rootfs, error);
        g_clear_pointer(&r.objects, objects_free);
        g_clear_pointer(&r.ingest, ingest_end);
        tree_free(r.chain);
        g_ptr_array_unref(r.layers);
        if (!ok)
                return NULL;
        o = json_object_new();
        json_object_set_member(o, "rootfs", rootfs);
        return object_node(o);
}

static void mark(GHashTable *live, const char *prefix, const char *hex) {
        g_hash_table_add(live, g_strconcat(prefix, hex, NULL));
}

static gboolean mark_layers(GHashTable *live, char **layers) {
        for (char **l = layers; l && *l; l++) {
                mark(live, REF_LAYER, *l);
                mark(live, REF_SPLIT, *l);
        }
        return layers != NULL;
}

static gboolean mark_image(Store *s, GHashTable *live, const char *commit, GError **error) {
        g_autoptr(GVariant) metadata = store_commit_metadata(s, commit, error);
        g_auto(GStrv) layers = metadata ? metadata_strings(metadata, "davit.layers", error) : NULL;
        g_auto(GStrv) contents = layers ? metadata_strings(metadata, "davit.contents", error) : NULL;
        g_autofree char *chain = NULL;

        if (!contents)
                return FALSE;
        if (!g_variant_lookup(metadata, "davit.chain", "s", &chain))
                return store_fail(error, STORE_FAIL_INTERNAL, "An image of the store has no chain");
        mark(live, REF_CHAIN, chain);
        for (char **c = contents; *c; c++)
                mark(live, REF_CONTENT, *c);
        return mark_layers(live, layers);
}

static gboolean mark_live_chains(Store *s, GHashTable *live, const char *const *chains, GError **error) {
        for (; chains && *chains; chains++) {
                g_auto(GStrv) layers = NULL;
                guint8 digest[DIGEST_SIZE];
                GError *failure = NULL;

                if (!digest_parse(*chains, digest, error))
                        return FALSE;
                mark(live, REF_CHAIN, *chains + strlen("sha256:"));
                layers = chain_layers(s, *chains + strlen("sha256:"), &failure);
                if (layers)
                        (void)mark_layers(live, layers);
                else if (g_error_matches(failure, STORE_FAIL, STORE_FAIL_NOT_FOUND))
                        g_clear_error(&failure);
                else {
                        g_propagate_error(error, failure);
                        return FALSE;
                }
        }
        return TRUE;
}

/* Takes away every ref of ours that nothing needs, and the one of the image to remove. */
static gboolean drop_refs(Store *s, const char *image, const char *const *live_chains, GHashTable *live,
                          GError **error) {
        g_autoptr(GHashTable) all = NULL, drop = g_hash_table_new(g_str_hash, g_str_equal);
        GHashTableIter iter;
        gpointer ref, commit;

        if (!ostree_repo_list_refs_ext(s->repo, NULL, &all, OSTREE_REPO_LIST_REFS_EXT_NONE, NULL, error))
                return FALSE;
        if (!g_hash_table_contains(all, image))
                return store_fail(error, STORE_FAIL_NOT_FOUND, "The image is not in the store");
        g_hash_table_iter_init(&iter, all);
        while (g_hash_table_iter_next(&iter, &ref, &commit))
                if (g_str_has_prefix(ref, REF_IMAGE) && strcmp(ref, image) != 0 && !mark_image(s, live, commit, error))
                        return FALSE;
        if (!mark_live_chains(s, live, live_chains, error))
                return FALSE;
        g_hash_table_iter_init(&iter, all);
        while (g_hash_table_iter_next(&iter, &ref, NULL))
                if (g_str_has_prefix(ref, "davit/") && !g_hash_table_contains(live, ref) &&
                    (!g_str_has_prefix(ref, REF_IMAGE) || strcmp(ref, image) == 0))
                        g_hash_table_insert(drop, ref, (gpointer) "");
        return store_set_refs(s, drop, error);
}

/* Moves away checkouts whose chain is gone; the working directory's end removes them. */
static gboolean drop_checkouts(Store *s, Ingest *ingest, GHashTable *live, GError **error) {
        int fd = openat(s->checkouts_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);

        if (!dir)
                return store_fail_errno(error, errno, "Cannot read the checkouts");
        for (struct dirent *e; (e = readdir(dir));) {
                g_autofree char *ref = g_strconcat(REF_CHAIN, e->d_name, NULL);

                if (e->d_name[0] == '.' || g_hash_table_contains(live, ref))
                        continue;
                (void)renameat2(fd, e->d_name, ingest->fd, e->d_name, RENAME_NOREPLACE);
                (void)tree_remove_at(ingest->fd, e->d_name);
        }
        (void)closedir(dir);
        return TRUE;
}

static gboolean remove_locked(Store *s, Ingest *ingest, const char *image, const char *const *live_chains,
                              guint64 *freed, GError **error) {
        g_autoptr(GHashTable) live = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        int total, pruned;

        return drop_refs(s, image, live_chains, live, error) && drop_checkouts(s, ingest, live, error) &&
               ostree_repo_prune(s->repo, OSTREE_REPO_PRUNE_FLAGS_REFS_ONLY, 0, &total, &pruned, freed, NULL, error);
}

/* The ref of an image, whichever form of its name is given; NULL when there can be no such image. */
static char *image_ref(const char *ns, const char *name, GError **error) {
        g_autofree char *whole = NULL;

        if (!ns || !name_namespace_valid(ns)) {
                store_fail(error, STORE_FAIL_INVALID, "The namespace's name is not valid");
                return NULL;
        }
        if (!name || image_name_normalise(name, &whole) < 0) {
                store_fail(error, STORE_FAIL_INVALID, "The image's name is not valid");
                return NULL;
        }
        return store_image_ref(ns, whole);
}

/** store_remove() - remove an image and all that nothing else needs: {"freed":BYTES}
 *
 * @live_chains are digests of chains in use beyond images, NULL-terminated or NULL.
 */
JsonNode *store_remove(Store *s, StoreJob *job, const char *ns, const char *name, const char *const *live_chains,
                       GError **error) {
        g_autofree char *image = NULL;
        g_autoptr(Ingest) ingest = NULL;
        guint64 freed = 0;
        JsonObject *o;

        image = image_ref(ns, name, error);
        if (!image || !store_job_check(job, error))
                return NULL;
        ingest = ingest_begin(s, TRUE, error);
        if (!ingest || !remove_locked(s, ingest, image, live_chains, &freed, error))
                return NULL;
        o = json_object_new();
        json_object_set_int_member(o, "freed", (gint64)freed);
        return object_node(o);
}

static gboolean verify_commit(Store *s, StoreJob *job, const char *ref, GHashTable *seen, GError **error) {
        g_autoptr(GHashTable) reachable = NULL;
        g_autofree char *commit = NULL;
        GHashTableIter iter;
        gpointer key;

        if (!store_resolve(s, ref, &commit, error))
                return FALSE;
        if (!commit)
                return store_fail(error, STORE_FAIL_INTERNAL, "The image is damaged: '%s' is missing", ref);
        if (!ostree_repo_traverse_commit(s->repo, commit, 0, &reachable, NULL, error))
                return FALSE;
        g_hash_table_iter_init(&iter, reachable);
        while (g_hash_table_iter_next(&iter, &key, NULL)) {
                const char *checksum;
                OstreeObjectType type;

                ostree_object_name_deserialize(key, &checksum, &type);
                if (!g_hash_table_add(seen, g_strdup_printf("%s.%d", checksum, (int)type)))
                        continue;
                if (!store_job_check(job, error))
                        return FALSE;
                if (!ostree_repo_fsck_object(s->repo, type, checksum, NULL, error)) {
                        g_prefix_error(error, "The image is damaged: ");
                        return FALSE;
                }
        }
        return TRUE;
}

static int verify_open(void *userdata, const guint8 checksum[DIGEST_SIZE]) {
        const Store *s = userdata;
        char name[OBJECT_NAME];

        object_name(checksum, ".file", name);
        return openat(s->objects_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

/* Puts the layer's tar together again: it has to have the digest it came with. */
static gboolean verify_layer(Store *s, StoreJob *job, const char *hex, GError **error) {
        g_auto(Split) split = { NULL };
        g_auto(Digest) d = { NULL };
        g_autoptr(Stream) stream = NULL;
        guint8 expected[DIGEST_SIZE], got[DIGEST_SIZE];

        if (!digest_parse_hex(hex, expected) || !store_load_split(s, expected, &split, error))
                return FALSE;
        digest_init(&d);
        stream = stream_new_digest(split_stream_new(job, &split, verify_open, s), &d, NULL);
        if (!stream_drain(stream, error))
                return FALSE;
        digest_final(&d, got);
        if (memcmp(expected, got, DIGEST_SIZE) != 0)
                return store_fail(error, STORE_FAIL_INTERNAL,
                                  "The image is damaged: layer %s cannot be put together again", hex);
        return TRUE;
}

static gboolean verify_refs(Store *s, StoreJob *job, GHashTable *live, GError **error) {
        g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        GHashTableIter iter;
        gpointer ref;

        g_hash_table_iter_init(&iter, live);
        while (g_hash_table_iter_next(&iter, &ref, NULL)) {
                if (!verify_commit(s, job, ref, seen, error))
                        return FALSE;
                if (g_str_has_prefix(ref, REF_LAYER) &&
                    !verify_layer(s, job, (const char *)ref + strlen(REF_LAYER), error))
                        return FALSE;
        }
        return TRUE;
}

/** store_verify() - read all of an image back: every object against its checksum, every layer against its diff id. {}
 */
JsonNode *store_verify(Store *s, StoreJob *job, const char *ns, const char *name, GError **error) {
        g_autoptr(GHashTable) live = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        g_autofree char *ref = NULL, *commit = NULL;
        g_autoptr(Ingest) ingest = NULL;

        ref = image_ref(ns, name, error);
        if (!ref)
                return NULL;
        ingest = ingest_begin(s, FALSE, error);
        if (!ingest || !store_resolve(s, ref, &commit, error))
                return NULL;
        if (!commit) {
                store_fail(error, STORE_FAIL_NOT_FOUND, "The image is not in the store");
                return NULL;
        }
        if (!mark_image(s, live, commit, error) || !verify_refs(s, job, live, error))
                return NULL;
        return object_node(json_object_new());
}
