/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: an overlay's upper directory.
 *
 * The input is a list of operations of OP_SIZE bytes that make an upper directory out of all that a container, or who
 * breaks into one, could leave there: files, links, whiteouts, overlayfs' own attributes with any value. It is walked
 * over a fixed tree, made a layer, written as a tar and read back. Whatever it was, the walk has to end, and the layer
 * put on the fixed tree has to give what the walk gave. Needs root, for devices and trusted attributes; without it only
 * the rest is tried.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/chain.h"
#include "store/diff.h"
#include "store/layer-write.h"
#include "store/layer.h"
#include "store/upper.h"
#include "tests/fuzz/fuzz.h"

#define OP_SIZE 24U
#define OPS_MAX 40U

/* What lies below, and what operations name: the first byte of an operation is what, the second where. */
static const char *const paths[] = { "a", "a/b", "a/b/f", "a/f", "c", "c/f", "l", "f", "h", "c/d", "\xff", "." };

static const struct {
        const char *path;
        guint32 mode;
        const char *target;
} below[] = {
        { "a", S_IFDIR | 0755, NULL },      { "a/b", S_IFDIR | 0700, NULL },    { "a/b/f", S_IFREG | 0644, NULL },
        { "a/f", S_IFREG | 0600, NULL },    { "c", S_IFDIR | 01777, NULL },     { "c/f", S_IFREG | 0644, NULL },
        { "l", S_IFLNK | 0777, "a/b" },     { "f", S_IFREG | 04755, NULL },     { "h", S_IFREG | 0644, NULL },
        { "c/fifo", S_IFIFO | 0600, NULL }, { "c/null", S_IFCHR | 0666, NULL },
};

static Tree *make_below(void) {
        Tree *t = tree_new();

        for (gsize i = 0; i < G_N_ELEMENTS(below); i++) {
                const char *slash = strrchr(below[i].path, '/'), *name = slash ? slash + 1 : below[i].path;
                g_autofree char *parent =
                        slash ? g_strndup(below[i].path, (gsize)(slash - below[i].path)) : g_strdup("");
                Inode *inode = tree_inode(t, below[i].mode);

                if (S_ISREG(below[i].mode)) {
                        inode->flags |= INODE_OBJECT;
                        inode->size = 3;
                        memset(inode->checksum, (int)i, sizeof(inode->checksum));
                }
                if (below[i].target) {
                        inode->flags |= INODE_OBJECT;
                        inode->target = tree_string(t, below[i].target);
                }
                inode->major = S_ISCHR(below[i].mode) ? 1 : 0;
                inode->minor = S_ISCHR(below[i].mode) ? 3 : 0;
                (void)tree_add(t, tree_find(t, parent), name, strlen(name), inode);
        }
        return t;
}

static void set_attribute(int fd, const char *path, const char *name, const uint8_t *value, size_t size) {
        g_autofree char *proc = g_strdup_printf("/proc/self/fd/%d/%s", fd, path);

        (void)lsetxattr(proc, name, value, size, 0);
}

