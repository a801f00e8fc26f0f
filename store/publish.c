/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Publishing an import.
 *
 * Order: all objects and root file systems are built in the working directory; one syncfs makes them durable, what the
 * layers brought being on its way to the disk while the trees are made; they are moved to their places; once that is on
 * the disk the refs are set. So a crash at any moment leaves only refs to what is whole, and what the manager has not
 * written down is garbage for the next collection. Commits: davit/layer (the tree as in the archive, whiteouts
 * included), davit/tarsplit (record, and objects the layer's tree cannot hold), davit/chain (the merged tree),
 * davit/erofs (rootfs.c), davit/content (manifest and configuration). Names of images are the manager's: until it has
 * written them down, the working directory pins what was published.
 */

#include "store/publish.h"

#include <string.h>
#include <sys/stat.h>

#include "store/chain.h"
#include "store/error.h"
#include "store/project.h"

typedef struct {
        StoreJob *job;
        Store *store;
        Ingest *ingest;
        Objects *objects;
        Unpack *unpack;
        GHashTable *refs;   /* ref -> commit */
        GPtrArray *pending; /* Pending */
        GPtrArray *trees;   /* chain trees, kept while their inodes are in use */
        GHashTable *chains; /* chain id -> Rootfs, of what has been dealt with */
        GThread *sync;      /* has the files written to the disk while the trees are made */
        RootfsForm form;
} Publish;

/* A commit whose file objects are still being written. */
typedef struct {
        Tree *tree;
        char *ref;
        const char *subject;
        GVariant *metadata;
} Pending;

static void pending_free(gpointer data) {
        Pending *p = data;

        g_clear_pointer(&p->tree, tree_free);
        g_clear_pointer(&p->metadata, g_variant_unref);
        g_free(p->ref);
        g_free(p);
}

static Pending *pending_new(Publish *p, const char *prefix, const guint8 digest[DIGEST_SIZE], const char *subject) {
        Pending *n = g_new0(Pending, 1);

        n->tree = tree_new();
        n->ref = store_ref(prefix, digest);
        n->subject = subject;
        n->metadata = g_variant_ref_sink(g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0));
        g_ptr_array_add(p->pending, n);
        return n;
}

static gboolean pending_file(Publish *p, Pending *n, const char *name, GBytes *bytes, GError **error) {
        Inode *i = tree_inode(n->tree, S_IFREG | 0600);
        gsize size;
        const void *data = g_bytes_get_data(bytes, &size);

        i->flags = INODE_OBJECT;
        i->size = size;
        (void)tree_add(n->tree, tree_root(n->tree), name, strlen(name), i);
        return objects_put_file(p->objects, i, g_memdup2(data, size), size, error);
}

static gboolean commit(Publish *p, const Root *root, const char *ref, const char *subject, GVariant *metadata,
                       GError **error) {
        char checksum[DIGEST_HEX];

        if (!project_commit(p->objects, root, subject, metadata, checksum, error))
                return FALSE;
        g_hash_table_insert(p->refs, g_strdup(ref), g_strdup(checksum));
        return TRUE;
}

static gboolean commit_pending(Publish *p, GError **error) {
        if (!objects_settle(p->objects, error))
                return FALSE;
        for (guint i = 0; i < p->pending->len; i++) {
                Pending *n = p->pending->pdata[i];
                Root root;

                if (!project_tree(p->objects, n->tree, &root, error) ||
                    !commit(p, &root, n->ref, n->subject, n->metadata, error))
                        return FALSE;
        }
        return TRUE;
}

/* Objects of the record that no path of the layer's commit leads to: overwritten files, files below names ostree cannot
 * hold. */
