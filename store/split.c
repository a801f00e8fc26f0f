/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The tar-split record.
 *
 * Everything in a layer's tar that is not file data (headers, padding, end mark) is kept, compressed, with references
 * to the objects that hold the data. So the tar can be had again bit by bit, and what libostree cannot hold (times,
 * devices, names that are not UTF-8, true hard links) is read back from where it came. Format of the compressed stream:
 * records of a struct SplitRecord in little-endian and its raw bytes; the data of the reference follows the raw bytes.
 * The record is trusted: only this program writes it.
 */

#include "store/split.h"

#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "store/error.h"

#define SPLIT_NONE G_MAXUINT32
#define SPLIT_RAW_MAX ((gsize)256 * 1024)
#define SPLIT_LEVEL 1

typedef struct {
        guint32 raw;    /* bytes that follow */
        guint32 object; /* index, or SPLIT_NONE */
        guint64 offset; /* of the data in the object */
        guint64 size;   /* of the data */
} SplitRecord;

struct SplitWriter {
        ZSTD_CCtx *zstd;
        GByteArray *raw;
        GByteArray *out;
        GPtrArray *inodes;
};

void split_clear(Split *s) {
        g_clear_pointer(&s->headers, g_bytes_unref);
        g_clear_pointer(&s->table, g_bytes_unref);
}

SplitWriter *split_writer_new(void) {
        SplitWriter *w = g_new0(SplitWriter, 1);

        w->zstd = ZSTD_createCCtx();
        if (!w->zstd)
                g_error("Cannot set up zstd");
        (void)ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, SPLIT_LEVEL);
        w->raw = g_byte_array_new();
        w->out = g_byte_array_new();
        w->inodes = g_ptr_array_new();
        return w;
}

void split_writer_free(SplitWriter *w) {
        ZSTD_freeCCtx(w->zstd);
        g_byte_array_unref(w->raw);
        g_byte_array_unref(w->out);
        g_ptr_array_unref(w->inodes);
        g_free(w);
}

static void writer_compress(SplitWriter *w, const void *data, gsize size, ZSTD_EndDirective mode) {
        ZSTD_inBuffer in = { data, size, 0 };
        gsize left;

        do {
                guint at = w->out->len;
                ZSTD_outBuffer out;

                g_byte_array_set_size(w->out, at + 16384);
                out = (ZSTD_outBuffer){ w->out->data + at, 16384, 0 };
                left = ZSTD_compressStream2(w->zstd, &out, &in, mode);
                if (ZSTD_isError(left))
                        g_error("Cannot compress: %s", ZSTD_getErrorName(left));
                g_byte_array_set_size(w->out, at + (guint)out.pos);
        } while (mode == ZSTD_e_end ? left > 0 : in.pos < in.size);
}

static void writer_record(SplitWriter *w, guint32 object, guint64 offset, guint64 size) {
        SplitRecord record = { GUINT32_TO_LE(w->raw->len), GUINT32_TO_LE(object), GUINT64_TO_LE(offset),
                               GUINT64_TO_LE(size) };

        writer_compress(w, &record, sizeof(record), ZSTD_e_continue);
        writer_compress(w, w->raw->data, w->raw->len, ZSTD_e_continue);
        g_byte_array_set_size(w->raw, 0);
}

/** split_writer_raw() - a TarRaw: bytes that are not file data */
gboolean split_writer_raw(void *writer, const void *data, gsize size, GError **error G_GNUC_UNUSED) {
        SplitWriter *w = writer;

        g_byte_array_append(w->raw, data, (guint)size);
        if (w->raw->len >= SPLIT_RAW_MAX)
                writer_record(w, SPLIT_NONE, 0, 0);
        return TRUE;
}

/** split_writer_size() - bytes of the record so far, compressed */
gsize split_writer_size(const SplitWriter *w) {
        return w->out->len;
}

/** split_writer_object() - number an entry that is an object; its checksum is read when the record is finished */
guint32 split_writer_object(SplitWriter *w, Inode *inode) {
        g_ptr_array_add(w->inodes, inode);
        return w->inodes->len - 1;
}

