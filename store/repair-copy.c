/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Repairing file objects from second copies.
 *
 * What a damaged object has to be is known from the records of its layers: owner, mode, attributes, size. Its content
 * may be found again: in a checkout, which holds copies of files that are in it twice, or in another object, of the
 * same content under another owner or mode; or in a stored archive of the layer (repair-blob.c). A candidate proves
 * itself by its checksum alone. The new object takes the damaged one's place by one rename, and then its places in the
 * checkouts.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/check.h"
#include "store/error.h"
#include "store/layer.h"
#include "store/objects.h"
#include "store/verify.h"

#define FIXED "fixed" /* of the working directory */

/* A damaged object that is looked for. */
typedef struct {
        Damage *damage;
        Inode *inode;     /* of a layer's tree */
        GVariant *header; /* object_header() */
        ino_t old;        /* of the damaged file; 0: it was missing */
        gboolean found;
} Wanted;

typedef struct {
        Check *check;
        GPtrArray *layers;  /* Layer: own the inodes */
        GHashTable *wanted; /* checksum -> Wanted */
        GHashTable *sizes;  /* size -> GPtrArray of Wanted */
        GHashTable *places; /* inode number of a damaged file -> Wanted, once there is a new one */
} Copies;

static void wanted_free(gpointer data) {
        Wanted *w = data;

        g_clear_pointer(&w->header, g_variant_unref);
        g_free(w);
}

static guint checksum_hash(gconstpointer key) {
        guint h;

        memcpy(&h, key, sizeof(h));
        return h;
}

static gboolean checksum_equal(gconstpointer a, gconstpointer b) {
        return memcmp(a, b, DIGEST_SIZE) == 0;
}

/* ---- what is looked for ---- */

static void learn_inode(Copies *k, Inode *i) {
        Wanted *w = g_hash_table_lookup(k->wanted, i->checksum);
        GPtrArray *list;
        guint64 *size;

        if (!w || w->inode)
                return;
        w->inode = i;
        w->header = object_header(i);
        list = g_hash_table_lookup(k->sizes, &i->size);
        if (!list) {
                list = g_ptr_array_new();
                size = g_memdup2(&i->size, sizeof(i->size));
                g_hash_table_insert(k->sizes, size, list);
        }
        g_ptr_array_add(list, w);
}

static void learn_tree(Copies *k, const Node *n) {
        if (n->inode->flags & INODE_OBJECT)
                learn_inode(k, n->inode);
        for (const Node *child = n->child; child; child = child->next)
                learn_tree(k, child);
}

static void learn_layer(Copies *k, const char *hex) {
        g_auto(Split) split = { NULL };
        guint8 diff_id[DIGEST_SIZE];
        Layer *layer;

        if (!check_is_sound(k->check, REF_SPLIT, hex) || !digest_parse_hex(hex, diff_id) ||
            !store_load_split(k->check->store, diff_id, &split, NULL))
                return;
        layer = layer_replay(k->check->job, &split, NULL);
        if (!layer)
                return;
        g_ptr_array_add(k->layers, layer);
        learn_tree(k, tree_root(layer->tree));
}

static void want_damages(Copies *k) {
        g_autoptr(GHashTable) layers = g_hash_table_new(g_str_hash, g_str_equal);
        GHashTableIter iter;
        gpointer key;

        for (guint i = 0; i < k->check->damages->len; i++) {
                Damage *d = k->check->damages->pdata[i];
                Wanted *w;

                if (!d->user || d->user->kind != OBJECT_FILE)
                        continue;
                w = g_new0(Wanted, 1);
                w->damage = d;
                g_hash_table_insert(k->wanted, d->user->checksum, w);
                g_hash_table_iter_init(&iter, d->user->layers);
                while (g_hash_table_iter_next(&iter, &key, NULL))
                        g_hash_table_add(layers, key);
        }
        g_hash_table_iter_init(&iter, layers);
        while (g_hash_table_iter_next(&iter, &key, NULL))
                learn_layer(k, key);
}

/* ---- putting one right ---- */

static gboolean copy_content(int from, int to, GError **error) {
        g_autofree guint8 *buffer = g_malloc(STREAM_CHUNK);
        gssize n;
        off_t at = 0;

        while ((n = pread(from, buffer, STREAM_CHUNK, at)) > 0) {
                int r = fd_write_all(to, buffer, (size_t)n);

                if (r < 0)
                        return store_fail_errno(error, -r, "Cannot write an object");
                at += n;
        }
        return n == 0 ? TRUE : store_fail_errno(error, errno, "Cannot read a copy");
}

