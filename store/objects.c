/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writing loose objects of a bare libostree repository.
 *
 * Objects are hashed here (OpenSSL) and written under their final names into a staging directory beside the repository;
 * they reach it only by objects_promote(), when every digest of the import has been verified and the staging directory
 * has been synced. So a failed import leaves nothing in the repository, which libostree's own staging does not promise.
 * Content goes through a small pool of threads within a memory budget. The layout is libostree's: objects/xx/yyyy.file
 * with owner, mode and attributes of the real file, and serialized variants for dirtree, dirmeta and commit. The times
 * of a file are those of the entry that brought it first.
 */

#include "store/objects.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"

#define POOL_THREADS_MAX 4U
#define POOL_BUDGET ((gsize)6 * 1024 * 1024)
#define POOL_ITEM_COST ((gsize)512) /* what an item costs beside its data */

typedef struct {
        Inode *inode;
        guint8 *data;
        gsize size;
} PoolItem;

struct Objects {
        StoreJob *job;
        int objects_fd;
        int stage_fd;
        GMutex lock;
        GCond filled;      /* there is something for a thread to do */
        GCond drained;     /* there is room again, or nothing left to do */
        GQueue items;      /* PoolItem, under lock */
        gsize budget;      /* bytes of items not finished, under lock */
        guint idle;        /* threads that wait for an item, under lock */
        guint busy;        /* threads with an item, under lock */
        GHashTable *known; /* names of metadata objects that need no second look, under lock */
        gboolean trust;    /* what the repository has of them stays there */
        gboolean stop;
        GPtrArray *threads;
        gboolean fresh;
        GHashTable *wrong; /* under lock: names of objects of the repository that are not what they should be */
        gint made[256];    /* atomic: the staging directory has this subdirectory */
        gint n_big;        /* atomic */
};

struct BigFile {
        Objects *objects;
        Inode *inode;
        Digest digest;
        gsize size;
        int fd;
        char name[24];
};

/** object_name() - where the object of this kind (".file", ".dirtree", ...) is below objects/ */
void object_name(const guint8 checksum[DIGEST_SIZE], const char *suffix, char ret[OBJECT_NAME]) {
        char hex[DIGEST_HEX];

        digest_hex(checksum, hex);
        ret[0] = hex[0];
        ret[1] = hex[1];
        ret[2] = '/';
        memcpy(ret + 3, hex + 2, 62);
        g_strlcpy(ret + 65, suffix, OBJECT_NAME - 65);
}

/** object_header() - what a file object's checksum covers before its content; numbers are big-endian in it */
GVariant *object_header(const Inode *inode) {
        GVariant *xattrs = inode->xattrs ? inode->xattrs : g_variant_new_array(G_VARIANT_TYPE("(ayay)"), NULL, 0);

        return g_variant_ref_sink(g_variant_new("(uuuus@a(ayay))", GUINT32_TO_BE(inode->uid), GUINT32_TO_BE(inode->gid),
                                                GUINT32_TO_BE(inode->mode), 0,
                                                S_ISLNK(inode->mode) ? inode->target : "", xattrs));
}

static void digest_header(Digest *d, const Inode *inode) {
        g_autoptr(GVariant) header = object_header(inode);
        gsize size = g_variant_get_size(header);
        guint32 prefix[2] = { GUINT32_TO_BE((guint32)size), 0 };

        digest_update(d, prefix, sizeof(prefix));
        digest_update(d, g_variant_get_data(header), size);
}

static gboolean stage_subdirectory(Objects *o, guint8 first, GError **error) {
        char name[3];

        if (g_atomic_int_get(&o->made[first]))
                return TRUE;
        g_snprintf(name, sizeof(name), "%02x", first);
        if (mkdirat(o->stage_fd, name, 0755) < 0 && errno != EEXIST)
                return store_fail_errno(error, errno, "Cannot make a staging directory");
        g_atomic_int_set(&o->made[first], 1);
        return TRUE;
}

static gboolean same_bytes(int dir_fd, const char *name, const void *data, gsize size) {
        g_autofree char *got = NULL;
        size_t n;

        return file_read_at(dir_fd, name, size, &got, &n) >= 0 && n == size && memcmp(got, data, size) == 0;
}

