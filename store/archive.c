/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Image archives: an OCI layout as directory or tar, or what "docker save" writes.
 *
 * A tar is indexed once, by seeking from header to header; members are then read by offset. One that comes through a
 * pipe from somebody who puts documents before what they describe is a sequence: documents are kept in memory, the rest
 * is seen once. Links between members are followed by name, inside the archive. In a directory, names are resolved
 * beneath it without following symbolic links. Descriptors of members opened in a directory belong to the archive; the
 * archive's own stays the caller's.
 */

#include "store/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/macros.h"
#include "shared/syscalls.h"
#include "store/error.h"
#include "store/layer.h"
#include "store/tar.h"

#define MEMBERS_MAX 65536U
#define MEMBER_HOPS_MAX 8U
#define KEPT_MAX ((gsize)64 * 1024 * 1024) /* of a sequence, in memory */

typedef struct {
        guint64 offset;
        guint64 size;
        char *link;   /* another member */
        GBytes *kept; /* of a sequence: a document */
} Member;

struct Archive {
        StoreJob *job;
        int fd;
        gboolean directory;
        Stream *source; /* of a sequence, with its reader */
        TarReader *reader;
        gsize kept;
        GHashTable *members; /* of a tar: name -> Member */
        GArray *fds;         /* of a directory */
};

static void member_free(gpointer data) {
        Member *m = data;

        g_free(m->link);
        g_clear_pointer(&m->kept, g_bytes_unref);
        g_free(m);
}

static Archive *archive_new(StoreJob *job, int fd) {
        Archive *a = g_new0(Archive, 1);

        a->job = job;
        a->fd = fd;
        a->members = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, member_free);
        a->fds = g_array_new(FALSE, FALSE, sizeof(int));
        return a;
}

void archive_free(Archive *a) {
        for (guint i = 0; i < a->fds->len; i++)
                (void)close(g_array_index(a->fds, int, i));
        g_array_unref(a->fds);
        g_hash_table_unref(a->members);
        g_clear_pointer(&a->reader, tar_reader_free);
        stream_free(a->source);
        g_free(a);
}

/** archive_open_directory() - an unpacked OCI layout */
Archive *archive_open_directory(StoreJob *job, int fd) {
        Archive *a = archive_new(job, fd);

        a->directory = TRUE;
        return a;
}

/* Reads a file by offset, and tells where it is. */
typedef struct {
        Stream base;
        StoreJob *job;
        int fd;
        guint64 at;
        guint64 size;
} SeekStream;

static gssize seek_read(Stream *s, void *buffer, gsize size, GError **error) {
        SeekStream *f = (SeekStream *)s;
        gssize n;

        if (!store_job_check(f->job, error))
                return -1;
        n = pread(f->fd, buffer, size, (off_t)f->at);
        if (n < 0)
                store_fail_errno(error, errno, "Cannot read the archive");
        if (n > 0)
                f->at += (guint64)n;
        return n;
}

static gboolean seek_skip(void *stream, guint64 n, GError **error) {
        SeekStream *f = stream;

        if (n > f->size || f->at > f->size - n)
                return store_fail(error, STORE_FAIL_INVALID, "The archive is truncated");
        f->at += n;
        return TRUE;
}

static gboolean index_entry(Archive *a, const SeekStream *f, const TarEntry *e, GError **error) {
        g_autofree char *name = layer_path(e->path, error);
        g_autofree Member *m = NULL;

        if (!name)
                return FALSE;
        if (e->type == TAR_DIRECTORY || name[0] == '\0')
                return TRUE;
        if (g_hash_table_contains(a->members, name))
                return store_fail(error, STORE_FAIL_INVALID, "The archive has member '%s' twice", name);
        if (g_hash_table_size(a->members) >= MEMBERS_MAX)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "The image archive has more than %u members",
                                  MEMBERS_MAX);
        m = g_new0(Member, 1);
        if (e->type == TAR_FILE && !e->parts) {
                m->offset = f->at;
                m->size = e->size;
        } else if (e->type == TAR_HARDLINK)
                m->link = layer_path(e->link, error);
        else if (e->type == TAR_SYMLINK) {
                g_autofree char *directory = g_path_get_dirname(name);
                g_autofree char *target =
                        e->link[0] == '/' ? g_strdup(e->link) : g_strconcat(directory, "/", e->link, NULL);

                m->link = layer_path(target, error);
        } else
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "Member '%s' of the image archive is not a plain file",
                                  name);
        if (e->type != TAR_FILE && !m->link)
                return FALSE;
        g_hash_table_insert(a->members, g_steal_pointer(&name), g_steal_pointer(&m));
        return TRUE;
}

