/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Blobs: reading them, and publishing documents.
 *
 * A blob is the file "data" of the commit davit/content/<digest>; the repository is bare, so that file is one on the
 * disk, and is handed out as a descriptor. Collection may take the name away at any time, never the descriptor.
 * Documents are compared with their digest as they are read: what the disk has made of them is not parsed.
 */

#include "store/content.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"
#include "store/project.h"

/** content_open_object() - a file object of the store, for split_stream_new(): a descriptor or a negative errno */
int content_open_object(void *store, const guint8 checksum[DIGEST_SIZE]) {
        const Store *s = store;
        char name[OBJECT_NAME];
        int fd;

        object_name(checksum, ".file", name);
        fd = openat(s->objects_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        return fd;
}

gboolean content_has(Store *s, const guint8 digest[DIGEST_SIZE], gboolean *ret, GError **error) {
        g_autofree char *ref = store_ref(REF_CONTENT, digest), *commit = NULL;

        if (!store_resolve(s, ref, &commit, error))
                return FALSE;
        *ret = commit != NULL;
        return TRUE;
}

/** content_open() - open a blob; its bytes are not verified */
gboolean content_open(Store *s, const guint8 digest[DIGEST_SIZE], int *ret_fd, guint64 *ret_size, GError **error) {
        g_autofree char *ref = store_ref(REF_CONTENT, digest), *commit = NULL;
        g_autoptr(GFile) root = NULL, file = NULL;
        guint8 checksum[DIGEST_SIZE];
        struct stat st;
        int fd;

        *ret_fd = -1;
        if (!store_resolve(s, ref, &commit, error))
                return FALSE;
        if (!commit)
                return TRUE;
        if (!ostree_repo_read_commit(s->repo, commit, &root, NULL, NULL, error))
                return FALSE;
        file = g_file_get_child(root, CONTENT_FILE);
        if (!ostree_repo_file_ensure_resolved(OSTREE_REPO_FILE(file), error))
                return FALSE;
        if (!digest_parse_hex(ostree_repo_file_get_checksum(OSTREE_REPO_FILE(file)), checksum))
                return store_fail(error, STORE_FAIL_INTERNAL, "%s holds no file", ref);
        fd = content_open_object(s, checksum);
        if (fd < 0)
                return store_fail_errno(error, -fd, "Cannot open %s", ref);
        if (fstat(fd, &st) < 0) {
                (void)close(fd);
                return store_fail_errno(error, errno, "Cannot look at %s", ref);
        }
        *ret_fd = fd;
        *ret_size = (guint64)st.st_size;
        return TRUE;
}

/** content_load() - a document, verified; one that is not there is STORE_FAIL_NOT_FOUND */
GBytes *content_load(Store *s, const guint8 digest[DIGEST_SIZE], gsize max, GError **error) {
        _cleanup_close_ int fd = -1;
        g_autoptr(GBytes) bytes = NULL;
        char text[DIGEST_STRING];
        guint8 got[DIGEST_SIZE];
        guint64 size;
        char *data;

        digest_string(digest, text);
        if (!content_open(s, digest, &fd, &size, error))
                return NULL;
        if (fd < 0) {
                store_fail(error, STORE_FAIL_NOT_FOUND, "Content %s is not in the store", text);
                return NULL;
        }
        if (size > max) {
                store_fail(error, STORE_FAIL_EXHAUSTED, "Content %s is larger than %zu bytes", text, max);
                return NULL;
        }
        data = g_malloc(size + 1);
        bytes = g_bytes_new_take(data, size);
        for (gsize done = 0; done < size;) {
                gssize n = read(fd, data + done, size - done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) {
                        store_fail_errno(error, n < 0 ? errno : EIO, "Cannot read content %s", text);
                        return NULL;
                }
                done += (gsize)n;
        }
        digest_bytes(data, size, got);
        if (memcmp(got, digest, DIGEST_SIZE) != 0) {
                store_fail(error, STORE_FAIL_INTERNAL, "Content %s is damaged in the store", text);
                return NULL;
        }
        return g_steal_pointer(&bytes);
}

/* The commit of one document, of which only directories are written here. */
static gboolean document_commit(Objects *o, Tree *tree, char ret[DIGEST_HEX], GError **error) {
        Root root;

        return project_tree(o, tree, &root, error) &&
               project_commit(o, &root, "content", g_variant_new_array(G_VARIANT_TYPE("{sv}"), NULL, 0), ret, error);
}

static gboolean document_put(Objects *o, Tree *tree, GBytes *bytes, GError **error) {
        Inode *i = tree_inode(tree, S_IFREG | 0600);
        gsize size;
        const void *data = g_bytes_get_data(bytes, &size);

        i->flags = INODE_OBJECT;
        i->size = size;
        (void)tree_add(tree, tree_root(tree), CONTENT_FILE, strlen(CONTENT_FILE), i);
        return objects_put_file(o, i, g_memdup2(data, size), size, error) && objects_settle(o, error);
}

static gboolean publish_refs(Ingest *ingest, Objects *objects, GHashTable *refs, GError **error) {
        GHashTableIter iter;
        gpointer ref;

        if (!objects_promote(objects, error))
                return FALSE;
        g_hash_table_iter_init(&iter, refs);
        while (g_hash_table_iter_next(&iter, &ref, NULL))
                if (!ingest_pin(ingest, ref, error))
                        return FALSE;
        return store_set_refs(ingest->store, refs, error);
}

/** content_publish() - make documents part of the store, durable and pinned by @ingest on return */
gboolean content_publish(Ingest *ingest, Objects *objects, GBytes *const *documents, guint n, GError **error) {
        g_autoptr(GHashTable) refs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        Store *s = ingest->store;
        gboolean ok;

        for (guint i = 0; i < n; i++) {
                g_autoptr(Tree) tree = tree_new();
                char commit[DIGEST_HEX];
                guint8 digest[DIGEST_SIZE];

                if (!document_put(objects, tree, documents[i], error) || !document_commit(objects, tree, commit, error))
                        return FALSE;
                digest_bytes(g_bytes_get_data(documents[i], NULL), g_bytes_get_size(documents[i]), digest);
                g_hash_table_insert(refs, store_ref(REF_CONTENT, digest), g_strdup(commit));
        }
        if (!store_sync(s, error) || !store_lock(s, FALSE, error))
                return FALSE;
        ok = publish_refs(ingest, objects, refs, error);
        store_unlock(s, FALSE);
        return ok;
}