/* What can be seen of an object without reading it through; of metadata (@data) it is all. */
static gboolean object_fits(Objects *o, const char *name, mode_t type, gsize size, const void *data) {
        struct stat st;

        if (fstatat(o->stage_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || (st.st_mode & S_IFMT) != type)
                return FALSE;
        if (S_ISREG(type) && (gsize)st.st_size != size)
                return FALSE;
        return !data || same_bytes(o->stage_fd, name, data, size);
}

/*
 * Whether the object is there already, in the repository or staged. One of the repository is linked into the staging
 * directory, so that it is still there to be published should a collection take the repository's own link. One that
 * has all the links a file may have is written again, and so is one that has been cut off or changed: the new one then
 * takes its place.
 */
static gboolean object_take(Objects *o, const char *name, mode_t type, gsize size, const void *data) {
        if (o->fresh || linkat(o->objects_fd, name, o->stage_fd, name, 0) < 0)
                return !o->fresh && errno == EEXIST;
        if (object_fits(o, name, type, size, data))
                return TRUE;
        (void)unlinkat(o->stage_fd, name, 0);
        g_mutex_lock(&o->lock);
        g_hash_table_add(o->wrong, g_strdup(name));
        g_mutex_unlock(&o->lock);
        return FALSE;
}

static gboolean xattr_failed(int number, const char *name, GError **error) {
        if (number == EINVAL)
                return store_fail(error, STORE_FAIL_INVALID, "Extended attribute '%s' has a value that is not allowed",
                                  name);
        if (number == ENOTSUP)
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "The store's file system cannot hold attribute '%s'",
                                  name);
        if (number == E2BIG || number == ERANGE)
                number = ENOSPC;
        return store_fail_errno(error, number, "Cannot set extended attribute '%s'", name);
}

static gboolean set_xattrs(int fd, const char *path, GVariant *xattrs, GError **error) {
        GVariantIter iter;
        GVariant *name, *value;

        if (!xattrs)
                return TRUE;
        g_variant_iter_init(&iter, xattrs);
        while (g_variant_iter_next(&iter, "(@ay@ay)", &name, &value)) {
                g_autoptr(GVariant) n = name, v = value;
                gsize size;
                const void *data = g_variant_get_fixed_array(v, &size, 1);
                const char *text = g_variant_get_bytestring(n);

                if ((path ? lsetxattr(path, text, data, size, 0) : fsetxattr(fd, text, data, size, 0)) < 0)
                        return xattr_failed(errno, text, error);
        }
        return TRUE;
}

/** inode_apply() - give an open file owner, attributes, mode and times, in the order in which none undoes another */
gboolean inode_apply(int fd, const Inode *i, GError **error) {
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { i->mtime, i->mtime_nsec } };

        if ((i->uid != 0 || i->gid != 0) && fchown(fd, i->uid, i->gid) < 0)
                return store_fail_errno(error, errno, "Cannot set a file's owner");
        if (!set_xattrs(fd, NULL, i->xattrs, error))
                return FALSE;
        if (fchmod(fd, i->mode & 07777) < 0)
                return store_fail_errno(error, errno, "Cannot set a file's mode");
        if (futimens(fd, times) < 0)
                return store_fail_errno(error, errno, "Cannot set a file's time");
        return TRUE;
}

