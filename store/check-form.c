/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Comparing a chain's root file systems with the chain.
 *
 * Both forms may be missing: they are made when they are needed. An EROFS image is a function of the chain, so a new
 * one has the same bytes; its place is a hard link to the object. A checkout has every path of the chain and no other;
 * its files are the objects themselves, or copies that have to have their checksum.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/check.h"
#include "store/erofs.h"
#include "store/error.h"
#include "store/objects.h"
#include "store/verify.h"

/* ---- EROFS ---- */

static gboolean add_bytes(gpointer digest, const void *data, gsize size, GError **error G_GNUC_UNUSED) {
        digest_update(digest, data, size);
        return TRUE;
}

/* The one file of a commit. */
static gboolean commit_file(Check *c, const char *commit, guint8 ret[DIGEST_SIZE], GError **error) {
        g_autoptr(GVariant) v = NULL, root = NULL, tree = NULL, files = NULL, file = NULL;
        guint8 checksum[DIGEST_SIZE];
        gsize size;

        if (!digest_parse_hex(commit, checksum))
                return store_fail(error, STORE_FAIL_INTERNAL, "Its ref is damaged");
        v = object_load(c->store->objects_fd, OBJECT_COMMIT, checksum, error);
        if (!v)
                return FALSE;
        root = g_variant_get_child_value(v, 6);
        memcpy(checksum, g_variant_get_fixed_array(root, &size, 1), DIGEST_SIZE);
        tree = object_load(c->store->objects_fd, OBJECT_DIRTREE, checksum, error);
        if (!tree)
                return FALSE;
        files = g_variant_get_child_value(tree, 0);
        if (g_variant_n_children(files) != 1)
                return store_fail(error, STORE_FAIL_INTERNAL, "Its commit does not hold one file");
        g_variant_get_child(files, 0, "(&s@ay)", NULL, &file);
        memcpy(ret, g_variant_get_fixed_array(file, &size, 1), DIGEST_SIZE);
        return TRUE;
}

static gboolean file_digest(int fd, guint8 ret[DIGEST_SIZE], GError **error) {
        g_autofree guint8 *buffer = g_malloc(STREAM_CHUNK);
        g_auto(Digest) d = { NULL };
        gssize n;

        digest_init(&d);
        while ((n = read(fd, buffer, STREAM_CHUNK)) > 0)
                digest_update(&d, buffer, (gsize)n);
        digest_final(&d, ret);
        return n == 0 ? TRUE : store_fail_errno(error, errno, "It cannot be read");
}