/** archive_open_tar() - index an uncompressed tar */
Archive *archive_open_tar(StoreJob *job, int fd, guint64 size, GError **error) {
        g_autoptr(Archive) a = archive_new(job, fd);
        SeekStream f = { .base.read = seek_read, .job = job, .fd = fd, .size = size };
        g_autoptr(TarReader) r = tar_reader_new(&f.base, &job->limits);
        const TarEntry *e;
        int n;

        tar_reader_set_skip(r, seek_skip, &f);
        while ((n = tar_reader_next(r, &e, error)) > 0)
                if (!index_entry(a, &f, e, error))
                        return NULL;
        return n == 0 ? g_steal_pointer(&a) : NULL;
}

static const Member *member_find(Archive *a, const char *name) {
        for (guint i = 0; i < MEMBER_HOPS_MAX; i++) {
                const Member *m = g_hash_table_lookup(a->members, name);

                if (!m || !m->link)
                        return m;
                name = m->link;
        }
        return NULL;
}

static int directory_open(Archive *a, const char *name) {
        struct open_how how = {
                .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };

        return sys_openat2(a->fd, name, &how);
}

/** archive_has() - whether there is a member of this name */
gboolean archive_has(Archive *a, const char *name) {
        _cleanup_close_ int fd = -1;

        if (!a->directory)
                return member_find(a, name) != NULL;
        fd = directory_open(a, name);
        return fd >= 0;
}

/** archive_find() - where a member's bytes are; a member that is not there is STORE_FAIL_NOT_FOUND */
gboolean archive_find(Archive *a, const char *name, int *ret_fd, guint64 *ret_offset, guint64 *ret_size,
                      GError **error) {
        const Member *m;
        struct stat st;
        int fd;

        if (!a->directory) {
                m = member_find(a, name);
                if (!m)
                        return store_fail(error, STORE_FAIL_NOT_FOUND, "The image archive has no '%s'", name);
                *ret_fd = a->fd;
                *ret_offset = m->offset;
                *ret_size = m->size;
                return TRUE;
        }
        fd = directory_open(a, name);
        if (fd < 0 && errno == ENOENT)
                return store_fail(error, STORE_FAIL_NOT_FOUND, "The image layout has no '%s'", name);
        if (fd < 0)
                return store_fail_errno(error, errno, "Cannot open '%s' of the image layout", name);
        g_array_append_val(a->fds, fd);
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return store_fail(error, STORE_FAIL_INVALID, "'%s' of the image layout is not a regular file", name);
        *ret_fd = fd;
        *ret_offset = 0;
        *ret_size = (guint64)st.st_size;
        return TRUE;
}

/* ---- sequences ---- */

/** archive_open_sequence() - a tar whose documents come before what they describe; takes @tar over */
Archive *archive_open_sequence(StoreJob *job, Stream *tar) {
        Archive *a = archive_new(job, -1);

        a->source = tar;
        a->reader = tar_reader_new(tar, &job->limits);
        return a;
}

gboolean archive_is_sequence(const Archive *a) {
        return a->reader != NULL;
}

/** archive_next() - the next member; 1, 0 at the end of a whole archive, -1 with error */
int archive_next(Archive *a, const char **ret_name, guint64 *ret_size, GError **error) {
        const TarEntry *e;
        Member *m;
        char *name;
        int n;

        while ((n = tar_reader_next(a->reader, &e, error)) > 0 && e->type == TAR_DIRECTORY)
                ;
        if (n == 0 && !tar_reader_marked(a->reader)) {
                store_fail(error, STORE_FAIL_INVALID, "The archive is truncated: its end mark is missing");
                return -1;
        }
        if (n <= 0)
                return n;
        name = layer_path(e->path, error);
        if (!name)
                return -1;
        if (e->type != TAR_FILE || e->parts || g_hash_table_contains(a->members, name) ||
            g_hash_table_size(a->members) >= MEMBERS_MAX) {
                store_fail(error, STORE_FAIL_INVALID,
                           "Member '%s' of the image archive is not a plain file, or one too "
                           "many",
                           name);
                g_free(name);
                return -1;
        }
        m = g_new0(Member, 1);
        m->size = e->size;
        g_hash_table_insert(a->members, name, m);
        *ret_name = name;
        *ret_size = e->size;
        return 1;
}

