/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The content operations: taking a blob in, giving a piece of one out.
 *
 * A blob is copied while it is hashed, since whoever gave it may still be writing to it, and is published only as what
 * was read. What is given out is looked up and pinned under the repository's lock; while it is written no lock is held.
 * A layer is re-assembled from its record, and a whole one compared with its diff id.
 */

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/macros.h"
#include "store/content.h"
#include "store/error.h"
#include "store/image.h"
#include "store/json.h"
#include "store/output.h"
#include "store/project.h"
#include "store/request.h"

typedef struct {
        Request *request;
        Ingest *ingest;
        Objects *objects;
        Tree *tree;
        Inode *inode; /* of the file "data" */
        const char *expected;
        guint64 expected_size;
        gboolean sized;
        guint8 digest[DIGEST_SIZE];
        guint64 size;
} Commit;

static Stream *open_source(Commit *c, GError **error) {
        StoreJob *job = c->request->job;
        int fd = c->request->fds[0];
        struct stat st;

        if (fstat(fd, &st) < 0 || (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))) {
                store_fail(error, STORE_FAIL_INVALID, "The content is neither a file, a pipe nor a socket");
                return NULL;
        }
        job->bytes_total = S_ISREG(st.st_mode) ? (guint64)st.st_size : c->expected_size;
        return stream_new_counted(S_ISREG(st.st_mode) ? stream_new_range(job, fd, 0, (guint64)st.st_size)
                                                      : stream_new_pipe(job, fd),
                                  &job->bytes_in);
}

static gboolean copy_source(Commit *c, BigFile *to, GError **error) {
        g_autofree guint8 *buffer = g_malloc(STREAM_CHUNK);
        g_autoptr(Stream) from = open_source(c, error);
        g_auto(Digest) digest = { NULL };
        gssize n = from ? 1 : -1;

        digest_init(&digest);
        while (n > 0) {
                n = stream_read(from, buffer, STREAM_CHUNK, error);
                if (n <= 0)
                        break;
                digest_update(&digest, buffer, (gsize)n);
                c->size += (guint64)n;
                if (!objects_add_file(to, buffer, (gsize)n, error))
                        return FALSE;
        }
        digest_final(&digest, c->digest);
        return n == 0;
}

static gboolean check_expected(const Commit *c, GError **error) {
        char got[DIGEST_STRING];

        if (c->sized && c->size != c->expected_size)
                return store_fail(error, STORE_FAIL_INVALID,
                                  "The content has %" G_GUINT64_FORMAT " bytes, not %" G_GUINT64_FORMAT, c->size,
                                  c->expected_size);
        digest_string(c->digest, got);
        if (c->expected && strcmp(c->expected, got) != 0)
                return store_fail(error, STORE_FAIL_INVALID, "The content's digest should be %s, but is %s",
                                  c->expected, got);
        return TRUE;
}

static gboolean publish(Commit *c, const char *ref, const char *commit, GError **error) {
        g_autoptr(GHashTable) refs = g_hash_table_new(g_str_hash, g_str_equal);

        g_hash_table_insert(refs, (gpointer)ref, (gpointer)commit);
        return objects_promote(c->objects, error) && ingest_pin(c->ingest, ref, error) &&
               store_set_refs(c->ingest->store, refs, error);
}

/* A content that is there already is as good as the one brought. */
static gboolean settle(Commit *c, GError **error) {
        Store *s = c->ingest->store;
        g_autofree char *ref = store_ref(REF_CONTENT, c->digest);
        char commit[DIGEST_HEX];
        gboolean here, ok;
        Root root;

        if (!project_tree(c->objects, c->tree, &root, error) ||
            !project_commit(c->objects, &root, "content", g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0), commit,
                            error) ||
            !store_sync(s, error) || !store_lock(s, FALSE, error))
                return FALSE;
        ok = content_has(s, c->digest, &here, error) &&
             (here ? ingest_pin(c->ingest, ref, error) : publish(c, ref, commit, error));
        store_unlock(s, FALSE);
        return ok;
}