static gboolean check_link(Check *c, const char *hex, const struct stat *object, GError **error) {
        g_autofree char *path = g_strconcat("erofs/", hex, NULL);
        struct stat st;

        if (fstatat(c->store->dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? store_fail(error, STORE_FAIL_INTERNAL, "Its place is empty")
                                       : store_fail_errno(error, errno, "It cannot be looked at");
        return st.st_ino == object->st_ino && st.st_dev == object->st_dev
                       ? TRUE
                       : store_fail(error, STORE_FAIL_INTERNAL, "In its place is another file");
}

/** check_erofs() - compare the EROFS image of a sorted chain, if there is one, with the chain */
gboolean check_erofs(Check *c, Tree *chain, const guint8 chain_id[DIGEST_SIZE], const char *hex, GError **error) {
        g_autofree char *ref = g_strconcat(REF_EROFS, hex, NULL);
        const char *commit = g_hash_table_lookup(c->refs, ref);
        guint8 object[DIGEST_SIZE], made[DIGEST_SIZE], stored[DIGEST_SIZE];
        g_auto(Digest) d = { NULL };
        _cleanup_close_ int fd = -1;
        char name[OBJECT_NAME];
        struct stat st;

        if (!commit || !check_is_sound(c, REF_EROFS, hex))
                return TRUE;
        if (!commit_file(c, commit, object, error))
                return FALSE;
        object_name(object, ".file", name);
        fd = openat(c->store->objects_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return store_fail_errno(error, errno, "It cannot be opened");
        digest_init(&d);
        if (!file_digest(fd, stored, error) || !erofs_write(c->job, chain, chain_id, add_bytes, &d, error))
                return FALSE;
        digest_final(&d, made);
        if (memcmp(made, stored, DIGEST_SIZE) != 0)
                return store_fail(error, STORE_FAIL_INTERNAL, "A new image of the chain has other bytes");
        return check_link(c, hex, &st, error);
}

/* ---- checkouts ---- */

static gboolean differs(const Node *n, const char *what, GError **error) {
        g_autofree char *path = tree_path(n), *text = g_utf8_make_valid(path, -1);

        return store_fail(error, STORE_FAIL_INTERNAL, "'%s': %s", text, what);
}

/* The object itself, or a copy of it. */
static gboolean check_file(Check *c, int dir_fd, const Node *n, const struct stat *st, GError **error) {
        guint8 got[DIGEST_SIZE];
        char name[OBJECT_NAME];
        guint64 bytes = 0;
        struct stat object;

        object_name(n->inode->checksum, ".file", name);
        if (fstatat(c->store->objects_fd, name, &object, AT_SYMLINK_NOFOLLOW) < 0)
                return store_fail_errno(error, errno, "Cannot look at object %s", name);
        if (object.st_ino == st->st_ino && object.st_dev == st->st_dev)
                return TRUE;
        if (!verify_checksum(dir_fd, n->name, got, &bytes, error))
                return FALSE;
        c->bytes += bytes;
        return memcmp(got, n->inode->checksum, DIGEST_SIZE) == 0 ? TRUE : differs(n, "it is another file", error);
}

static gboolean is_hidden(const Inode *i) {
        return S_ISCHR(i->mode) && i->major == 0 && i->minor == 0;
}

static gboolean check_directory(Check *c, int dir_fd, const Node *n, GError **error);

static gboolean check_node(Check *c, int dir_fd, const Node *n, GError **error) {
        const Inode *i = n->inode;
        struct stat st;

        if (fstatat(dir_fd, n->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return differs(n, "it is missing", error);
        if (st.st_mode != i->mode || st.st_uid != i->uid || st.st_gid != i->gid)
                return differs(n, "type, mode or owner is another", error);
        if (inode_is_dir(i))
                return check_directory(c, dir_fd, n, error);
        if (i->flags & INODE_OBJECT)
                return check_file(c, dir_fd, n, &st, error);
        if ((S_ISCHR(i->mode) || S_ISBLK(i->mode)) && st.st_rdev != makedev(i->major, i->minor))
                return differs(n, "it is another device", error);
        return TRUE;
}

static gboolean count_entries(int fd, guint *ret, GError **error) {
        DIR *dir = NULL;
        int r = dir_stream(fd, &dir);

        if (r < 0)
                return store_fail_errno(error, -r, "A directory cannot be read");
        for (*ret = 0; readdir(dir);)
                (*ret)++;
        *ret -= 2; /* "." and ".." */
        (void)closedir(dir);
        return TRUE;
}

/* Every entry of the directory, and no other. */
static gboolean check_entries(Check *c, int fd, const Node *n, GError **error) {
        guint found = 0, expected = 0;

        if (!store_job_check(c->job, error))
                return FALSE;
        for (const Node *child = n->child; child; child = child->next) {
                if (is_hidden(child->inode))
                        continue;
                expected++;
                if (!check_node(c, fd, child, error))
                        return FALSE;
        }
        if (!count_entries(fd, &found, error))
                return FALSE;
        return found == expected ? TRUE : differs(n, "it holds what is not the chain's", error);
}

static gboolean check_directory(Check *c, int dir_fd, const Node *n, GError **error) {
        _cleanup_close_ int fd = openat(dir_fd, n->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP))
                return differs(n, "it is not a directory", error);
        return fd >= 0 ? check_entries(c, fd, n, error)
                       : store_fail_errno(error, errno, "A directory of the checkout cannot be opened");
}

/** check_checkout() - compare a chain's checkout, if there is one, with the chain */
gboolean check_checkout(Check *c, Tree *chain, const char *hex, GError **error) {
        _cleanup_close_ int fd = openat(c->store->checkouts_fd, hex, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        const Inode *i = tree_root(chain)->inode;
        struct stat st;

        if (fd < 0)
                return errno == ENOENT ? TRUE : store_fail_errno(error, errno, "It cannot be opened");
        if (fstat(fd, &st) < 0 || (st.st_mode & 07777) != (i->mode & 07777) || st.st_uid != i->uid ||
            st.st_gid != i->gid)
                return store_fail(error, STORE_FAIL_INTERNAL, "Mode or owner of its root is another");
        return check_entries(c, fd, tree_root(chain), error);
}
