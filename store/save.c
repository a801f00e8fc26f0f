/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The save operation: images, as documents and layers, to an archive, a directory or a tar of files.
 *
 * First everything that will be written is looked up and pinned under the repository's lock; while it is written no
 * lock is held, since the reader may be slow. The order of what is written depends on the images alone: images by
 * digest, names by their bytes, blobs as the images refer to them. What an index leads to and the store has not (other
 * platforms, statements about the image) is left out of the index written.
 */

#include "store/save.h"

#include <string.h>
#include <sys/stat.h>

#include "shared/image-name.h"
#include "shared/macros.h"
#include "store/content.h"
#include "store/error.h"
#include "store/json.h"
#include "store/manifest.h"
#include "store/request.h"
#include "store/unpack.h"

#define INDEX_DEPTH_MAX 4U

SaveNode *save_node_new(const guint8 digest[DIGEST_SIZE]) {
        SaveNode *n = g_new0(SaveNode, 1);

        memcpy(n->digest, digest, DIGEST_SIZE);
        n->names = g_ptr_array_new_with_free_func(g_free);
        n->children = g_ptr_array_new_with_free_func((GDestroyNotify)save_node_free);
        return n;
}

void save_node_free(SaveNode *n) {
        if (!n)
                return;
        g_ptr_array_unref(n->names);
        g_ptr_array_unref(n->children);
        g_clear_pointer(&n->bytes, g_bytes_unref);
        g_clear_pointer(&n->json, json_node_unref);
        g_clear_pointer(&n->image, image_free);
        g_free(n->media_type);
        g_free(n);
}

static gboolean pin(Save *s, const char *prefix, const guint8 digest[DIGEST_SIZE], GError **error) {
        g_autofree char *ref = store_ref(prefix, digest);

        return ingest_pin(s->ingest, ref, error);
}

/* Whether the blob a manifest names can be had bit by bit. */
static gboolean layer_kept(Save *s, const ImageLayer *l, gboolean *ret, GError **error) {
        gboolean plain = memcmp(l->digest, l->diff_id, DIGEST_SIZE) == 0;

        *ret = plain && s->compression == COMPRESSION_NONE;
        if (plain)
                return TRUE;
        if (!content_has(s->store, l->digest, ret, error))
                return FALSE;
        return !*ret || pin(s, REF_CONTENT, l->digest, error);
}

static gboolean load_layer(Save *s, const ImageLayer *l, guint64 *ret_size, GError **error) {
        g_auto(Split) split = { NULL };

        if (!pin(s, REF_SPLIT, l->diff_id, error) || !pin(s, REF_LAYER, l->diff_id, error) ||
            !store_load_split(s->store, l->diff_id, &split, error) || !split_size(s->job, &split, ret_size, error))
                return FALSE;
        s->job->bytes_total += *ret_size;
        s->job->layers_total++;
        return TRUE;
}

/* What the manifest will say of its layers, when they do not leave as it says now. */
static void name_layers(Save *s, Image *image, const guint64 *sizes) {
        const char *type = s->compression == COMPRESSION_GZIP   ? MEDIA_OCI_LAYER "+gzip"
                           : s->compression == COMPRESSION_ZSTD ? MEDIA_OCI_LAYER "+zstd"
                                                                : MEDIA_OCI_LAYER;

        for (guint i = 0; i < image->layers->len; i++) {
                ImageLayer *l = image->layers->pdata[i];

                g_free(l->media_type);
                l->media_type = g_strdup(type);
                memcpy(l->digest, l->diff_id, DIGEST_SIZE);
                l->size = sizes[i];
        }
}

static gboolean load_layers(Save *s, SaveNode *n, GError **error) {
        g_autofree guint64 *sizes = g_new0(guint64, n->image->layers->len);

        n->keep = TRUE;
        for (guint i = 0; i < n->image->layers->len; i++) {
                const ImageLayer *l = n->image->layers->pdata[i];
                gboolean kept;

                if (!load_layer(s, l, &sizes[i], error) || !layer_kept(s, l, &kept, error))
                        return FALSE;
                n->keep = n->keep && kept;
        }
        if (!n->keep)
                name_layers(s, n->image, sizes);
        return TRUE;
}

static gboolean load_manifest(Save *s, SaveNode *n, const Descriptor *d, GError **error) {
        g_auto(Descriptor) config = { NULL };
        GBytes *bytes;

        n->image = image_new();
        n->image->manifest = g_bytes_ref(n->bytes);
        g_clear_pointer(&n->json, json_node_unref);
        if (!manifest_parse(n->image, d, &s->job->limits, &config, &n->json, error))
                return FALSE;
        bytes = pin(s, REF_CONTENT, config.digest, error)
                        ? content_load(s->store, config.digest, STORE_DOCUMENT_MAX, error)
                        : NULL;
        return bytes && image_set_config(n->image, bytes, error) && image_set_diff_ids(n->image, error) &&
               load_layers(s, n, error);
}

