/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Collection: what no root needs leaves the store.
 *
 * The repository is held exclusively, then the pins of running operations are read, and only then the manager is asked
 * for its roots: whatever was published before is in the one or the other, and nothing can be published meanwhile. Refs
 * go first and durably, then the objects and directories that nothing leads to any more, so a crash leaves garbage
 * that the next collection finds, never a ref to something missing. Where metadata of what has to stay is damaged
 * nothing is swept, since nobody can say what it leads to. Directories are removed after the lock is given back.
 */

#include "store/collect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"
#include "store/mark.h"
#include "store/request.h"
#include "store/sweep.h"

typedef struct {
        Store *store;
        StoreJob *job;
        Ingest *ingest;
        Sweep sweep;
        GHashTable *refs; /* all there are: ref -> commit */
        GHashTable *live; /* refs that stay */
        Roots roots;
        JsonArray *chains, *contents; /* that were dropped */
} Collect;

void roots_init(Roots *r) {
        r->chains = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        r->contents = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
}

void roots_clear(Roots *r) {
        g_clear_pointer(&r->chains, g_hash_table_unref);
        g_clear_pointer(&r->contents, g_hash_table_unref);
}

static void keep(Collect *c, const char *prefix, const char *hex) {
        g_hash_table_add(c->live, g_strconcat(prefix, hex, NULL));
}

static void keep_layer(Collect *c, const char *hex) {
        keep(c, REF_LAYER, hex);
        keep(c, REF_SPLIT, hex);
}

/* A chain with its layers; one that is not there needs nothing. */
static gboolean keep_chain(Collect *c, const char *hex, GError **error) {
        g_autofree char *ref = g_strconcat(REF_CHAIN, hex, NULL);
        g_auto(GStrv) layers = NULL;

        keep(c, REF_CHAIN, hex);
        keep(c, REF_EROFS, hex);
        if (!g_hash_table_contains(c->refs, ref))
                return TRUE;
        layers = store_chain_layers(c->store, hex, error);
        for (char **l = layers; l && *l; l++)
                keep_layer(c, *l);
        return layers != NULL;
}

static gboolean keep_pin(Collect *c, const char *ref, GError **error) {
        const char *hex = strrchr(ref, '/');

        g_hash_table_add(c->live, g_strdup(ref));
        if (g_str_has_prefix(ref, REF_CHAIN) || g_str_has_prefix(ref, REF_EROFS))
                return keep_chain(c, hex + 1, error);
        if (g_str_has_prefix(ref, REF_LAYER) || g_str_has_prefix(ref, REF_SPLIT))
                keep_layer(c, hex + 1);
        return TRUE;
}

/* What stays: the pins first, the manager's word after them. */
static gboolean find_live(Collect *c, roots_func_t ask, void *userdata, GError **error) {
        g_autoptr(GHashTable) pins = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        GHashTableIter iter;
        gpointer key;

        if (!store_pins(c->store, pins, error) || !ask(userdata, &c->roots, error) ||
            !store_refs(c->store, &c->refs, error))
                return FALSE;
        g_hash_table_iter_init(&iter, pins);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                if (!keep_pin(c, key, error))
                        return FALSE;
        g_hash_table_iter_init(&iter, c->roots.chains);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                if (!keep_chain(c, key, error))
                        return FALSE;
        g_hash_table_iter_init(&iter, c->roots.contents);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                keep(c, REF_CONTENT, key);
        return TRUE;
}

static gboolean mark_ref(Mark *mark, const char *commit, GError **error) {
        guint8 checksum[DIGEST_SIZE];

        if (!digest_parse_hex(commit, checksum))
                return store_fail(error, STORE_FAIL_INTERNAL, "The ref is damaged");
        return mark_commit(mark, checksum, error);
}

