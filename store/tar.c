/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The tar reader: one pass over a stream, entry by entry.
 *
 * It reads ustar, pax, GNU (long names, base-256 numbers, sparse files of all four kinds) and star headers, and hands
 * every byte that is not file data to a raw callback, so that the archive can be put together again bit by bit. It
 * opens no path and writes nothing: what a path may mean is decided in layer.c. Formats: POSIX.1-2017 pax, "Extended
 * Interchange Format"; GNU tar manual, appendix D; where archives are ambiguous the choice is that of Go's archive/tar,
 * which wrote most of them.
 */

#include "store/tar.h"

#include <string.h>

#include "store/error.h"
#include "store/tar-pax.h"

#define EXTENDED_MAX ((gsize)1 << 20)
#define EXTENDED_CHAIN_MAX 8U

/* offsets of the header block, the same in all formats */
enum {
        H_NAME = 0,
        H_MODE = 100,
        H_UID = 108,
        H_GID = 116,
        H_SIZE = 124,
        H_MTIME = 136,
        H_CHECKSUM = 148,
        H_TYPE = 156,
        H_LINK = 157,
        H_MAGIC = 257,
        H_MAJOR = 329,
        H_MINOR = 337,
        H_PREFIX = 345,
        H_GNU_SPARSE = 386,
        H_GNU_EXTENDED = 482,
        H_GNU_REALSIZE = 483,
        H_STAR_MAGIC = 508,
};

struct TarReader {
        Stream *source;
        const StoreLimits *limits;
        TarRaw raw;
        void *raw_data;
        TarSkip skip;
        void *skip_data;
        TarEntry entry;
        guint64 left;    /* stored data of the current entry still to come */
        guint64 padding; /* after it */
        guint64 at;      /* place in a sparse file */
        guint part;
        guint64 part_left;
        gboolean marked;
};

static gboolean reader_raw(TarReader *r, const void *data, gsize size, GError **error) {
        return r->raw ? r->raw(r->raw_data, data, size, error) : TRUE;
}

static gboolean reader_truncated(GError **error) {
        return store_fail(error, STORE_FAIL_INVALID, "The archive is truncated");
}

/* Reads exactly @size bytes that are not file data. */
static gboolean reader_exact(TarReader *r, void *buffer, gsize size, GError **error) {
        gssize n = stream_read_full(r->source, buffer, size, error);

        if (n < 0)
                return FALSE;
        if ((gsize)n < size)
                return reader_truncated(error);
        return reader_raw(r, buffer, size, error);
}