static gboolean take_in(Commit *c, GError **error) {
        BigFile *file;

        c->inode = tree_inode(c->tree, S_IFREG | 0600);
        c->inode->flags = INODE_OBJECT;
        (void)tree_add(c->tree, tree_root(c->tree), CONTENT_FILE, strlen(CONTENT_FILE), c->inode);
        file = objects_begin_file(c->objects, c->inode, error);
        if (!file)
                return FALSE;
        if (!copy_source(c, file, error) || !check_expected(c, error)) {
                objects_drop_file(file);
                return FALSE;
        }
        c->inode->size = c->size;
        return objects_end_file(file, error) && objects_settle(c->objects, error) && settle(c, error);
}

static JsonNode *commit_result(const Commit *c) {
        JsonObject *o = json_object_new();
        char digest[DIGEST_STRING];

        digest_string(c->digest, digest);
        json_object_set_string_member(o, "digest", digest);
        json_object_set_int_member(o, "size", (gint64)c->size);
        return request_object(o);
}

static gboolean commit_options(Commit *c, GError **error) {
        static const char *const known[] = { "digest", "size", NULL };
        Request *r = c->request;
        guint8 digest[DIGEST_SIZE];

        if (!request_members(r, known, error) ||
            !json_string(r->members, "digest", REQUEST_WHAT, &c->expected, error) ||
            !json_size(r->members, "size", REQUEST_WHAT, &c->expected_size, error))
                return FALSE;
        c->sized = c->expected_size > 0;
        if (c->expected && c->expected[0] == '\0')
                c->expected = NULL;
        if (c->expected && !digest_parse(c->expected, digest, error))
                return FALSE;
        return r->n_fds == 1 ? TRUE : store_fail(error, STORE_FAIL_INVALID, "The request came without the content");
}

/** request_content_commit() - {"digest","size"}; a size of 0 is one that is not known */
JsonNode *request_content_commit(Request *r, GError **error) {
        Commit c = { .request = r };
        gboolean ok = commit_options(&c, error) && request_store(r, error);

        c.ingest = ok ? ingest_begin(r->store, error) : NULL;
        if (!c.ingest)
                return NULL;
        c.objects = objects_new(r->job, r->store->objects_fd, c.ingest->stage_fd);
        c.tree = tree_new();
        ok = take_in(&c, error);
        objects_free(c.objects);
        tree_free(c.tree);
        if (ok)
                r->held = g_steal_pointer(&c.ingest);
        g_clear_pointer(&c.ingest, ingest_end);
        return ok ? commit_result(&c) : NULL;
}

/* What is to be given out. */
typedef struct {
        Request *request;
        guint8 digest[DIGEST_SIZE];
        guint64 offset;
        guint64 length; /* 0: to the end */
        guint64 size;   /* of the whole */
        int fd;         /* of a blob */
        Stream *stream;
} Piece;

static gboolean open_blob(Piece *p, GError **error) {
        char text[DIGEST_STRING];

        if (!content_open(p->request->store, p->digest, &p->fd, &p->size, error))
                return FALSE;
        digest_string(p->digest, text);
        if (p->fd < 0)
                return store_fail(error, STORE_FAIL_NOT_FOUND, "Content %s is not in the store", text);
        if (p->offset <= p->size)
                p->stream = stream_new_range(p->request->job, p->fd, p->offset, p->size - p->offset);
        return TRUE;
}

static gboolean open_layer(Piece *p, Ingest *ingest, GError **error) {
        g_autofree char *split_ref = store_ref(REF_SPLIT, p->digest), *layer_ref = store_ref(REF_LAYER, p->digest);
        Store *s = p->request->store;
        g_auto(Split) split = { NULL };

        if (!ingest_pin(ingest, split_ref, error) || !ingest_pin(ingest, layer_ref, error) ||
            !store_load_split(s, p->digest, &split, error) || !split_size(p->request->job, &split, &p->size, error))
                return FALSE;
        if (p->offset > p->size)
                return TRUE;
        p->stream = split_stream_new(p->request->job, &split, content_open_object, s);
        return split_stream_skip(p->stream, p->offset, error);
}