static void add_extra(Pending *n, const GPtrArray *inodes) {
        Node *directory = NULL;

        for (guint i = 0; i < inodes->len; i++) {
                Inode *inode = inodes->pdata[i];
                char hex[DIGEST_HEX];

                if (inode->flags & INODE_REACHED)
                        continue;
                if (!directory)
                        directory = tree_add(n->tree, tree_root(n->tree), SPLIT_EXTRA, strlen(SPLIT_EXTRA),
                                             tree_inode(n->tree, S_IFDIR | 0700));
                digest_hex(inode->checksum, hex);
                if (!tree_lookup(n->tree, directory, hex, DIGEST_HEX - 1))
                        (void)tree_add(n->tree, directory, hex, DIGEST_HEX - 1, inode);
        }
}

static gboolean publish_layer(Publish *p, Unpacked *u, GError **error) {
        g_autofree char *ref = store_ref(REF_LAYER, u->diff_id);
        g_auto(Split) split = { NULL };
        Pending *n;
        Root root;

        if (u->existing)
                return TRUE;
        if (!project_tree(p->objects, u->layer->tree, &root, error) ||
            !commit(p, &root, ref, "layer", g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0), error))
                return FALSE;
        split_writer_finish(u->layer->split, &split);
        n = pending_new(p, REF_SPLIT, u->diff_id, "tarsplit");
        add_extra(n, split_writer_inodes(u->layer->split));
        return pending_file(p, n, SPLIT_HEADERS, split.headers, error) &&
               pending_file(p, n, SPLIT_TABLE, split.table, error);
}

static gboolean publish_content(Publish *p, GBytes *bytes, const guint8 digest[DIGEST_SIZE], GError **error) {
        g_autofree char *ref = store_ref(REF_CONTENT, digest);

        for (guint i = 0; i < p->pending->len; i++)
                if (strcmp(((Pending *)p->pending->pdata[i])->ref, ref) == 0)
                        return TRUE;
        return pending_file(p, pending_new(p, REF_CONTENT, digest, "content"), CONTENT_FILE, bytes, error);
}

static GVariant *layer_list(const Image *image) {
        GVariantBuilder b;

        g_variant_builder_init(&b, G_VARIANT_TYPE_STRING_ARRAY);
        for (guint i = 0; i < image->layers->len; i++) {
                char hex[DIGEST_HEX];

                digest_hex(((ImageLayer *)image->layers->pdata[i])->diff_id, hex);
                g_variant_builder_add(&b, "s", hex);
        }
        return g_variant_builder_end(&b);
}

/* Collection takes neither the chain nor its root file system from here on, be they there already or not yet. */
static gboolean pin_chain(Publish *p, const char *ref, GError **error) {
        gboolean ok;

        if (!store_lock(p->store, FALSE, error))
                return FALSE;
        ok = ingest_pin(p->ingest, ref, error);
        store_unlock(p->store, FALSE);
        return ok;
}

static gboolean publish_rootfs(Publish *p, const guint8 chain_id[DIGEST_SIZE], Tree *chain, GError **error) {
        Rootfs *r = g_hash_table_lookup(p->chains, chain_id);

        if (!rootfs_build(p->job, p->ingest, p->objects, chain, r, error))
                return FALSE;
        if (r->commit[0])
                g_hash_table_insert(p->refs, store_ref(REF_EROFS, chain_id), g_strdup(r->commit));
        return TRUE;
}