static gboolean all_zero(const guint8 *p, gsize n) {
        return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* The field itself counts as spaces. Some writers have summed signed bytes, which are 256 less from 128 on. */
static gboolean header_checksum_ok(const guint8 *h) {
        guint32 plain = 0, high = 0;
        gint64 want = 0;
        gsize i = H_CHECKSUM;

        while (i < H_CHECKSUM + 8 && h[i] == ' ')
                i++;
        for (; i < H_CHECKSUM + 8 && h[i] >= '0' && h[i] <= '7'; i++)
                want = want * 8 + (h[i] - '0');
        for (i = 0; i < TAR_BLOCK; i++) {
                plain += h[i];
                high += h[i] >> 7;
        }
        for (i = H_CHECKSUM; i < H_CHECKSUM + 8; i++) {
                plain += (guint32)' ' - h[i];
                high -= h[i] >> 7;
        }
        return want == plain || want == (gint64)plain - 256 * (gint64)high;
}

/* Octal, or base-256 where the first bit is set (two's complement below it). */
static gboolean header_signed(const guint8 *field, gsize size, gint64 *ret) {
        guint64 n = 0;
        gsize i = 0;

        if (field[0] & 0x80) {
                guint8 fill = field[0] & 0x40 ? 0xff : 0;

                for (i = 0; i < size; i++) {
                        guint8 c = i == 0 ? (guint8)((field[0] & 0x7f) | (fill & 0x80)) : field[i];

                        if (i + 8 < size && c != fill)
                                return FALSE;
                        n = n << 8 | c;
                }
                if (size < 8 && fill)
                        n |= G_MAXUINT64 << (8 * size);
                if (size >= 8 && (n >> 63) != (fill ? 1 : 0))
                        return FALSE;
                *ret = (gint64)n;
                return TRUE;
        }
        while (i < size && field[i] == ' ')
                i++;
        for (; i < size && field[i] >= '0' && field[i] <= '7'; i++)
                n = n << 3 | (guint64)(field[i] - '0');
        for (; i < size; i++)
                if (field[i] != ' ' && field[i] != '\0')
                        return FALSE;
        *ret = (gint64)n;
        return TRUE;
}

static gboolean header_number(const guint8 *field, gsize size, const char *what, guint64 max, guint64 *ret,
                              GError **error) {
        gint64 n;

        if (!header_signed(field, size, &n) || n < 0 || (guint64)n > max)
                return store_fail(error, STORE_FAIL_INVALID, "A tar header's %s is malformed or out of range", what);
        *ret = (guint64)n;
        return TRUE;
}

static char *header_string(const guint8 *field, gsize size) {
        return g_strndup((const char *)field, size);
}

/* The name and, where the format has one, its prefix. */
static char *header_path(const guint8 *h) {
        g_autofree char *name = header_string(h + H_NAME, 100);
        g_autofree char *prefix = NULL;

        if (memcmp(h + H_MAGIC, "ustar\0", 6) != 0)
                return g_steal_pointer(&name);
        prefix = header_string(h + H_PREFIX, memcmp(h + H_STAR_MAGIC, "tar\0", 4) == 0 ? 131 : 155);
        return prefix[0] ? g_strconcat(prefix, "/", name, NULL) : g_steal_pointer(&name);
}

/* The data of an extended header, with its padding; @ret ends with NUL. */
static gboolean reader_extended(TarReader *r, const guint8 *h, gsize max, guint8 **ret, gsize *ret_size,
                                GError **error) {
        g_autofree guint8 *data = NULL;
        guint64 size = 0;
        gsize padded;

        if (!header_number(h + H_SIZE, 12, "size", G_MAXINT64, &size, error))
                return FALSE;
        if (size > max)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "An extended header is larger than %zu bytes", max);
        padded = (gsize)(size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
        data = g_malloc0(padded + 1);
        if (!reader_exact(r, data, padded, error))
                return FALSE;
        data[size] = '\0';
        *ret_size = (gsize)size;
        *ret = g_steal_pointer(&data);
        return TRUE;
}

static gboolean gnu_sparse_pairs(const guint8 *at, gsize n, GArray *parts, GError **error) {
        for (; n > 0 && at[0] != '\0'; n--, at += 24) {
                guint64 offset = 0, size = 0;

                if (!header_number(at, 12, "sparse map", G_MAXINT64, &offset, error) ||
                    !header_number(at + 12, 12, "sparse map", G_MAXINT64, &size, error) ||
                    !tar_parts_add(parts, offset, size, error))
                        return FALSE;
        }
        return TRUE;
}

/* The old GNU format: four pieces in the header, 21 in each further block. */
static gboolean reader_gnu_sparse(TarReader *r, const guint8 *h, GError **error) {
        TarEntry *e = &r->entry;
        guint8 block[TAR_BLOCK];
        gboolean more = h[H_GNU_EXTENDED] != 0;

        e->parts = g_array_new(FALSE, FALSE, sizeof(TarPart));
        if (!gnu_sparse_pairs(h + H_GNU_SPARSE, 4, e->parts, error) ||
            !header_number(h + H_GNU_REALSIZE, 12, "size", G_MAXINT64, &e->size, error))
                return FALSE;
        while (more) {
                if (!reader_exact(r, block, sizeof(block), error) || !gnu_sparse_pairs(block, 21, e->parts, error))
                        return FALSE;
                more = block[504] != 0;
        }
        return TRUE;
}

/* One decimal line of a pax 1.0 sparse map, read byte by byte from whole blocks. */
static gboolean sparse_line(TarReader *r, guint8 *block, gsize *at, guint64 *ret, GError **error) {
        guint64 n = 0;

        for (gsize digits = 0;; digits++) {
                if (*at == TAR_BLOCK) {
                        if (r->left < TAR_BLOCK)
                                return reader_truncated(error);
                        if (!reader_exact(r, block, TAR_BLOCK, error))
                                return FALSE;
                        r->left -= TAR_BLOCK;
                        *at = 0;
                }
                if (block[*at] == '\n' && digits > 0) {
                        (*at)++;
                        *ret = n;
                        return TRUE;
                }
                if (block[*at] < '0' || block[*at] > '9' || digits > 18)
                        return store_fail(error, STORE_FAIL_INVALID, "A sparse file's map is malformed");
                n = n * 10 + (guint64)(block[(*at)++] - '0');
        }
}

static gboolean reader_pax_sparse(TarReader *r, TarPax *pax, GError **error) {
        guint8 block[TAR_BLOCK];
        gsize at = TAR_BLOCK;
        guint64 n = 0;

        r->entry.size = pax->sparse_size;
        if (pax->sparse_major == 0) {
                r->entry.parts = pax->parts ? g_steal_pointer(&pax->parts) : g_array_new(FALSE, FALSE, sizeof(TarPart));
                return TRUE;
        }
        if (pax->sparse_major != 1 || pax->sparse_minor != 0)
                return store_fail(error, STORE_FAIL_UNSUPPORTED,
                                  "Sparse files of format %" G_GUINT64_FORMAT ".%" G_GUINT64_FORMAT
                                  " are not supported",
                                  pax->sparse_major, pax->sparse_minor);
        r->entry.parts = g_array_new(FALSE, FALSE, sizeof(TarPart));
        if (!sparse_line(r, block, &at, &n, error))
                return FALSE;
        for (; n > 0; n--) {
                guint64 offset = 0, size = 0;

                if (!sparse_line(r, block, &at, &offset, error) || !sparse_line(r, block, &at, &size, error) ||
                    !tar_parts_add(r->entry.parts, offset, size, error))
                        return FALSE;
        }
        return TRUE;
}

/* The map has to describe exactly what is stored and stay inside the file. */
static gboolean sparse_check(TarReader *r, GError **error) {
        const TarEntry *e = &r->entry;
        guint64 stored = 0;

        for (guint i = 0; i < e->parts->len; i++) {
                const TarPart *p = &g_array_index(e->parts, TarPart, i);

                stored += p->size;
                if (p->offset + p->size > e->size || stored > r->left)
                        return store_fail(error, STORE_FAIL_INVALID, "The map of sparse file '%s' is out of range",
                                          e->path);
        }
        if (stored != r->left)
                return store_fail(error, STORE_FAIL_INVALID, "The map of sparse file '%s' does not cover its data",
                                  e->path);
        return TRUE;
}

static void entry_clear(TarEntry *e) {
        g_clear_pointer(&e->path, g_free);
        g_clear_pointer(&e->link, g_free);
        g_clear_pointer(&e->xattrs, g_variant_unref);
        g_clear_pointer(&e->parts, g_array_unref);
        *e = (TarEntry){ 0 };
}

static gboolean entry_ids(TarEntry *e, const guint8 *h, const TarPax *pax, GError **error) {
        guint64 mode = 0, uid = pax->uid, gid = pax->gid;
        gint64 mtime = pax->mtime;

        if (!header_number(h + H_MODE, 8, "mode", G_MAXINT64, &mode, error) ||
            (!pax->has_uid && !header_number(h + H_UID, 8, "uid", G_MAXUINT32 - 1, &uid, error)) ||
            (!pax->has_gid && !header_number(h + H_GID, 8, "gid", G_MAXUINT32 - 1, &gid, error)))
                return FALSE;
        if (!pax->has_mtime && !header_signed(h + H_MTIME, 12, &mtime))
                return store_fail(error, STORE_FAIL_INVALID, "A tar header's mtime is malformed");
        e->mode = (guint32)mode & 07777;
        e->uid = (guint32)uid;
        e->gid = (guint32)gid;
        /* What the widest on-disk time can hold, so that it never wraps: 1901 to 2446. */
        e->mtime = CLAMP(mtime, G_MININT32, G_GINT64_CONSTANT(15032385535));
        e->mtime_nsec = pax->has_mtime ? pax->mtime_nsec : 0;
        return TRUE;
}

static gboolean entry_device(TarEntry *e, const guint8 *h, const TarPax *pax, GError **error) {
        guint64 major = pax->major, minor = pax->minor;

        if (e->type != TAR_CHAR && e->type != TAR_BLOCK_DEVICE)
                return TRUE;
        if ((!pax->has_major && !header_number(h + H_MAJOR, 8, "device number", 4095, &major, error)) ||
            (!pax->has_minor && !header_number(h + H_MINOR, 8, "device number", (1 << 20) - 1, &minor, error)))
                return FALSE;
        e->major = (guint32)major;
        e->minor = (guint32)minor;
        return TRUE;
}

/* Header @h is an entry's own, @pax and the GNU long names what came before it. */
static gboolean reader_entry(TarReader *r, const guint8 *h, TarPax *pax, char **long_name, char **long_link,
                             GError **error) {
        TarEntry *e = &r->entry;
        guint64 stored = pax->size;

        e->type = (char)h[H_TYPE];
        e->path = pax->sparse_name ? g_steal_pointer(&pax->sparse_name)
                  : pax->path      ? g_steal_pointer(&pax->path)
                  : *long_name     ? g_steal_pointer(long_name)
                                   : header_path(h);
        e->link = pax->link    ? g_steal_pointer(&pax->link)
                  : *long_link ? g_steal_pointer(long_link)
                               : header_string(h + H_LINK, 100);
        if (e->type == '\0')
                e->type = g_str_has_suffix(e->path, "/") ? TAR_DIRECTORY : TAR_FILE;
        else if (e->type == '7')
                e->type = TAR_FILE;
        else if (e->type == 'D')
                e->type = TAR_DIRECTORY;
        if (e->path[0] == '\0')
                return store_fail(error, STORE_FAIL_INVALID, "An entry of the archive has no name");
        if (strlen(e->path) > r->limits->path || strlen(e->link) > r->limits->path)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "A path is longer than %" G_GUINT64_FORMAT " bytes",
                                  r->limits->path);
        if (!strchr("0123456S", e->type))
                return store_fail(error, STORE_FAIL_UNSUPPORTED, "Entry '%s' has type '%c', which is not supported",
                                  e->path, g_ascii_isprint(e->type) ? e->type : '?');
        if (!pax->has_size && !header_number(h + H_SIZE, 12, "size", G_MAXINT64, &stored, error))
                return FALSE;
        if (!entry_ids(e, h, pax, error) || !entry_device(e, h, pax, error))
                return FALSE;
        if (e->type != TAR_FILE && e->type != 'S')
                stored = 0;
        if (stored > G_MAXINT64 - TAR_BLOCK)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "Entry '%s' is too large", e->path);
        e->xattrs = tar_pax_xattrs(pax, e->type == 'S' ? TAR_FILE : e->type);
        e->size = stored;
        r->left = stored;
        r->padding = (TAR_BLOCK - stored % TAR_BLOCK) % TAR_BLOCK;
        if (e->type == 'S' ? !reader_gnu_sparse(r, h, error)
                           : pax->has_sparse && e->type == TAR_FILE && !reader_pax_sparse(r, pax, error))
                return FALSE;
        if (e->type == 'S')
                e->type = TAR_FILE;
        e->stored = r->left;
        r->at = 0;
        r->part = 0;
        r->part_left = 0;
        return e->parts ? sparse_check(r, error) : TRUE;
}