/* Operations fail where they may: on a name that is not there, without privileges. */
static void operate(int fd, const uint8_t op[OP_SIZE]) {
        const char *path = paths[op[1] % G_N_ELEMENTS(paths)], *other = paths[op[2] % G_N_ELEMENTS(paths)];
        const uint8_t *value = op + 4;
        size_t size = op[3] % (OP_SIZE - 4);
        g_autofree char *text = g_strndup((const char *)value, size);
        int file, r = 0;

        switch (op[0] % 14) {
        case 0:
                r = mkdirat(fd, path, 0700 | (op[3] & 077));
                break;
        case 1:
                file = openat(fd, path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
                if (file >= 0 && write(file, value, size) >= 0)
                        (void)safe_close(file);
                break;
        case 2:
                r = symlinkat(text, fd, path);
                break;
        case 3:
                r = mknodat(fd, path, S_IFCHR | 0600, makedev(op[3] & 1, op[4] & 3));
                break;
        case 4:
                r = mknodat(fd, path, (op[3] & 1 ? S_IFIFO : S_IFSOCK) | 0644, 0);
                break;
        case 5:
                r = linkat(fd, other, fd, path, 0);
                break;
        case 6:
                r = renameat(fd, other, fd, path);
                break;
        case 7:
                set_attribute(fd, path, "trusted.overlay.opaque", (const uint8_t *)(op[3] & 1 ? "y" : "x"), 1);
                break;
        case 8:
                set_attribute(fd, path, "trusted.overlay.redirect", value, size);
                break;
        case 9:
                set_attribute(fd, path, "trusted.overlay.redirect", (const uint8_t *)other, strlen(other));
                break;
        case 10:
                set_attribute(fd, path, "trusted.overlay.metacopy", value, op[3] & 1 ? size : 0);
                break;
        case 11:
                set_attribute(fd, path, op[3] & 1 ? "trusted.overlay.opaque" : "trusted.overlay.whiteout", value, size);
                break;
        case 12:
                set_attribute(fd, path, op[3] & 1 ? "user.note" : "trusted.note", value, size);
                break;
        default:
                r = fchmodat(fd, path, op[4] | (mode_t)(op[5] & 0xf) << 8, 0);
        }
        (void)r;
}

static void describe(const Node *n, GString *text) {
        for (const Node *c = n->child; c; c = c->next) {
                g_autofree char *path = tree_path(c);
                const Inode *i = c->inode;

                g_string_append_printf(text, "%s %o %u %" G_GUINT64_FORMAT " %s\n", path, i->mode, i->uid,
                                       S_ISREG(i->mode) ? i->size : 0, i->target ? i->target : "");
                describe(c, text);
        }
}

static char *describe_tree(Tree *t) {
        GString *text = g_string_new(NULL);

        tree_sort(tree_root(t));
        describe(tree_root(t), text);
        return g_string_free(text, FALSE);
}

static Stream *open_content(void *userdata, const Node *n, GError **error) {
        static const char content[] = "obj";

        if (n->inode->flags & INODE_LOOSE)
                return upper_open(userdata, n, error);
        g_assert_cmpuint(n->inode->size, ==, 3);
        return stream_new_memory(content, 3);
}

/* The layer as a tar, put on what is below again. */
static void check_layer(StoreJob *job, Upper *u, Tree *layer, const char *wanted) {
        g_autoptr(Tree) again = make_below();
        g_autoptr(Layer) read = layer_new(job, NULL);
        g_autofree char *got = NULL;
        Stream *s;

        tree_sort(tree_root(layer));
        tree_count_links(layer);
        s = layer_stream_new(layer, open_content, u);
        read->table = g_bytes_new_take(g_malloc0(65536), 65536);
        g_assert_true(layer_read(read, s, NULL));
        stream_free(s);
        g_assert_true(chain_apply(again, read->tree, NULL));
        got = describe_tree(again);
        g_assert_cmpstr(got, ==, wanted);
}

static void walk(int fd, StoreJob *job) {
        g_autoptr(Upper) u = upper_new(job, fd);
        g_autoptr(Tree) from = make_below(), to = tree_new(), layer = NULL;
        g_autofree char *wanted = NULL;

        tree_replace(to, tree_root(to), tree_root(from)->inode);
        tree_graft(to, tree_root(to), tree_root(from));
        if (!upper_apply(u, from, to, NULL))
                return;
        layer = tree_diff(from, to, NULL, NULL);
        if (!layer)
                return;
        wanted = describe_tree(to);
        check_layer(job, u, layer, wanted);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autofree char *top = g_build_filename(g_get_tmp_dir(), "fuzz-upper-XXXXXX", NULL);
        StoreJob job;
        int fd;

        g_assert_nonnull(g_mkdtemp(top));
        fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_assert_true(store_job_init(&job, NULL));
        for (guint i = 0; i < OPS_MAX && size >= OP_SIZE; i++, data += OP_SIZE, size -= OP_SIZE)
                operate(fd, data);
        walk(fd, &job);
        store_job_done(&job);
        (void)safe_close(fd);
        g_assert_cmpint(tree_remove_at(AT_FDCWD, top), >=, 0);
        return 0;
}
