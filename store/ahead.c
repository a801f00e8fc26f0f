/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A stream that reads ahead in a thread of its own.
 *
 * The thread owns the inner stream while it runs and fills a ring of a few chunks; the reader empties it. Both sides
 * only meet under one lock, once a chunk. Freeing the stream tells the thread to stop and waits for it, so the job has
 * to be stopped first where the inner stream may block for long.
 */

#include <string.h>

#include "store/stream.h"

#define AHEAD_CHUNKS 4

typedef struct {
        Stream base;
        Stream *source;
        GThread *thread;
        GMutex lock;
        GCond changed;
        guint8 *chunks[AHEAD_CHUNKS];
        gsize sizes[AHEAD_CHUNKS];
        guint64 filled; /* chunks ever filled, under lock */
        guint64 taken;  /* chunks ever emptied, under lock */
        gsize at;       /* reader's place in its chunk */
        gboolean have;  /* reader holds a chunk */
        gboolean ended; /* under lock */
        gboolean stop;  /* under lock */
        GError *failure;
} AheadStream;

static gpointer ahead_thread(gpointer data) {
        AheadStream *a = data;

        for (;;) {
                guint64 i;
                gssize n;
                GError *failure = NULL;

                g_mutex_lock(&a->lock);
                while (a->filled - a->taken == AHEAD_CHUNKS && !a->stop)
                        g_cond_wait(&a->changed, &a->lock);
                i = a->filled % AHEAD_CHUNKS;
                if (a->stop) {
                        g_mutex_unlock(&a->lock);
                        return NULL;
                }
                g_mutex_unlock(&a->lock);

                n = stream_read_full(a->source, a->chunks[i], STREAM_CHUNK, &failure);

                g_mutex_lock(&a->lock);
                if (n > 0) {
                        a->sizes[i] = (gsize)n;
                        a->filled++;
                }
                if (n < (gssize)STREAM_CHUNK) {
                        a->failure = failure;
                        a->ended = TRUE;
                }
                g_cond_signal(&a->changed);
                g_mutex_unlock(&a->lock);
                if (n < (gssize)STREAM_CHUNK)
                        return NULL;
        }
}

/* Gives back the reader's chunk and waits for the next: 1, 0 at the end, -1. */
static int ahead_next(AheadStream *a, GError **error) {
        int r = 1;

        g_mutex_lock(&a->lock);
        if (a->have) {
                a->taken++;
                a->have = FALSE;
                g_cond_signal(&a->changed);
        }
        while (a->filled == a->taken && !a->ended)
                g_cond_wait(&a->changed, &a->lock);
        if (a->filled == a->taken) {
                r = a->failure ? -1 : 0;
                if (a->failure && error)
                        *error = g_error_copy(a->failure);
        }
        g_mutex_unlock(&a->lock);
        a->have = r > 0;
        a->at = 0;
        return r;
}

static gssize ahead_read(Stream *s, void *buffer, gsize size, GError **error) {
        AheadStream *a = (AheadStream *)s;
        gsize i;

        if (!a->have || a->at == a->sizes[a->taken % AHEAD_CHUNKS]) {
                int r = ahead_next(a, error);

                if (r <= 0)
                        return r;
        }
        i = a->taken % AHEAD_CHUNKS;
        size = MIN(size, a->sizes[i] - a->at);
        memcpy(buffer, a->chunks[i] + a->at, size);
        a->at += size;
        return (gssize)size;
}

static void ahead_free(Stream *s) {
        AheadStream *a = (AheadStream *)s;

        g_mutex_lock(&a->lock);
        a->stop = TRUE;
        g_cond_signal(&a->changed);
        g_mutex_unlock(&a->lock);
        g_thread_join(a->thread);
        stream_free(a->source);
        for (gsize i = 0; i < AHEAD_CHUNKS; i++)
                g_free(a->chunks[i]);
        g_clear_error(&a->failure);
        g_cond_clear(&a->changed);
        g_mutex_clear(&a->lock);
}

/** stream_new_ahead() - let @inner run in its own thread, up to four chunks ahead of the reader */
Stream *stream_new_ahead(Stream *inner) {
        AheadStream *a = g_new0(AheadStream, 1);

        a->base.read = ahead_read;
        a->base.free = ahead_free;
        a->source = inner;
        g_mutex_init(&a->lock);
        g_cond_init(&a->changed);
        for (gsize i = 0; i < AHEAD_CHUNKS; i++)
                a->chunks[i] = g_malloc(STREAM_CHUNK);
        a->thread = g_thread_new("inflate", ahead_thread, a);
        return &a->base;
}