/** split_writer_data() - @size bytes of an object stood here */
void split_writer_data(SplitWriter *w, guint32 object, guint64 offset, guint64 size) {
        if (size > 0)
                writer_record(w, object, offset, size);
}

const GPtrArray *split_writer_inodes(const SplitWriter *w) {
        return w->inodes;
}

/** split_writer_finish() - the record, once all checksums are known */
void split_writer_finish(SplitWriter *w, Split *ret) {
        g_autoptr(GByteArray) table = g_byte_array_sized_new(w->inodes->len * DIGEST_SIZE);

        writer_record(w, SPLIT_NONE, 0, 0);
        writer_compress(w, NULL, 0, ZSTD_e_end);
        for (guint i = 0; i < w->inodes->len; i++)
                g_byte_array_append(table, ((const Inode *)w->inodes->pdata[i])->checksum, DIGEST_SIZE);
        ret->table = g_byte_array_free_to_bytes(g_steal_pointer(&table));
        ret->headers = g_byte_array_free_to_bytes(w->out);
        w->out = g_byte_array_new();
}

typedef struct {
        Stream base;
        StoreJob *job;
        Stream *headers;
        GBytes *table;
        SplitOpen open;
        void *userdata;
        SplitRecord record;
        guint64 raw_left;
        guint64 data_left;
        guint64 passed; /* bytes of the tar, read or skipped */
        int fd;
} SplitStream;

static gboolean split_damaged(GError **error) {
        return store_fail(error, STORE_FAIL_INTERNAL, "A layer's tar-split record is damaged");
}

/* 1: there is a record with something left, 0: the end, -1: error */
static int split_advance(SplitStream *s, GError **error) {
        while (s->raw_left == 0 && s->data_left == 0) {
                gssize n = stream_read_full(s->headers, &s->record, sizeof(s->record), error);

                if (n <= 0)
                        return (int)n;
                if (n < (gssize)sizeof(s->record))
                        return split_damaged(error), -1;
                s->raw_left = GUINT32_FROM_LE(s->record.raw);
                s->data_left = GUINT64_FROM_LE(s->record.size);
        }
        return 1;
}

static gssize split_data(SplitStream *s, void *buffer, gsize size, GError **error) {
        guint64 done = GUINT64_FROM_LE(s->record.size) - s->data_left;
        guint32 object = GUINT32_FROM_LE(s->record.object);
        gssize n;

        size = MIN(size, s->data_left);
        if (!s->open) /* only to be skipped: where a header should be, the record is not what it was */
                return split_damaged(error), -1;
        if (s->fd < 0) {
                gsize table_size;
                const guint8 *table = g_bytes_get_data(s->table, &table_size);

                if ((guint64)object * DIGEST_SIZE + DIGEST_SIZE > table_size)
                        return split_damaged(error), -1;
                s->fd = s->open(s->userdata, table + (gsize)object * DIGEST_SIZE);
                if (s->fd < 0)
                        return store_fail(error, STORE_FAIL_INTERNAL, "A layer's object is missing"), -1;
        }
        n = pread(s->fd, buffer, size, (off_t)(GUINT64_FROM_LE(s->record.offset) + done));
        if (n <= 0)
                return store_fail(error, STORE_FAIL_INTERNAL, "A layer's object cannot be read"), -1;
        s->data_left -= (guint64)n;
        s->passed += (guint64)n;
        if (s->data_left == 0) {
                (void)close(s->fd);
                s->fd = -1;
        }
        return n;
}

static gssize split_read(Stream *stream, void *buffer, gsize size, GError **error) {
        SplitStream *s = (SplitStream *)stream;
        int r = split_advance(s, error);
        gssize n;

        if (r <= 0)
                return r;
        if (!store_job_check(s->job, error))
                return -1;
        if (s->raw_left == 0)
                return split_data(s, buffer, size, error);
        n = stream_read(s->headers, buffer, MIN(size, s->raw_left), error);
        if (n == 0)
                return split_damaged(error), -1;
        if (n > 0) {
                s->raw_left -= (guint64)n;
                s->passed += (guint64)n;
        }
        return n;
}

