/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Writing image archives.
 *
 * Members are plain files of fixed owner, mode and time, in the order they are given, so that equal images make equal
 * archives. In a directory each file gets its name when it is whole; names are resolved beneath the directory without
 * following symbolic links, nothing that is there is replaced, all belongs to the directory's owner, and what was made
 * goes again when the archive does not become whole. The descriptors stay the caller's.
 */

#include "store/archive-write.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/syscalls.h"
#include "store/error.h"
#include "store/tar-write.h"

#define FILE_MODE 0644U
#define DIRECTORY_MODE 0755U
#define NEW_PREFIX ".davit-new-"

struct ArchiveWriter {
        Output *output; /* tar */
        StoreJob *job;  /* directory */
        int fd;
        struct stat owner;
        guint64 size;    /* directory */
        GPtrArray *made; /* directory: what goes again unless the writer is finished */
};

static gboolean write_header(ArchiveWriter *w, const char *name, char type, guint32 mode, guint64 size,
                             GError **error) {
        g_autofree char *path = g_strdup(name);
        char none[] = "";
        const TarEntry e = { .type = type, .path = path, .link = none, .mode = mode, .size = size };
        g_autoptr(GByteArray) header = g_byte_array_new();

        return tar_write_header(header, &e, error) && output_write(w->output, header->data, header->len, error);
}

/** archive_writer_new_tar() - a tar that goes to @output, which outlives the writer */
ArchiveWriter *archive_writer_new_tar(Output *output) {
        ArchiveWriter *w = g_new0(ArchiveWriter, 1);

        w->output = output;
        w->fd = -1;
        return w;
}

static const char *last_name(const char *name) {
        const char *slash = strrchr(name, '/');

        return slash ? slash + 1 : name;
}

static int parent_open(const ArchiveWriter *w, const char *name, GError **error) {
        struct open_how how = {
                .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
                .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
        };
        g_autofree char *parent = g_path_get_dirname(name);
        int fd = sys_openat2(w->fd, parent, &how);

        if (fd < 0)
                store_fail_errno(error, errno, "Cannot open '%s' of the image layout", parent);
        return fd;
}

/* Everything belongs to the directory's owner, who has to be able to remove it. */
static gboolean give(const ArchiveWriter *w, int fd, const char *path, GError **error) {
        return fchown(fd, w->owner.st_uid, w->owner.st_gid) == 0
                       ? TRUE
                       : store_fail_errno(error, errno, "Cannot give '%s' to the directory's owner", path);
}

static gboolean is_new(int fd) {
        DIR *dir = NULL;
        guint n = 0;
        struct stat st;

        if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || dir_stream(fd, &dir) < 0)
                return FALSE;
        while (readdir(dir))
                n++;
        (void)closedir(dir);
        return n == 2; /* "." and ".." */
}