static gboolean load_child(Save *s, SaveNode *n, JsonArray *manifests, guint i, guint depth, GError **error) {
        g_auto(Descriptor) d = { NULL };
        JsonObject *o = json_element(manifests, i, "manifests", error);
        g_autoptr(SaveNode) child = NULL;
        gboolean here;

        if (!o || !descriptor_read(o, "an image", &d, error) || !content_has(s->store, d.digest, &here, error))
                return FALSE;
        if (here && (descriptor_is_index(&d) || descriptor_is_manifest(&d))) {
                child = save_node_new(d.digest);
                if (!save_node_load(s, child, depth + 1, error))
                        return FALSE;
        }
        g_ptr_array_add(n->children, g_steal_pointer(&child));
        return TRUE;
}

static gboolean load_index(Save *s, SaveNode *n, JsonArray *manifests, guint depth, GError **error) {
        if (depth >= INDEX_DEPTH_MAX || json_array_get_length(manifests) > s->job->limits.images)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The image index is too deep or too large");
        for (guint i = 0; i < json_array_get_length(manifests); i++)
                if (!load_child(s, n, manifests, i, depth, error))
                        return FALSE;
        return TRUE;
}

/** save_node_load() - look up and pin what @n->digest stands for; the repository's lock is held */
gboolean save_node_load(Save *s, SaveNode *n, guint depth, GError **error) {
        Descriptor d = { NULL };
        JsonArray *manifests;
        const char *type;
        JsonObject *o;

        n->bytes = pin(s, REF_CONTENT, n->digest, error) ? content_load(s->store, n->digest, STORE_DOCUMENT_MAX, error)
                                                         : NULL;
        o = n->bytes ? json_parse_object(n->bytes, "The manifest", &n->json, error) : NULL;
        if (!o || !json_string(o, "mediaType", "the manifest", &type, error) ||
            !json_array(o, "manifests", "the manifest", &manifests, error))
                return FALSE;
        n->media_type = g_strdup(type ? type : manifests ? MEDIA_OCI_INDEX : MEDIA_OCI_MANIFEST);
        d.media_type = n->media_type;
        d.size = g_bytes_get_size(n->bytes);
        memcpy(d.digest, n->digest, DIGEST_SIZE);
        return manifests ? load_index(s, n, manifests, depth, error) : load_manifest(s, n, &d, error);
}

static int by_name(const void *a, const void *b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static gboolean add_names(SaveNode *n, JsonObject *o, GError **error) {
        JsonArray *names;

        if (!json_array(o, "names", "images", &names, error))
                return FALSE;
        for (guint i = 0; names && i < json_array_get_length(names); i++) {
                const char *given = json_element_string(names, i, "names", error);
                char *name;

                if (!given)
                        return FALSE;
                if (image_name_normalise(given, &name) < 0)
                        return store_fail(error, STORE_FAIL_INVALID, "Image name '%.255s' is not valid: %s", given,
                                          image_name_why(given));
                if (g_ptr_array_find_with_equal_func(n->names, name, g_str_equal, NULL))
                        g_free(name);
                else
                        g_ptr_array_add(n->names, name);
        }
        g_ptr_array_sort(n->names, by_name);
        return TRUE;
}

static SaveNode *find_node(Save *s, const guint8 digest[DIGEST_SIZE]) {
        for (guint i = 0; i < s->nodes->len; i++) {
                SaveNode *n = s->nodes->pdata[i];

                if (memcmp(n->digest, digest, DIGEST_SIZE) == 0)
                        return n;
        }
        return NULL;
}

/* One element of the request's "images"; an index is what goes into an OCI layout, where there is one. */
static gboolean load_image(Save *s, JsonObject *o, gboolean whole, GError **error) {
        const char *digest, *index, *chosen;
        guint8 wanted[DIGEST_SIZE];
        SaveNode *n;

        if (!json_string(o, "digest", "images", &digest, error) || !json_string(o, "index", "images", &index, error))
                return FALSE;
        chosen = whole && index && index[0] ? index : digest;
        if (!chosen)
                return store_fail(error, STORE_FAIL_INVALID, "An image of the request has no digest");
        if (!digest_parse(chosen, wanted, error))
                return FALSE;
        n = find_node(s, wanted);
        if (!n) {
                n = save_node_new(wanted);
                g_ptr_array_add(s->nodes, n);
                if (!save_node_load(s, n, 0, error))
                        return FALSE;
        }
        return add_names(n, o, error);
}

static int by_digest(const void *a, const void *b) {
        return memcmp((*(SaveNode *const *)a)->digest, (*(SaveNode *const *)b)->digest, DIGEST_SIZE);
}

static gboolean load_images(Save *s, JsonArray *images, gboolean whole, GError **error) {
        gboolean ok = images && json_array_get_length(images) > 0;

        if (!ok)
                return store_fail(error, STORE_FAIL_INVALID, "The request names no image");
        if (!store_lock(s->store, FALSE, error))
                return FALSE;
        for (guint i = 0; ok && i < json_array_get_length(images); i++) {
                JsonObject *o = json_element(images, i, "images", error);

                ok = o && load_image(s, o, whole, error);
        }
        store_unlock(s->store, FALSE);
        g_ptr_array_sort(s->nodes, by_digest);
        return ok;
}

static gboolean choose_compression(Save *s, const char *name, GError **error) {
        if (!name || name[0] == '\0' || strcmp(name, "none") == 0)
                s->compression = COMPRESSION_NONE;
        else if (strcmp(name, "gzip") == 0)
                s->compression = COMPRESSION_GZIP;
        else if (strcmp(name, "zstd") == 0)
                s->compression = COMPRESSION_ZSTD;
        else
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "There is no compression '%.40s': none, gzip or zstd",
                                  name);
        return TRUE;
}

