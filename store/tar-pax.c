/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Extended headers of tar archives (POSIX pax, with the keys of GNU tar, star and libarchive).
 *
 * A record is "LENGTH KEY=VALUE\n", the length in decimal and counting itself. What describes the file system is taken
 * out and checked here; unknown keys are let pass. The reader in tar.c owns the result for one entry. No value is
 * trusted to be text: paths and attribute values may hold any byte but NUL (values of attributes any).
 */

#include <errno.h>
#include <string.h>

#include "store/error.h"
#include "store/tar-pax.h"
#include "store/tar.h"

#define PARTS_MAX 65536U

TarPax *tar_pax_new(void) {
        return g_new0(TarPax, 1);
}

void tar_pax_free(TarPax *pax) {
        g_free(pax->path);
        g_free(pax->link);
        g_free(pax->sparse_name);
        g_clear_pointer(&pax->xattrs, g_hash_table_unref);
        g_clear_pointer(&pax->parts, g_array_unref);
        g_free(pax);
}

/** tar_parts_add() - append a stored piece of a sparse file; pieces come in order and do not overlap */
gboolean tar_parts_add(GArray *parts, guint64 offset, guint64 size, GError **error) {
        TarPart part = { offset, size };

        if (parts->len >= PARTS_MAX)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "A sparse file has more than %u pieces", PARTS_MAX);
        if (offset > G_MAXINT64 || size > G_MAXINT64 - offset)
                return store_fail(error, STORE_FAIL_INVALID, "A sparse file's map is out of range");
        if (parts->len > 0) {
                const TarPart *last = &g_array_index(parts, TarPart, parts->len - 1);

                if (offset < last->offset + last->size)
                        return store_fail(error, STORE_FAIL_INVALID, "A sparse file's map is out of order");
        }
        g_array_append_val(parts, part);
        return TRUE;
}

static gboolean pax_bad(const char *key, GError **error) {
        return store_fail(error, STORE_FAIL_INVALID, "The extended header's '%s' is malformed", key);
}

static gboolean pax_u64(const char *key, const char *value, gsize size, guint64 max, guint64 *ret, GError **error) {
        guint64 n = 0;

        if (size == 0 || size > 20)
                return pax_bad(key, error);
        for (gsize i = 0; i < size; i++) {
                if (value[i] < '0' || value[i] > '9' || n > (max - (guint64)(value[i] - '0')) / 10)
                        return pax_bad(key, error);
                n = n * 10 + (guint64)(value[i] - '0');
        }
        if (n > max)
                return pax_bad(key, error);
        *ret = n;
        return TRUE;
}

static gboolean pax_time(const char *value, gsize size, gint64 *ret, guint32 *ret_nsec, GError **error) {
        gboolean negative = size > 0 && value[0] == '-';
        const char *dot = memchr(value, '.', size);
        gsize whole = dot ? (gsize)(dot - value) : size;
        guint32 nsec = 0;
        guint64 seconds = 0;

        if (!pax_u64("mtime", value + negative, whole - negative, G_MAXINT32 * G_GUINT64_CONSTANT(1024), &seconds,
                     error))
                return FALSE;
        for (gsize i = whole + 1, scale = 100000000; i < size; i++, scale /= 10) {
                if (value[i] < '0' || value[i] > '9')
                        return pax_bad("mtime", error);
                nsec += (guint32)((gsize)(value[i] - '0') * scale);
        }
        *ret = negative ? -(gint64)seconds : (gint64)seconds;
        if (negative && nsec > 0) {
                *ret -= 1;
                nsec = 1000000000 - nsec;
        }
        *ret_nsec = nsec;
        return TRUE;
}

static gboolean pax_string(const char *key, const char *value, gsize size, const StoreLimits *limits, char **ret,
                           GError **error) {
        if (memchr(value, '\0', size))
                return pax_bad(key, error);
        if (size > limits->path)
                return store_fail(error, STORE_FAIL_EXHAUSTED, "A path is longer than %" G_GUINT64_FORMAT " bytes",
                                  limits->path);
        g_free(*ret);
        *ret = g_strndup(value, size);
        return TRUE;
}

/*
 * What an image may set: attributes of users, file capabilities, access lists. Labels of the host's own policies
 * (security.*) and what only the kernel and its overlayfs should write (trusted.*) stay in the raw header.
 */
static gboolean pax_xattr_wanted(const char *name) {
        return g_str_has_prefix(name, "user.") || strcmp(name, "security.capability") == 0 ||
               strcmp(name, "system.posix_acl_access") == 0 || strcmp(name, "system.posix_acl_default") == 0;
}

