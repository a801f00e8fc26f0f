/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The tar writer.
 *
 * Entries become ustar headers; what those cannot hold goes into pax records before them: long names and names that are
 * not ASCII, times with nanoseconds or before 1970, large sizes and ids, extended attributes (SCHILY.xattr, as GNU tar,
 * Go and libarchive read them; LIBARCHIVE.xattr where a name holds '='). Names that are not UTF-8 are written as they
 * are, long ones under "hdrcharset=BINARY". Nothing but the entries decides what is written, no clock and no user name,
 * so the same tree always has the same digest. Format: POSIX.1-2017 pax, "Extended Interchange Format".
 */

#include "store/tar-write.h"

#include <string.h>

#include "store/error.h"

#define OCTAL_MAX(digits) (((guint64)1 << 3 * (digits)) - 1)

typedef struct {
        char name[100];
        char mode[8];
        char uid[8];
        char gid[8];
        char size[12];
        char mtime[12];
        char checksum[8];
        char type;
        char link[100];
        char magic[8];
        char uname[32];
        char gname[32];
        char major[8];
        char minor[8];
        char prefix[155];
        char pad[12];
} Header;

G_STATIC_ASSERT(sizeof(Header) == TAR_BLOCK);

static gboolean is_ascii(const char *s) {
        for (; *s; s++)
                if ((guint8)*s >= 0x80)
                        return FALSE;
        return TRUE;
}

static void put_octal(char *field, gsize size, guint64 value) {
        for (gsize i = size - 1; i > 0; i--, value >>= 3)
                field[i - 1] = (char)('0' + (value & 7));
}

/* A name may fill its field to the last byte. */
static void put_text(char *field, gsize size, const char *text, gsize n) {
        memcpy(field, text, MIN(n, size));
}

static void put_checksum(Header *h) {
        const guint8 *bytes = (const guint8 *)h;
        guint sum = 0;

        memset(h->checksum, ' ', sizeof(h->checksum));
        for (gsize i = 0; i < sizeof(*h); i++)
                sum += bytes[i];
        put_octal(h->checksum, 7, sum);
        h->checksum[6] = '\0';
}

/* "LENGTH KEY=VALUE\n", where the length counts its own digits. */
static void put_record(GString *records, const char *key, const void *value, gsize size) {
        gsize rest = strlen(key) + size + 3, length = rest + 1;

        for (gsize digits = 1, above = 10; length >= above; above *= 10)
                length = rest + ++digits;
        g_string_append_printf(records, "%zu %s=", length, key);
        g_string_append_len(records, value, (gssize)size);
        g_string_append_c(records, '\n');
}

static void put_number(GString *records, const char *key, guint64 value) {
        g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, value);

        put_record(records, key, text, strlen(text));
}

static void put_time(GString *records, gint64 seconds, guint32 nsec) {
        g_autoptr(GString) text = g_string_new(NULL);

        if (seconds < 0 && nsec > 0) {
                /* -0.25 is one second before the epoch and 0.75 after that. */
                g_string_append_printf(text, "-%" G_GINT64_FORMAT ".%09u", -(seconds + 1), 1000000000 - nsec);
        } else {
                g_string_append_printf(text, "%" G_GINT64_FORMAT, seconds);
                if (nsec > 0)
                        g_string_append_printf(text, ".%09u", nsec);
        }
        while (nsec > 0 && text->str[text->len - 1] == '0')
                g_string_truncate(text, text->len - 1);
        put_record(records, "mtime", text->str, text->len);
}

static void put_xattr(GString *records, const char *name, const void *value, gsize size) {
        g_autofree char *key = NULL;

        if (strchr(name, '=')) {
                g_autofree char *escaped = g_uri_escape_string(name, NULL, FALSE);
                g_autofree char *text = g_base64_encode(value, size);

                key = g_strconcat("LIBARCHIVE.xattr.", escaped, NULL);
                put_record(records, key, text, strcspn(text, "="));
                return;
        }
        key = g_strconcat("SCHILY.xattr.", name, NULL);
        put_record(records, key, value, size);
}

static void put_xattrs(GString *records, GVariant *xattrs) {
        GVariantIter iter;
        GVariant *name, *value;

        g_variant_iter_init(&iter, xattrs);
        while (g_variant_iter_next(&iter, "(@ay@ay)", &name, &value)) {
                g_autoptr(GVariant) n = name, v = value;
                gsize size;
                const void *data = g_variant_get_fixed_array(v, &size, 1);

                put_xattr(records, g_variant_get_bytestring(n), data, size);
        }
}

/* Where a path can be cut for prefix and name: after the slash there is a name of at most 100 bytes. -1: nowhere */
static gssize prefix_size(const char *path, gsize size) {
        for (gsize i = MIN(size - 1, sizeof(((Header *)NULL)->prefix)); i > 0; i--)
                if (path[i] == '/' && i + 1 < size && size - i - 1 <= sizeof(((Header *)NULL)->name))
                        return (gssize)i;
        return -1;
}

