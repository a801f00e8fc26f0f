/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The store's directory and its repository.
 *
 * DIR (0700) holds repo/ (bare: objects are real files with their real owner, setuid bits included, which is why nobody
 * else may enter DIR), checkouts/, erofs/, ingest/ (working directories, each locked by its operation; what a dead one
 * left is removed by the next) and lock, the gate: writers pass it for a moment on their way to the repository's shared
 * lock, collection holds it while it waits for the exclusive one, so that writers cannot starve it. A Store belongs to
 * one operation and thread.
 */

#include "store/repo.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"

#define REPO_NEW "repo.new"

static int open_directory(int dir_fd, const char *name, mode_t mode) {
        if (mkdirat(dir_fd, name, mode) < 0 && errno != EEXIST)
                return -1;
        return openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static gboolean repo_configure(OstreeRepo *repo, GError **error) {
        g_autoptr(GKeyFile) config = ostree_repo_copy_config(repo);

        g_key_file_set_boolean(config, "core", "fsync", TRUE);
        g_key_file_set_integer(config, "core", "lock-timeout-secs", -1);
        g_key_file_set_string(config, "core", "min-free-space-size", "64MB");
        g_key_file_remove_key(config, "core", "min-free-space-percent", NULL);
        return ostree_repo_write_config(repo, config, error);
}

/* A repository appears whole and configured, or not at all: a half-made one would never open again. */
static gboolean repo_create(Store *s, GError **error) {
        g_autoptr(OstreeRepo) repo = NULL;
        int r = tree_remove_at(s->dir_fd, REPO_NEW);

        if (r < 0 && r != -ENOENT)
                return store_fail_errno(error, -r, "Cannot remove a repository that was never finished");
        repo = ostree_repo_create_at(s->dir_fd, REPO_NEW, OSTREE_REPO_MODE_BARE, NULL, NULL, error);
        if (!repo || !repo_configure(repo, error) || !store_sync(s, error))
                return FALSE;
        if (renameat(s->dir_fd, REPO_NEW, s->dir_fd, "repo") < 0)
                return store_fail_errno(error, errno, "Cannot put a new repository in place");
        return TRUE;
}

static gboolean repo_open(Store *s, GError **error) {
        struct stat st;

        if (fstatat(s->dir_fd, "repo", &st, AT_SYMLINK_NOFOLLOW) < 0 && !repo_create(s, error))
                return FALSE;
        s->repo = ostree_repo_open_at(s->dir_fd, "repo", NULL, error);
        return s->repo != NULL;
}

static gboolean store_setup(Store *s, GError **error) {
        if (g_mkdir_with_parents(s->directory, 0700) < 0)
                return store_fail_errno(error, errno, "Cannot make '%s'", s->directory);
        s->dir_fd = open(s->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->dir_fd < 0 || fchmod(s->dir_fd, 0700) < 0)
                return store_fail_errno(error, errno, "Cannot open '%s'", s->directory);
        s->lock_fd = openat(s->dir_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        s->checkouts_fd = open_directory(s->dir_fd, "checkouts", 0700);
        s->erofs_fd = open_directory(s->dir_fd, "erofs", 0700);
        s->ingest_fd = open_directory(s->dir_fd, "ingest", 0700);
        if (s->lock_fd < 0 || s->checkouts_fd < 0 || s->erofs_fd < 0 || s->ingest_fd < 0)
                return store_fail_errno(error, errno, "Cannot set up '%s'", s->directory);
        if (flock(s->lock_fd, LOCK_EX) < 0)
                return store_fail_errno(error, errno, "Cannot lock '%s'", s->directory);
        if (!repo_open(s, error))
                return FALSE;
        (void)flock(s->lock_fd, LOCK_UN);
        s->objects_fd = openat(s->dir_fd, "repo/objects", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return s->objects_fd >= 0 ? TRUE : store_fail_errno(error, errno, "Cannot open the repository's objects");
}

/** store_open() - open a state directory, making what is missing of it */
Store *store_open(const char *directory, GError **error) {
        g_autoptr(Store) s = g_new(Store, 1);

        *s = (Store){ .dir_fd = -1, .objects_fd = -1, .checkouts_fd = -1, .ingest_fd = -1, .lock_fd = -1 };
        s->erofs_fd = -1;
        s->directory = g_strdup(directory);
        return store_setup(s, error) ? g_steal_pointer(&s) : NULL;
}

void store_close(Store *s) {
        g_clear_object(&s->repo);
        s->objects_fd = safe_close(s->objects_fd);
        s->checkouts_fd = safe_close(s->checkouts_fd);
        s->erofs_fd = safe_close(s->erofs_fd);
        s->ingest_fd = safe_close(s->ingest_fd);
        s->lock_fd = safe_close(s->lock_fd);
        s->dir_fd = safe_close(s->dir_fd);
        g_free(s->directory);
        g_free(s);
}

/** store_lock() - take the repository's lock, through the gate; waiting does not poll */
gboolean store_lock(Store *s, gboolean exclusive, GError **error) {
        gboolean ok;

        if (flock(s->lock_fd, LOCK_EX) < 0)
                return store_fail_errno(error, errno, "Cannot lock '%s'", s->directory);
        ok = ostree_repo_lock_push(s->repo, exclusive ? OSTREE_REPO_LOCK_EXCLUSIVE : OSTREE_REPO_LOCK_SHARED, NULL,
                                   error);
        (void)flock(s->lock_fd, LOCK_UN);
        return ok;
}

void store_unlock(Store *s, gboolean exclusive) {
        (void)ostree_repo_lock_pop(s->repo, exclusive ? OSTREE_REPO_LOCK_EXCLUSIVE : OSTREE_REPO_LOCK_SHARED, NULL,
                                   NULL);
}

/** store_ref() - prefix and 64 digits */
char *store_ref(const char *prefix, const guint8 digest[DIGEST_SIZE]) {
        char hex[DIGEST_HEX];

        digest_hex(digest, hex);
        return g_strconcat(prefix, hex, NULL);
}

/** store_resolve() - the commit a ref names; *ret is NULL when there is no such ref */
gboolean store_resolve(Store *s, const char *ref, char **ret, GError **error) {
        return ostree_repo_resolve_rev_ext(s->repo, ref, TRUE, OSTREE_REPO_RESOLVE_REV_EXT_NONE, ret, error);
}

/** store_commit_metadata() - a commit's a{sv} */
GVariant *store_commit_metadata(Store *s, const char *commit, GError **error) {
        g_autoptr(GVariant) v = NULL;

        if (!ostree_repo_load_commit(s->repo, commit, &v, NULL, error))
                return NULL;
        return g_variant_get_child_value(v, 0);
}

/** store_commit_file() - the content of a file at the top of a commit, at most @max bytes */
GBytes *store_commit_file(Store *s, const char *commit, const char *name, gsize max, GError **error) {
        g_autoptr(GFile) root = NULL, file = NULL;
        g_autoptr(GFileInputStream) in = NULL;
        g_autoptr(GByteArray) out = g_byte_array_new();
        gssize n;

        if (!ostree_repo_read_commit(s->repo, commit, &root, NULL, NULL, error))
                return NULL;
        file = g_file_get_child(root, name);
        in = g_file_read(file, NULL, error);
        if (!in)
                return NULL;
        do {
                guint at = out->len;

                g_byte_array_set_size(out, at + 65536);
                n = g_input_stream_read(G_INPUT_STREAM(in), out->data + at, 65536, NULL, error);
                g_byte_array_set_size(out, at + (guint)MAX(n, 0));
        } while (n > 0 && out->len <= max);
        if (n < 0)
                return NULL;
        if (out->len > max) {
                store_fail(error, STORE_FAIL_EXHAUSTED, "'%s' in the store is larger than %zu bytes", name, max);
                return NULL;
        }
        return g_byte_array_free_to_bytes(g_steal_pointer(&out));
}

static char **metadata_strings(GVariant *metadata, const char *key, GError **error) {
        char **list = NULL;

        if (!g_variant_lookup(metadata, key, "^as", &list))
                store_fail(error, STORE_FAIL_INTERNAL, "A commit of the store has no '%s'", key);
        return list;
}

/** store_chain_layers() - the diff ids (digits alone) of a chain, lowest first; no such chain: STORE_FAIL_NOT_FOUND */
char **store_chain_layers(Store *s, const char *hex, GError **error) {
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

/** store_chains_foreach() - every chain among @refs whose layers can be read */
void store_chains_foreach(Store *s, GHashTable *refs, chain_handler_t handler, void *userdata) {
        GHashTableIter iter;
        gpointer ref;

        g_hash_table_iter_init(&iter, refs);
        while (g_hash_table_iter_next(&iter, &ref, NULL)) {
                const char *hex = strrchr(ref, '/') + 1;
                g_auto(GStrv) layers = NULL;

                if (!g_str_has_prefix(ref, REF_CHAIN))
                        continue;
                layers = store_chain_layers(s, hex, NULL);
                if (layers)
                        handler(hex, layers, userdata);
        }
}

/** store_load_split() - the tar-split record of a layer; a layer that is not there is STORE_FAIL_NOT_FOUND */
gboolean store_load_split(Store *s, const guint8 diff_id[DIGEST_SIZE], Split *ret, GError **error) {
        g_autofree char *ref = store_ref(REF_SPLIT, diff_id), *commit = NULL;

        if (!store_resolve(s, ref, &commit, error))
                return FALSE;
        if (!commit)
                return store_fail(error, STORE_FAIL_NOT_FOUND, "Layer %s is not in the store", ref + strlen(REF_SPLIT));
        ret->headers = store_commit_file(s, commit, SPLIT_HEADERS, (gsize)1 << 30, error);
        if (ret->headers)
                ret->table = store_commit_file(s, commit, SPLIT_TABLE, (gsize)1 << 30, error);
        return ret->table != NULL;
}

/** store_sync() - everything written to the store's file system so far is on disk on return */
gboolean store_sync(Store *s, GError **error) {
        return syncfs(s->dir_fd) == 0 ? TRUE : store_fail_errno(error, errno, "Cannot sync the store");
}
