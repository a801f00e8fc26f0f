/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Unit tests of EROFS images: trees are built in memory, written, looked at by fsck.erofs, and mounted where the kernel
 * and our rights allow it, below an overlay with the objects as its data layer; every path is then compared with the
 * tree. Mounts are detached, so that nothing is left of them.
 */

#include "store/erofs.h"

#include <dirent.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/error.h"
#include "tests/unit/store-objects.h"

typedef struct {
        ObjectDir dir;
        Tree *tree;
        guint8 chain_id[DIGEST_SIZE];
} Fixture;

static void set_up(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        object_dir_open(&f->dir, "stage");
        f->tree = tree_new();
        digest_bytes("chain", 5, f->chain_id);
}

static void tear_down(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        tree_free(f->tree);
        object_dir_close(&f->dir);
}

/* ---- building ---- */

static Node *add(Fixture *f, Node *parent, const char *name, guint32 mode) {
        static guint n;
        Inode *i = tree_inode(f->tree, mode);

        n++;
        i->uid = n % 3 ? 0 : 70000 + n;
        i->gid = n % 5;
        i->mtime = (gint64)1000000000 + n;
        i->mtime_nsec = n * 1000 % 1000000000;
        return tree_add(f->tree, parent ? parent : tree_root(f->tree), name, strlen(name), i);
}

static Node *add_directory(Fixture *f, Node *parent, const char *name) {
        return add(f, parent, name, S_IFDIR | 0751);
}

static Node *add_file(Fixture *f, Node *parent, const char *name, const char *content) {
        Node *n = add(f, parent, name, S_IFREG | 04755);

        n->inode->flags = INODE_OBJECT;
        n->inode->size = strlen(content);
        n->inode->target = tree_string(f->tree, content);
        g_assert_true(objects_put_file(f->dir.objects, n->inode, (guint8 *)g_strdup(content), n->inode->size, NULL));
        return n;
}

static Node *add_symlink(Fixture *f, Node *parent, const char *name, const char *target) {
        Node *n = add(f, parent, name, S_IFLNK | 0777);

        n->inode->target = tree_string(f->tree, target);
        return n;
}

static void add_device(Fixture *f, const char *name, guint32 mode, guint32 major, guint32 minor) {
        Node *n = add(f, NULL, name, mode);

        n->inode->major = major;
        n->inode->minor = minor;
}

/* Before the file is put: attributes are part of its object. */
static void set_xattrs(Fixture *f, Inode *i, const char *const *names, gsize value_size) {
        g_autofree guint8 *value = g_malloc0(value_size + 1);
        g_autoptr(GVariant) v = NULL;
        GVariantBuilder b;

        memset(value, 'v', value_size);
        g_variant_builder_init(&b, G_VARIANT_TYPE("a(ayay)"));
        for (; *names; names++)
                g_variant_builder_add(&b, "(@ay@ay)", g_variant_new_bytestring(*names),
                                      g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, value, value_size, 1));
        v = g_variant_ref_sink(g_variant_builder_end(&b));
        tree_own_xattrs(f->tree, i, v);
}

/* ---- writing and mounting ---- */

static gboolean write_to_fd(gpointer userdata, const void *data, gsize size, GError **error G_GNUC_UNUSED) {
        return fd_write_all(GPOINTER_TO_INT(userdata), data, size) >= 0;
}

static void write_image(Fixture *f, const char *name) {
        _cleanup_close_ int fd = openat(f->dir.fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        g_autoptr(GError) error = NULL;

        g_assert_cmpint(fd, >=, 0);
        g_assert_true(objects_settle(f->dir.objects, NULL));
        tree_sort(tree_root(f->tree));
        (void)erofs_write(&f->dir.job, f->tree, f->chain_id, write_to_fd, GINT_TO_POINTER(fd), &error);
        g_assert_no_error(error);
        g_assert_cmpint(lseek(fd, 0, SEEK_END) % 4096, ==, 0);
}

static void run_fsck(Fixture *f, const char *name) {
        g_autofree char *path = g_build_filename(f->dir.directory, name, NULL),
                        *fsck = g_find_program_in_path("fsck.erofs");
        const char *argv[] = { fsck, path, NULL };
        g_autofree char *out = NULL, *err = NULL;
        int status;

        if (!fsck) {
                g_test_message("fsck.erofs is not installed");
                return;
        }
        g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_DEFAULT, NULL, NULL, &out, &err, &status, NULL));
        if (status != 0)
                g_test_message("%s%s", out, err);
        g_assert_cmpint(status, ==, 0);
}

