/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sweeping: objects that are not marked, and directories that nothing needs.
 *
 * Threads take directories from a stack; whoever takes the last thing out of one removes it too. They are more than
 * there are processors, since a file system that discards freed blocks at once makes each removal wait for the disk.
 * Space is counted where it becomes free, at the last link of an inode. A dry run counts the links it would take of
 * each inode instead, and finds the same number. Nothing here knows why something goes; names of a tree are never
 * followed when they are symbolic links.
 */

#include "store/sweep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"

#define THREADS 8U
#define BLOCK 512U /* of st_blocks, stat(2) */

/* A directory that is to go, or one of objects/, which stays. */
struct SweepNode {
        SweepNode *parent; /* NULL: dir_fd has the name */
        int dir_fd;
        int fd;     /* its own, while there is something left in it */
        guint left; /* under lock: subdirectories, and itself while it is read */
        gboolean objects;
        char name[];
};

void sweep_init(Sweep *s, StoreJob *job, gboolean dry_run) {
        *s = (Sweep){ .job = job, .dry_run = dry_run };
        g_mutex_init(&s->lock);
        g_cond_init(&s->changed);
        g_queue_init(&s->nodes);
}

void sweep_clear(Sweep *s) {
        g_clear_pointer(&s->links, g_hash_table_unref);
        g_clear_error(&s->failure);
        g_mutex_clear(&s->lock);
        g_cond_clear(&s->changed);
}

static void node_push(Sweep *s, SweepNode *parent, int dir_fd, const char *name, gboolean objects) {
        gsize size = strlen(name) + 1;
        SweepNode *n = g_malloc0(sizeof(*n) + size);

        n->parent = parent;
        n->dir_fd = dir_fd;
        n->fd = -1;
        n->left = 1;
        n->objects = objects;
        memcpy(n->name, name, size);
        g_mutex_lock(&s->lock);
        if (parent)
                parent->left++;
        g_queue_push_head(&s->nodes, n);
        g_cond_signal(&s->changed);
        g_mutex_unlock(&s->lock);
}

/** sweep_add_tree() - @name of @dir_fd is to go */
void sweep_add_tree(Sweep *s, int dir_fd, const char *name) {
        node_push(s, NULL, dir_fd, name, FALSE);
}

/** sweep_add_objects() - objects that are not marked are to go */
void sweep_add_objects(Sweep *s, int objects_fd, const Mark *mark) {
        s->mark = mark;
        for (guint i = 0; i < 256; i++) {
                char name[3];

                g_snprintf(name, sizeof(name), "%02x", i);
                node_push(s, NULL, objects_fd, name, TRUE);
        }
}

/* One link of an inode goes. A dry run has one thread. */
static void sweep_count(Sweep *s, const struct stat *st) {
        if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
                guint taken;

                if (!s->dry_run)
                        return;
                if (!s->links)
                        s->links = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
                taken = GPOINTER_TO_UINT(g_hash_table_lookup(s->links, &st->st_ino)) + 1;
                g_hash_table_replace(s->links, g_memdup2(&st->st_ino, sizeof(st->st_ino)), GUINT_TO_POINTER(taken));
                if (taken < st->st_nlink)
                        return;
        }
        __atomic_add_fetch(&s->freed, (guint64)st->st_blocks * BLOCK, __ATOMIC_RELAXED);
}

static gboolean sweep_one(Sweep *s, int dir_fd, const char *name, GError **error) {
        struct stat st;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? TRUE : store_fail_errno(error, errno, "Cannot look at '%s'", name);
        if (!s->dry_run && unlinkat(dir_fd, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0) < 0)
                return store_fail_errno(error, errno, "Cannot remove '%s'", name);
        sweep_count(s, &st);
        return TRUE;
}

/* Detached metadata goes with its commit; a name that is no object's is not ours. */
static gboolean is_garbage(const Mark *mark, const char *directory, const char *file) {
        g_autofree char *commit = NULL;
        guint8 checksum[DIGEST_SIZE];
        ObjectKind kind;

        if (g_str_has_suffix(file, ".commitmeta"))
                file = commit = g_strndup(file, strlen(file) - strlen("meta"));
        return object_parse(directory, file, &kind, checksum) && !mark_has(mark, kind, checksum);
}

