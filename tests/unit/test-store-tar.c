/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Unit tests of the tar reader: what it makes of headers, that every byte is either data or given to the raw callback,
 * and that no damaged archive makes it do more than refuse.
 */

#include "store/tar.h"

#include "store/error.h"
#include "tests/unit/store-tar.h"

typedef struct {
        GByteArray *bytes; /* NULL: only count */
        guint64 n;
} Sink;

static gboolean sink_raw(void *userdata, const void *data, gsize size, GError **error G_GNUC_UNUSED) {
        Sink *s = userdata;

        s->n += size;
        if (s->bytes)
                g_byte_array_append(s->bytes, data, (guint)size);
        return TRUE;
}

/* Reads an archive through: the entries' paths with types and contents as one text. NULL with error. */
static char *read_all(const GByteArray *tar, Sink *sink, GError **error) {
        g_autoptr(Stream) s = stream_new_memory(tar->data, tar->len);
        g_autoptr(TarReader) r = NULL;
        g_autoptr(GString) text = g_string_new(NULL);
        StoreLimits limits;
        const TarEntry *e;
        int n;

        store_limits_init(&limits);
        r = tar_reader_new(s, &limits);
        tar_reader_set_raw(r, sink_raw, sink);
        while ((n = tar_reader_next(r, &e, error)) > 0) {
                char buffer[7];
                gssize got;

                sink->n += e->stored;
                g_string_append_printf(text, "%c %s", e->type, e->path);
                if (e->link[0])
                        g_string_append_printf(text, " -> %s", e->link);
                for (gsize total = 0; total < 4096 && (got = tar_reader_data(r, buffer, sizeof(buffer), error)) != 0;
                     total += (gsize)got) {
                        if (got < 0)
                                return NULL;
                        for (gssize i = 0; i < got; i++)
                                buffer[i] = buffer[i] ? buffer[i] : '.';
                        g_string_append_len(total ? text : g_string_append(text, " = "), buffer, got);
                }
                g_string_append_c(text, '\n');
        }
        return n == 0 ? g_string_free(g_steal_pointer(&text), FALSE) : NULL;
}

static void check(GByteArray *tar, const char *expected) {
        g_autoptr(GByteArray) owned = tar;
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL;
        Sink sink = { NULL };

        text = read_all(owned, &sink, &error);
        g_assert_no_error(error);
        g_assert_cmpstr(text, ==, expected);
        g_assert_cmpuint(sink.n, ==, owned->len);
}

static void refuse(GByteArray *tar, StoreFail code) {
        g_autoptr(GByteArray) owned = tar;
        g_autoptr(GError) error = NULL;
        Sink sink = { NULL };

        g_assert_null(read_all(owned, &sink, &error));
        g_assert_error(error, STORE_FAIL, (int)code);
}

static void test_entries(void) {
        check(TAR_OF({ "a/", '5' }, { "a/f", '0', "hello" }, { "a/l", '2', "f" }, { "a/h", '1', "a/f" }, { "p", '6' }),
              "5 a/\n0 a/f = hello\n2 a/l -> f\n1 a/h -> a/f\n6 p\n");
        check(TAR_OF({ "old/", '-' }, { "new", '-' }, { "seven", '7' }), "5 old/\n0 new\n0 seven\n");
        check(TAR_OF({ "long", 'L', "name/of/the/next" }, { "short", '0', "x" }), "0 name/of/the/next = x\n");
        check(TAR_OF({ "x", 'K', "far/away" }, { "l", '2', "near" }), "2 l -> far/away\n");
        check(TAR_OF({ "f", '0', "x", "15 path=longer\n12 gid=4444\n" }), "0 longer = x\n");
        check(TAR_OF({ "f", '0', "x", "16 comment=a\nbc\n" }), "0 f = x\n");
}

static void test_refusals(void) {
        static const char *const records[] = {
                "x",           "9 a=b",   "7 a=bcd\n",   "999 a=b\n",           "5 ab\n",
                "6 =ab\n",     "0 a=b\n", "10 uid=x1\n", "18 uid=4294967295\n", "28 size=9223372036854775808\n",
                "11 mtime=x\n"
        };

        for (guint i = 0; i < G_N_ELEMENTS(records); i++)
                refuse(TAR_OF({ "f", '0', "x", records[i] }), STORE_FAIL_INVALID);
        refuse(TAR_OF({ "f", 'V' }), STORE_FAIL_UNSUPPORTED);
        refuse(TAR_OF({ "f", '0', "x", "28 size=9223372036854775807\n" }), STORE_FAIL_EXHAUSTED);
}

static void test_truncation(void) {
        g_autoptr(GByteArray) whole = TAR_OF({ "d/", '5' }, { "f", '0', "hello", "15 path=longer\n" });

        for (guint size = 1; size < whole->len - 1024; size++) {
                GByteArray *part;

                if (size == 512)
                        continue; /* an entry's border: the reader says so by tar_reader_marked() */
                part = g_byte_array_new();
                g_byte_array_append(part, whole->data, size);
                refuse(part, STORE_FAIL_INVALID);
        }
}

static void test_end_mark(void) {
        GByteArray *tar = TAR_OF({ "f", '0', "x" });

        g_byte_array_append(tar, (const guint8 *)"x", 1);
        refuse(tar, STORE_FAIL_INVALID);
        tar = TAR_OF({ "f", '0', "x" });
        g_byte_array_set_size(tar, tar->len - 512);
        check(tar, "0 f = x\n");
        tar = g_byte_array_new();
        check(tar, "");
}

