/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Working directories: what an operation needs while it runs, below ingest/.
 *
 * Each is locked by its operation for as long as it lives; one that can be locked belongs to nobody and is removed by
 * whoever finds it. Making one and finding that one is dead exclude each other by the gate. Its "pins" name the refs
 * that collection has to keep: those the operation has looked up and relies on, and those it has published and the
 * manager may not have written down yet. Pins are written under the repository's lock, so collection sees all of them.
 */

#include "store/repo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"

#define PINS "pins"
#define PINS_MAX ((gsize)16 * 1024 * 1024)

/* A locked descriptor of the directory when its operation has died, else -1. */
static int open_dead(int ingest_fd, const char *name) {
        int fd = openat(ingest_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
                fd = safe_close(fd);
        return fd;
}

static gboolean gate(Store *s, GError **error) {
        return flock(s->lock_fd, LOCK_EX) == 0 ? TRUE
                                               : store_fail_errno(error, errno, "Cannot lock '%s'", s->directory);
}

/** ingest_sweep() - remove the working directories of operations that died */
void ingest_sweep(Store *s) {
        DIR *dir = NULL;

        if (dir_stream(s->ingest_fd, &dir) < 0)
                return;
        for (struct dirent *e; (e = readdir(dir));) {
                _cleanup_close_ int dead = -1;

                if (e->d_name[0] == '.' || !gate(s, NULL))
                        continue;
                dead = open_dead(s->ingest_fd, e->d_name);
                (void)flock(s->lock_fd, LOCK_UN);
                if (dead >= 0)
                        (void)tree_remove_at(s->ingest_fd, e->d_name);
        }
        (void)closedir(dir);
}

static gboolean ingest_make(Ingest *i, GError **error) {
        Store *s = i->store;

        g_snprintf(i->name, sizeof(i->name), "%08x", g_random_int());
        if (mkdirat(s->ingest_fd, i->name, 0700) < 0) {
                i->name[0] = '\0';
                return store_fail_errno(error, errno, "Cannot make a working directory");
        }
        i->fd = openat(s->ingest_fd, i->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (i->fd < 0 || flock(i->fd, LOCK_EX | LOCK_NB) < 0)
                return store_fail_errno(error, errno, "Cannot lock a working directory");
        return TRUE;
}

static gboolean ingest_fill(Ingest *i, GError **error) {
        if (mkdirat(i->fd, "objects", 0755) < 0)
                return store_fail_errno(error, errno, "Cannot make a staging directory");
        i->stage_fd = openat(i->fd, "objects", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        i->pins_fd = openat(i->fd, PINS, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
        return i->stage_fd >= 0 && i->pins_fd >= 0
                       ? TRUE
                       : store_fail_errno(error, errno, "Cannot set up a working directory");
}

/** ingest_begin() - a working directory for one operation; end it with ingest_end() */
Ingest *ingest_begin(Store *s, GError **error) {
        g_autoptr(Ingest) i = g_new(Ingest, 1);
        gboolean ok;

        *i = (Ingest){ .store = s, .fd = -1, .stage_fd = -1, .pins_fd = -1 };
        ingest_sweep(s);
        if (!gate(s, error))
                return NULL;
        ok = ingest_make(i, error);
        (void)flock(s->lock_fd, LOCK_UN);
        return ok && ingest_fill(i, error) ? g_steal_pointer(&i) : NULL;
}

/** ingest_end() - remove the working directory and what was not moved out of it */
void ingest_end(Ingest *i) {
        i->stage_fd = safe_close(i->stage_fd);
        i->pins_fd = safe_close(i->pins_fd);
        if (i->name[0])
                (void)tree_remove_at(i->store->ingest_fd, i->name);
        i->fd = safe_close(i->fd);
        g_free(i);
}

/** ingest_pin() - have collection keep @ref, and what it leads to, while the operation lives; the lock is held */
gboolean ingest_pin(Ingest *i, const char *ref, GError **error) {
        g_autofree char *line = g_strconcat(ref, "\n", NULL);
        int r = fd_write_all(i->pins_fd, line, strlen(line));

        return r >= 0 ? TRUE : store_fail_errno(error, -r, "Cannot pin '%s'", ref);
}

static gboolean read_pins(int dir_fd, GHashTable *ret, GError **error) {
        g_autofree char *text = NULL;
        g_auto(GStrv) lines = NULL;
        int r = file_read_at(dir_fd, PINS, PINS_MAX, &text, NULL);

        if (r == -ENOENT)
                return TRUE;
        if (r < 0)
                return store_fail_errno(error, -r, "Cannot read what an operation relies on");
        lines = g_strsplit(text, "\n", -1);
        for (char **l = lines; *l; l++)
                if (**l)
                        g_hash_table_add(ret, g_strdup(*l));
        return TRUE;
}

/** store_pins() - what running operations rely on, or have just published: refs; the lock is held exclusively */
gboolean store_pins(Store *s, GHashTable *ret, GError **error) {
        gboolean ok = TRUE;
        DIR *dir = NULL;
        int r = dir_stream(s->ingest_fd, &dir);

        if (r < 0)
                return store_fail_errno(error, -r, "Cannot read the working directories");
        for (struct dirent *e; ok && (e = readdir(dir));) {
                _cleanup_close_ int fd = -1;

                if (e->d_name[0] == '.')
                        continue;
                fd = openat(s->ingest_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd < 0 && errno != ENOENT)
                        ok = store_fail_errno(error, errno, "Cannot open a working directory");
                else if (fd >= 0)
                        ok = read_pins(fd, ret, error);
        }
        (void)closedir(dir);
        return ok;
}

/** ingest_spool() - an unnamed file in the working directory, for input that has to be read more than once */
int ingest_spool(Ingest *i, GError **error) {
        int fd = openat(i->fd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

        if (fd < 0)
                store_fail_errno(error, errno, "Cannot make a temporary file");
        return fd;
}
