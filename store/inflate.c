/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Decompression: gzip (ISA-L where it is there, else zlib), zstd, or nothing, told by the first bytes.
 *
 * The filter reads its input to the very end: several gzip members or zstd frames after each other are one stream,
 * anything else behind the last is an error, and so is input that ends early. What comes out is held against the job's
 * ratio and byte limits here, before anyone else sees it.
 */

#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>
#else
#include <zlib.h>
#endif

#include "store/error.h"
#include "store/stream.h"

#define INFLATE_INPUT ((gsize)128 * 1024)
#define ZSTD_WINDOW_LOG_MAX 26 /* 64 MiB */

typedef struct InflateStream InflateStream;

struct InflateStream {
        Stream base;
        StoreJob *job;
        guint8 *input;
        gsize at;
        gsize size;
        guint64 n_in;
        guint64 n_out;
        gboolean eof;
        gboolean between; /* no member or frame is open */
        gssize (*step)(InflateStream *f, guint8 *out, gsize size, GError **error);
        ZSTD_DCtx *zstd;
#ifdef HAVE_ISAL
        struct inflate_state *gzip;
#else
        z_stream gzip;
        gboolean gzip_open;
#endif
};

static gboolean inflate_fill(InflateStream *f, GError **error) {
        gssize n;

        if (f->at < f->size || f->eof)
                return TRUE;
        n = stream_read(f->base.inner, f->input, INFLATE_INPUT, error);
        if (n < 0)
                return FALSE;
        f->eof = n == 0;
        f->at = 0;
        f->size = (gsize)n;
        f->n_in += (guint64)n;
        return TRUE;
}

static gssize inflate_bad(const char *what, GError **error) {
        store_fail(error, STORE_FAIL_INVALID, "The %s data is damaged", what);
        return -1;
}

#ifdef HAVE_ISAL
static void gzip_reset(InflateStream *f) {
        isal_inflate_reset(f->gzip);
        f->gzip->crc_flag = ISAL_GZIP;
}

static gssize gzip_step(InflateStream *f, guint8 *out, gsize size, GError **error) {
        if (f->between) {
                gzip_reset(f);
                f->between = FALSE;
        }
        f->gzip->next_in = f->input + f->at;
        f->gzip->avail_in = (uint32_t)(f->size - f->at);
        f->gzip->next_out = out;
        f->gzip->avail_out = (uint32_t)size;
        if (isal_inflate(f->gzip) != ISAL_DECOMP_OK)
                return inflate_bad("gzip", error);
        f->at = f->size - f->gzip->avail_in;
        if (f->gzip->block_state == ISAL_BLOCK_FINISH) {
                /* What the decoder has taken into its bit buffer belongs to the next member. */
                f->at -= (gsize)(f->gzip->read_in_length / 8);
                f->between = TRUE;
        }
        return (gssize)(size - f->gzip->avail_out);
}

static void gzip_open(InflateStream *f) {
        f->gzip = g_new0(struct inflate_state, 1);
        isal_inflate_init(f->gzip);
}

static void gzip_close(InflateStream *f) {
        g_free(f->gzip);
}
#else
static gssize gzip_step(InflateStream *f, guint8 *out, gsize size, GError **error) {
        int r;

        if (f->between) {
                if (inflateReset(&f->gzip) != Z_OK)
                        return inflate_bad("gzip", error);
                f->between = FALSE;
        }
        f->gzip.next_in = f->input + f->at;
        f->gzip.avail_in = (uInt)(f->size - f->at);
        f->gzip.next_out = out;
        f->gzip.avail_out = (uInt)size;
        r = inflate(&f->gzip, Z_NO_FLUSH);
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
                return inflate_bad("gzip", error);
        f->at = f->size - f->gzip.avail_in;
        f->between = r == Z_STREAM_END;
        return (gssize)(size - f->gzip.avail_out);
}

static void gzip_open(InflateStream *f) {
        if (inflateInit2(&f->gzip, 15 + 16) != Z_OK)
                g_error("Cannot set up zlib");
        f->gzip_open = TRUE;
}

static void gzip_close(InflateStream *f) {
        if (f->gzip_open)
                (void)inflateEnd(&f->gzip);
}
#endif

static gssize zstd_step(InflateStream *f, guint8 *out, gsize size, GError **error) {
        ZSTD_inBuffer in = { f->input, f->size, f->at };
        ZSTD_outBuffer o = { out, size, 0 };
        gsize r = ZSTD_decompressStream(f->zstd, &o, &in);

        if (ZSTD_isError(r)) {
                if (ZSTD_getErrorCode(r) == ZSTD_error_frameParameter_windowTooLarge)
                        store_fail(error, STORE_FAIL_EXHAUSTED, "The zstd data wants a window larger than %u MiB",
                                   1U << (ZSTD_WINDOW_LOG_MAX - 20));
                else
                        inflate_bad("zstd", error);
                return -1;
        }
        f->at = in.pos;
        f->between = r == 0;
        return (gssize)o.pos;
}

