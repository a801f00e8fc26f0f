/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The space operation: how many bytes the repository takes on disk.
 *
 * Objects are looked at from outside, none is opened. Checkouts and EROFS images are links to objects and so counted
 * with them; what is being written at the moment is not counted.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"
#include "store/job.h"
#include "store/request.h"

#define BLOCK 512U /* of st_blocks */

static int open_at(int dir_fd, const char *name) {
        return openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

/* One of the directories by which objects are spread; takes @fd. */
static int add_objects(int fd, guint64 *bytes) {
        struct dirent *de;
        DIR *dir;
        int r;

        r = dir_stream(fd, &dir);
        (void)safe_close(fd);
        if (r < 0)
                return r;
        while ((de = readdir(dir))) {
                struct stat st;

                if (de->d_name[0] != '.' && fstatat(dirfd(dir), de->d_name, &st, AT_SYMLINK_NOFOLLOW) >= 0)
                        *bytes += (guint64)st.st_blocks * BLOCK;
        }
        (void)closedir(dir);
        return 0;
}

static gboolean add_all(Request *r, int fd, guint64 *bytes, GError **error) {
        struct dirent *de;
        gboolean ok = TRUE;
        DIR *dir;
        int n;

        n = dir_stream(fd, &dir);
        if (n < 0)
                return store_fail_errno(error, -n, "Cannot read the repository's objects");
        while (ok && (de = readdir(dir))) {
                int sub = de->d_name[0] != '.' ? open_at(fd, de->d_name) : -1;

                n = sub >= 0 ? add_objects(sub, bytes) : 0;
                ok = n < 0 ? store_fail_errno(error, -n, "Cannot read the repository's objects")
                           : store_job_check(r->job, error);
        }
        (void)closedir(dir);
        return ok;
}

/** request_space() - {"bytes":N}; a store that is not there yet has none */
JsonNode *request_space(Request *r, GError **error) {
        static const char *const known[] = { NULL };
        g_autofree char *path = g_build_filename(r->directory, "repo", "objects", NULL);
        _cleanup_close_ int fd = -1;
        guint64 bytes = 0;
        JsonObject *o;

        if (!request_members(r, known, error))
                return NULL;
        fd = open_at(AT_FDCWD, path);
        if (fd < 0 && errno != ENOENT) {
                store_fail_errno(error, errno, "Cannot open the repository's objects");
                return NULL;
        }
        if (fd >= 0 && !add_all(r, fd, &bytes, error))
                return NULL;
        o = json_object_new();
        json_object_set_int_member(o, "bytes", (gint64)bytes);
        return request_object(o);
}