static int mount_image(Fixture *f, const char *name) {
        g_autofree char *path = g_build_filename(f->dir.directory, name, NULL);
        _cleanup_close_ int fs = fsopen("erofs", FSOPEN_CLOEXEC);

        if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", path, 0) < 0 ||
            fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -1;
        return fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
}

/* A layer that is nowhere in the tree of mounts is understood since Linux 6.15. */
static int mount_overlay(Fixture *f, int image) {
        g_autofree char *lower = g_strdup_printf("/proc/self/fd/%d", image);
        g_autofree char *data = g_build_filename(f->dir.directory, "stage", NULL);
        _cleanup_close_ int fs = fsopen("overlay", FSOPEN_CLOEXEC);

        if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "lowerdir+", lower, 0) < 0 ||
            fsconfig(fs, FSCONFIG_SET_STRING, "datadir+", data, 0) < 0 ||
            fsconfig(fs, FSCONFIG_SET_STRING, "metacopy", "on", 0) < 0 ||
            fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -1;
        return fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY);
}

/* ---- comparing ---- */

static void compare_xattrs(int fd, const char *name, const Inode *i) {
        g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/%s", fd, name), *list = g_malloc(65536);
        gsize n = i->xattrs ? g_variant_n_children(i->xattrs) : 0;
        gssize size, expected = 0;

        for (gsize k = 0; k < n; k++) {
                g_autoptr(GVariant) pair = g_variant_get_child_value(i->xattrs, k);
                g_autoptr(GVariant) key = g_variant_get_child_value(pair, 0), v = g_variant_get_child_value(pair, 1);
                g_autofree char *got = g_malloc(70000);
                gsize value_size;
                const void *value = g_variant_get_fixed_array(v, &value_size, 1);
                gssize r = lgetxattr(path, g_variant_get_bytestring(key), got, 70000);

                if (g_str_has_prefix(g_variant_get_bytestring(key), "trusted.overlay.")) {
                        g_assert_cmpint(r, <, 0);
                        continue;
                }
                g_assert_cmpmem(got, r < 0 ? 0 : (gsize)r, value, value_size);
                expected += (gssize)strlen(g_variant_get_bytestring(key)) + 1;
        }
        size = llistxattr(path, list, 65536);
        g_assert_cmpint(size, ==, expected);
}

/* "target" of a file's inode is what the test has put into it. */
static void compare_content(int fd, const Node *n) {
        g_autofree char *content = NULL;
        gsize size;

        g_assert_cmpint(file_read_at(fd, n->name, 1 << 20, &content, &size), >=, 0);
        g_assert_cmpmem(content, size, n->inode->target, n->inode->target ? strlen(n->inode->target) : 0);
}

static void compare_node(int fd, const Node *n, gboolean content) {
        const Inode *i = n->inode;
        char target[8192];
        struct stat st;

        g_assert_cmpint(fstatat(fd, n->name, &st, AT_SYMLINK_NOFOLLOW), ==, 0);
        g_assert_cmpuint(st.st_mode, ==, i->mode);
        g_assert_cmpuint(st.st_uid, ==, i->uid);
        g_assert_cmpuint(st.st_gid, ==, i->gid);
        g_assert_cmpint(st.st_mtim.tv_sec, ==, i->mtime);
        g_assert_cmpint(st.st_mtim.tv_nsec, ==, i->mtime_nsec);
        if (!inode_is_dir(i))
                g_assert_cmpuint(st.st_nlink, ==, i->links);
        if (S_ISREG(i->mode))
                g_assert_cmpuint((guint64)st.st_size, ==, i->size);
        if (S_ISCHR(i->mode) || S_ISBLK(i->mode))
                g_assert_cmpuint(st.st_rdev, ==, makedev(i->major, i->minor));
        if (S_ISLNK(i->mode)) {
                gssize size = readlinkat(fd, n->name, target, sizeof(target));

                g_assert_cmpmem(target, size < 0 ? 0 : (gsize)size, i->target, strlen(i->target));
        }
        if (content && S_ISREG(i->mode))
                compare_content(fd, n);
        if (content)
                compare_xattrs(fd, n->name, i);
}

