/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Unpacking the layers of an import.
 *
 * Layers do not depend on each other, so two are read at a time, each by a thread that parses its tar and one before it
 * that inflates and hashes. A layer is in order only if its blob has the digest and size the manifest says and its
 * content the diff id the configuration says; both are compared here, before anything is promoted. A layer the store
 * has is pinned and not unpacked again: its tree comes from its record, and only its blob's digest is looked at. Where
 * the archive has left a blob out, what it holds has to be known beforehand, and to be what the configuration says.
 *
 * Of a sequence each layer is read as it arrives, while layers that are here are taken from their records beside that.
 */

#include "store/unpack.h"

#include <string.h>
#include <unistd.h>

#include "store/error.h"

#define PARALLEL_MAX 2

struct Unpack {
        StoreJob *job;
        Store *store;
        Ingest *ingest;
        Objects *objects;
        Archive *archive;
        guint64 *counter;   /* NULL: reading layers is not counted */
        GHashTable *have;   /* blob's digest -> UnpackHave, or NULL */
        GHashTable *layers; /* diff id -> Unpacked */
        GPtrArray *tasks;
        GMutex lock;
        GPtrArray *read; /* every Layer, under lock */
};

/* One blob to read. */
typedef struct {
        Unpack *unpack;
        ImageLayer *source;
        Unpacked *result; /* NULL: only the digest is verified */
        int fd;
        guint64 offset;
        Compression compression;
        guint number;
        gboolean absent; /* from the archive: the layer is in the store */
        gboolean done;   /* of a sequence: it has come */
} Task;

guint digest_hash_func(const void *d) {
        guint h;

        memcpy(&h, d, sizeof(h));
        return h;
}

gboolean digest_equal_func(const void *a, const void *b) {
        return memcmp(a, b, DIGEST_SIZE) == 0;
}

/** unpack_new() - everything given stays the caller's and outlives the Unpack; @archive may be NULL
 *
 * @count: reading layers is progress; otherwise the input has been counted as it was spooled.
 */
Unpack *unpack_new(StoreJob *job, Store *store, Ingest *ingest, Objects *objects, Archive *archive, gboolean count) {
        Unpack *u = g_new0(Unpack, 1);

        u->job = job;
        u->store = store;
        u->ingest = ingest;
        u->objects = objects;
        u->archive = archive;
        u->counter = count ? &job->bytes_in : NULL;
        u->layers = g_hash_table_new_full(digest_hash_func, digest_equal_func, NULL, g_free);
        u->tasks = g_ptr_array_new_with_free_func(g_free);
        u->read = g_ptr_array_new_with_free_func((GDestroyNotify)layer_free);
        g_mutex_init(&u->lock);
        return u;
}

/** unpack_free() - free all layers; what was put into the objects has been settled */
void unpack_free(Unpack *u) {
        g_hash_table_unref(u->layers);
        g_ptr_array_unref(u->tasks);
        g_ptr_array_unref(u->read);
        g_mutex_clear(&u->lock);
        g_free(u);
}

/** unpack_set_have() - which layers the archive may leave out */
void unpack_set_have(Unpack *u, GHashTable *have) {
        u->have = have;
}

Unpacked *unpack_find(Unpack *u, const guint8 diff_id[DIGEST_SIZE]) {
        return g_hash_table_lookup(u->layers, diff_id);
}

GHashTable *unpack_layers(Unpack *u) {
        return u->layers;
}

static gboolean verify(const guint8 expected[DIGEST_SIZE], const guint8 got[DIGEST_SIZE], const char *what,
                       GError **error) {
        char want[DIGEST_STRING], have[DIGEST_STRING];

        if (memcmp(expected, got, DIGEST_SIZE) == 0)
                return TRUE;
        digest_string(expected, want);
        digest_string(got, have);
        return store_fail(error, STORE_FAIL_INVALID, "The %s should be %s, but is %s", what, want, have);
}

static const char *layer_media_type(Compression c) {
        return c == COMPRESSION_GZIP   ? MEDIA_OCI_LAYER "+gzip"
               : c == COMPRESSION_ZSTD ? MEDIA_OCI_LAYER "+zstd"
                                       : MEDIA_OCI_LAYER;
}