/* After the end mark only zeros may come; anything else would be read differently by other programs. */
static int reader_end(TarReader *r, GError **error) {
        g_autofree guint8 *buffer = g_malloc(STREAM_CHUNK);
        gssize n = stream_read_full(r->source, buffer, TAR_BLOCK, error);

        if (n < 0)
                return -1;
        r->marked = n == TAR_BLOCK;
        while (n > 0) {
                if (!all_zero(buffer, (gsize)n)) {
                        store_fail(error, STORE_FAIL_INVALID, "The archive goes on after its end mark");
                        return -1;
                }
                if (!reader_raw(r, buffer, (gsize)n, error))
                        return -1;
                n = stream_read(r->source, buffer, STREAM_CHUNK, error);
        }
        return n < 0 ? -1 : 0;
}

/* Leaves the current entry behind: its data nobody wanted, its padding. */
static gboolean reader_leave(TarReader *r, GError **error) {
        guint8 buffer[TAR_BLOCK * 8];

        if (r->skip && !r->raw) {
                if (!r->skip(r->skip_data, r->left + r->padding, error))
                        return FALSE;
                r->left = r->padding = 0;
        }
        while (r->left > 0) {
                gssize n = stream_read(r->source, buffer, MIN(r->left, sizeof(buffer)), error);

                if (n <= 0)
                        return n < 0 ? FALSE : reader_truncated(error);
                r->left -= (guint64)n;
        }
        if (r->padding > 0 && !reader_exact(r, buffer, (gsize)r->padding, error))
                return FALSE;
        r->padding = 0;
        return TRUE;
}

