/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The refs of the store, as the files they are: libostree reads them too.
 *
 * libostree's list ends at the first ref that is damaged, which would hide all others from a check and keep a
 * collection from freeing anything; and it syncs each ref it sets, and all directories of objects besides. Here many
 * are set with two syncs, in an order in which each leads to what is there already: a chain comes after its layers, and
 * goes before them. So whatever cuts that off leaves refs that can be relied on, and some that nothing needs.
 */

#include "store/repo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"

#define HEADS "repo/refs/heads/"


/* In the order in which refs appear. */
static const char *const kinds[] = { REF_CONTENT, REF_SPLIT, REF_LAYER, REF_CHAIN, REF_EROFS };

/* The directory of a kind's refs; -1 when there is none yet. */
static gboolean open_kind(Store *s, const char *kind, int *ret, GError **error) {
        g_autofree char *path = g_strconcat(HEADS, kind, NULL);

        *ret = openat(s->dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (*ret < 0 && errno != ENOENT)
                return store_fail_errno(error, errno, "Cannot read the refs");
        return TRUE;
}

/* The commit in a ref's file: 64 digits and a newline; "" when it is anything else. */
static char *read_ref(int fd, const char *name) {
        g_autofree char *text = NULL;
        guint8 digest[DIGEST_SIZE];
        size_t size;

        if (file_read_at(fd, name, DIGEST_HEX, &text, &size) < 0 || size != DIGEST_HEX || text[DIGEST_HEX - 1] != '\n')
                return g_strdup("");
        text[DIGEST_HEX - 1] = '\0';
        return digest_parse_hex(text, digest) ? g_steal_pointer(&text) : g_strdup("");
}

static gboolean list_kind(Store *s, const char *kind, GHashTable *ret, GError **error) {
        _cleanup_close_ int fd = -1;
        DIR *dir = NULL;

        if (!open_kind(s, kind, &fd, error))
                return FALSE;
        if (fd < 0)
                return TRUE;
        if (dir_stream(fd, &dir) < 0)
                return store_fail_errno(error, errno, "Cannot read the refs");
        for (struct dirent *e; (e = readdir(dir));) {
                guint8 digest[DIGEST_SIZE];

                if (digest_parse_hex(e->d_name, digest))
                        g_hash_table_insert(ret, g_strconcat(kind, e->d_name, NULL), read_ref(fd, e->d_name));
        }
        (void)closedir(dir);
        return TRUE;
}

/** store_refs() - all refs and their commits; "" for one whose file is damaged */
gboolean store_refs(Store *s, GHashTable **ret, GError **error) {
        g_autoptr(GHashTable) refs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);

        for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
                if (!list_kind(s, kinds[i], refs, error))
                        return FALSE;
        *ret = g_steal_pointer(&refs);
        return TRUE;
}

/** store_drop_ref() - take a ref away, not yet durably; the lock is held */
gboolean store_drop_ref(Store *s, const char *ref, GError **error) {
        g_autofree char *path = g_strconcat(HEADS, ref, NULL);

        if (unlinkat(s->dir_fd, path, 0) < 0 && errno != ENOENT)
                return store_fail_errno(error, errno, "Cannot drop '%s'", ref);
        return TRUE;
}

/* Two workers may set the same ref at a time. */
static char *temporary_path(const char *kind, const char *ref) {
        return g_strdup_printf("%s%s.new-%d-%s", HEADS, kind, (int)getpid(), ref + strlen(kind));
}

static gboolean write_ref(Store *s, const char *kind, const char *ref, const char *commit, GError **error) {
        g_autofree char *directory = g_strconcat(HEADS, kind, NULL), *text = g_strconcat(commit, "\n", NULL);
        g_autofree char *path = temporary_path(kind, ref);
        _cleanup_close_ int fd = dir_open_at(s->dir_fd, directory, 0755);
        int r;

        if (fd < 0)
                return store_fail_errno(error, -fd, "Cannot write '%s'", ref);
        r = file_replace_at(fd, strrchr(path, '/') + 1, text, strlen(text), 0644, false);
        return r >= 0 ? TRUE : store_fail_errno(error, -r, "Cannot write '%s'", ref);
}

static gboolean place_ref(Store *s, const char *kind, const char *ref, GError **error) {
        g_autofree char *from = temporary_path(kind, ref), *to = g_strconcat(HEADS, ref, NULL);

        return renameat(s->dir_fd, from, s->dir_fd, to) == 0
                       ? TRUE
                       : store_fail_errno(error, errno, "Cannot put '%s' in its place", ref);
}

typedef enum {
        PASS_WRITE,
        PASS_PLACE,
        PASS_DROP,
} Pass;

static gboolean pass_kind(Store *s, GHashTable *refs, const char *kind, Pass pass, GError **error) {
        GHashTableIter iter;
        gpointer ref, commit;

        g_hash_table_iter_init(&iter, refs);
        while (g_hash_table_iter_next(&iter, &ref, &commit)) {
                gboolean drops = *(const char *)commit == '\0', ok = TRUE;

                if (!g_str_has_prefix(ref, kind) || drops != (pass == PASS_DROP))
                        continue;
                if (pass == PASS_WRITE)
                        ok = write_ref(s, kind, ref, commit, error);
                else
                        ok = drops ? store_drop_ref(s, ref, error) : place_ref(s, kind, ref, error);
                if (!ok)
                        return FALSE;
        }
        return TRUE;
}

/** store_set_refs() - set or drop refs and make that durable; the lock is held
 *
 * @refs maps a ref to its commit, or to "" to drop it. The objects have been promoted; they are on the disk before any
 * ref is.
 */
gboolean store_set_refs(Store *s, GHashTable *refs, GError **error) {
        for (gsize i = G_N_ELEMENTS(kinds); i > 0; i--)
                if (!pass_kind(s, refs, kinds[i - 1], PASS_DROP, error))
                        return FALSE;
        for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
                if (!pass_kind(s, refs, kinds[i], PASS_WRITE, error))
                        return FALSE;
        if (!store_sync(s, error))
                return FALSE;
        for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
                if (!pass_kind(s, refs, kinds[i], PASS_PLACE, error))
                        return FALSE;
        return store_sync(s, error);
}

/* What a write that was cut off left, and what earlier versions kept. */
static void sweep_kind(int fd) {
        DIR *dir = NULL;

        if (dir_stream(fd, &dir) < 0)
                return;
        for (struct dirent *e; (e = readdir(dir));) {
                guint8 digest[DIGEST_SIZE];

                if (!streq(e->d_name, ".") && !streq(e->d_name, "..") && !digest_parse_hex(e->d_name, digest))
                        (void)tree_remove_at(fd, e->d_name);
        }
        (void)closedir(dir);
}

/** store_sync_refs() - make dropped refs stay dropped, and take away what is no ref; the lock is held exclusively */
gboolean store_sync_refs(Store *s, GError **error) {
        for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
                _cleanup_close_ int fd = -1;

                if (!open_kind(s, kinds[i], &fd, error))
                        return FALSE;
                if (fd < 0)
                        continue;
                sweep_kind(fd);
                if (fsync(fd) < 0)
                        return store_fail_errno(error, errno, "Cannot sync the refs");
        }
        return TRUE;
}