/* What the kernel lets a file of this type have. */
static gboolean pax_xattr_fits(const char *name, char type) {
        if (type == TAR_DIRECTORY)
                return strcmp(name, "security.capability") != 0;
        if (strcmp(name, "system.posix_acl_default") == 0)
                return FALSE;
        if (type == TAR_FILE)
                return TRUE;
        return type != TAR_SYMLINK && strcmp(name, "system.posix_acl_access") == 0;
}

static gboolean pax_xattr(TarPax *pax, const char *name, const void *value, gsize size, gboolean replace,
                          const StoreLimits *limits, GError **error) {
        gsize name_size = strlen(name);

        if (name_size == 0 || name_size > 255)
                return pax_bad("SCHILY.xattr", error);
        pax->xattrs_size += name_size + size;
        if (size > 65536 || pax->xattrs_size > limits->xattrs)
                return store_fail(error, STORE_FAIL_EXHAUSTED,
                                  "Extended attributes hold more than %" G_GUINT64_FORMAT " bytes", limits->xattrs);
        if (!pax_xattr_wanted(name))
                return TRUE;
        if (!pax->xattrs)
                pax->xattrs = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_bytes_unref);
        if (!replace && g_hash_table_contains(pax->xattrs, name))
                return TRUE;
        g_hash_table_insert(pax->xattrs, g_strdup(name), g_bytes_new(value, size));
        return TRUE;
}

/* LIBARCHIVE.xattr: the name is URL-encoded, the value base64 without padding. */
static gboolean pax_xattr_libarchive(TarPax *pax, const char *name, const char *value, gsize size,
                                     const StoreLimits *limits, GError **error) {
        g_autofree char *plain = g_uri_unescape_string(name, NULL);
        g_autofree char *text = g_strndup(value, size);
        g_autofree char *padded = NULL;
        g_autofree guint8 *data = NULL;
        gsize n = strlen(text), n_data;

        if (!plain || n != size)
                return pax_bad("LIBARCHIVE.xattr", error);
        padded = g_strconcat(text, &"===="[4 - (4 - n % 4) % 4], NULL);
        data = g_base64_decode(padded, &n_data);
        return pax_xattr(pax, plain, data, n_data, FALSE, limits, error);
}

/* GNU.sparse.map: "offset,size,offset,size..." of format 0.1 */
static gboolean pax_sparse_map(TarPax *pax, const char *value, gsize size, GError **error) {
        const char *at = value, *end = value + size;
        guint64 pair[2] = { 0 };
        gsize i = 0;

        g_clear_pointer(&pax->parts, g_array_unref);
        pax->parts = g_array_new(FALSE, FALSE, sizeof(TarPart));
        while (at < end) {
                const char *comma = memchr(at, ',', (gsize)(end - at));
                gsize n = (gsize)((comma ? comma : end) - at);

                if (!pax_u64("GNU.sparse.map", at, n, G_MAXINT64, &pair[i], error))
                        return FALSE;
                if (i == 1 && !tar_parts_add(pax->parts, pair[0], pair[1], error))
                        return FALSE;
                i ^= 1;
                at += n + 1;
        }
        return i == 0 ? TRUE : pax_bad("GNU.sparse.map", error);
}

static gboolean pax_sparse(TarPax *pax, const char *key, const char *value, gsize size, const StoreLimits *limits,
                           GError **error) {
        const char *name = key + strlen("GNU.sparse.");
        guint64 n = 0;

        pax->has_sparse = TRUE;
        if (strcmp(name, "name") == 0)
                return pax_string(key, value, size, limits, &pax->sparse_name, error);
        if (strcmp(name, "map") == 0)
                return pax_sparse_map(pax, value, size, error);
        if (!pax_u64(key, value, size, G_MAXINT64, &n, error))
                return FALSE;
        if (strcmp(name, "major") == 0)
                pax->sparse_major = n;
        else if (strcmp(name, "minor") == 0)
                pax->sparse_minor = n;
        else if (strcmp(name, "size") == 0 || strcmp(name, "realsize") == 0)
                pax->sparse_size = n;
        else if (strcmp(name, "offset") == 0) {
                pax->sparse_offset = n;
                pax->sparse_pending = TRUE;
        } else if (strcmp(name, "numbytes") == 0) {
                if (!pax->sparse_pending)
                        return pax_bad(key, error);
                if (!pax->parts)
                        pax->parts = g_array_new(FALSE, FALSE, sizeof(TarPart));
                pax->sparse_pending = FALSE;
                return tar_parts_add(pax->parts, pax->sparse_offset, n, error);
        }
        return TRUE;
}