/** split_stream_skip() - a TarSkip: move forward without reading file data */
gboolean split_stream_skip(void *stream, guint64 n, GError **error) {
        SplitStream *s = stream;
        guint8 buffer[4096];

        while (n > 0) {
                int r = split_advance(s, error);
                gssize got;

                if (r <= 0)
                        return r < 0 ? FALSE : split_damaged(error);
                if (s->raw_left == 0) {
                        guint64 part = MIN(n, s->data_left);

                        s->data_left -= part;
                        s->passed += part;
                        n -= part;
                        continue;
                }
                got = split_read(&s->base, buffer, MIN(n, sizeof(buffer)), error);
                if (got <= 0)
                        return got < 0 ? FALSE : split_damaged(error);
                n -= (guint64)got;
        }
        return TRUE;
}

/** split_stream_passed() - bytes of the tar that have been read or skipped: at its end, its size */
guint64 split_stream_passed(const Stream *stream) {
        return ((const SplitStream *)stream)->passed;
}

static void split_stream_free(Stream *stream) {
        SplitStream *s = (SplitStream *)stream;

        stream_free(s->headers);
        g_bytes_unref(s->table);
        if (s->fd >= 0)
                (void)close(s->fd);
}

/* The record's own compression, without the limits that hold for strangers' archives. */
typedef struct {
        Stream base;
        ZSTD_DCtx *zstd;
        GBytes *data;
        ZSTD_inBuffer in;
        gboolean ended;
} HeaderStream;

static gssize header_read(Stream *stream, void *buffer, gsize size, GError **error) {
        HeaderStream *h = (HeaderStream *)stream;
        ZSTD_outBuffer out = { buffer, size, 0 };

        while (out.pos == 0 && !h->ended) {
                gsize before = h->in.pos, r = ZSTD_decompressStream(h->zstd, &out, &h->in);

                if (ZSTD_isError(r) || (out.pos == 0 && r != 0 && h->in.pos == before))
                        return split_damaged(error), -1;
                h->ended = r == 0;
        }
        return (gssize)out.pos;
}

static void header_free(Stream *stream) {
        HeaderStream *h = (HeaderStream *)stream;

        ZSTD_freeDCtx(h->zstd);
        g_bytes_unref(h->data);
}

/** split_stream_new() - the layer's tar as it was
 *
 * @open is called for one object at a time and its descriptor closed; without @open file data can only be skipped
 * (split_stream_skip()), which is enough to read the headers again. The record is referenced.
 */
Stream *split_stream_new(StoreJob *job, const Split *split, SplitOpen open, void *userdata) {
        SplitStream *s = g_new0(SplitStream, 1);
        HeaderStream *h = g_new0(HeaderStream, 1);

        h->base.read = header_read;
        h->base.free = header_free;
        h->zstd = ZSTD_createDCtx();
        h->data = g_bytes_ref(split->headers);
        h->in.src = g_bytes_get_data(h->data, &h->in.size);
        s->base.read = split_read;
        s->base.free = split_stream_free;
        s->job = job;
        s->headers = &h->base;
        s->table = g_bytes_ref(split->table);
        s->open = open;
        s->userdata = userdata;
        s->fd = -1;
        return &s->base;
}

/** split_size() - the size of the layer's tar; reads the record, no file data */
gboolean split_size(StoreJob *job, const Split *split, guint64 *ret, GError **error) {
        g_autoptr(Stream) stream = split_stream_new(job, split, NULL, NULL);
        SplitStream *s = (SplitStream *)stream;
        guint8 buffer[16384];
        int r;

        *ret = 0;
        while ((r = split_advance(s, error)) > 0) {
                *ret += s->data_left;
                s->data_left = 0;
                while (s->raw_left > 0) {
                        gssize n = split_read(stream, buffer, sizeof(buffer), error);

                        if (n <= 0)
                                return FALSE;
                        *ret += (guint64)n;
                }
        }
        return r == 0;
}