typedef struct {
        Stream base;
        Archive *archive;
} MemberStream;

static gssize member_read(Stream *s, void *buffer, gsize size, GError **error) {
        Archive *a = ((MemberStream *)s)->archive;

        return store_job_check(a->job, error) ? tar_reader_data(a->reader, buffer, size, error) : -1;
}

/** archive_current() - see archive.h */
Stream *archive_current(Archive *a) {
        MemberStream *s = g_new0(MemberStream, 1);

        s->base.read = member_read;
        s->archive = a;
        return &s->base;
}

static gboolean keep(Archive *a, const char *name, guint64 size, GError **error) {
        Member *m = g_hash_table_lookup(a->members, name);
        g_autofree guint8 *data = NULL;
        gsize n = 0;

        if (size > STORE_DOCUMENT_MAX || a->kept + size > KEPT_MAX)
                return store_fail(error, STORE_FAIL_INVALID,
                                  "Member '%s' of the image archive comes before what describes it", name);
        data = g_malloc((gsize)size + 1);
        while (n < size) {
                gssize got = tar_reader_data(a->reader, data + n, (gsize)size - n, error);

                if (got <= 0)
                        return FALSE;
                n += (gsize)got;
        }
        a->kept += (gsize)size;
        m->kept = g_bytes_new_take(g_steal_pointer(&data), (gsize)size);
        return TRUE;
}

/* Reads on until the document has come. */
static GBytes *sequence_read(Archive *a, const char *wanted, gsize max, GError **error) {
        const Member *m;
        const char *name;
        guint64 size;
        int n = 1;

        while (!(m = g_hash_table_lookup(a->members, wanted)) && (n = archive_next(a, &name, &size, error)) > 0)
                if (!keep(a, name, size, error))
                        return NULL;
        if (n < 0)
                return NULL;
        if (!m || !m->kept) {
                store_fail(error, STORE_FAIL_NOT_FOUND, "The image archive has no '%s' where it should be", wanted);
                return NULL;
        }
        if (m->size > max) {
                store_fail(error, STORE_FAIL_EXHAUSTED, "'%s' is larger than %zu bytes", wanted, max);
                return NULL;
        }
        return g_bytes_ref(m->kept);
}

/** archive_read() - a whole small member, at most @max bytes */
GBytes *archive_read(Archive *a, const char *name, gsize max, GError **error) {
        g_autoptr(Stream) s = NULL;
        g_autofree guint8 *data = NULL;
        guint64 offset = 0, size = 0;
        int fd = -1;

        if (a->reader)
                return sequence_read(a, name, max, error);
        if (!archive_find(a, name, &fd, &offset, &size, error))
                return NULL;
        if (size > max) {
                store_fail(error, STORE_FAIL_EXHAUSTED, "'%s' is larger than %zu bytes", name, max);
                return NULL;
        }
        data = g_malloc(size + 1);
        s = stream_new_range(a->job, fd, offset, size);
        if (stream_read_full(s, data, size, error) != (gssize)size)
                return NULL;
        return g_bytes_new_take(g_steal_pointer(&data), size);
}

/** archive_name_fits() - whether an image archive, rather than a root file system, may begin with an entry of this path
 */
gboolean archive_name_fits(const char *path) {
        static const char *const names[] = { "oci-layout", "index.json", "manifest.json", "repositories", "blobs" };
        gsize size;

        while (path[0] == '.' && path[1] == '/')
                path += 2;
        while (*path == '/')
                path++;
        size = strcspn(path, "/");
        if (size == 0 || (size == 1 && path[0] == '.'))
                return FALSE;
        for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
                if (strlen(names[i]) == size && memcmp(names[i], path, size) == 0)
                        return TRUE;
        return size >= 64 && strspn(path, "0123456789abcdef") >= 64;
}