static gboolean publish_chain(Publish *p, Image *image, Tree **ret, GError **error) {
        Tree *chain = tree_new();
        g_autofree char *ref = NULL;
        GVariantBuilder b;
        Rootfs *rootfs;
        Root root;

        g_ptr_array_add(p->trees, chain);
        for (guint i = 0; i < image->layers->len; i++) {
                const ImageLayer *l = image->layers->pdata[i];

                chain_id_next(image->chain_id, i == 0, l->diff_id);
                if (!chain_apply(chain, unpack_find(p->unpack, l->diff_id)->layer->tree, error)) {
                        g_prefix_error(error, "Layer %u: ", i + 1);
                        return FALSE;
                }
        }
        *ret = chain;
        if (g_hash_table_contains(p->chains, image->chain_id))
                return TRUE;
        rootfs = g_new0(Rootfs, 1);
        rootfs->form = p->form;
        memcpy(rootfs->chain_id, image->chain_id, DIGEST_SIZE);
        g_hash_table_insert(p->chains, rootfs->chain_id, rootfs);
        ref = store_ref(REF_CHAIN, image->chain_id);
        g_variant_builder_init(&b, G_VARIANT_TYPE("a{sv}"));
        g_variant_builder_add(&b, "{sv}", "davit.layers", layer_list(image));
        return pin_chain(p, ref, error) && project_tree(p->objects, chain, &root, error) &&
               commit(p, &root, ref, "chain", g_variant_builder_end(&b), error) &&
               publish_rootfs(p, image->chain_id, chain, error);
}

/* Documents, chain and root file system of one platform. */
static gboolean publish_one(Publish *p, Image *image, Tree **ret_chain, GError **error) {
        if (!image->manifest && !docker_finish(image, error))
                return FALSE;
        return publish_content(p, image->manifest, image->manifest_digest, error) &&
               publish_content(p, image->config, image->config_digest, error) &&
               publish_chain(p, image, ret_chain, error);
}

static JsonNode *publish_record(Publish *p, const Image *image, const char *name, Tree *chain, JsonArray *platforms,
                                GError **error) {
        const Rootfs *rootfs = g_hash_table_lookup(p->chains, image->chain_id);

        return image_record(image, name, rootfs_record(p->store->directory, rootfs, chain), platforms, error);
}

/* The same image for other platforms: their records, NULL without error when there are none. */
static gboolean publish_platforms(Publish *p, const Image *image, JsonArray **ret, GError **error) {
        g_autoptr(JsonArray) records = json_array_new();

        *ret = NULL;
        for (guint i = 0; i < image->platforms->len; i++) {
                Image *other = image->platforms->pdata[i];
                JsonNode *record;
                Tree *chain;

                if (!publish_one(p, other, &chain, error))
                        return FALSE;
                record = publish_record(p, other, NULL, chain, NULL, error);
                if (!record)
                        return FALSE;
                json_array_add_element(records, record);
        }
        if (image->platforms->len > 0)
                *ret = g_steal_pointer(&records);
        return TRUE;
}

static gboolean publish_image(Publish *p, Image *image, JsonArray *ret, GError **error) {
        g_autoptr(JsonArray) platforms = NULL;
        Tree *chain;

        if (!publish_one(p, image, &chain, error) || !publish_platforms(p, image, &platforms, error) ||
            (image->index && !publish_content(p, image->index, image->index_digest, error)))
                return FALSE;
        for (guint i = 0; i < image->names->len; i++) {
                JsonNode *record = publish_record(p, image, image->names->pdata[i], chain, platforms, error);

                if (!record)
                        return FALSE;
                json_array_add_element(ret, record);
        }
        return TRUE;
}

static gpointer sync_thread(gpointer store) {
        GError *failure = NULL;

        (void)store_sync(store, &failure);
        return failure;
}

/* A failure counts: the kernel tells of a write that went wrong once, and the sync that follows might not see it. */
static gboolean sync_join(Publish *p, GError **error) {
        GError *failure = p->sync ? g_thread_join(g_steal_pointer(&p->sync)) : NULL;

        if (failure)
                g_propagate_error(error, failure);
        return !failure;
}

static gboolean publish_unpacked(Publish *p, GError **error) {
        GHashTableIter iter;
        gpointer layer;

        if (!objects_settle(p->objects, error))
                return FALSE;
        p->sync = g_thread_new("sync", sync_thread, p->store);
        g_hash_table_iter_init(&iter, unpack_layers(p->unpack));
        while (g_hash_table_iter_next(&iter, NULL, &layer))
                if (!publish_layer(p, layer, error))
                        return FALSE;
        return TRUE;
}