/* A new layer. The Unpack keeps it, also when reading it fails: threads may still be writing its files. */
static Layer *add_layer(Unpack *u) {
        Layer *l = layer_new(u->job, u->objects);

        g_mutex_lock(&u->lock);
        g_ptr_array_add(u->read, l);
        g_mutex_unlock(&u->lock);
        return l;
}

/* Whoever sends may take his time with the rest, which the threads behind a stream would wait for. */
static void stop_reading(Unpack *u, const Task *t, const GError *why) {
        GError *failure = g_error_copy(why);

        if (t)
                g_prefix_error(&failure, "Layer %u (%s): ", t->number, t->source->member);
        store_job_fail(u->job, failure);
}

/* Reads a layer through; a plain one is hashed once, its digest being its diff id. @t: whose it is, or NULL */
static Layer *read_layer(Unpack *u, const Task *t, Stream *raw, Compression compression, guint64 *size,
                         guint8 digest[DIGEST_SIZE], guint8 diff_id[DIGEST_SIZE], GError **error) {
        g_auto(Digest) outer = { NULL }, inner = { NULL };
        Layer *layer = add_layer(u);
        Stream *s;
        gboolean ok;

        digest_init(&outer);
        digest_init(&inner);
        s = stream_new_digest(raw, compression == COMPRESSION_NONE ? NULL : &outer, size);
        s = stream_new_inflate(s, u->job, error);
        if (!s)
                return NULL;
        s = stream_new_ahead(stream_new_digest(s, &inner, NULL));
        ok = layer_read(layer, s, error);
        if (!ok && error && *error)
                stop_reading(u, t, *error);
        stream_free(s); /* stops and joins the thread that hashes */
        if (!ok)
                return NULL;
        digest_final(&inner, diff_id);
        if (compression == COMPRESSION_NONE)
                memcpy(digest, diff_id, DIGEST_SIZE);
        else
                digest_final(&outer, digest);
        return layer;
}

/* Takes @raw over. */
static gboolean task_verify(Task *t, Stream *raw, GError **error) {
        g_auto(Digest) d = { NULL };
        g_autoptr(Stream) s = NULL;
        guint8 digest[DIGEST_SIZE];

        digest_init(&d);
        s = stream_new_digest(stream_new_counted(raw, t->unpack->counter), &d, NULL);
        if (!stream_drain(s, error))
                return FALSE;
        digest_final(&d, digest);
        if (t->source->has_digest && !verify(t->source->digest, digest, "layer's digest", error))
                return FALSE;
        memcpy(t->source->digest, digest, DIGEST_SIZE);
        return t->compression != COMPRESSION_NONE || verify(t->source->diff_id, digest, "layer's diff id", error);
}

/* The tree of a layer from its record. */
static gboolean replay(Unpack *u, Unpacked *r, GError **error) {
        g_auto(Split) split = { NULL };
        Layer *l = store_load_split(u->store, r->diff_id, &split, error) ? layer_replay(u->job, &split, error) : NULL;

        if (!l)
                return FALSE;
        g_mutex_lock(&u->lock);
        g_ptr_array_add(u->read, l);
        g_mutex_unlock(&u->lock);
        r->layer = l;
        return TRUE;
}

/* Takes @raw over. */
static gboolean task_unpack(Task *t, Stream *raw, GError **error) {
        Unpack *u = t->unpack;
        ImageLayer *source = t->source;
        guint8 digest[DIGEST_SIZE], diff_id[DIGEST_SIZE];
        guint64 size = 0;

        t->result->layer =
                read_layer(u, t, stream_new_counted(raw, u->counter), t->compression, &size, digest, diff_id, error);
        if (!t->result->layer)
                return FALSE;
        if (source->has_digest && !verify(source->digest, digest, "layer's digest", error))
                return FALSE;
        if (!verify(source->diff_id, diff_id, "layer's diff id", error))
                return FALSE;
        memcpy(source->digest, digest, DIGEST_SIZE);
        return TRUE;
}

static Stream *task_range(const Task *t) {
        return stream_new_range(t->unpack->job, t->fd, t->offset, t->source->size);
}

