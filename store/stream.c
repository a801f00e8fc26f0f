/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Plain streams: a range of a file, a pipe, bytes in memory, and the filters that look at what passes.
 *
 * A stream belongs to one thread at a time and owns what it wraps, never the descriptor below. Reads of a pipe wait for
 * the job's cancellation too, so that a sender that says nothing cannot keep a worker.
 */

#include "store/stream.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "store/error.h"

typedef struct {
        Stream base;
        StoreJob *job;
        int fd;
        guint64 offset;
        guint64 left;
} FileStream;

typedef struct {
        Stream base;
        guint8 *data;
        gsize size;
        gsize at;
} MemoryStream;

typedef struct {
        Stream base;
        Digest *digest;
        guint64 *count;
} DigestStream;

/** stream_read_full() - read until @size bytes are there or the stream ends
 *
 * Return: the number of bytes, less than @size only at the end; -1 with error.
 */
gssize stream_read_full(Stream *s, void *buffer, gsize size, GError **error) {
        gsize done = 0;

        while (done < size) {
                gssize n = stream_read(s, (guint8 *)buffer + done, size - done, error);

                if (n < 0)
                        return -1;
                if (n == 0)
                        break;
                done += (gsize)n;
        }
        return (gssize)done;
}

/** stream_drain() - read to the end and forget, so that digests below see every byte */
gboolean stream_drain(Stream *s, GError **error) {
        g_autofree guint8 *buffer = g_malloc(STREAM_CHUNK);
        gssize n;

        do
                n = stream_read(s, buffer, STREAM_CHUNK, error);
        while (n > 0);
        return n == 0;
}

/** stream_free() - free a stream and all it wraps */
void stream_free(Stream *s) {
        Stream *inner;

        if (!s)
                return;
        inner = s->inner;
        if (s->free)
                s->free(s);
        g_free(s);
        stream_free(inner);
}

static gssize range_read(Stream *s, void *buffer, gsize size, GError **error) {
        FileStream *f = (FileStream *)s;
        gssize n;

        if (!store_job_check(f->job, error))
                return -1;
        size = MIN(size, f->left);
        if (size == 0)
                return 0;
        do
                n = pread(f->fd, buffer, size, (off_t)f->offset);
        while (n < 0 && errno == EINTR);
        if (n < 0) {
                store_fail_errno(error, errno, "Cannot read the archive");
                return -1;
        }
        if (n == 0) {
                store_fail(error, STORE_FAIL_INVALID, "The archive ends in the middle of a member");
                return -1;
        }
        f->offset += (guint64)n;
        f->left -= (guint64)n;
        return n;
}

static gssize pipe_read(Stream *s, void *buffer, gsize size, GError **error) {
        FileStream *f = (FileStream *)s;

        for (;;) {
                struct pollfd fds[] = {
                        { .fd = f->fd, .events = POLLIN },
                        { .fd = f->job->cancel_fd, .events = POLLIN },
                };
                gssize n;

                if (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno != EINTR) {
                        store_fail_errno(error, errno, "Cannot wait for the archive");
                        return -1;
                }
                if (!store_job_check(f->job, error))
                        return -1;
                if (fds[0].revents == 0)
                        continue;
                n = read(f->fd, buffer, size);
                if (n >= 0)
                        return n;
                if (errno != EINTR && errno != EAGAIN) {
                        store_fail_errno(error, errno, "Cannot read the archive");
                        return -1;
                }
        }
}

static FileStream *file_stream_new(StoreJob *job, int fd) {
        FileStream *f = g_new0(FileStream, 1);

        f->job = job;
        f->fd = fd;
        return f;
}

/** stream_new_range() - @size bytes of a file from @offset; ending earlier is an error */
Stream *stream_new_range(StoreJob *job, int fd, guint64 offset, guint64 size) {
        FileStream *f = file_stream_new(job, fd);

        f->base.read = range_read;
        f->offset = offset;
        f->left = size;
        return &f->base;
}

/** stream_new_pipe() - a pipe or stream socket, until its end */
Stream *stream_new_pipe(StoreJob *job, int fd) {
        FileStream *f = file_stream_new(job, fd);

        f->base.read = pipe_read;
        return &f->base;
}

static gssize memory_read(Stream *s, void *buffer, gsize size, GError **error) {
        MemoryStream *m = (MemoryStream *)s;

        if (m->at == m->size)
                return s->inner ? stream_read(s->inner, buffer, size, error) : 0;
        size = MIN(size, m->size - m->at);
        memcpy(buffer, m->data + m->at, size);
        m->at += size;
        return (gssize)size;
}

static void memory_free(Stream *s) {
        g_free(((MemoryStream *)s)->data);
}

/** stream_new_prefixed() - a copy of @data, then what @inner gives; puts back what was read to look at it */
Stream *stream_new_prefixed(Stream *inner, const void *data, gsize size) {
        MemoryStream *m = g_new0(MemoryStream, 1);

        m->base.read = memory_read;
        m->base.free = memory_free;
        m->base.inner = inner;
        m->data = g_memdup2(data, size);
        m->size = size;
        return &m->base;
}

/** stream_new_memory() - a copy of @data */
Stream *stream_new_memory(const void *data, gsize size) {
        return stream_new_prefixed(NULL, data, size);
}

static gssize digest_read(Stream *s, void *buffer, gsize size, GError **error) {
        DigestStream *d = (DigestStream *)s;
        gssize n = stream_read(s->inner, buffer, size, error);

        if (n > 0 && d->digest)
                digest_update(d->digest, buffer, (gsize)n);
        if (n > 0 && d->count)
                __atomic_add_fetch(d->count, (guint64)n, __ATOMIC_RELAXED);
        return n;
}

/** stream_new_digest() - adds what passes to @digest and its size to @count (either may be NULL); both stay the
 * caller's */
Stream *stream_new_digest(Stream *inner, Digest *digest, guint64 *count) {
        DigestStream *d = g_new0(DigestStream, 1);

        d->base.read = digest_read;
        d->base.inner = inner;
        d->digest = digest;
        d->count = count;
        return &d->base;
}

/** stream_new_counted() - adds the size of what passes to an atomic counter */
Stream *stream_new_counted(Stream *inner, guint64 *total) {
        return stream_new_digest(inner, NULL, total);
}
