/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Extended attributes of an inode in an EROFS image.
 *
 * Beside those of the image itself a file with content has the two that make overlayfs take the content from the data
 * layer: trusted.overlay.metacopy, empty, says that this inode has none, trusted.overlay.redirect names the file that
 * has, absolute below the data layer (Documentation/filesystems/overlayfs.rst, "Metadata only copy up" and "Data-only
 * lower layers"). An image's own trusted.overlay.* would be obeyed just so, and are left out. All attributes follow
 * their inode, none are shared between inodes.
 */

#include "store/erofs-xattr.h"

#include <string.h>

#include "shared/erofs-format.h"
#include "store/erofs.h"
#include "store/error.h"
#include "store/objects.h"

#define OVERLAY_PREFIX "trusted.overlay."
#define METACOPY "overlay.metacopy"
#define REDIRECT "overlay.redirect"
#define XATTRS_MAX ((gsize)G_MAXUINT16 * 4) /* what xattr_count can say */

static const struct {
        const char *prefix;
        guint8 index;
        gboolean whole; /* nothing follows it */
} prefixes[] = {
        { "user.", EROFS_XATTR_USER, FALSE },
        { "trusted.", EROFS_XATTR_TRUSTED, FALSE },
        { "security.", EROFS_XATTR_SECURITY, FALSE },
        { "system.posix_acl_access", EROFS_XATTR_ACL_ACCESS, TRUE },
        { "system.posix_acl_default", EROFS_XATTR_ACL_DEFAULT, TRUE },
};

/* One attribute in the image's terms; name and value are the variant's. */
typedef struct {
        const char *name; /* without its prefix */
        gsize name_size;
        guint8 prefix;
        const void *value;
        gsize value_size;
} Xattr;

static gsize padded(gsize size) {
        return (size + 3) & ~(gsize)3;
}

static gsize xattr_size(const Xattr *x) {
        return padded(sizeof(struct erofs_xattr) + x->name_size + x->value_size);
}

/* FALSE: this one is left out. *ret_known tells whether an image can hold such a name at all. What is returned lies in
 * the memory of @all, whose serial form is made if it has none yet. */
static gboolean xattr_get(GVariant *all, gsize n, Xattr *ret, const char **ret_name, gboolean *ret_known) {
        g_autoptr(GVariant) pair = NULL, name = NULL, value = NULL;
        const char *text;

        (void)g_variant_get_data(all);
        pair = g_variant_get_child_value(all, n);
        name = g_variant_get_child_value(pair, 0);
        value = g_variant_get_child_value(pair, 1);
        text = g_variant_get_bytestring(name);

        *ret_name = text;
        *ret_known = TRUE;
        if (g_str_has_prefix(text, OVERLAY_PREFIX))
                return FALSE;
        for (gsize i = 0; i < G_N_ELEMENTS(prefixes); i++) {
                gsize skip = strlen(prefixes[i].prefix);

                if (!g_str_has_prefix(text, prefixes[i].prefix) || prefixes[i].whole != (text[skip] == '\0'))
                        continue;
                *ret = (Xattr){ .name = text + skip, .name_size = strlen(text + skip), .prefix = prefixes[i].index };
                ret->value = g_variant_get_fixed_array(value, &ret->value_size, 1);
                return TRUE;
        }
        *ret_known = FALSE;
        return FALSE;
}

static gboolean has_content(const Inode *i) {
        return S_ISREG(i->mode) && i->size > 0;
}

static void overlay_xattrs(const Inode *i, Xattr ret[2], char path[OBJECT_NAME + 1]) {
        path[0] = '/';
        object_name(i->checksum, ".file", path + 1);
        ret[0] = (Xattr){ METACOPY, strlen(METACOPY), EROFS_XATTR_TRUSTED, "", 0 };
        ret[1] = (Xattr){ REDIRECT, strlen(REDIRECT), EROFS_XATTR_TRUSTED, path, strlen(path) };
}

/** erofs_xattrs_size() - bytes that erofs_xattrs_append() will append: 0 or a multiple of 4 */
gboolean erofs_xattrs_size(const Inode *i, gsize *ret, GError **error) {
        gsize n = i->xattrs ? g_variant_n_children(i->xattrs) : 0, size = 0;
        char path[OBJECT_NAME + 1];
        Xattr x[2];

        if (has_content(i)) {
                overlay_xattrs(i, x, path);
                size = xattr_size(&x[0]) + xattr_size(&x[1]);
        }
        for (gsize k = 0; k < n; k++) {
                const char *name;
                gboolean known;

                if (xattr_get(i->xattrs, k, x, &name, &known)) {
                        if (x->name_size > G_MAXUINT8 || x->value_size > G_MAXUINT16)
                                return store_fail(error, STORE_FAIL_UNSUPPORTED,
                                                  "Extended attribute '%s' is too large for an EROFS image", name);
                        size += xattr_size(x);
                } else if (!known)
                        return store_fail(error, STORE_FAIL_UNSUPPORTED,
                                          "An EROFS image cannot hold extended attribute '%s'", name);
        }
        if (size > XATTRS_MAX - 4)
                return store_fail(error, STORE_FAIL_UNSUPPORTED,
                                  "A file's extended attributes are too large for an EROFS image");
        *ret = size > 0 ? sizeof(struct erofs_xattr_header) + size : 0;
        return TRUE;
}

static void append_xattr(GByteArray *out, const Xattr *x) {
        const struct erofs_xattr head = { .name_size = (guint8)x->name_size,
                                          .prefix = x->prefix,
                                          .value_size = GUINT16_TO_LE((guint16)x->value_size) };
        guint end = out->len + (guint)xattr_size(x);
        static const guint8 zeros[4];

        g_byte_array_append(out, (const guint8 *)&head, sizeof(head));
        g_byte_array_append(out, (const guint8 *)x->name, (guint)x->name_size);
        if (x->value_size > 0)
                g_byte_array_append(out, x->value, (guint)x->value_size);
        g_byte_array_append(out, zeros, end - out->len);
}

/** erofs_xattrs_append() - append header and attributes of an inode for which erofs_xattrs_size() has been successful
 */
void erofs_xattrs_append(GByteArray *out, const Inode *i) {
        gsize n = i->xattrs ? g_variant_n_children(i->xattrs) : 0;
        const struct erofs_xattr_header head = { 0 };
        guint begin = out->len;
        char path[OBJECT_NAME + 1];
        Xattr x[2];

        g_byte_array_append(out, (const guint8 *)&head, sizeof(head));
        if (has_content(i)) {
                overlay_xattrs(i, x, path);
                append_xattr(out, &x[0]);
                append_xattr(out, &x[1]);
        }
        for (gsize k = 0; k < n; k++) {
                const char *name;
                gboolean known;

                if (xattr_get(i->xattrs, k, x, &name, &known))
                        append_xattr(out, x);
        }
        if (out->len == begin + sizeof(head))
                g_byte_array_set_size(out, begin);
}