static void task_end(const Task *t, gboolean ok, GError *failure) {
        StoreJob *job = t->unpack->job;

        if (ok) {
                __atomic_add_fetch(&job->layers_done, 1, __ATOMIC_RELAXED);
                return;
        }
        g_prefix_error(&failure, "Layer %u (%s): ", t->number, t->source->member);
        store_job_fail(job, failure);
}

static void task_run(gpointer data, gpointer userdata G_GNUC_UNUSED) {
        Task *t = data;
        Unpack *u = t->unpack;
        GError *failure = NULL;
        gboolean ok;

        if (!store_job_check(u->job, NULL))
                return;
        if (t->absent)
                ok = !t->result || replay(u, t->result, &failure);
        else if (!t->result)
                ok = task_verify(t, task_range(t), &failure);
        else if (t->result->existing)
                ok = replay(u, t->result, &failure) && task_verify(t, task_range(t), &failure);
        else
                ok = task_unpack(t, task_range(t), &failure);
        task_end(t, ok, failure);
}

static Unpacked *add_result(Unpack *u, const guint8 diff_id[DIGEST_SIZE]) {
        Unpacked *r = g_new0(Unpacked, 1);

        memcpy(r->diff_id, diff_id, DIGEST_SIZE);
        g_hash_table_replace(u->layers, r->diff_id, r); /* the key is the value's */
        return r;
}

static gboolean pin_layer(Unpack *u, const guint8 diff_id[DIGEST_SIZE], gboolean *ret, GError **error) {
        g_autofree char *split = store_ref(REF_SPLIT, diff_id), *layer = store_ref(REF_LAYER, diff_id);
        g_autofree char *a = NULL, *b = NULL;

        if (!store_resolve(u->store, split, &a, error) || !store_resolve(u->store, layer, &b, error))
                return FALSE;
        *ret = a && b;
        return !*ret || ingest_pin(u->ingest, layer, error);
}

/* Which layers the store has; from here on it keeps them for us. */
static gboolean pin_layers(Unpack *u, GError **error) {
        GHashTableIter iter;
        gpointer value;
        gboolean ok = TRUE;

        if (!store_lock(u->store, FALSE, error))
                return FALSE;
        g_hash_table_iter_init(&iter, u->layers);
        while (ok && g_hash_table_iter_next(&iter, NULL, &value)) {
                Unpacked *r = value;

                ok = pin_layer(u, r->diff_id, &r->existing, error);
        }
        store_unlock(u->store, FALSE);
        return ok;
}

/* A blob that the archive has left out, and what it is known to hold. */
static gboolean task_absent(Task *t, const UnpackHave *have, GError **error) {
        const ImageLayer *l = t->source;

        t->absent = TRUE;
        if (have->size != l->size)
                return store_fail(error, STORE_FAIL_INVALID,
                                  "Layer %u (%s) has %" G_GUINT64_FORMAT
                                  " bytes, its descriptor says %" G_GUINT64_FORMAT,
                                  t->number, l->member, have->size, l->size);
        if (!verify(l->diff_id, have->diff_id, "layer's diff id", error)) {
                g_prefix_error(error, "Layer %u (%s): ", t->number, l->member);
                return FALSE;
        }
        return TRUE;
}

static gboolean task_present(Task *t, GError **error) {
        ImageLayer *l = t->source;
        guint8 head[COMPRESSION_HEAD];
        guint64 size;
        gssize n;

        if (!archive_find(t->unpack->archive, l->member, &t->fd, &t->offset, &size, error))
                return FALSE;
        if (l->has_digest && size != l->size)
                return store_fail(error, STORE_FAIL_INVALID,
                                  "Layer %u (%s) has %" G_GUINT64_FORMAT
                                  " bytes, its descriptor says %" G_GUINT64_FORMAT,
                                  t->number, l->member, size, l->size);
        l->size = size;
        n = pread(t->fd, head, MIN(size, sizeof(head)), (off_t)t->offset);
        t->compression = stream_compression(head, (gsize)MAX(n, 0));
        if (!l->media_type)
                l->media_type = g_strdup(layer_media_type(t->compression));
        return TRUE;
}