/* The owner may have put another directory of root's in the new one's place: only an empty one is given away. */
static gboolean give_directory(const ArchiveWriter *w, int parent, const char *path, GError **error) {
        _cleanup_close_ int fd = openat(parent, last_name(path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0 || !is_new(fd))
                return store_fail(error, STORE_FAIL_INVALID, "'%s' of the image layout is no longer what it was", path);
        return give(w, fd, path, error);
}

static void unmake(ArchiveWriter *w) {
        for (guint i = w->made->len; i > 0; i--) {
                const char *path = w->made->pdata[i - 1];
                _cleanup_close_ int parent = parent_open(w, path, NULL);

                if (parent >= 0 && unlinkat(parent, last_name(path), 0) < 0)
                        (void)unlinkat(parent, last_name(path), AT_REMOVEDIR);
        }
}

/** archive_writer_free() - without archive_writer_finish() what is in the directory is removed again */
void archive_writer_free(ArchiveWriter *w) {
        if (w->made) {
                unmake(w);
                g_ptr_array_unref(w->made);
        }
        g_free(w);
}

/** archive_writer_new_directory() - files below @fd, which has to be an empty directory */
ArchiveWriter *archive_writer_new_directory(StoreJob *job, int fd, GError **error) {
        static const char *const names[] = { "oci-layout", "index.json", "blobs" };
        ArchiveWriter *w;

        for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
                if (faccessat(fd, names[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
                        store_fail(error, STORE_FAIL_INVALID, "The directory already holds '%s'", names[i]);
                        return NULL;
                }
        w = g_new0(ArchiveWriter, 1);
        w->job = job;
        w->fd = fd;
        w->made = g_ptr_array_new_with_free_func(g_free);
        if (fstat(fd, &w->owner) < 0) {
                store_fail_errno(error, errno, "Cannot look at the directory");
                archive_writer_free(w);
                return NULL;
        }
        return w;
}

/** archive_writer_mkdir() - a directory, whose parent is there; @name without a slash at its end */
gboolean archive_writer_mkdir(ArchiveWriter *w, const char *name, GError **error) {
        _cleanup_close_ int parent = -1;
        g_autofree char *slashed = g_strconcat(name, "/", NULL);

        if (w->output)
                return write_header(w, slashed, TAR_DIRECTORY, DIRECTORY_MODE, 0, error);
        parent = parent_open(w, name, error);
        if (parent < 0)
                return FALSE;
        if (mkdirat(parent, last_name(name), DIRECTORY_MODE) < 0)
                return store_fail_errno(error, errno, "Cannot make '%s' of the image layout", name);
        g_ptr_array_add(w->made, g_strdup(name));
        return give_directory(w, parent, name, error);
}

static gboolean file_fill(ArchiveWriter *w, int fd, Stream *from, guint64 size, GError **error) {
        g_autoptr(Output) output = output_new(w->job, fd, OUTPUT_PATIENCE_MSEC, error);
        guint64 got;

        if (!output || !output_copy(output, from, &got, error))
                return FALSE;
        w->size += got;
        return got == size ? TRUE : store_fail(error, STORE_FAIL_INTERNAL, "A member has not the size it should have");
}

static gboolean file_write(ArchiveWriter *w, const char *name, Stream *from, guint64 size, GError **error) {
        g_autofree char *fresh = g_strconcat(NEW_PREFIX, last_name(name), NULL);
        _cleanup_close_ int parent = parent_open(w, name, error), fd = -1;

        if (parent < 0)
                return FALSE;
        fd = openat(parent, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
        if (fd < 0)
                return store_fail_errno(error, errno, "Cannot make '%s' of the image layout", name);
        if (!file_fill(w, fd, from, size, error) || !give(w, fd, name, error)) {
                (void)unlinkat(parent, fresh, 0);
                return FALSE;
        }
        if (renameat2(parent, fresh, parent, last_name(name), RENAME_NOREPLACE) < 0) {
                store_fail_errno(error, errno, "Cannot name '%s' of the image layout", name);
                (void)unlinkat(parent, fresh, 0);
                return FALSE;
        }
        g_ptr_array_add(w->made, g_strdup(name));
        return TRUE;
}

/** archive_writer_stream() - a member of @size bytes, all of what @from gives */
gboolean archive_writer_stream(ArchiveWriter *w, const char *name, Stream *from, guint64 size, GError **error) {
        guint64 got;

        if (!w->output)
                return file_write(w, name, from, size, error);
        if (!write_header(w, name, TAR_FILE, FILE_MODE, size, error) || !output_copy(w->output, from, &got, error))
                return FALSE;
        if (got != size)
                return store_fail(error, STORE_FAIL_INTERNAL, "Member '%s' has not the size it should have", name);
        return output_zeros(w->output, (gsize)(-size % TAR_BLOCK), error);
}

/** archive_writer_bytes() - a member that is in memory */
gboolean archive_writer_bytes(ArchiveWriter *w, const char *name, const void *data, gsize size, GError **error) {
        g_autoptr(Stream) s = stream_new_memory(data, size);

        return archive_writer_stream(w, name, s, size, error);
}

/** archive_writer_finish() - the end mark of a tar; a directory is whole */
gboolean archive_writer_finish(ArchiveWriter *w, GError **error) {
        if (w->made)
                g_ptr_array_set_size(w->made, 0);
        return w->output ? output_zeros(w->output, (gsize)2 * TAR_BLOCK, error) : TRUE;
}

guint64 archive_writer_size(const ArchiveWriter *w) {
        return w->output ? output_size(w->output) : w->size;
}