/* TRUE: the text cannot stand in the header as it is */
static gboolean needs_record(const char *text, gboolean fits) {
        return !fits || (!is_ascii(text) && g_utf8_validate(text, -1, NULL));
}

static void put_path(Header *h, GString *records, gboolean *binary, const char *path) {
        gsize size = strlen(path);
        gssize cut = size <= sizeof(h->name) ? 0 : prefix_size(path, size);

        if (needs_record(path, cut >= 0)) {
                put_record(records, "path", path, size);
                *binary = *binary || !g_utf8_validate(path, -1, NULL);
        }
        if (cut > 0) {
                put_text(h->prefix, sizeof(h->prefix), path, (gsize)cut);
                path += cut + 1;
                size -= (gsize)cut + 1;
        }
        put_text(h->name, sizeof(h->name), path, size);
}

static void put_link(Header *h, GString *records, gboolean *binary, const char *link) {
        gsize size = strlen(link);

        if (needs_record(link, size <= sizeof(h->link))) {
                put_record(records, "linkpath", link, size);
                *binary = *binary || !g_utf8_validate(link, -1, NULL);
        }
        put_text(h->link, sizeof(h->link), link, size);
}

/* A number where the header can hold it, else a record and zero. */
static guint64 number_or_record(GString *records, const char *key, guint64 value, guint64 max) {
        if (value <= max)
                return value;
        put_number(records, key, value);
        return 0;
}

static void put_numbers(Header *h, GString *records, const TarEntry *e) {
        gboolean plain = e->mtime >= 0 && (guint64)e->mtime <= OCTAL_MAX(11);

        put_octal(h->mode, sizeof(h->mode), e->mode & 07777);
        put_octal(h->uid, sizeof(h->uid), number_or_record(records, "uid", e->uid, OCTAL_MAX(7)));
        put_octal(h->gid, sizeof(h->gid), number_or_record(records, "gid", e->gid, OCTAL_MAX(7)));
        put_octal(h->size, sizeof(h->size),
                  e->type == TAR_FILE ? number_or_record(records, "size", e->size, OCTAL_MAX(11)) : 0);
        put_octal(h->mtime, sizeof(h->mtime), plain ? (guint64)e->mtime : 0);
        if (!plain || e->mtime_nsec > 0)
                put_time(records, e->mtime, e->mtime_nsec);
        if (e->type == TAR_CHAR || e->type == TAR_BLOCK_DEVICE) {
                put_octal(h->major, sizeof(h->major), e->major & OCTAL_MAX(7));
                put_octal(h->minor, sizeof(h->minor), e->minor & OCTAL_MAX(7));
        }
}

static void header_begin(Header *h, char type) {
        *h = (Header){ .type = type };
        memcpy(h->magic, "ustar\00000", 8);
}

/* The entry that carries the records: its name says whose they are, for readers that do not know the type. */
static void put_extended(GByteArray *out, const GString *records, const char *path) {
        const char *slash = strrchr(path, '/');
        g_autofree char *name = g_strdup_printf("PaxHeaders/%.80s", slash && slash[1] ? slash + 1 : path);
        Header h;

        for (char *c = name; *c; c++)
                if ((guint8)*c >= 0x80)
                        *c = '_';
        header_begin(&h, 'x');
        put_text(h.name, sizeof(h.name), name, strlen(name));
        put_octal(h.mode, sizeof(h.mode), 0644);
        put_octal(h.uid, sizeof(h.uid), 0);
        put_octal(h.gid, sizeof(h.gid), 0);
        put_octal(h.size, sizeof(h.size), records->len);
        put_octal(h.mtime, sizeof(h.mtime), 0);
        put_checksum(&h);
        g_byte_array_append(out, (const guint8 *)&h, sizeof(h));
        g_byte_array_append(out, (const guint8 *)records->str, (guint)records->len);
        tar_write_padding(out, records->len);
}

static gboolean check_entry(const TarEntry *e, GError **error) {
        if (!e->path || e->path[0] == '\0')
                return store_fail(error, STORE_FAIL_INTERNAL, "An entry of an archive has no name");
        if (!strchr("0123456", e->type) || e->type == '\0' || e->parts)
                return store_fail(error, STORE_FAIL_INTERNAL, "Entry '%s' cannot be written: its type is not known",
                                  e->path);
        return TRUE;
}

/** tar_write_header() - append an entry's headers to @out
 *
 * Paths are written as they are, bytes but NUL; a directory's gets the '/' at its end that old readers look for.
 */