static gboolean add_task(Unpack *u, ImageLayer *l, guint number, GError **error) {
        const UnpackHave *have = u->have && l->has_digest ? g_hash_table_lookup(u->have, l->digest) : NULL;
        Task *t = g_new0(Task, 1);

        g_ptr_array_add(u->tasks, t);
        t->unpack = u;
        t->source = l;
        t->number = number;
        if (!archive_is_sequence(u->archive) &&
            (have && !archive_has(u->archive, l->member) ? !task_absent(t, have, error) : !task_present(t, error)))
                return FALSE;
        u->job->layers_total++;
        if (unpack_find(u, l->diff_id))
                return TRUE;
        t->result = add_result(u, l->diff_id);
        return TRUE;
}

/* Somebody else was sure of what we do not find: without it the archive is not whole. */
static gboolean check_absent(Unpack *u, GError **error) {
        for (guint i = 0; i < u->tasks->len; i++) {
                const Task *t = u->tasks->pdata[i];

                if (t->absent && t->result && !t->result->existing)
                        return store_fail(error, STORE_FAIL_PRECONDITION,
                                          "Layer %u (%s) is not in the archive, and not in the store either", t->number,
                                          t->source->member);
        }
        return TRUE;
}

/* ---- sequences ---- */

static void replay_run(gpointer data, gpointer unpack) {
        Unpack *u = unpack;
        GError *failure = NULL;

        if (store_job_check(u->job, NULL) && !replay(u, data, &failure))
                store_job_fail(u->job, failure);
}

static gboolean task_fits(const Task *t, guint64 size, GError **error) {
        return !t->source->has_digest || size == t->source->size ||
               store_fail(error, STORE_FAIL_INVALID,
                          "Layer %u (%s) has %" G_GUINT64_FORMAT " bytes, its descriptor says %" G_GUINT64_FORMAT,
                          t->number, t->source->member, size, t->source->size);
}

/* The blob that has come is that of these layers: all of the same diff id, or they lie. */
static gboolean run_member(Unpack *u, GPtrArray *tasks, guint64 size, GError **error) {
        Stream *raw = archive_current(u->archive);
        guint8 head[COMPRESSION_HEAD];
        Task *lead = tasks->pdata[0];
        GError *failure = NULL;
        gssize n = stream_read_full(raw, head, sizeof(head), error);
        gboolean ok;

        raw = stream_new_prefixed(raw, head, (gsize)MAX(n, 0));
        for (guint i = 0; i < tasks->len; i++) {
                Task *t = tasks->pdata[i];

                t->done = TRUE;
                if (n < 0 || !task_fits(t, size, error)) {
                        stream_free(raw);
                        return FALSE;
                }
                t->compression = stream_compression(head, (gsize)n);
                if (t->result && !t->result->existing && !(lead->result && !lead->result->existing))
                        lead = t;
        }
        if (lead->result && !lead->result->existing)
                ok = task_unpack(lead, raw, &failure);
        else
                ok = task_verify(lead, raw, &failure);
        task_end(lead, ok, failure);
        for (guint i = 0; ok && i < tasks->len; i++) {
                Task *t = tasks->pdata[i];

                if (t == lead)
                        continue;
                failure = NULL;
                ok = !t->result || t->result->existing ||
                     verify(t->source->diff_id, lead->source->diff_id, "layer's diff id", &failure);
                task_end(t, ok, failure);
        }
        return ok;
}

/* What has not come has to be here. */
static gboolean end_sequence(Unpack *u, GError **error) {
        for (guint i = 0; i < u->tasks->len; i++) {
                Task *t = u->tasks->pdata[i];
                const UnpackHave *have = u->have ? g_hash_table_lookup(u->have, t->source->digest) : NULL;

                if (t->done)
                        continue;
                if (!have)
                        return store_fail(error, STORE_FAIL_NOT_FOUND, "The image archive has no '%s'",
                                          t->source->member);
                if (!task_absent(t, have, error))
                        return FALSE;
                __atomic_add_fetch(&u->job->layers_done, 1, __ATOMIC_RELAXED);
        }
        return check_absent(u, error);
}