static guint compare_directory(int fd, const Node *n, gboolean content) {
        _cleanup_close_ int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        guint found = 0, expected = 0;
        DIR *dir = NULL;

        g_assert_cmpint(dir_stream(again, &dir), >=, 0);
        for (struct dirent *e; (e = readdir(dir));)
                found += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
        (void)closedir(dir);
        for (const Node *c = n->child; c; c = c->next) {
                if (S_ISCHR(c->inode->mode) && c->inode->major == 0 && c->inode->minor == 0) {
                        g_assert_cmpint(faccessat(fd, c->name, F_OK, AT_SYMLINK_NOFOLLOW), <, 0);
                        continue;
                }
                expected++;
                compare_node(fd, c, content);
                if (inode_is_dir(c->inode)) {
                        _cleanup_close_ int sub = openat(fd, c->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                        g_assert_cmpint(sub, >=, 0);
                        (void)compare_directory(sub, c, content);
                }
        }
        g_assert_cmpuint(found, ==, expected);
        return expected;
}

/* The image as it is, and below an overlay. */
static void check(Fixture *f) {
        _cleanup_close_ int image = -1, overlay = -1;

        write_image(f, "image");
        run_fsck(f, "image");
        image = mount_image(f, "image");
        if (image < 0) {
                g_test_skip("this kernel does not mount an EROFS file, or we may not");
                return;
        }
        (void)compare_directory(image, tree_root(f->tree), FALSE);
        overlay = mount_overlay(f, image);
        if (overlay < 0)
                g_test_message("no overlay with a data layer here");
        else
                (void)compare_directory(overlay, tree_root(f->tree), TRUE);
}

/* ---- tests ---- */

static void test_kinds(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        Node *d = add_directory(f, NULL, "d"), *file = add_file(f, d, "file", "aba");

        (void)add_file(f, d, "empty", "");
        (void)add_file(f, NULL, "same", "aba");
        (void)add_directory(f, d, "nothing");
        (void)tree_add(f->tree, tree_root(f->tree), "link1", 5, file->inode);
        (void)tree_add(f->tree, d, "link2", 5, file->inode);
        (void)add_symlink(f, d, "relative", "../same");
        (void)add_symlink(f, NULL, "bytes", "\xff\xfe/\x01");
        (void)add_file(f, NULL, "\xffname\x01 \n", "cc");
        (void)add_file(f, NULL, "!before the dots", "dd");
        (void)add_file(f, NULL, "...", "ee");
        (void)add_file(f, NULL, ".-", "ff");
        add_device(f, "null", S_IFCHR | 0666, 1, 3);
        add_device(f, "large", S_IFBLK | 0600, 4095, 1048575);
        add_device(f, "minor", S_IFCHR | 0600, 0, 1);
        add_device(f, "whiteout", S_IFCHR, 0, 0);
        add_device(f, "fifo", S_IFIFO | 0640, 0, 0);
        d->inode->mtime = -1;
        check(f);
}

static void test_times(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        static const gint64 times[] = { G_MININT32, -1, 0, 1, G_MAXINT32, (gint64)1 << 33 };

        for (gsize i = 0; i < G_N_ELEMENTS(times); i++) {
                g_autofree char *name = g_strdup_printf("%zu", i);

                add_file(f, NULL, name, "x")->inode->mtime = times[i];
        }
        check(f);
}

/* Every length, so that inodes and tails meet the ends of blocks in every way. */
static void test_links(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        for (gsize i = 1; i < 4096; i += i < 300 ? 1 : 97) {
                g_autofree char *target = g_strnfill(i, 'l'), *name = g_strdup_printf("%zu", i);

                (void)add_symlink(f, NULL, name, target);
        }
        check(f);
}

static void test_directories(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        Node *large = add_directory(f, NULL, "large");

        for (guint i = 0; i < 20000; i++) {
                g_autofree char *name = g_strdup_printf("entry %u of many", i * 7919 % 20000);

                (void)add_symlink(f, large, name, name);
        }
        /* Sizes around that of a block: names of 255, and the last of every length. */
        for (guint i = 1; i < 250; i += 3) {
                g_autofree char *name = g_strdup_printf("d%u", i), *last = g_strnfill(i, 'z');
                Node *d = add_directory(f, NULL, name);

                for (guint k = 0; k < 15; k++) {
                        g_autofree char *full = g_strnfill(k == 14 ? 220 : 255, 'a' + (char)k);

                        (void)add_directory(f, d, full);
                }
                (void)add_directory(f, d, last);
        }
        check(f);
}

static void test_xattrs(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        static const char *const names[] = { "security.davit", "trusted.a", "trusted.a longer name", NULL };
        static const char *const acl[] = { "user.only", NULL };
        static const char *const overlay[] = { "trusted.overlay.opaque", "trusted.overlay.redirect", "user.x", NULL };
        g_autofree char *filled = g_strnfill(250, 'n'), *longest = g_strconcat("user.", filled, NULL);
        const char *many[] = { longest, "user.b", "user.c", "user.d", NULL };

        set_xattrs(f, add_directory(f, NULL, "plain")->inode, acl, 0);
        set_xattrs(f, add_directory(f, NULL, "opaque")->inode, overlay, 1);
        set_xattrs(f, add_symlink(f, NULL, "link", "target")->inode, names, 20);
        for (guint size = 0; size < 65536; size = size * 3 + 1) {
                g_autofree char *name = g_strdup_printf("%u", size), *inner = g_strdup_printf("d%u", size);

                set_xattrs(f, add(f, NULL, name, S_IFREG | 0644)->inode, many, size);
                set_xattrs(f, add_directory(f, NULL, inner)->inode, names, size);
        }
        check(f);
}

static void refuse_xattr(Fixture *f, const char *name, gsize size, gsize n) {
        const char *names[] = { name, name, name, name, name, NULL };
        g_autoptr(GError) error = NULL;
        Node *d = add_directory(f, NULL, "d");

        names[n] = NULL;
        set_xattrs(f, d->inode, names, size);
        g_assert_false(erofs_write(&f->dir.job, f->tree, f->chain_id, write_to_fd, GINT_TO_POINTER(-1), &error));
        g_assert_error(error, STORE_FAIL, STORE_FAIL_UNSUPPORTED);
        tree_remove(f->tree, d);
}

static void test_refused(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        refuse_xattr(f, "nowhere.name", 1, 1);
        refuse_xattr(f, "system.posix_acl_access2", 1, 1);
        refuse_xattr(f, "user.large", 65536, 1);
        refuse_xattr(f, "user.large", 65535, 5);
}

/* Holes: sizes beyond one chunk of the largest kind cannot be had, all others take one entry. */
static void test_sizes(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        static const guint64 sizes[] = { 1, 4095, 4096, 4097, 1 << 20, G_MAXUINT32, (guint64)1 << 40 };

        for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
                g_autofree char *name = g_strdup_printf("%zu", i);
                Node *n = add(f, NULL, name, S_IFREG | 0644);

                n->inode->flags = INODE_OBJECT;
                n->inode->size = sizes[i];
        }
        write_image(f, "image");
        run_fsck(f, "image");
}

