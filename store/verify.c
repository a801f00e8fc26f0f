/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Verifying objects: reading them back and comparing them with the checksum they go by.
 *
 * A file object's checksum covers owner, mode, attributes and content of the real file. Attributes that the system
 * gives by itself (security.selinux and its like) are none of an image's; those the importer keeps are looked at
 * (tar-pax.c). Nothing is changed here, and any thread may call.
 */

#include "store/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"
#include "store/objects.h"

#define CHUNK ((gsize)256 * 1024)

static gboolean xattr_counts(const char *name) {
        return strcmp(name, "security.capability") == 0 || strcmp(name, "system.posix_acl_access") == 0 ||
               g_str_has_prefix(name, "user.");
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static gboolean add_xattr(GVariantBuilder *b, int fd, const char *name, GError **error) {
        g_autofree char *value = g_malloc(65536);
        ssize_t n = fgetxattr(fd, name, value, 65536);

        if (n < 0)
                return store_fail_errno(error, errno, "Cannot read attribute '%s'", name);
        g_variant_builder_add(b, "(@ay@ay)", g_variant_new_bytestring(name),
                              g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, value, (gsize)n, 1));
        return TRUE;
}

/* Attributes sorted by name: a(ayay), or NULL with error. */
static GVariant *read_xattrs(int fd, GError **error) {
        g_autoptr(GPtrArray) names = g_ptr_array_new();
        g_autofree char *list = g_malloc(65536);
        ssize_t n = flistxattr(fd, list, 65536);
        GVariantBuilder b;

        if (n < 0) {
                store_fail_errno(error, errno, "Cannot read attributes");
                return NULL;
        }
        for (ssize_t at = 0; at < n; at += (ssize_t)strlen(list + at) + 1)
                if (xattr_counts(list + at))
                        g_ptr_array_add(names, list + at);
        if (names->len > 0)
                qsort(names->pdata, names->len, sizeof(gpointer), compare_names);
        g_variant_builder_init(&b, G_VARIANT_TYPE("a(ayay)"));
        for (guint i = 0; i < names->len; i++)
                if (!add_xattr(&b, fd, names->pdata[i], error)) {
                        g_variant_builder_clear(&b);
                        return NULL;
                }
        return g_variant_ref_sink(g_variant_builder_end(&b));
}

static void digest_header(Digest *d, GVariant *header) {
        gsize size = g_variant_get_size(header);
        guint32 prefix[2] = { GUINT32_TO_BE((guint32)size), 0 };

        digest_update(d, prefix, sizeof(prefix));
        digest_update(d, g_variant_get_data(header), size);
}

/** verify_content() - the checksum that a file object with this header and the content of @fd has */
gboolean verify_content(int fd, GVariant *header, guint8 ret[DIGEST_SIZE], guint64 *bytes, GError **error) {
        g_autofree guint8 *buffer = g_malloc(CHUNK);
        g_auto(Digest) d = { NULL };
        off_t at = 0;

        digest_init(&d);
        digest_header(&d, header);
        for (;;) {
                gssize n = pread(fd, buffer, CHUNK, at);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return store_fail_errno(error, errno, "Cannot read a file");
                if (n == 0)
                        break;
                digest_update(&d, buffer, (gsize)n);
                at += n;
        }
        *bytes += (guint64)at;
        digest_final(&d, ret);
        return TRUE;
}

static gboolean symlink_checksum(int dir_fd, const char *name, const struct stat *st, guint8 ret[DIGEST_SIZE],
                                 GError **error) {
        Inode i = { .mode = st->st_mode, .uid = st->st_uid, .gid = st->st_gid };
        g_autoptr(GVariant) header = NULL;
        g_auto(Digest) d = { NULL };
        char target[4097];
        ssize_t n = readlinkat(dir_fd, name, target, sizeof(target) - 1);

        if (n < 0)
                return store_fail_errno(error, errno, "Cannot read a symbolic link");
        target[n] = '\0';
        i.target = target;
        header = object_header(&i);
        digest_init(&d);
        digest_header(&d, header);
        digest_final(&d, ret);
        return TRUE;
}

/** verify_checksum() - the checksum a file would have as an object */
gboolean verify_checksum(int dir_fd, const char *name, guint8 ret[DIGEST_SIZE], guint64 *bytes, GError **error) {
        g_autoptr(GVariant) header = NULL, xattrs = NULL;
        _cleanup_close_ int fd = -1;
        Inode i = { 0 };
        struct stat st;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return store_fail_errno(error, errno, "It cannot be looked at");
        if (S_ISLNK(st.st_mode))
                return symlink_checksum(dir_fd, name, &st, ret, error);
        if (!S_ISREG(st.st_mode))
                return store_fail(error, STORE_FAIL_INTERNAL, "It is not a file");
        fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return store_fail_errno(error, errno, "It cannot be opened");
        xattrs = read_xattrs(fd, error);
        if (!xattrs)
                return FALSE;
        i.mode = st.st_mode;
        i.uid = st.st_uid;
        i.gid = st.st_gid;
        i.xattrs = xattrs;
        header = object_header(&i);
        return verify_content(fd, header, ret, bytes, error);
}

/** verify_object() - whether an object is there and is what its name says */
gboolean verify_object(int objects_fd, ObjectKind kind, const guint8 checksum[DIGEST_SIZE], guint64 *bytes,
                       GError **error) {
        g_autoptr(GVariant) v = NULL;
        guint8 got[DIGEST_SIZE];
        char name[OBJECT_NAME];

        if (kind != OBJECT_FILE) {
                v = object_load(objects_fd, kind, checksum, error);
                *bytes += v ? g_variant_get_size(v) : 0;
                return v != NULL;
        }
        object_name(checksum, ".file", name);
        if (!verify_checksum(objects_fd, name, got, bytes, error))
                return FALSE;
        return memcmp(got, checksum, DIGEST_SIZE) == 0
                       ? TRUE
                       : store_fail(error, STORE_FAIL_INTERNAL, "Its content is not what its checksum says");
}
