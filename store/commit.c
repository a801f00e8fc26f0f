/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Committing a snapshot.
 *
 * The layer is written as the tar it would be exported as and read by the reader of imports in the same process, so
 * that a committed layer is like any other: it has a diff id, a commit, a record, and leaves bit by bit the same. The
 * upper's files are read once. The chain is merged from trees and published with its root file system in one
 * transaction. An upper in which nothing has changed gives an empty layer. What it costs is what has changed, and
 * reading the records of the layers below.
 */

#include "store/snapshot.h"

#include "store/delta.h"
#include "store/error.h"
#include "store/project.h"
#include "store/publish.h"
#include "store/request.h"

static void add_digest(JsonObject *o, const char *member, const guint8 digest[DIGEST_SIZE]) {
        char text[DIGEST_STRING];

        digest_string(digest, text);
        json_object_set_string_member(o, member, text);
}

static JsonArray *layer_list(const GPtrArray *layers) {
        JsonArray *list = json_array_new();

        for (guint i = 0; i < layers->len; i++) {
                const ImageLayer *l = layers->pdata[i];
                JsonObject *o = json_object_new();

                add_digest(o, "diff_id", l->diff_id);
                add_digest(o, "digest", l->digest);
                json_object_set_int_member(o, "size", (gint64)l->size);
                json_array_add_object_element(list, o);
        }
        return list;
}

static JsonNode *commit_result(const Delta *c, const ImageLayer *layer, JsonNode *rootfs) {
        JsonObject *o = json_object_new();

        add_digest(o, "chain_id", c->image->chain_id);
        add_digest(o, "diff_id", layer->diff_id);
        json_object_set_int_member(o, "size", (gint64)layer->size);
        json_object_set_int_member(o, "inodes", (gint64)c->inodes);
        json_object_set_array_member(o, "layers", layer_list(c->image->layers));
        json_object_set_member(o, "rootfs", rootfs);
        return request_object(o);
}

/* Most directories of the new chain are its parent's, which is pinned: no need to write or to link them. */
static gboolean know_parent(Delta *c, GError **error) {
        gboolean ok;
        Root root;

        if (c->image->layers->len == 0)
                return TRUE;
        objects_trust(c->objects, TRUE);
        ok = project_tree(c->objects, c->from, &root, error);
        objects_trust(c->objects, FALSE);
        return ok;
}

/** store_commit() - make a chain of @parent and what the upper changes; see the protocol for the result */
JsonNode *store_commit(Store *s, StoreJob *job, const char *parent, RootfsForm form, int upper_fd, Ingest **held,
                       GError **error) {
        g_auto(Delta) c = { NULL };
        ImageLayer *layer;
        JsonNode *root;

        if (!delta_begin(&c, s, job, error) || !delta_load(&c, parent, NULL, upper_fd, error) ||
            !delta_diff(&c, NULL, error))
                return NULL;
        if (!know_parent(&c, error))
                return NULL;
        layer = g_new0(ImageLayer, 1);
        g_ptr_array_add(c.image->layers, layer);
        if (!unpack_layer(c.unpack, delta_stream(&c), COMPRESSION_NONE, FALSE, layer, error) ||
            !publish_layers(job, c.ingest, c.objects, c.unpack, form, c.image, &root, error))
                return NULL;
        *held = g_steal_pointer(&c.ingest);
        return commit_result(&c, layer, root);
}
