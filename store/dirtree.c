/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * libostree's directory objects, byte by byte.
 *
 * A directory's object is a GVariant "(a(say)a(sayay))", its attributes' one "(uuua(ayay))" (ostree-core.h,
 * "OSTREE_TREE_GVARIANT_FORMAT" and "OSTREE_DIRMETA_GVARIANT_FORMAT"). An image has tens of thousands of names, and
 * making a GVariant of each part of each would be most of what an operation on trees costs. In these types nothing but
 * the numbers is aligned, so a container is its members one after the other and behind them the offsets at which those
 * of varying size end, little-endian: in an array all, in a structure all but the last's, backwards (GVariant
 * specification, "Framing Offsets"). This only writes; what is read is libostree's and GLib's business.
 */

#include "store/dirtree.h"

#include <string.h>

/* The bytes of an offset: of the narrowest kind that can hold the container's own size. */
static guint offset_width(gsize body, gsize n) {
        if (body + n <= G_MAXUINT8)
                return 1;
        if (body + 2 * n <= G_MAXUINT16)
                return 2;
        return body + 4 * n <= G_MAXUINT32 ? 4 : 8;
}

static void put_offset(GByteArray *to, gsize offset, guint width) {
        const guint64 little = GUINT64_TO_LE((guint64)offset);

        g_byte_array_append(to, (const guint8 *)&little, width);
}

static void list_init(DirtreeList *l) {
        l->bytes = g_byte_array_new();
        l->ends = g_array_new(FALSE, FALSE, sizeof(gsize));
}

static void list_done(DirtreeList *l) {
        g_clear_pointer(&l->bytes, g_byte_array_unref);
        g_clear_pointer(&l->ends, g_array_unref);
}

/* An element: a name and one or two checksums, each of which but the last has its end written down. */
static void list_add(DirtreeList *l, const char *name, const guint8 *first, const guint8 *second) {
        const gsize name_size = strlen(name) + 1;
        const gsize body = name_size + (second ? 2 : 1) * DIGEST_SIZE;
        const guint width = offset_width(body, second ? 2 : 1);
        gsize end;

        g_byte_array_append(l->bytes, (const guint8 *)name, (guint)name_size);
        g_byte_array_append(l->bytes, first, DIGEST_SIZE);
        if (second) {
                g_byte_array_append(l->bytes, second, DIGEST_SIZE);
                put_offset(l->bytes, name_size + DIGEST_SIZE, width);
        }
        put_offset(l->bytes, name_size, width);
        end = l->bytes->len;
        g_array_append_val(l->ends, end);
}

static void list_finish(DirtreeList *l) {
        const guint width = offset_width(l->bytes->len, l->ends->len);

        for (guint i = 0; i < l->ends->len; i++)
                put_offset(l->bytes, g_array_index(l->ends, gsize, i), width);
}

/** dirtree_init() - an empty directory, which dirtree_done() frees */
void dirtree_init(Dirtree *d) {
        list_init(&d->files);
        list_init(&d->directories);
}

void dirtree_done(Dirtree *d) {
        list_done(&d->files);
        list_done(&d->directories);
}

/** dirtree_add_file() - a file or symbolic link, in the order of the names' bytes; @name is UTF-8 */
void dirtree_add_file(Dirtree *d, const char *name, const guint8 checksum[DIGEST_SIZE]) {
        list_add(&d->files, name, checksum, NULL);
}

/** dirtree_add_directory() - a directory by the objects of its entries and of its attributes; as dirtree_add_file() */
void dirtree_add_directory(Dirtree *d, const char *name, const guint8 tree[DIGEST_SIZE],
                           const guint8 meta[DIGEST_SIZE]) {
        list_add(&d->directories, name, tree, meta);
}

/** dirtree_finish() - the whole object, which stays @d's; nothing can be added afterwards */
const GByteArray *dirtree_finish(Dirtree *d) {
        GByteArray *all = d->files.bytes;
        gsize end;

        list_finish(&d->files);
        list_finish(&d->directories);
        end = all->len;
        g_byte_array_append(all, d->directories.bytes->data, d->directories.bytes->len);
        put_offset(all, end, offset_width(all->len, 1));
        return all;
}

/** dirmeta_bytes() - owner, mode and attributes of a directory; the numbers are big-endian */
GByteArray *dirmeta_bytes(const Inode *i) {
        const guint32 numbers[] = { GUINT32_TO_BE(i->uid), GUINT32_TO_BE(i->gid), GUINT32_TO_BE(i->mode) };
        GByteArray *all = g_byte_array_new();

        g_byte_array_append(all, (const guint8 *)numbers, sizeof(numbers));
        if (i->xattrs)
                g_byte_array_append(all, g_variant_get_data(i->xattrs), (guint)g_variant_get_size(i->xattrs));
        return all;
}