static gboolean save_archive(Save *s, gboolean oci, Output *output, int fd, GError **error) {
        g_autoptr(ArchiveWriter) writer =
                output ? archive_writer_new_tar(output) : archive_writer_new_directory(s->job, fd, error);

        s->writer = writer;
        return writer && (oci ? save_oci(s, error) : save_docker(s, error)) && archive_writer_finish(writer, error);
}

static gboolean save_to(Save *s, const char *format, int fd, guint64 *ret_bytes, GError **error) {
        g_autoptr(Output) output = NULL;
        gboolean directory, ok;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return store_fail(error, STORE_FAIL_INVALID, "The request came without an output");
        directory = S_ISDIR(st.st_mode);
        if (directory && strcmp(format, "oci") != 0)
                return store_fail(error, STORE_FAIL_INVALID, "Only an OCI layout can be written to a directory");
        if (!directory && !(output = output_new(s->job, fd, OUTPUT_PATIENCE_MSEC, error)))
                return FALSE;
        ok = strcmp(format, "rootfs") == 0 ? save_rootfs(s, output, error)
                                           : save_archive(s, strcmp(format, "oci") == 0, output, fd, error);
        *ret_bytes = output ? output_size(output) : 0;
        return ok;
}

static gboolean run(Save *s, Request *r, guint64 *ret_bytes, GError **error) {
        static const char *const formats[] = { "oci", "docker", "rootfs", NULL };
        const char *format, *compression;
        JsonArray *images;

        if (!json_array(r->members, "images", REQUEST_WHAT, &images, error) ||
            !json_string(r->members, "format", REQUEST_WHAT, &format, error) ||
            !json_string(r->members, "compression", REQUEST_WHAT, &compression, error) ||
            !choose_compression(s, compression, error))
                return FALSE;
        if (!format || !g_strv_contains(formats, format))
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "There is no format '%.40s': oci, docker or rootfs",
                                  format ? format : "");
        s->store = request_store(r, error);
        s->ingest = s->store ? ingest_begin(s->store, error) : NULL;
        return s->ingest && load_images(s, images, strcmp(format, "oci") == 0, error) &&
               save_to(s, format, r->n_fds > 0 ? r->fds[0] : -1, ret_bytes, error);
}

/** request_save() - {"bytes":N} */
JsonNode *request_save(Request *r, GError **error) {
        static const char *const known[] = { "images", "format", "compression", NULL };
        Save s = { .job = r->job };
        guint64 bytes = 0;
        JsonObject *o;
        gboolean ok;

        if (!request_members(r, known, error))
                return NULL;
        s.nodes = g_ptr_array_new_with_free_func((GDestroyNotify)save_node_free);
        s.written = g_hash_table_new_full(digest_hash_func, digest_equal_func, g_free, NULL);
        s.packed = g_hash_table_new(digest_hash_func, digest_equal_func);
        ok = run(&s, r, &bytes, error);
        g_hash_table_unref(s.packed);
        g_hash_table_unref(s.written);
        g_ptr_array_unref(s.nodes);
        g_clear_pointer(&s.ingest, ingest_end);
        if (!ok)
                return NULL;
        o = json_object_new();
        json_object_set_int_member(o, "bytes", (gint64)bytes);
        return request_object(o);
}
