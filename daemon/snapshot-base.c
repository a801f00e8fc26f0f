/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a snapshot stands on, and what a commit has made of one.
 *
 * A parent is named by the key of a committed snapshot, by a chain id, or by an image. What a store worker says of a
 * commit is checked here like everything a worker says: the chain id is computed again.
 */

#include <errno.h>
#include <string.h>

#include "daemon/error.h"
#include "daemon/image.h"
#include "daemon/record.h"
#include "daemon/snapshot.h"
#include "shared/image-name.h"
#include "shared/macros.h"

#define IMAGE_PREFIX "image:"
#define SIZE_MAX_BYTES (UINT64_C(1) << 50)

/** snapshot_base_done() - frees what it holds */
void snapshot_base_done(SnapshotBase *base) {
        g_free(base->chain_id);
        g_free(base->key);
        *base = (SnapshotBase)SNAPSHOT_BASE_NULL;
}

static int base_of_snapshot(const Snapshot *s, SnapshotBase *ret, sd_bus_error *error) {
        if (s->kind != SNAPSHOT_COMMITTED)
                return error_precondition(error, "Snapshot \"%s\" is %s; only a committed one can be a parent.", s->key,
                                          s->kind == SNAPSHOT_VIEW ? "a view" : "active");
        *ret = (SnapshotBase){ g_strdup(s->chain_id), g_strdup(s->key), s->root };
        return 0;
}

static void base_of_image(const ImageRecord *record, SnapshotBase *ret) {
        *ret = (SnapshotBase){ g_strdup(record->chain_id),
                               NULL,
                               { record->root_uid, record->root_gid, record->root_mode } };
}

static bool find_chain_in(const Namespace *ns, const char *chain_id, SnapshotBase *ret) {
        GHashTableIter iter;
        void *value;

        g_hash_table_iter_init(&iter, ns->images);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const ImageRecord *record = ((Image *)value)->record;

                if (streq(record->chain_id, chain_id)) {
                        base_of_image(record, ret);
                        return true;
                }
        }
        g_hash_table_iter_init(&iter, ns->snapshots);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Snapshot *s = value;

                if (streq(s->kind == SNAPSHOT_COMMITTED ? s->chain_id : s->parent, chain_id) && !s->doomed) {
                        *ret = (SnapshotBase){ g_strdup(chain_id), NULL, s->root };
                        return true;
                }
        }
        return false;
}

/**
 * snapshot_base_resolve() - what a caller means by a parent
 *
 * Return: 0, or 1 for a chain id that no record knows: the store has to be asked for it.
 */
int snapshot_base_resolve(Namespace *ns, const char *parent, SnapshotBase *ret, sd_bus_error *error) {
        GHashTableIter iter;
        const Snapshot *s;
        Image *image;
        void *value;
        int r;

        *ret = (SnapshotBase)SNAPSHOT_BASE_NULL;
        if (!*parent)
                return 0;
        if (g_str_has_prefix(parent, IMAGE_PREFIX)) {
                r = image_lookup_base(ns, parent + strlen(IMAGE_PREFIX), &image, error);
                if (r >= 0)
                        base_of_image(image->record, ret);
                return r;
        }
        s = snapshot_find(ns, parent);
        if (s)
                return base_of_snapshot(s, ret, error);
        if (!digest_valid(parent))
                return error_not_found(
                        error,
                        "There is no snapshot \"%s\" in namespace \"%s\"; a parent is \"\", the key of a "
                        "committed snapshot, a chain id, or \"image:NAME\".",
                        parent, ns->name);

        g_hash_table_iter_init(&iter, ns->manager->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                if (find_chain_in(value, parent, ret))
                        return 0;
        ret->chain_id = g_strdup(parent);
        return 1;
}

/* ---- commits ---- */

/** snapshot_commit_done() - frees what it holds */
void snapshot_commit_done(SnapshotCommit *c) {
        g_free(c->chain_id);
        g_free(c->diff_id);
        if (c->layers)
                json_array_unref(c->layers);
        *c = (SnapshotCommit){ 0 };
}

static int get_digest(JsonObject *o, const char *key, char **ret) {
        const char *s;
        int r;

        r = record_get_string(o, key, &s);
        if (r < 0)
                return r;
        if (!digest_valid(s))
                return -EBADMSG;
        *ret = g_strdup(s);
        return 0;
}

/** snapshot_root_parse() - the root of a ROOTFS of shared/store-protocol.h */
int snapshot_root_parse(JsonObject *result, SnapshotRoot *ret) {
        JsonNode *node = json_object_get_member(result, "rootfs");
        uint64_t uid, gid, mode;
        JsonObject *root;
        int r;

        if (!node || !JSON_NODE_HOLDS_OBJECT(node))
                return -EBADMSG;
        node = json_object_get_member(json_node_get_object(node), "root");
        if (!node || !JSON_NODE_HOLDS_OBJECT(node))
                return -EBADMSG;
        root = json_node_get_object(node);
        r = record_get_u64(root, "uid", &uid);
        if (r >= 0)
                r = record_get_u64(root, "gid", &gid);
        if (r >= 0)
                r = record_get_u64(root, "mode", &mode);
        if (r < 0)
                return r;
        if (uid >= UINT32_MAX || gid >= UINT32_MAX || mode > 07777)
                return -EBADMSG;
        *ret = (SnapshotRoot){ (uid_t)uid, (gid_t)gid, (mode_t)mode };
        return 0;
}

/* OCI image-spec config.md, "Layer ChainID": ChainID(n) = SHA256(ChainID(n-1) + " " + DiffID(n)). */
static bool chain_is_right(const SnapshotCommit *c, const char *parent) {
        g_autofree char *pair = g_strconcat(parent, " ", c->diff_id, NULL);
        g_autofree char *sum = g_compute_checksum_for_string(G_CHECKSUM_SHA256, pair, -1);

        if (!*parent)
                return streq(c->chain_id, c->diff_id);
        return streq(c->chain_id + strlen("sha256:"), sum);
}

static int parse_layers(JsonObject *o, SnapshotCommit *ret) {
        JsonNode *node = json_object_get_member(o, "layers");
        JsonArray *array;
        guint n;

        if (!node || !JSON_NODE_HOLDS_ARRAY(node))
                return -EBADMSG;
        array = json_node_get_array(node);
        n = json_array_get_length(array);
        if (n == 0 || n > IMAGE_LAYERS_MAX)
                return -EBADMSG;
        ret->layers = json_array_ref(array);
        return 0;
}

/** snapshot_commit_parse() - checks the result of the operation "commit"; @parent: the chain it was told to stand on */
int snapshot_commit_parse(JsonObject *o, const char *parent, SnapshotCommit *ret) {
        SnapshotCommit c = { 0 };
        int r;

        r = get_digest(o, "chain_id", &c.chain_id);
        if (r >= 0)
                r = get_digest(o, "diff_id", &c.diff_id);
        if (r >= 0)
                r = record_get_u64(o, "size", &c.size);
        if (r >= 0)
                r = record_get_u64(o, "inodes", &c.inodes);
        if (r >= 0)
                r = snapshot_root_parse(o, &c.root);
        if (r >= 0)
                r = parse_layers(o, &c);
        if (r >= 0 && (c.size > SIZE_MAX_BYTES || c.inodes > SIZE_MAX_BYTES || !chain_is_right(&c, parent)))
                r = -EBADMSG;
        if (r < 0) {
                snapshot_commit_done(&c);
                return r;
        }
        *ret = c;
        return 0;
}