static void test_same(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        g_autofree char *a = NULL, *b = NULL;
        gsize a_size, b_size;

        test_kinds(f, NULL);
        write_image(f, "again");
        g_assert_cmpint(file_read_at(f->dir.fd, "image", 1 << 24, &a, &a_size), >=, 0);
        g_assert_cmpint(file_read_at(f->dir.fd, "again", 1 << 24, &b, &b_size), >=, 0);
        g_assert_cmpmem(a, a_size, b, b_size);
}

static void test_cancel(Fixture *f, gconstpointer data G_GNUC_UNUSED) {
        g_autoptr(GError) error = NULL;

        store_job_cancel(&f->dir.job);
        g_assert_false(erofs_write(&f->dir.job, f->tree, f->chain_id, write_to_fd, GINT_TO_POINTER(-1), &error));
        g_assert_error(error, STORE_FAIL, STORE_FAIL_CANCELLED);
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                void (*run)(Fixture *f, gconstpointer data);
        } tests[] = {
                { "/erofs/kinds", test_kinds },   { "/erofs/times", test_times },
                { "/erofs/links", test_links },   { "/erofs/directories", test_directories },
                { "/erofs/xattrs", test_xattrs }, { "/erofs/refused", test_refused },
                { "/erofs/sizes", test_sizes },   { "/erofs/same", test_same },
                { "/erofs/cancel", test_cancel },
        };

        g_test_init(&argc, &argv, NULL);
        for (gsize i = 0; i < G_N_ELEMENTS(tests); i++)
                g_test_add(tests[i].name, Fixture, NULL, set_up, tests[i].run, tear_down);
        return g_test_run();
}