static gboolean read_sequence(Unpack *u, GHashTable *members, GError **error) {
        const char *name;
        guint64 size;
        int n;

        while ((n = archive_next(u->archive, &name, &size, error)) > 0) {
                GPtrArray *tasks = g_hash_table_lookup(members, name);

                if (!store_job_check(u->job, error) || (tasks && !run_member(u, tasks, size, error)))
                        return FALSE;
        }
        return n == 0 && end_sequence(u, error);
}

/* Layers as they come; a blob that several have is read once. */
static gboolean unpack_sequence(Unpack *u, GError **error) {
        g_autoptr(GHashTable) members =
                g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)g_ptr_array_unref);
        GError *failure = NULL;
        GThreadPool *pool;
        GHashTableIter iter;
        gpointer layer;

        for (guint i = 0; i < u->tasks->len; i++) {
                Task *t = u->tasks->pdata[i];
                GPtrArray *tasks = g_hash_table_lookup(members, t->source->member);

                if (!tasks) {
                        tasks = g_ptr_array_new();
                        g_hash_table_insert(members, t->source->member, tasks);
                }
                g_ptr_array_add(tasks, t);
        }
        pool = g_thread_pool_new(replay_run, u, 1, FALSE, error);
        if (!pool)
                return FALSE;
        g_hash_table_iter_init(&iter, u->layers);
        while (g_hash_table_iter_next(&iter, NULL, &layer))
                if (((Unpacked *)layer)->existing)
                        (void)g_thread_pool_push(pool, layer, NULL);
        if (!read_sequence(u, members, &failure) && failure)
                store_job_fail(u->job, failure);
        g_thread_pool_free(pool, FALSE, TRUE);
        return store_job_result(u->job, error);
}

/** unpack_images() - read all layers of all images; afterwards their digests and trees are there */
gboolean unpack_images(Unpack *u, GPtrArray *images, GError **error) {
        GThreadPool *pool;

        for (guint i = 0; i < images->len; i++) {
                const Image *image = images->pdata[i];

                for (guint l = 0; l < image->layers->len; l++)
                        if (!add_task(u, image->layers->pdata[l], l + 1, error))
                                return FALSE;
        }
        if (!pin_layers(u, error) || !check_absent(u, error))
                return FALSE;
        if (archive_is_sequence(u->archive))
                return unpack_sequence(u, error);
        pool = g_thread_pool_new(task_run, NULL, PARALLEL_MAX, FALSE, error);
        if (!pool)
                return FALSE;
        for (guint i = 0; i < u->tasks->len; i++)
                (void)g_thread_pool_push(pool, u->tasks->pdata[i], NULL);
        g_thread_pool_free(pool, FALSE, TRUE);
        return store_job_result(u->job, error);
}

/** unpack_replay() - have the tree of a layer that the store has and somebody keeps; once each */
gboolean unpack_replay(Unpack *u, const guint8 diff_id[DIGEST_SIZE], GError **error) {
        Unpacked *r = unpack_find(u, diff_id);

        if (r)
                return TRUE;
        r = add_result(u, diff_id);
        r->existing = TRUE;
        return replay(u, r, error);
}

/** unpack_layer() - read one layer, of which at most the digest is known beforehand; fills @ret
 *
 * Takes @raw over. Without @known, a digest that the caller will compare, the archive has to end with its end mark,
 * since nothing else tells a whole one from a cut one.
 */
gboolean unpack_layer(Unpack *u, Stream *raw, Compression compression, gboolean known, ImageLayer *ret,
                      GError **error) {
        Layer *layer;
        Unpacked *r;

        u->job->layers_total = 1;
        layer = read_layer(u, NULL, raw, compression, &ret->size, ret->digest, ret->diff_id, error);
        if (!layer)
                return FALSE;
        if (!layer->marked && !known)
                return store_fail(error, STORE_FAIL_INVALID, "The archive is truncated: its end mark is missing");
        ret->media_type = g_strdup(layer_media_type(compression));
        r = add_result(u, ret->diff_id);
        r->layer = layer;
        u->job->layers_done = 1;
        return store_job_result(u->job, error);
}