/** inode_apply_at() - the same for what cannot be opened: symbolic links, devices, FIFOs */
gboolean inode_apply_at(int dir_fd, const char *name, const Inode *i, GError **error) {
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { i->mtime, i->mtime_nsec } };

        if ((i->uid != 0 || i->gid != 0) && fchownat(dir_fd, name, i->uid, i->gid, AT_SYMLINK_NOFOLLOW) < 0)
                return store_fail_errno(error, errno, "Cannot set the owner of '%s'", name);
        if (i->xattrs) {
                g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/%s", dir_fd, name);

                if (!set_xattrs(-1, path, i->xattrs, error))
                        return FALSE;
        }
        if (!S_ISLNK(i->mode) && fchmodat(dir_fd, name, i->mode & 07777, 0) < 0)
                return store_fail_errno(error, errno, "Cannot set the mode of '%s'", name);
        if (utimensat(dir_fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
                return store_fail_errno(error, errno, "Cannot set the time of '%s'", name);
        return TRUE;
}

static gboolean write_all(int fd, const guint8 *data, gsize size, GError **error) {
        while (size > 0) {
                gssize n = write(fd, data, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return store_fail_errno(error, errno, "Cannot write an object");
                data += n;
                size -= (gsize)n;
        }
        return TRUE;
}

static gboolean stage_symlink(Objects *o, const char *name, const Inode *i, GError **error) {
        if (symlinkat(i->target, o->stage_fd, name) < 0)
                return errno == EEXIST ? TRUE : store_fail_errno(error, errno, "Cannot write an object");
        return inode_apply_at(o->stage_fd, name, i, error);
}

/* Creates an object in the staging directory; one that is there is the same one. */
static gboolean stage_file(Objects *o, const char *name, const Inode *i, const guint8 *data, gsize size,
                           GError **error) {
        _cleanup_close_ int fd = openat(o->stage_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
                return errno == EEXIST ? TRUE : store_fail_errno(error, errno, "Cannot write an object");
        /* A small file takes a block. */
        return store_job_add_written(o->job, fd, size + 4096, error) && write_all(fd, data, size, error) &&
               inode_apply(fd, i, error);
}

static gboolean put_now(Objects *o, Digest *d, PoolItem *item, GError **error) {
        Inode *i = item->inode;
        char name[OBJECT_NAME];

        digest_header(d, i);
        digest_update(d, item->data, item->size);
        digest_final(d, i->checksum);
        object_name(i->checksum, ".file", name);
        if (!stage_subdirectory(o, i->checksum[0], error))
                return FALSE;
        if (object_take(o, name, i->mode & S_IFMT, item->size, NULL))
                return TRUE;
        if (S_ISLNK(i->mode))
                return stage_symlink(o, name, i, error);
        return stage_file(o, name, i, item->data, item->size, error);
}

/* Under lock. Waking costs more than a small file does, so only those are woken who can go on. */
static void pool_done(Objects *o, PoolItem *item) {
        gboolean full = o->budget > POOL_BUDGET;

        o->budget -= item->size + POOL_ITEM_COST;
        o->busy--;
        if ((full && o->budget <= POOL_BUDGET) || (o->busy == 0 && g_queue_is_empty(&o->items)))
                g_cond_broadcast(&o->drained);
        g_free(item->data);
        g_free(item);
}

static gpointer pool_thread(gpointer userdata) {
        Objects *o = userdata;
        g_auto(Digest) digest = { NULL };

        digest_init(&digest);
        g_mutex_lock(&o->lock);
        for (;;) {
                PoolItem *item;
                GError *failure = NULL;

                o->idle++;
                while (!o->stop && g_queue_is_empty(&o->items))
                        g_cond_wait(&o->filled, &o->lock);
                o->idle--;
                item = g_queue_pop_head(&o->items);
                if (!item)
                        break;
                o->busy++;
                g_mutex_unlock(&o->lock);

                if (store_job_check(o->job, NULL) && !put_now(o, &digest, item, &failure))
                        store_job_fail(o->job, failure);

                g_mutex_lock(&o->lock);
                pool_done(o, item);
        }
        g_mutex_unlock(&o->lock);
        return NULL;
}

/** objects_new() - a writer; the descriptors of objects/ and of the staging directory stay the caller's */
Objects *objects_new(StoreJob *job, int objects_fd, int stage_fd) {
        Objects *o = g_new0(Objects, 1);
        guint n = CLAMP(g_get_num_processors(), 1, POOL_THREADS_MAX);

        o->job = job;
        o->objects_fd = objects_fd;
        o->stage_fd = stage_fd;
        g_mutex_init(&o->lock);
        g_cond_init(&o->filled);
        g_cond_init(&o->drained);
        g_queue_init(&o->items);
        o->known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        o->wrong = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        o->threads = g_ptr_array_new();
        for (guint i = 0; i < n; i++)
                g_ptr_array_add(o->threads, g_thread_new("objects", pool_thread, o));
        return o;
}

/** objects_set_fresh() - have everything written into the staging directory, for a comparison or a repair */
void objects_set_fresh(Objects *o) {
        o->fresh = TRUE;
}

/** objects_free() - stop the threads; what is staged stays for its owner to remove */
void objects_free(Objects *o) {
        g_mutex_lock(&o->lock);
        o->stop = TRUE;
        g_cond_broadcast(&o->filled);
        g_mutex_unlock(&o->lock);
        for (guint i = 0; i < o->threads->len; i++)
                g_thread_join(o->threads->pdata[i]);
        g_ptr_array_unref(o->threads);
        g_hash_table_unref(o->known);
        g_hash_table_unref(o->wrong);
        g_cond_clear(&o->filled);
        g_cond_clear(&o->drained);
        g_mutex_clear(&o->lock);
        g_free(o);
}

/** objects_put_file() - write a regular file or symbolic link; waits while the budget is used up
 *
 * @data is taken over. The inode's checksum is there after objects_settle().
 */
gboolean objects_put_file(Objects *o, Inode *inode, guint8 *data, gsize size, GError **error) {
        PoolItem *item = g_new(PoolItem, 1);

        *item = (PoolItem){ inode, data, size };
        g_mutex_lock(&o->lock);
        while (o->budget > POOL_BUDGET)
                g_cond_wait(&o->drained, &o->lock);
        o->budget += size + POOL_ITEM_COST;
        g_queue_push_tail(&o->items, item);
        if (o->idle > 0)
                g_cond_signal(&o->filled);
        g_mutex_unlock(&o->lock);
        return store_job_check(o->job, error);
}

/** objects_settle() - wait until everything put so far is written */
gboolean objects_settle(Objects *o, GError **error) {
        g_mutex_lock(&o->lock);
        while (o->busy > 0 || !g_queue_is_empty(&o->items))
                g_cond_wait(&o->drained, &o->lock);
        g_mutex_unlock(&o->lock);
        return store_job_result(o->job, error);
}

/** objects_put_bytes() - write an object that is its own bytes (dirtree, dirmeta, commit) */
gboolean objects_put_bytes(Objects *o, const char *suffix, const void *data, gsize size, guint8 ret[DIGEST_SIZE],
                           GError **error) {
        const Inode plain = { .mode = S_IFREG | 0644 };
        char name[OBJECT_NAME];
        gboolean known;

        digest_bytes(data, size, ret);
        object_name(ret, suffix, name);
        g_mutex_lock(&o->lock);
        known = g_hash_table_contains(o->known, name);
        g_mutex_unlock(&o->lock);
        if (known)
                return TRUE;
        if (!o->trust || faccessat(o->objects_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                if (!stage_subdirectory(o, ret[0], error) ||
                    (!object_take(o, name, S_IFREG, size, data) && !stage_file(o, name, &plain, data, size, error)))
                        return FALSE;
        g_mutex_lock(&o->lock);
        g_hash_table_add(o->known, g_strdup(name));
        g_mutex_unlock(&o->lock);
        return TRUE;
}

/** objects_trust() - while on, metadata objects that are put and that the repository has are taken to stay there
 *
 * For what is pinned: the directories of a chain that the operation builds on need not be linked one by one.
 */
void objects_trust(Objects *o, gboolean on) {
        o->trust = on;
}

/** objects_put_variant() - the same for a variant, whose floating reference is taken */
gboolean objects_put_variant(Objects *o, const char *suffix, GVariant *value, guint8 ret[DIGEST_SIZE], GError **error) {
        g_autoptr(GVariant) v = g_variant_ref_sink(value);

        return objects_put_bytes(o, suffix, g_variant_get_data(v), g_variant_get_size(v), ret, error);
}

/** objects_begin_file() - begin a file too large for memory; its owner and mode are known, its checksum is not */
BigFile *objects_begin_file(Objects *o, Inode *inode, GError **error) {
        BigFile *b = g_new0(BigFile, 1);

        b->objects = o;
        b->inode = inode;
        digest_init(&b->digest);
        digest_header(&b->digest, inode);
        g_snprintf(b->name, sizeof(b->name), "big-%d", g_atomic_int_add(&o->n_big, 1));
        b->fd = openat(o->stage_fd, b->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (b->fd < 0) {
                store_fail_errno(error, errno, "Cannot write an object");
                objects_drop_file(b);
                return NULL;
        }
        return b;
}

gboolean objects_add_file(BigFile *b, const void *data, gsize size, GError **error) {
        digest_update(&b->digest, data, size);
        b->size += size;
        return store_job_add_written(b->objects->job, b->fd, size, error) && write_all(b->fd, data, size, error);
}

static gboolean big_finish(BigFile *b, GError **error) {
        Objects *o = b->objects;
        char name[OBJECT_NAME];

        digest_final(&b->digest, b->inode->checksum);
        object_name(b->inode->checksum, ".file", name);
        if (!stage_subdirectory(o, b->inode->checksum[0], error))
                return FALSE;
        if (object_take(o, name, S_IFREG, b->size, NULL)) {
                (void)unlinkat(o->stage_fd, b->name, 0);
                return TRUE;
        }
        if (!inode_apply(b->fd, b->inode, error))
                return FALSE;
        if (renameat2(o->stage_fd, b->name, o->stage_fd, name, RENAME_NOREPLACE) < 0 && errno != EEXIST)
                return store_fail_errno(error, errno, "Cannot write an object");
        return TRUE;
}

/** objects_end_file() - give the file its name; @b is gone afterwards */
gboolean objects_end_file(BigFile *b, GError **error) {
        gboolean ok = big_finish(b, error);

        objects_drop_file(b);
        return ok;
}

void objects_drop_file(BigFile *b) {
        digest_done(&b->digest);
        b->fd = safe_close(b->fd);
        g_free(b);
}

/** objects_link() - make a hard link to an object, staged or not: 0 or a negative errno */
int objects_link(Objects *o, const char *name, int dir_fd, const char *path) {
        if (o->stage_fd >= 0 && linkat(o->stage_fd, name, dir_fd, path, 0) == 0)
                return 0;
        if (o->stage_fd >= 0 && errno != ENOENT)
                return -errno;
        return linkat(o->objects_fd, name, dir_fd, path, 0) < 0 ? -errno : 0;
}

/** objects_open() - open an object for reading, staged or not: a descriptor or a negative errno */
int objects_open(Objects *o, const char *name) {
        int fd = openat(o->stage_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

        if (fd < 0 && errno == ENOENT)
                fd = openat(o->objects_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        return fd < 0 ? -errno : fd;
}

/* Never over an object that is in use, unless it was found to be wrong. */
static gboolean promote_one(Objects *o, int from, int to, const char *sub, const char *file) {
        g_autofree char *name = NULL;

        if (renameat2(from, file, to, file, RENAME_NOREPLACE) == 0)
                return TRUE;
        if (errno != EEXIST)
                return FALSE;
        name = g_strconcat(sub, "/", file, NULL);
        return !g_hash_table_contains(o->wrong, name) || renameat(from, file, to, file) == 0;
}

/* A subdirectory the repository has already: one by one. */
static gboolean promote_each(Objects *o, const char *sub, GError **error) {
        int fd = openat(o->stage_fd, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int to = openat(o->objects_fd, sub, O_PATH | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fd < 0 ? NULL : fdopendir(fd);
        gboolean ok = dir && to >= 0;
        int number = errno;

        for (struct dirent *e; ok && (e = readdir(dir));) {
                if (e->d_name[0] == '.')
                        continue;
                if (!promote_one(o, fd, to, sub, e->d_name)) {
                        number = errno;
                        ok = FALSE;
                }
        }
        if (dir)
                (void)closedir(dir);
        (void)safe_close(to);
        return ok ? TRUE : store_fail_errno(error, number, "Cannot move objects into the repository");
}

/** objects_promote() - move all that is staged into the repository; the caller has synced the staging directory */
gboolean objects_promote(Objects *o, GError **error) {
        for (guint i = 0; i < G_N_ELEMENTS(o->made); i++) {
                char name[3];

                if (!o->made[i])
                        continue;
                g_snprintf(name, sizeof(name), "%02x", i);
                if (renameat2(o->stage_fd, name, o->objects_fd, name, RENAME_NOREPLACE) == 0)
                        continue;
                if (errno != EEXIST)
                        return store_fail_errno(error, errno, "Cannot move objects into the repository");
                if (!promote_each(o, name, error))
                        return FALSE;
        }
        return TRUE;
}