static gboolean sweep_entry(Sweep *s, SweepNode *n, const struct dirent *e, GError **error) {
        if (n->objects) {
                if (!is_garbage(s->mark, n->name, e->d_name))
                        return TRUE;
                __atomic_add_fetch(&s->objects, 1, __ATOMIC_RELAXED);
        } else if (e->d_type == DT_DIR || e->d_type == DT_UNKNOWN) {
                node_push(s, n, n->fd, e->d_name, FALSE);
                return TRUE;
        }
        return sweep_one(s, n->fd, e->d_name, error);
}

static gboolean sweep_node(Sweep *s, SweepNode *n, GError **error) {
        gboolean ok = TRUE;
        DIR *dir = NULL;
        int r;

        n->fd = openat(n->dir_fd, n->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (n->fd < 0)
                return errno == ENOTDIR || errno == ELOOP || errno == ENOENT
                               ? TRUE
                               : store_fail_errno(error, errno, "Cannot open '%s'", n->name);
        r = dir_stream(n->fd, &dir);
        if (r < 0)
                return store_fail_errno(error, -r, "Cannot read '%s'", n->name);
        for (struct dirent *e; ok && (e = readdir(dir));)
                if (!streq(e->d_name, ".") && !streq(e->d_name, ".."))
                        ok = sweep_entry(s, n, e, error);
        (void)closedir(dir);
        return ok;
}

/* Takes directories away for as long as that leaves the one above without anything. */
static void node_done(Sweep *s, SweepNode *n, GError **error) {
        while (n) {
                SweepNode *parent = n->parent;
                guint left;

                g_mutex_lock(&s->lock);
                left = --n->left;
                g_mutex_unlock(&s->lock);
                if (left > 0)
                        return;
                n->fd = safe_close(n->fd);
                if (!n->objects && !*error)
                        (void)sweep_one(s, n->dir_fd, n->name, error);
                g_free(n);
                n = parent;
        }
}

static void sweep_failed(Sweep *s, GError *failure) {
        if (!failure)
                return;
        g_mutex_lock(&s->lock);
        if (!s->failure)
                s->failure = failure;
        else
                g_error_free(failure);
        g_mutex_unlock(&s->lock);
}

static gboolean sweep_goes_on(Sweep *s) {
        gboolean failed;

        g_mutex_lock(&s->lock);
        failed = s->failure != NULL;
        g_mutex_unlock(&s->lock);
        return !failed && store_job_check(s->job, NULL);
}

static gpointer sweep_thread(gpointer data) {
        Sweep *s = data;

        g_mutex_lock(&s->lock);
        for (;;) {
                GError *failure = NULL;
                SweepNode *n;

                while (g_queue_is_empty(&s->nodes) && s->busy > 0)
                        g_cond_wait(&s->changed, &s->lock);
                n = g_queue_pop_head(&s->nodes);
                if (!n)
                        break;
                s->busy++;
                g_mutex_unlock(&s->lock);

                if (sweep_goes_on(s))
                        (void)sweep_node(s, n, &failure);
                else
                        store_fail(&failure, STORE_FAIL_CANCELLED, "The operation was cancelled");
                node_done(s, n, &failure);
                sweep_failed(s, failure);

                g_mutex_lock(&s->lock);
                if (--s->busy == 0)
                        g_cond_broadcast(&s->changed);
        }
        g_mutex_unlock(&s->lock);
        return NULL;
}

/** sweep_run() - take away, or count, all that was added; what a failure leaves the next collection finds */
gboolean sweep_run(Sweep *s, GError **error) {
        g_autoptr(GPtrArray) threads = g_ptr_array_new();

        if (s->dry_run)
                (void)sweep_thread(s);
        for (guint i = 0; !s->dry_run && i < THREADS; i++)
                g_ptr_array_add(threads, g_thread_new("sweep", sweep_thread, s));
        for (guint i = 0; i < threads->len; i++)
                (void)g_thread_join(threads->pdata[i]);
        if (!s->failure)
                return TRUE;
        g_propagate_error(error, g_steal_pointer(&s->failure));
        return FALSE;
}