static gboolean publish_build(Publish *p, GPtrArray *images, JsonArray *ret, GError **error) {
        if (!publish_unpacked(p, error))
                return FALSE;
        for (guint i = 0; i < images->len; i++)
                if (!publish_image(p, images->pdata[i], ret, error))
                        return FALSE;
        return commit_pending(p, error);
}

static gboolean publish_locked(Publish *p, GError **error) {
        GHashTableIter iter;
        gpointer key, rootfs;

        if (!objects_promote(p->objects, error))
                return FALSE;
        g_hash_table_iter_init(&iter, p->chains);
        while (g_hash_table_iter_next(&iter, NULL, &rootfs))
                if (!rootfs_move(p->ingest, rootfs, error))
                        return FALSE;
        g_hash_table_iter_init(&iter, p->refs);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                if (!ingest_pin(p->ingest, key, error))
                        return FALSE;
        return store_set_refs(p->store, p->refs, error);
}

/* The long part, writing everything to the disk, needs no lock. */
static gboolean publish_move(Publish *p, GError **error) {
        gboolean ok;

        if (!sync_join(p, error) || !store_sync(p->store, error) || !store_job_check(p->job, error) ||
            !store_lock(p->store, FALSE, error))
                return FALSE;
        ok = publish_locked(p, error);
        store_unlock(p->store, FALSE);
        return ok;
}

static void publish_begin(Publish *p) {
        p->store = p->ingest->store;
        p->refs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        p->pending = g_ptr_array_new_with_free_func(pending_free);
        p->trees = g_ptr_array_new_with_free_func((GDestroyNotify)tree_free);
        p->chains = g_hash_table_new_full(digest_hash_func, digest_equal_func, NULL, g_free);
}

static void publish_end(Publish *p, gboolean ok) {
        /* Threads may still be writing files of the pending trees. */
        if (!ok)
                (void)objects_settle(p->objects, NULL);
        (void)sync_join(p, NULL);
        g_hash_table_unref(p->chains);
        g_ptr_array_unref(p->trees);
        g_ptr_array_unref(p->pending);
        g_hash_table_unref(p->refs);
}

static gboolean build_layers(Publish *p, Image *image, JsonNode **ret_rootfs, GError **error) {
        Tree *chain;

        if (!publish_unpacked(p, error) || !publish_chain(p, image, &chain, error) || !commit_pending(p, error))
                return FALSE;
        *ret_rootfs = rootfs_record(p->store->directory, g_hash_table_lookup(p->chains, image->chain_id), chain);
        return TRUE;
}

/** publish_layers() - make the chain of @image's layers, all of which are unpacked, part of the store, durably
 *
 * Sets the image's chain id and the root file system's record.
 */
gboolean publish_layers(StoreJob *job, Ingest *ingest, Objects *objects, Unpack *unpack, RootfsForm form, Image *image,
                        JsonNode **ret_rootfs, GError **error) {
        Publish p = { .job = job, .ingest = ingest, .objects = objects, .unpack = unpack, .form = form };
        g_autoptr(JsonNode) rootfs = NULL;
        gboolean ok;

        publish_begin(&p);
        ok = build_layers(&p, image, &rootfs, error) && publish_move(&p, error);
        publish_end(&p, ok);
        if (ok)
                *ret_rootfs = g_steal_pointer(&rootfs);
        return ok;
}

/** publish_images() - make verified images part of the store, durably; adds their records to @ret */
gboolean publish_images(StoreJob *job, Ingest *ingest, Objects *objects, Unpack *unpack, RootfsForm form,
                        GPtrArray *images, JsonArray *ret, GError **error) {
        Publish p = { .job = job, .ingest = ingest, .objects = objects, .unpack = unpack, .form = form };
        gboolean ok;

        publish_begin(&p);
        ok = publish_build(&p, images, ret, error) && publish_move(&p, error);
        publish_end(&p, ok);
        return ok;
}