static gboolean pax_record(TarPax *pax, const char *key, const char *value, gsize size, const StoreLimits *limits,
                           GError **error) {
        if (strcmp(key, "path") == 0)
                return pax_string(key, value, size, limits, &pax->path, error);
        if (strcmp(key, "linkpath") == 0)
                return pax_string(key, value, size, limits, &pax->link, error);
        if (strcmp(key, "size") == 0)
                return pax->has_size = pax_u64(key, value, size, G_MAXINT64, &pax->size, error);
        if (strcmp(key, "uid") == 0)
                return pax->has_uid = pax_u64(key, value, size, G_MAXUINT32 - 1, &pax->uid, error);
        if (strcmp(key, "gid") == 0)
                return pax->has_gid = pax_u64(key, value, size, G_MAXUINT32 - 1, &pax->gid, error);
        if (strcmp(key, "mtime") == 0)
                return pax->has_mtime = pax_time(value, size, &pax->mtime, &pax->mtime_nsec, error);
        if (strcmp(key, "SCHILY.devmajor") == 0)
                return pax->has_major = pax_u64(key, value, size, 4095, &pax->major, error);
        if (strcmp(key, "SCHILY.devminor") == 0)
                return pax->has_minor = pax_u64(key, value, size, (1 << 20) - 1, &pax->minor, error);
        if (g_str_has_prefix(key, "SCHILY.xattr."))
                return pax_xattr(pax, key + strlen("SCHILY.xattr."), value, size, TRUE, limits, error);
        if (g_str_has_prefix(key, "LIBARCHIVE.xattr."))
                return pax_xattr_libarchive(pax, key + strlen("LIBARCHIVE.xattr."), value, size, limits, error);
        if (g_str_has_prefix(key, "GNU.sparse."))
                return pax_sparse(pax, key, value, size, limits, error);
        return TRUE;
}

/** tar_pax_parse() - read the records of one extended header; an empty value is as if the key were not there */
gboolean tar_pax_parse(TarPax *pax, const guint8 *data, gsize size, const StoreLimits *limits, GError **error) {
        gsize at = 0;

        while (at < size) {
                gsize left = size - at, length = 0, i = 0;
                const char *record = (const char *)data + at, *equals;
                g_autofree char *key = NULL;

                for (; i < left && i < 9 && record[i] >= '0' && record[i] <= '9'; i++)
                        length = length * 10 + (gsize)(record[i] - '0');
                if (i == 0 || i >= left || record[i] != ' ' || length <= i + 2 || length > left ||
                    record[length - 1] != '\n')
                        return store_fail(error, STORE_FAIL_INVALID, "An extended header is malformed");
                i++;
                equals = memchr(record + i, '=', length - i - 1);
                if (!equals || equals == record + i || memchr(record + i, '\0', (gsize)(equals - record) - i))
                        return store_fail(error, STORE_FAIL_INVALID, "An extended header is malformed");
                key = g_strndup(record + i, (gsize)(equals - record) - i);
                equals++;
                if (length - 1 > (gsize)(equals - record) || strstr(key, ".xattr."))
                        if (!pax_record(pax, key, equals, length - 1 - (gsize)(equals - record), limits, error))
                                return FALSE;
                at += length;
        }
        return TRUE;
}

/** tar_xattr_kept() - whether the store keeps attribute @name of an entry of @type */
gboolean tar_xattr_kept(const char *name, char type) {
        return pax_xattr_wanted(name) && pax_xattr_fits(name, type);
}

/** tar_pax_xattrs() - the attributes of an entry of @type as a(ayay), sorted by name as ostree wants them; NULL: none
 */
GVariant *tar_pax_xattrs(const TarPax *pax, char type) {
        g_autoptr(GList) names = NULL;
        GVariantBuilder builder;
        gboolean any = FALSE;

        if (!pax->xattrs)
                return NULL;
        names = g_list_sort(g_hash_table_get_keys(pax->xattrs), (GCompareFunc)strcmp);
        g_variant_builder_init(&builder, G_VARIANT_TYPE("a(ayay)"));
        for (GList *l = names; l; l = l->next) {
                GBytes *value = g_hash_table_lookup(pax->xattrs, l->data);
                gsize size;
                const void *data = g_bytes_get_data(value, &size);

                if (!pax_xattr_fits(l->data, type))
                        continue;
                any = TRUE;
                g_variant_builder_add(&builder, "(@ay@ay)", g_variant_new_bytestring(l->data),
                                      g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, data, size, 1));
        }
        if (any)
                return g_variant_ref_sink(g_variant_builder_end(&builder));
        g_variant_builder_clear(&builder);
        return NULL;
}