static gssize plain_step(InflateStream *f, guint8 *out, gsize size, GError **error G_GNUC_UNUSED) {
        gsize n = MIN(size, f->size - f->at);

        memcpy(out, f->input + f->at, n);
        f->at += n;
        f->between = TRUE;
        return (gssize)n;
}

static gboolean inflate_check(InflateStream *f, gsize n, GError **error) {
        f->n_out += n;
        if (!store_job_check(f->job, error) || !store_job_add_bytes(f->job, n, error))
                return FALSE;
        if (f->n_out > f->job->limits.ratio_floor && f->n_out / f->job->limits.ratio > f->n_in)
                return store_fail(error, STORE_FAIL_EXHAUSTED,
                                  "The archive inflates to more than %" G_GUINT64_FORMAT " times its size",
                                  f->job->limits.ratio);
        return TRUE;
}

static gssize inflate_read(Stream *s, void *buffer, gsize size, GError **error) {
        InflateStream *f = (InflateStream *)s;

        size = MIN(size, (gsize)1 << 30);
        for (;;) {
                gsize before;
                gssize n;

                if (!inflate_fill(f, error))
                        return -1;
                if (f->eof && f->between)
                        return 0;
                before = f->at;
                n = f->step(f, buffer, size, error);
                if (n > 0)
                        return inflate_check(f, (gsize)n, error) ? n : -1;
                if (n < 0)
                        return -1;
                if (f->at != before || f->between)
                        continue;
                if (f->at < f->size)
                        return inflate_bad("compressed", error);
                if (f->eof) {
                        store_fail(error, STORE_FAIL_INVALID, "The compressed data ends early");
                        return -1;
                }
        }
}

static void inflate_free(Stream *s) {
        InflateStream *f = (InflateStream *)s;

        gzip_close(f);
        ZSTD_freeDCtx(f->zstd);
        g_free(f->input);
}

/** stream_compression() - how data that begins with @head is compressed */
Compression stream_compression(const guint8 *head, gsize size) {
        static const guint8 gzip_magic[] = { 0x1f, 0x8b }, zstd_magic[] = { 0x28, 0xb5, 0x2f, 0xfd };
        static const guint8 xz_magic[] = { 0xfd, '7', 'z', 'X', 'Z' }, skippable_magic[] = { 0x2a, 0x4d, 0x18 };

        if (size >= 4 && memcmp(head, zstd_magic, sizeof(zstd_magic)) == 0)
                return COMPRESSION_ZSTD;
        if (size >= 4 && (head[0] & 0xf0) == 0x50 && memcmp(head + 1, skippable_magic, sizeof(skippable_magic)) == 0)
                return COMPRESSION_ZSTD;
        if (size >= 2 && memcmp(head, gzip_magic, sizeof(gzip_magic)) == 0)
                return COMPRESSION_GZIP;
        if (size >= 5 && memcmp(head, xz_magic, sizeof(xz_magic)) == 0)
                return COMPRESSION_XZ;
        if (size >= 10 && memcmp(head, "BZh", 3) == 0 && memcmp(head + 4, "1AY&SY", 6) == 0)
                return COMPRESSION_BZIP2;
        return COMPRESSION_NONE;
}

static gboolean inflate_choose(InflateStream *f, GError **error) {
        gssize n = stream_read_full(f->base.inner, f->input, INFLATE_INPUT, error);

        if (n < 0)
                return FALSE;
        f->size = (gsize)n;
        f->n_in = (guint64)n;
        f->step = plain_step;
        switch (stream_compression(f->input, f->size)) {
        case COMPRESSION_ZSTD:
                f->zstd = ZSTD_createDCtx();
                if (!f->zstd)
                        g_error("Cannot set up zstd");
                (void)ZSTD_DCtx_setParameter(f->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
                f->step = zstd_step;
                return TRUE;
        case COMPRESSION_GZIP:
                gzip_open(f);
                f->step = gzip_step;
                return TRUE;
        case COMPRESSION_XZ:
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "Archives compressed by xz are not supported");
        case COMPRESSION_BZIP2:
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "Archives compressed by bzip2 are not supported");
        case COMPRESSION_NONE:
                break;
        }
        return TRUE;
}

/** stream_new_inflate() - what @inner holds, decompressed; plain data passes as it is
 *
 * Reads the beginning of @inner. Takes @inner over, also on failure. Everything that comes out counts as layer content
 * of @job.
 */
Stream *stream_new_inflate(Stream *inner, StoreJob *job, GError **error) {
        InflateStream *f = g_new0(InflateStream, 1);

        f->base.read = inflate_read;
        f->base.free = inflate_free;
        f->base.inner = inner;
        f->job = job;
        f->between = TRUE;
        f->input = g_malloc(INFLATE_INPUT);
        if (!inflate_choose(f, error)) {
                stream_free(&f->base);
                return NULL;
        }
        return &f->base;
}