static gboolean reader_long(TarReader *r, const guint8 *h, char **ret, GError **error) {
        guint8 *data = NULL;
        gsize size = 0;

        if (!reader_extended(r, h, (gsize)MIN(r->limits->path, EXTENDED_MAX - 1) + 1, &data, &size, error))
                return FALSE;
        g_free(*ret);
        *ret = (char *)data;
        return TRUE;
}

static gboolean reader_pax(TarReader *r, const guint8 *h, TarPax *pax, GError **error) {
        g_autofree guint8 *data = NULL;
        gsize size = 0;

        return reader_extended(r, h, EXTENDED_MAX, &data, &size, error) &&
               (!pax || tar_pax_parse(pax, data, size, r->limits, error));
}

/** tar_reader_next() - go to the next entry, whatever of the current one has been read
 *
 * Return: 1 with an entry that stays the reader's, 0 at the end (the source has then been read to its end too), -1 with
 * error.
 */
int tar_reader_next(TarReader *r, const TarEntry **ret, GError **error) {
        g_autoptr(TarPax) pax = tar_pax_new();
        g_autofree char *long_name = NULL, *long_link = NULL;
        guint8 h[TAR_BLOCK];

        if (!reader_leave(r, error))
                return -1;
        entry_clear(&r->entry);
        for (guint chain = 0;; chain++) {
                gssize n = stream_read_full(r->source, h, TAR_BLOCK, error);
                gboolean ok;

                if (n == 0 && chain == 0)
                        return 0;
                if (n < TAR_BLOCK)
                        return n < 0 ? -1 : (reader_truncated(error), -1);
                if (!reader_raw(r, h, TAR_BLOCK, error))
                        return -1;
                if (all_zero(h, TAR_BLOCK) && chain == 0)
                        return reader_end(r, error);
                if (!header_checksum_ok(h)) {
                        store_fail(error, STORE_FAIL_INVALID, "This is not a tar header: the checksum does not match");
                        return -1;
                }
                if (h[H_TYPE] == 'x' || h[H_TYPE] == 'X')
                        ok = reader_pax(r, h, pax, error);
                else if (h[H_TYPE] == 'g')
                        ok = reader_pax(r, h, NULL, error);
                else if (h[H_TYPE] == 'L' || h[H_TYPE] == 'K')
                        ok = reader_long(r, h, h[H_TYPE] == 'L' ? &long_name : &long_link, error);
                else
                        break;
                if (h[H_TYPE] == 'g')
                        chain = (guint)-1; /* of no entry: the archive may end after it */
                else if (chain >= EXTENDED_CHAIN_MAX)
                        ok = store_fail(error, STORE_FAIL_INVALID, "An entry has too many extended headers");
                if (!ok)
                        return -1;
        }
        if (!reader_entry(r, h, pax, &long_name, &long_link, error))
                return -1;
        *ret = &r->entry;
        return 1;
}