static gboolean copy_piece(Piece *p, Output *output, GError **error) {
        g_autofree guint8 *buffer = g_malloc(STREAM_CHUNK);
        gboolean whole = p->length == p->size;
        g_auto(Digest) digest = { NULL };
        guint8 got[DIGEST_SIZE];
        guint64 left = p->length;

        digest_init(&digest);
        p->stream = stream_new_counted(p->stream, &p->request->job->bytes_in);
        while (left > 0) {
                gssize n = stream_read(p->stream, buffer, MIN(left, STREAM_CHUNK), error);

                if (n <= 0)
                        return n < 0 ? FALSE : store_fail(error, STORE_FAIL_INTERNAL, "The content ends early");
                if (whole)
                        digest_update(&digest, buffer, (gsize)n);
                if (!output_write(output, buffer, (gsize)n, error))
                        return FALSE;
                left -= (guint64)n;
        }
        digest_final(&digest, got);
        return !whole || memcmp(got, p->digest, DIGEST_SIZE) == 0
                       ? TRUE
                       : store_fail(error, STORE_FAIL_INTERNAL, "The content is damaged in the store");
}

static gboolean give_out(Piece *p, Ingest *ingest, gboolean layer, GError **error) {
        g_autoptr(Output) output = output_new(p->request->job, p->request->fds[0], OUTPUT_PATIENCE_MSEC, error);
        gboolean ok;

        if (!output || !store_lock(p->request->store, FALSE, error))
                return FALSE;
        ok = layer ? open_layer(p, ingest, error) : open_blob(p, error);
        store_unlock(p->request->store, FALSE);
        if (!ok)
                return FALSE;
        if (p->offset > p->size)
                return store_fail(error, STORE_FAIL_INVALID, "The content ends before offset %" G_GUINT64_FORMAT,
                                  p->offset);
        p->length = p->length == 0 ? p->size - p->offset : MIN(p->length, p->size - p->offset);
        p->request->job->bytes_total = p->length;
        return copy_piece(p, output, error);
}

static gboolean read_options(Piece *p, gboolean *ret_layer, GError **error) {
        static const char *const known[] = { "digest", "offset", "length", "kind", NULL };
        Request *r = p->request;
        const char *digest, *kind;

        if (!request_members(r, known, error) || !json_string(r->members, "digest", REQUEST_WHAT, &digest, error) ||
            !json_string(r->members, "kind", REQUEST_WHAT, &kind, error) ||
            !json_size(r->members, "offset", REQUEST_WHAT, &p->offset, error) ||
            !json_size(r->members, "length", REQUEST_WHAT, &p->length, error) ||
            !digest_parse(digest ? digest : "", p->digest, error))
                return FALSE;
        *ret_layer = kind && strcmp(kind, "layer") == 0;
        if (kind && !*ret_layer && strcmp(kind, "blob") != 0)
                return store_fail(error, STORE_FAIL_INVALID, "There is no kind '%.40s': blob or layer", kind);
        return r->n_fds == 1 ? TRUE : store_fail(error, STORE_FAIL_INVALID, "The request came without an output");
}

/** request_content_read() - {"size"}, the bytes written */
JsonNode *request_content_read(Request *r, GError **error) {
        Piece p = { .request = r, .fd = -1 };
        g_autoptr(Ingest) ingest = NULL;
        gboolean layer, ok;
        JsonObject *o;

        if (!read_options(&p, &layer, error) || !request_store(r, error))
                return NULL;
        ingest = ingest_begin(r->store, error);
        ok = ingest && give_out(&p, ingest, layer, error);
        g_clear_pointer(&p.stream, stream_free);
        p.fd = safe_close(p.fd);
        if (!ok)
                return NULL;
        o = json_object_new();
        json_object_set_int_member(o, "size", (gint64)p.length);
        return request_object(o);
}