/* A new file (@from < 0: a symbolic link) in the working directory. */
static gboolean make_fixed(Copies *k, const Wanted *w, int from, GError **error) {
        int dir_fd = k->check->ingest->fd;
        _cleanup_close_ int to = -1;

        (void)unlinkat(dir_fd, FIXED, 0);
        if (from < 0) {
                if (symlinkat(w->inode->target, dir_fd, FIXED) < 0)
                        return store_fail_errno(error, errno, "Cannot write an object");
                return inode_apply_at(dir_fd, FIXED, w->inode, error);
        }
        to = openat(dir_fd, FIXED, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (to < 0)
                return store_fail_errno(error, errno, "Cannot write an object");
        if (!copy_content(from, to, error) || !inode_apply(to, w->inode, error))
                return FALSE;
        return fsync(to) == 0 ? TRUE : store_fail_errno(error, errno, "Cannot write an object");
}

static gboolean put_fixed(Copies *k, Wanted *w, int from, GError **error) {
        Store *s = k->check->store;
        char name[OBJECT_NAME];
        struct stat st;
        gboolean ok;

        if (!make_fixed(k, w, from, error) || !store_lock(s, FALSE, error))
                return FALSE;
        object_name(w->damage->user->checksum, ".file", name);
        if (fstatat(s->objects_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
                w->old = st.st_ino;
        ok = renameat(k->check->ingest->fd, FIXED, s->objects_fd, name) == 0;
        store_unlock(s, FALSE);
        if (!ok)
                return store_fail_errno(error, errno, "Cannot put an object in its place");
        w->found = TRUE;
        w->damage->repaired = TRUE;
        if (w->old != 0) {
                guint64 old = w->old;

                g_hash_table_insert(k->places, g_memdup2(&old, sizeof(old)), w);
        }
        return TRUE;
}

/* ---- looking ---- */

static gboolean try_candidate(Copies *k, Wanted *w, int fd, GError **error) {
        guint8 got[DIGEST_SIZE];
        guint64 bytes = 0;

        if (w->found || !S_ISREG(w->inode->mode) || !verify_content(fd, w->header, got, &bytes, NULL) ||
            memcmp(got, w->damage->user->checksum, DIGEST_SIZE) != 0)
                return TRUE;
        return put_fixed(k, w, fd, error);
}

static gboolean try_file(Copies *k, int dir_fd, const char *name, GError **error) {
        _cleanup_close_ int fd = -1;
        const GPtrArray *list;
        struct stat st;
        guint64 size;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                return TRUE;
        size = (guint64)st.st_size;
        list = g_hash_table_lookup(k->sizes, &size);
        if (!list)
                return TRUE;
        fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        for (guint i = 0; fd >= 0 && i < list->len; i++)
                if (!try_candidate(k, list->pdata[i], fd, error))
                        return FALSE;
        return TRUE;
}

/* The link of a checkout to a damaged object becomes one to the new object. */
static gboolean relink(Copies *k, int dir_fd, const char *name, GError **error) {
        guint64 number;
        char object[OBJECT_NAME];
        struct stat st;
        Wanted *w;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return TRUE;
        number = st.st_ino;
        w = g_hash_table_lookup(k->places, &number);
        if (!w)
                return TRUE;
        object_name(w->damage->user->checksum, ".file", object);
        (void)unlinkat(k->check->ingest->fd, FIXED, 0);
        if (linkat(k->check->store->objects_fd, object, k->check->ingest->fd, FIXED, 0) < 0 ||
            renameat(k->check->ingest->fd, FIXED, dir_fd, name) < 0)
                return store_fail_errno(error, errno, "Cannot put '%s' of a checkout right", name);
        return TRUE;
}

typedef gboolean (*visit_t)(Copies *k, int dir_fd, const char *name, GError **error);

/* Every file below a directory of the store's. */
static gboolean walk(Copies *k, int dir_fd, const char *name, visit_t visit, GError **error) {
        _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        gboolean ok = TRUE;
        DIR *dir = NULL;

        if (fd < 0 || dir_stream(fd, &dir) < 0)
                return errno == ENOENT ? TRUE : store_fail_errno(error, errno, "Cannot read '%s'", name);
        for (struct dirent *e; ok && (e = readdir(dir));) {
                if (streq(e->d_name, ".") || streq(e->d_name, ".."))
                        continue;
                ok = e->d_type == DT_DIR ? walk(k, fd, e->d_name, visit, error) : visit(k, fd, e->d_name, error);
        }
        (void)closedir(dir);
        return ok && store_job_check(k->check->job, error);
}

/* A symbolic link's content is its layer's word. */
static gboolean make_symlinks(Copies *k, GError **error) {
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, k->wanted);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                Wanted *w = value;

                if (w->inode && S_ISLNK(w->inode->mode) && !put_fixed(k, w, -1, error))
                        return FALSE;
        }
        return TRUE;
}

/* The last resort: archives of the layers of what is still missing. */
static gboolean look_in_blobs(Copies *k, GError **error) {
        g_autoptr(GHashTable) layers = g_hash_table_new(g_str_hash, g_str_equal);
        GHashTableIter iter, of;
        gpointer value, key;
        gboolean any;

        g_hash_table_iter_init(&iter, k->wanted);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                const Wanted *w = value;

                if (!w->inode || w->found)
                        continue;
                g_hash_table_iter_init(&of, w->damage->user->layers);
                while (g_hash_table_iter_next(&of, &key, NULL))
                        g_hash_table_add(layers, key);
        }
        if (g_hash_table_size(layers) == 0 || !repair_unpack(k->check, layers, &any, error))
                return g_hash_table_size(layers) == 0;
        return !any || walk(k, k->check->ingest->fd, "objects", try_file, error);
}

static gboolean look(Copies *k, GError **error) {
        Store *s = k->check->store;

        want_damages(k);
        if (g_hash_table_size(k->sizes) == 0)
                return TRUE;
        return make_symlinks(k, error) && walk(k, s->dir_fd, "repo/objects", try_file, error) &&
               walk(k, s->dir_fd, "checkouts", try_file, error) && look_in_blobs(k, error) &&
               (g_hash_table_size(k->places) == 0 || walk(k, s->dir_fd, "checkouts", relink, error));
}

/** repair_copies() - put file objects right whose content is found somewhere else */
gboolean repair_copies(Check *c, GError **error) {
        Copies k = { .check = c };
        gboolean ok;

        k.layers = g_ptr_array_new_with_free_func((GDestroyNotify)layer_free);
        k.wanted = g_hash_table_new_full(checksum_hash, checksum_equal, NULL, wanted_free);
        k.sizes = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
        k.places = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
        ok = look(&k, error);
        g_hash_table_unref(k.places);
        g_hash_table_unref(k.sizes);
        g_hash_table_unref(k.wanted);
        g_ptr_array_unref(k.layers);
        return ok;
}
