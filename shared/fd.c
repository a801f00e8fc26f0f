/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Descriptors and files.
 *
 * Whole reads and writes that loop over short ones and EINTR, bounded reads of small files, and the
 * one way in which Davit replaces a file: temporary name in the same directory, optional fsync, rename.
 * Paths are relative to a directory descriptor. Nothing here logs, and nothing follows a symbolic link
 * at the last component.
 */

#include "shared/fd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/macros.h"

/** fd_write_all() - write @size bytes, however many calls that takes
 *
 * Return: 0, or a negative errno; on failure some bytes may have been written.
 */
int fd_write_all(int fd, const void *data, size_t size) {
        const uint8_t *p = data;

        while (size > 0) {
                ssize_t n = write(fd, p, size);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                p += n;
                size -= (size_t)n;
        }
        return 0;
}

/** fd_read_all() - read exactly @size bytes
 *
 * Return: 0, -ENODATA when the file ends earlier, or a negative errno.
 */
int fd_read_all(int fd, void *data, size_t size) {
        uint8_t *p = data;

        while (size > 0) {
                ssize_t n = read(fd, p, size);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        return -ENODATA;
                p += n;
                size -= (size_t)n;
        }
        return 0;
}

/** fd_read_bounded() - read to the end of a file that must not be larger than @max bytes
 *
 * Return: 0 with *@ret allocated (NUL-terminated beyond *@ret_size), -EFBIG, or a negative errno.
 */
int fd_read_bounded(int fd, size_t max, char **ret, size_t *ret_size) {
        _cleanup_free_ char *buffer = NULL;
        size_t size = 0, room = 0;

        for (;;) {
                if (size == room) {
                        size_t want = room ? room * 2 : 4096;
                        char *grown;

                        if (want > max + 1)
                                want = max + 1;
                        if (size > max)
                                return -EFBIG;
                        grown = realloc(buffer, want + 1);
                        if (!grown)
                                return -ENOMEM;
                        buffer = grown;
                        room = want;
                }

                ssize_t n = read(fd, buffer + size, room - size);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        break;
                size += (size_t)n;
        }
        if (size > max)
                return -EFBIG;

        buffer[size] = '\0';
        *ret = TAKE_PTR(buffer);
        if (ret_size)
                *ret_size = size;
        return 0;
}

/** fd_set_nonblock() - set or clear O_NONBLOCK of the open file description behind @fd */
int fd_set_nonblock(int fd, bool on) {
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0)
                return -errno;
        if (on == !!(flags & O_NONBLOCK))
                return 0;
        if (fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
                return -errno;
        return 0;
}

/** file_read_at() - read a regular file of at most @max bytes
 *
 * Neither follows a symbolic link nor waits for a FIFO's writer.
 *
 * Return: 0 with *@ret allocated and NUL-terminated, -EFBIG, -EISDIR, -EINVAL when it is no regular file for another
 * reason, or a negative errno.
 */
int file_read_at(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = -1;
        struct stat st;

        fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
        return fd_read_bounded(fd, max, ret, ret_size);
}

/** file_replace_at() - make @name hold exactly @data, or leave it as it was
 *
 * @sync: fsync the file before the rename and the directory after it, so that the new content outlives a power cut.
 *
 * Return: 0, or a negative errno; on failure no temporary file is left.
 */
int file_replace_at(int dir_fd, const char *name, const void *data, size_t size, unsigned mode, bool sync) {
        static unsigned counter;
        _cleanup_free_ char *temporary = NULL;
        _cleanup_close_ int fd = -1;
        int r;

        if (asprintf(&temporary, FILE_TEMPORARY "%s.%d.%u", name, (int)getpid(), counter++) < 0)
                return -ENOMEM;

        fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0)
                return -errno;

        r = fd_write_all(fd, data, size);
        if (r >= 0 && sync && fsync(fd) < 0)
                r = -errno;
        if (r >= 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
                r = -errno;
        if (r < 0) {
                (void)unlinkat(dir_fd, temporary, 0);
                return r;
        }

        if (sync) {
                /* dir_fd may be an O_PATH descriptor, which cannot be synced itself. */
                _cleanup_close_ int dir = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (dir < 0 || fsync(dir) < 0)
                        return -errno;
        }
        return 0;
}

/** dir_open_at() - open a directory below @dir_fd, making the missing components
 *
 * @path is split at "/"; "..", "." and symbolic links in it are refused. New directories get @mode.
 *
 * Return: a descriptor the caller owns, or a negative errno (-ELOOP or -ENOTDIR where something is no directory).
 */
int dir_open_at(int dir_fd, const char *path, unsigned mode) {
        _cleanup_close_ int current = -1;
        _cleanup_free_ char *copy = strdup(path);
        char *state = NULL;

        if (!copy)
                return -ENOMEM;
        current = openat(dir_fd, path[0] == '/' ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (current < 0)
                return -errno;

        for (char *part = strtok_r(copy, "/", &state); part; part = strtok_r(NULL, "/", &state)) {
                int next;

                if (streq(part, ".") || streq(part, ".."))
                        return -EINVAL;
                if (mkdirat(current, part, mode) < 0 && errno != EEXIST)
                        return -errno;
                next = openat(current, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0)
                        return -errno;
                safe_close(current);
                current = next;
        }
        return take_fd(&current);
}

/** dir_stream() - read the directory @dir_fd, which stays the caller's and may be an O_PATH descriptor */
int dir_stream(int dir_fd, DIR **ret) {
        return dir_stream_at(dir_fd, ".", ret);
}

/** dir_stream_at() - read the directory @path below @dir_fd, which is no symbolic link
 *
 * Return: 0 with *@ret to be closed by closedir(), or a negative errno.
 */
int dir_stream_at(int dir_fd, const char *path, DIR **ret) {
        _cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        *ret = fdopendir(fd);
        if (!*ret)
                return -errno;
        (void)take_fd(&fd);
        return 0;
}