static gboolean mark_live(Collect *c, Mark *mark, GError **error) {
        GHashTableIter iter;
        gpointer ref, commit;

        g_hash_table_iter_init(&iter, c->refs);
        while (g_hash_table_iter_next(&iter, &ref, &commit)) {
                if (!g_hash_table_contains(c->live, ref))
                        continue;
                if (!mark_ref(mark, commit, error)) {
                        g_prefix_error(error, "Nothing is freed while %s cannot be read (davitctl system check): ",
                                       (const char *)ref);
                        return FALSE;
                }
        }
        return TRUE;
}

static void note_dropped(JsonArray *to, const char *ref) {
        g_autofree char *id = g_strconcat("sha256:", strrchr(ref, '/') + 1, NULL);

        json_array_add_string_element(to, id);
}

static gboolean drop_kind(Collect *c, const char *prefix, JsonArray *note, GError **error) {
        GHashTableIter iter;
        gpointer ref;

        g_hash_table_iter_init(&iter, c->refs);
        while (g_hash_table_iter_next(&iter, &ref, NULL)) {
                if (!g_str_has_prefix(ref, prefix) || g_hash_table_contains(c->live, ref))
                        continue;
                if (!c->sweep.dry_run && !store_drop_ref(c->store, ref, error))
                        return FALSE;
                if (note)
                        note_dropped(note, ref);
        }
        return TRUE;
}

/* Chains before the layers they stand on. */
static gboolean drop_refs(Collect *c, GError **error) {
        return drop_kind(c, REF_EROFS, NULL, error) && drop_kind(c, REF_CHAIN, c->chains, error) &&
               drop_kind(c, REF_LAYER, NULL, error) && drop_kind(c, REF_SPLIT, NULL, error) &&
               drop_kind(c, REF_CONTENT, c->contents, error) && (c->sweep.dry_run || store_sync_refs(c->store, error));
}

