/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What criu has written, made fit to be kept.
 *
 * Logs and statistics go. A container's filter asks the shim where it would answer with an error (seccomp.c), and
 * nobody would be there to answer a filter that criu has brought back: each question is turned into the error again,
 * which the filter carries with it. In the end all of it is on the disk.
 */

#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/fd.h"
#include "shim/dump.h"

#define SECCOMP_IMAGE "seccomp.img"
#define IMAGE_MAX (64U * 1024U * 1024U)
#define IMAGE_HEADER 8U /* two magic numbers */

/* Fields of seccomp_entry and of the filters in it; source: criu, images/seccomp.proto. */
#define SECCOMP_FILTERS 1
#define FILTER_PROGRAM 1

static void filter_answer(uint8_t *program, size_t size) {
        for (size_t at = 0; at + sizeof(struct sock_filter) <= size; at += sizeof(struct sock_filter)) {
                struct sock_filter i;

                memcpy(&i, program + at, sizeof(i));
                if (i.code != (BPF_RET | BPF_K) || (i.k & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_USER_NOTIF)
                        continue;
                i.k = SECCOMP_RET_ERRNO | (i.k & SECCOMP_RET_DATA);
                memcpy(program + at, &i, sizeof(i));
        }
}

/* The image is changed in place: an instruction stays as long as it was. */
static int filters_answer(uint8_t *image, size_t size) {
        const uint8_t *data = image;
        struct criu_field entry, field;
        int r;

        while ((r = criu_field_next(&data, &size, &entry)) > 0) {
                const uint8_t *inner = entry.data;
                size_t inner_size = entry.size;

                if (entry.number != SECCOMP_FILTERS || !entry.data)
                        continue;
                while ((r = criu_field_next(&inner, &inner_size, &field)) > 0)
                        if (field.number == FILTER_PROGRAM && field.data)
                                filter_answer(image + (field.data - image), field.size);
                if (r < 0)
                        return r;
        }
        return r;
}

static int seccomp_finish(int images) {
        _cleanup_free_ char *text = NULL;
        uint32_t message;
        size_t size;
        int r;

        r = file_read_at(images, SECCOMP_IMAGE, IMAGE_MAX, &text, &size);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;
        if (size < IMAGE_HEADER + sizeof(message))
                return -EBADMSG;
        memcpy(&message, text + IMAGE_HEADER, sizeof(message));
        if (message != size - IMAGE_HEADER - sizeof(message))
                return -EBADMSG;
        r = filters_answer((uint8_t *)text + IMAGE_HEADER + sizeof(message), message);
        return r < 0 ? r : file_replace_at(images, SECCOMP_IMAGE, text, size, 0600, false);
}

static int image_sync(int images, const char *name, uint64_t *bytes) {
        _cleanup_close_ int fd = openat(images, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        struct stat st;

        if (fd < 0 || fsync(fd) < 0 || fstat(fd, &st) < 0)
                return -errno;
        *bytes += (uint64_t)st.st_size;
        return 0;
}

/* All on their way before any is waited for: the file system's journal then has them in one piece. */
static void images_push(int images, DIR *d) {
        struct dirent *e;

        while ((e = readdir(d))) {
                _cleanup_close_ int fd = -1;

                if (e->d_type != DT_REG)
                        continue;
                fd = openat(images, e->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
                if (fd >= 0)
                        (void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
        }
        rewinddir(d);
}

static int images_sync(int images, uint64_t *bytes) {
        struct dirent *e;
        DIR *d;
        int r;

        r = dir_stream(images, &d);
        if (r < 0)
                return r;
        images_push(images, d);
        while (r >= 0 && (e = readdir(d)))
                if (e->d_type == DT_REG)
                        r = image_sync(images, e->d_name, bytes);
        if (r >= 0 && fsync(dirfd(d)) < 0)
                r = -errno;
        (void)closedir(d);
        return r;
}

/** dump_images_finish() - clean up, correct and sync a directory of images; @ret_bytes: what they take */
int dump_images_finish(int images, uint64_t *ret_bytes, struct fault *fault) {
        static const char *const useless[] = { DUMP_LOG, "stats-dump" };
        int r;

        *ret_bytes = 0;
        for (size_t i = 0; i < ELEMENTSOF(useless); i++)
                (void)unlinkat(images, useless[i], 0);
        r = seccomp_finish(images);
        if (r < 0)
                return fault_set(fault, SHIM_STEP_RESTORE, r, "filters of system calls in the images");
        r = images_sync(images, ret_bytes);
        return r < 0 ? fault_set(fault, SHIM_STEP_RESTORE, r, "sync the images") : 0;
}