/* Bytes of a hole before the next stored piece, or before the end. */
static guint64 sparse_hole(TarReader *r) {
        const GArray *parts = r->entry.parts;

        while (r->part_left == 0 && r->part < parts->len) {
                const TarPart *p = &g_array_index(parts, TarPart, r->part);

                if (r->at < p->offset)
                        return p->offset - r->at;
                r->part_left = p->size;
                r->part++;
        }
        return r->part_left > 0 ? 0 : r->entry.size - r->at;
}

/** tar_reader_data() - read the current entry's data, holes as zeros
 *
 * Return: bytes read, 0 at the end of the file, -1 with error.
 */
gssize tar_reader_data(TarReader *r, void *buffer, gsize size, GError **error) {
        guint64 most = r->left;
        gssize n;

        if (r->entry.parts) {
                guint64 hole = sparse_hole(r);

                if (hole > 0) {
                        size = MIN(size, hole);
                        memset(buffer, 0, size);
                        r->at += size;
                        return (gssize)size;
                }
                most = r->part_left;
        }
        size = MIN(size, most);
        if (size == 0)
                return 0;
        n = stream_read(r->source, buffer, size, error);
        if (n <= 0)
                return n < 0 ? -1 : (reader_truncated(error), -1);
        r->left -= (guint64)n;
        r->at += (guint64)n;
        if (r->entry.parts)
                r->part_left -= (guint64)n;
        return n;
}

/** tar_reader_marked() - whether the end mark was there; without it the archive may have been cut at an entry's border
 */
gboolean tar_reader_marked(const TarReader *r) {
        return r->marked;
}

/** tar_reader_new() - read from @source; source and limits stay the caller's */
TarReader *tar_reader_new(Stream *source, const StoreLimits *limits) {
        TarReader *r = g_new0(TarReader, 1);

        r->source = source;
        r->limits = limits;
        return r;
}

void tar_reader_set_raw(TarReader *r, TarRaw raw, void *userdata) {
        r->raw = raw;
        r->raw_data = userdata;
}

void tar_reader_set_skip(TarReader *r, TarSkip skip, void *userdata) {
        r->skip = skip;
        r->skip_data = userdata;
}

void tar_reader_free(TarReader *r) {
        entry_clear(&r->entry);
        g_free(r);
}