/* Root file systems of chains that are gone: moved away, so that they are removed without the lock. */
static gboolean drop_forms(Collect *c, const char *name, int *ret_fd, GError **error) {
        int fd = *ret_fd = openat(c->store->dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        gboolean ok = TRUE;
        DIR *dir = NULL;

        if (fd < 0 && errno == ENOENT)
                return TRUE;
        if (fd < 0 || dir_stream(fd, &dir) < 0)
                return store_fail_errno(error, errno, "Cannot read '%s' of the store", name);
        for (struct dirent *e; ok && (e = readdir(dir));) {
                g_autofree char *ref = g_strconcat(REF_CHAIN, e->d_name, NULL), *to = NULL;

                if (e->d_name[0] == '.' || g_hash_table_contains(c->live, ref))
                        continue;
                to = g_strconcat(name, "-", e->d_name, NULL);
                if (c->sweep.dry_run)
                        sweep_add_tree(&c->sweep, fd, e->d_name);
                else if (renameat(fd, e->d_name, c->ingest->fd, to) < 0)
                        ok = store_fail_errno(error, errno, "Cannot move '%s' away", e->d_name);
        }
        (void)closedir(dir);
        return ok;
}

/* Staging directories of transactions that died; none runs now. */
static gboolean drop_staging(Collect *c, int *ret_fd, GError **error) {
        int fd = *ret_fd = openat(c->store->dir_fd, "repo/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = NULL;

        if (fd < 0 || dir_stream(fd, &dir) < 0)
                return store_fail_errno(error, errno, "Cannot read the repository's staging directories");
        for (struct dirent *e; (e = readdir(dir));)
                if (e->d_name[0] != '.' && !streq(e->d_name, "cache"))
                        sweep_add_tree(&c->sweep, fd, e->d_name);
        (void)closedir(dir);
        return TRUE;
}

/* What a repair put aside goes, but for root file systems on which containers may still run. */
static gboolean drop_damaged(Collect *c, int *ret_fd, GError **error) {
        int fd = *ret_fd = openat(c->store->dir_fd, DAMAGED_DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        DIR *dir = NULL;

        if (fd < 0 && errno == ENOENT)
                return TRUE;
        if (fd < 0 || dir_stream(fd, &dir) < 0)
                return store_fail_errno(error, errno, "Cannot read '%s' of the store", DAMAGED_DIRECTORY);
        for (struct dirent *e; (e = readdir(dir));) {
                const char *hex = strchr(e->d_name, '-');
                g_autofree char *ref = g_strconcat(REF_CHAIN, hex ? hex + 1 : "", NULL);

                if (e->d_name[0] != '.' && !g_hash_table_contains(c->live, ref))
                        sweep_add_tree(&c->sweep, fd, e->d_name);
        }
        (void)closedir(dir);
        return TRUE;
}

static gboolean collect_locked(Collect *c, roots_func_t ask, void *userdata, GError **error) {
        _cleanup_close_ int checkouts = -1, erofs = -1, staging = -1, damaged = -1;
        g_autoptr(Mark) mark = mark_new(c->store->objects_fd);

        if (!find_live(c, ask, userdata, error) || !mark_live(c, mark, error) || !store_job_check(c->job, error) ||
            !drop_refs(c, error) || !drop_forms(c, "checkouts", &checkouts, error) ||
            !drop_forms(c, "erofs", &erofs, error) || !drop_staging(c, &staging, error) ||
            !drop_damaged(c, &damaged, error))
                return FALSE;
        sweep_add_objects(&c->sweep, c->store->objects_fd, mark);
        return sweep_run(&c->sweep, error);
}

/* What was moved away. */
static gboolean remove_moved(Collect *c, GError **error) {
        DIR *dir = NULL;
        int r = dir_stream(c->ingest->fd, &dir);

        if (r < 0)
                return store_fail_errno(error, -r, "Cannot read a working directory");
        for (struct dirent *e; (e = readdir(dir));)
                if (g_str_has_prefix(e->d_name, "checkouts-") || g_str_has_prefix(e->d_name, "erofs-"))
                        sweep_add_tree(&c->sweep, c->ingest->fd, e->d_name);
        (void)closedir(dir);
        return sweep_run(&c->sweep, error);
}

static gboolean collect(Collect *c, roots_func_t ask, void *userdata, GError **error) {
        gboolean ok;

        c->ingest = ingest_begin(c->store, error);
        if (!c->ingest || !store_lock(c->store, TRUE, error))
                return FALSE;
        ok = collect_locked(c, ask, userdata, error);
        store_unlock(c->store, TRUE);
        return ok && (c->sweep.dry_run || remove_moved(c, error));
}

/** store_collect() - free what neither @ask names nor a running operation has pinned
 *
 * @dry_run: find out what would be freed, and free nothing.
 */
JsonNode *store_collect(Store *s, StoreJob *job, gboolean dry_run, roots_func_t ask, void *userdata, GError **error) {
        Collect c = { .store = s, .job = job };
        JsonNode *result = NULL;
        JsonObject *o;

        roots_init(&c.roots);
        sweep_init(&c.sweep, job, dry_run);
        c.live = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        c.chains = json_array_new();
        c.contents = json_array_new();
        if (collect(&c, ask, userdata, error)) {
                o = json_object_new();
                json_object_set_int_member(o, "freed", (gint64)c.sweep.freed);
                json_object_set_int_member(o, "objects", (gint64)c.sweep.objects);
                json_object_set_array_member(o, "chains", json_array_ref(c.chains));
                json_object_set_array_member(o, "contents", json_array_ref(c.contents));
                result = request_object(o);
        }
        json_array_unref(c.chains);
        json_array_unref(c.contents);
        g_clear_pointer(&c.refs, g_hash_table_unref);
        g_clear_pointer(&c.ingest, ingest_end);
        g_hash_table_unref(c.live);
        roots_clear(&c.roots);
        sweep_clear(&c.sweep);
        return result;
}
