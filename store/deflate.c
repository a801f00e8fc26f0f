/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Compression as a stream: gzip or zstd, the same bytes for the same input.
 *
 * One thread, a fixed level, no name and no time in the header, and no size that would have to be known beforehand, so
 * that an image saved twice has the same digests. The reader pulls; what is compressed is read from the stream below.
 */

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "store/error.h"
#include "store/stream.h"

#define DEFLATE_INPUT ((gsize)128 * 1024)
#define GZIP_LEVEL 6
#define GZIP_OS_UNKNOWN 255
#define ZSTD_LEVEL 3

typedef struct DeflateStream DeflateStream;

struct DeflateStream {
        Stream base;
        guint8 *input;
        gsize size;
        gsize at;
        gboolean eof;
        gboolean ended;
        gssize (*step)(DeflateStream *d, guint8 *out, gsize size, GError **error);
        ZSTD_CCtx *zstd;
        z_stream gzip;
        gz_header header;
        gboolean gzip_open;
};

static gssize gzip_step(DeflateStream *d, guint8 *out, gsize size, GError **error) {
        int r;

        d->gzip.next_in = d->input + d->at;
        d->gzip.avail_in = (uInt)(d->size - d->at);
        d->gzip.next_out = out;
        d->gzip.avail_out = (uInt)size;
        r = deflate(&d->gzip, d->eof ? Z_FINISH : Z_NO_FLUSH);
        if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
                return store_fail(error, STORE_FAIL_INTERNAL, "Cannot compress: zlib says %d", r), -1;
        d->at = d->size - d->gzip.avail_in;
        d->ended = r == Z_STREAM_END;
        return (gssize)(size - d->gzip.avail_out);
}

static gssize zstd_step(DeflateStream *d, guint8 *out, gsize size, GError **error) {
        ZSTD_inBuffer in = { d->input, d->size, d->at };
        ZSTD_outBuffer o = { out, size, 0 };
        gsize left = ZSTD_compressStream2(d->zstd, &o, &in, d->eof ? ZSTD_e_end : ZSTD_e_continue);

        if (ZSTD_isError(left))
                return store_fail(error, STORE_FAIL_INTERNAL, "Cannot compress: %s", ZSTD_getErrorName(left)), -1;
        d->at = in.pos;
        d->ended = d->eof && left == 0;
        return (gssize)o.pos;
}

static gboolean deflate_fill(DeflateStream *d, GError **error) {
        gssize n;

        if (d->at < d->size || d->eof)
                return TRUE;
        n = stream_read_full(d->base.inner, d->input, DEFLATE_INPUT,
                             error); /* full pieces: the result depends on them */
        if (n < 0)
                return FALSE;
        d->eof = n == 0;
        d->at = 0;
        d->size = (gsize)n;
        return TRUE;
}

static gssize deflate_read(Stream *s, void *buffer, gsize size, GError **error) {
        DeflateStream *d = (DeflateStream *)s;
        gssize n = 0;

        size = MIN(size, (gsize)1 << 30);
        while (n == 0 && !d->ended) {
                if (!deflate_fill(d, error))
                        return -1;
                n = d->step(d, buffer, size, error);
        }
        return n;
}

static void deflate_free(Stream *s) {
        DeflateStream *d = (DeflateStream *)s;

        if (d->gzip_open)
                (void)deflateEnd(&d->gzip);
        ZSTD_freeCCtx(d->zstd);
        g_free(d->input);
}

static void gzip_open(DeflateStream *d) {
        if (deflateInit2(&d->gzip, GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
                g_error("Cannot set up zlib");
        d->gzip_open = TRUE;
        d->header.os = GZIP_OS_UNKNOWN;
        (void)deflateSetHeader(&d->gzip, &d->header);
        d->step = gzip_step;
}

static void zstd_open(DeflateStream *d) {
        d->zstd = ZSTD_createCCtx();
        if (!d->zstd)
                g_error("Cannot set up zstd");
        (void)ZSTD_CCtx_setParameter(d->zstd, ZSTD_c_compressionLevel, ZSTD_LEVEL);
        (void)ZSTD_CCtx_setParameter(d->zstd, ZSTD_c_checksumFlag, 1);
        d->step = zstd_step;
}

/** stream_new_deflate() - what @inner gives, compressed as @compression says; takes @inner over
 *
 * Gzip and zstd only; with COMPRESSION_NONE it is @inner itself.
 */
Stream *stream_new_deflate(Stream *inner, Compression compression) {
        DeflateStream *d;

        if (compression == COMPRESSION_NONE)
                return inner;
        d = g_new0(DeflateStream, 1);
        d->base.read = deflate_read;
        d->base.free = deflate_free;
        d->base.inner = inner;
        d->input = g_malloc(DEFLATE_INPUT);
        if (compression == COMPRESSION_GZIP)
                gzip_open(d);
        else
                zstd_open(d);
        return &d->base;
}