gboolean tar_write_header(GByteArray *out, const TarEntry *e, GError **error) {
        g_autoptr(GString) records = g_string_new(NULL), charset = g_string_new(NULL);
        g_autofree char *directory = NULL;
        gboolean binary = FALSE;
        Header h;

        if (!check_entry(e, error))
                return FALSE;
        if (e->type == TAR_DIRECTORY && !g_str_has_suffix(e->path, "/"))
                directory = g_strconcat(e->path, "/", NULL);
        header_begin(&h, e->type);
        put_path(&h, records, &binary, directory ? directory : e->path);
        if (e->type == TAR_SYMLINK || e->type == TAR_HARDLINK)
                put_link(&h, records, &binary, e->link ? e->link : "");
        put_numbers(&h, records, e);
        if (e->xattrs && e->type != TAR_HARDLINK)
                put_xattrs(records, e->xattrs);
        if (binary) {
                put_record(charset, "hdrcharset", "BINARY", strlen("BINARY"));
                g_string_prepend_len(records, charset->str, (gssize)charset->len);
        }
        if (records->len > 0)
                put_extended(out, records, e->path);
        put_checksum(&h);
        g_byte_array_append(out, (const guint8 *)&h, sizeof(h));
        return TRUE;
}

static void put_zeros(GByteArray *out, guint n) {
        guint at = out->len;

        g_byte_array_set_size(out, at + n);
        memset(out->data + at, 0, n);
}

/** tar_write_padding() - what follows @size bytes of data */
void tar_write_padding(GByteArray *out, guint64 size) {
        put_zeros(out, (guint)((TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK));
}

/** tar_write_end() - the end mark: two blocks of zeros */
void tar_write_end(GByteArray *out) {
        put_zeros(out, 2 * TAR_BLOCK);
}

typedef struct {
        Stream base;
        TarNext next;
        void *userdata;
        GByteArray *pending; /* headers and padding */
        gsize at;            /* in pending */
        Stream *data;
        guint64 left; /* of data */
        guint64 size; /* of data */
        char *path;   /* of data, for messages */
        gboolean ended;
} TarStream;

/* 1: there is something to read, 0: the end, -1: error */
static int tar_stream_advance(TarStream *t, GError **error) {
        const TarEntry *e = NULL;
        Stream *data = NULL;
        int r;

        g_byte_array_set_size(t->pending, 0);
        t->at = 0;
        if (t->ended)
                return 0;
        r = t->next(t->userdata, &e, &data, error);
        if (r < 0)
                return -1;
        if (r == 0) {
                t->ended = TRUE;
                tar_write_end(t->pending);
                return 1;
        }
        t->data = data;
        t->size = t->left = e->type == TAR_FILE ? e->size : 0;
        g_free(t->path);
        t->path = g_strdup(e->path);
        if (!tar_write_header(t->pending, e, error))
                return -1;
        if (t->left > 0 && !data)
                return store_fail(error, STORE_FAIL_INTERNAL, "Entry '%s' has no data", e->path), -1;
        return 1;
}

static gssize tar_stream_data(TarStream *t, void *buffer, gsize size, GError **error) {
        gssize n = stream_read(t->data, buffer, MIN(size, t->left), error);

        if (n < 0)
                return -1;
        if (n == 0)
                return store_fail(error, STORE_FAIL_INTERNAL, "'%s' became shorter while it was read", t->path), -1;
        t->left -= (guint64)n;
        return n;
}

/* After the data: it has to end here too; padding comes next. */
static gboolean tar_stream_leave(TarStream *t, GError **error) {
        guint8 byte;
        gssize n = t->size > 0 ? stream_read(t->data, &byte, 1, error) : 0;

        if (n < 0)
                return FALSE;
        if (n > 0)
                return store_fail(error, STORE_FAIL_INTERNAL, "'%s' became longer while it was read", t->path);
        g_clear_pointer(&t->data, stream_free);
        g_byte_array_set_size(t->pending, 0);
        t->at = 0;
        tar_write_padding(t->pending, t->size);
        return TRUE;
}

static gssize tar_stream_read(Stream *s, void *buffer, gsize size, GError **error) {
        TarStream *t = (TarStream *)s;

        while (t->at == t->pending->len) {
                int r = 1;

                if (t->left > 0)
                        return tar_stream_data(t, buffer, size, error);
                if (t->data)
                        r = tar_stream_leave(t, error) ? 1 : -1;
                else
                        r = tar_stream_advance(t, error);
                if (r <= 0)
                        return r;
        }
        size = MIN(size, t->pending->len - t->at);
        memcpy(buffer, t->pending->data + t->at, size);
        t->at += size;
        return (gssize)size;
}

static void tar_stream_free(Stream *s) {
        TarStream *t = (TarStream *)s;

        stream_free(t->data);
        g_byte_array_unref(t->pending);
        g_free(t->path);
}

/** tar_write_stream() - the archive of the entries @next gives, pulled as it is read; @userdata stays the caller's */
Stream *tar_write_stream(TarNext next, void *userdata) {
        TarStream *t = g_new0(TarStream, 1);

        t->base.read = tar_stream_read;
        t->base.free = tar_stream_free;
        t->next = next;
        t->userdata = userdata;
        t->pending = g_byte_array_new();
        return &t->base;
}