static void test_numbers(void) {
        static const struct {
                const char bytes[13];
                gboolean good;
        } rows[] = {
                { "00000000005\0", TRUE },
                { "          5\0", TRUE },
                { "5\0\0\0\0\0\0\0\0\0\0\0", TRUE },
                { "\x80\0\0\0\0\0\0\0\0\0\0\x05", TRUE },
                { "\x80\0\0\0\x80\0\0\0\0\0\0\x05", FALSE },
                { "\x81\0\0\0\0\0\0\0\0\0\0\x05", FALSE },
                { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", FALSE },
                { "0000000000x\0", FALSE },
                { "9\0\0\0\0\0\0\0\0\0\0\0", FALSE },
        };

        for (guint i = 0; i < G_N_ELEMENTS(rows); i++) {
                GByteArray *tar = TAR_OF({ "f", '0', "12345" });

                memcpy(tar->data + 124, rows[i].bytes, 12);
                test_checksum(tar->data);
                if (rows[i].good)
                        check(tar, "0 f = 12345\n");
                else
                        refuse(tar, STORE_FAIL_INVALID);
        }
}

/* A header whose name has two bytes from 128 on, with a sum that is off by so much. */
static GByteArray *header_off_by(gint off) {
        GByteArray *tar = TAR_OF({ "\xc3\xbc", '0', "x" });
        gint64 sum = g_ascii_strtoll((const char *)tar->data + 148, NULL, 8);

        g_snprintf((char *)tar->data + 148, 8, "%06o", (guint)(sum + off));
        return tar;
}

static void test_checksums(void) {
        check(header_off_by(0), "0 \xc3\xbc = x\n");
        check(header_off_by(-2 * 256), "0 \xc3\xbc = x\n"); /* summed as signed bytes */
        refuse(header_off_by(-256), STORE_FAIL_INVALID);
        refuse(header_off_by(1), STORE_FAIL_INVALID);
        refuse(header_off_by(-1), STORE_FAIL_INVALID);
}

static void test_xattrs(void) {
        g_autoptr(GByteArray) tar =
                TAR_OF({ "f", '0', "x",
                         "28 SCHILY.xattr.user.b=two\n\n28 SCHILY.xattr.user.a=one!\n"
                         "38 SCHILY.xattr.trusted.overlay.y=yes\n35 LIBARCHIVE.xattr.user.c%20=dGVu\n" });
        g_autoptr(Stream) s = stream_new_memory(tar->data, tar->len);
        g_autoptr(TarReader) r = NULL;
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL;
        StoreLimits limits;
        const TarEntry *e;

        store_limits_init(&limits);
        r = tar_reader_new(s, &limits);
        g_assert_cmpint(tar_reader_next(r, &e, &error), ==, 1);
        g_assert_no_error(error);
        text = g_variant_print(e->xattrs, FALSE);
        g_assert_cmpstr(text, ==,
                        "[(b'user.a', [0x6f, 0x6e, 0x65, 0x21]), (b'user.b', [0x74, 0x77, 0x6f, 0x0a]), "
                        "(b'user.c ', [0x74, 0x65, 0x6e])]");
}

static void test_sparse(void) {
        check(TAR_OF({ "s", '0', "abcd", "26 GNU.sparse.map=2,3,6,1\n25 GNU.sparse.size=00008\n" }),
              "0 s = ..abc.d.\n");
}

/* Damage of every kind and place: the reader may refuse, and must neither crash nor read for ever. */
static void test_mutations(void) {
        g_autoptr(GByteArray) whole =
                TAR_OF({ "d/", '5' }, { "f", '0', "hello", "15 path=longer\n32 SCHILY.xattr.user.abcd=value\n" },
                       { "x", 'L', "a/long/name" }, { "y", '2', "z" }, { "h", '1', "f" });
        g_autoptr(GRand) random = g_rand_new_with_seed(7);

        for (guint i = 0; i < 20000; i++) {
                g_autoptr(GByteArray) bad = g_byte_array_new();
                g_autoptr(GError) error = NULL;
                g_autofree char *text = NULL;
                Sink sink = { NULL };
                guint block;

                g_byte_array_append(bad, whole->data, whole->len);
                block = (guint)g_rand_int_range(random, 0, (gint32)(bad->len / 512));
                for (guint n = (guint)g_rand_int_range(random, 1, 6); n > 0; n--)
                        bad->data[block * 512 + (guint)g_rand_int_range(random, 0, n % 2 ? 512 : 160)] =
                                (guint8)g_rand_int(random);
                if (i % 4)
                        test_checksum(bad->data + (gsize)block * 512);
                text = read_all(bad, &sink, &error);
                g_assert_true((text != NULL) != (error != NULL));
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/store/tar/entries", test_entries);
        g_test_add_func("/store/tar/refusals", test_refusals);
        g_test_add_func("/store/tar/truncation", test_truncation);
        g_test_add_func("/store/tar/end-mark", test_end_mark);
        g_test_add_func("/store/tar/numbers", test_numbers);
        g_test_add_func("/store/tar/checksums", test_checksums);
        g_test_add_func("/store/tar/xattrs", test_xattrs);
        g_test_add_func("/store/tar/sparse", test_sparse);
        g_test_add_func("/store/tar/mutations", test_mutations);
        return g_test_run();
}
