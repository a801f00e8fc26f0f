/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Layers as the store unpacks them, without a store: for the corpus of hostile archives.
 *
 * Reads cases from stdin, each a line "CASE N" and for each of its N layers a line with the tar's size and the tar. For
 * each it reads the layers, merges them, checks the result out below the directory it was started in, prints what a
 * walk over that finds and an empty line, and removes it again. A case that is refused prints "refused" and why. Owned
 * by the system tests; never installed.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/chain.h"
#include "store/checkout.h"
#include "store/layer.h"

#define TOP "case"
#define OBJECTS "objects"
#define CONTENT_MAX 64

static void print_escaped(const char *s) {
        for (; *s; s++)
                if (g_ascii_isgraph(*s) && *s != '%')
                        putchar(*s);
                else
                        printf("%%%02x", (unsigned char)*s);
}

static void print_content(int dir_fd, const char *name, const struct stat *st) {
        char text[CONTENT_MAX + 1] = "";
        _cleanup_close_ int fd = -1;

        if (S_ISLNK(st->st_mode)) {
                g_autofree char *target = g_malloc0((gsize)st->st_size + 1);

                g_assert_cmpint(readlinkat(dir_fd, name, target, (gsize)st->st_size), ==, st->st_size);
                printf(" > ");
                print_escaped(target);
                return;
        }
        if (!S_ISREG(st->st_mode))
                return;
        fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        g_assert_cmpint(fd, >=, 0);
        g_assert_cmpint(read(fd, text, CONTENT_MAX), >=, 0);
        printf(" = ");
        print_escaped(text);
}

static int by_name(const void *a, const void *b) {
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Numbers inodes in the order in which they are met, so that hard links show. */
static guint inode_number(GHashTable *inodes, const struct stat *st) {
        gpointer key = GSIZE_TO_POINTER((gsize)st->st_ino), found = g_hash_table_lookup(inodes, key);

        if (!found) {
                found = GUINT_TO_POINTER(g_hash_table_size(inodes) + 1);
                g_hash_table_insert(inodes, key, found);
        }
        return GPOINTER_TO_UINT(found);
}

/* "TYPE MODE INODE PATH[ > TARGET| = CONTENT]" for each path, parents first, names in the order of their bytes. */
static void print_tree(GHashTable *inodes, int dir_fd, const char *name, const char *path) {
        static const char types[] = { [S_IFIFO >> 12] = 'p', [S_IFCHR >> 12] = 'c', [S_IFDIR >> 12] = 'd',
                                      [S_IFBLK >> 12] = 'b', [S_IFREG >> 12] = '-', [S_IFLNK >> 12] = 'l' };
        g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
        _cleanup_close_ int fd = -1;
        struct stat st;
        GDir *dir;

        g_assert_cmpint(fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW), ==, 0);
        printf("%c %04o %u ", types[st.st_mode >> 12], st.st_mode & 07777,
               S_ISDIR(st.st_mode) ? 0 : inode_number(inodes, &st));
        print_escaped(path);
        print_content(dir_fd, name, &st);
        putchar('\n');
        if (!S_ISDIR(st.st_mode))
                return;
        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        g_assert_cmpint(fd, >=, 0);
        {
                g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", fd);
                const char *n;

                dir = g_dir_open(self, 0, NULL);
                g_assert_nonnull(dir);
                while ((n = g_dir_read_name(dir)))
                        g_ptr_array_add(names, g_strdup(n));
                g_dir_close(dir);
        }
        g_ptr_array_sort(names, by_name);
        for (guint i = 0; i < names->len; i++) {
                g_autofree char *below = g_strconcat(path, "/", names->pdata[i], NULL);

                print_tree(inodes, fd, names->pdata[i], below);
        }
}

static GBytes *read_layer_bytes(void) {
        char line[64];
        gsize size;
        guint8 *data;

        if (!fgets(line, sizeof(line), stdin))
                exit(EXIT_FAILURE);
        size = strtoul(line, NULL, 10);
        data = g_malloc(size ? size : 1);
        if (fread(data, 1, size, stdin) != size)
                exit(EXIT_FAILURE);
        return g_bytes_new_take(data, size);
}

static gboolean unpack(StoreJob *job, Objects *objects, GPtrArray *bytes, GPtrArray *layers, GError **error) {
        g_autoptr(Tree) chain = tree_new();

        for (guint i = 0; i < bytes->len; i++) {
                gsize size;
                const void *data = g_bytes_get_data(bytes->pdata[i], &size);
                g_autoptr(Stream) s = stream_new_memory(data, size);
                Layer *l = layer_new(job, objects);

                g_ptr_array_add(layers, l);
                if (!layer_read(l, s, error) || !objects_settle(objects, error) || !chain_apply(chain, l->tree, error))
                        return FALSE;
        }
        return checkout_tree(job, objects, chain, AT_FDCWD, TOP, error);
}

static void run_case(guint n_layers) {
        g_autoptr(GPtrArray) bytes = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
        g_autoptr(GPtrArray) layers = g_ptr_array_new_with_free_func((GDestroyNotify)layer_free);
        g_autoptr(GHashTable) inodes = g_hash_table_new(NULL, NULL);
        g_autoptr(GError) error = NULL;
        _cleanup_close_ int fd = -1;
        Objects *objects;
        StoreJob job;

        for (guint i = 0; i < n_layers; i++)
                g_ptr_array_add(bytes, read_layer_bytes());
        g_assert_cmpint(mkdir(OBJECTS, 0700), ==, 0);
        fd = open(OBJECTS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_assert_true(store_job_init(&job, NULL));
        objects = objects_new(&job, fd, fd);
        if (unpack(&job, objects, bytes, layers, &error))
                print_tree(inodes, AT_FDCWD, TOP, "");
        else {
                printf("refused ");
                print_escaped(error->message);
                putchar('\n');
        }
        (void)objects_settle(objects, NULL);
        objects_free(objects);
        store_job_done(&job);
        (void)tree_remove_at(AT_FDCWD, TOP);
        (void)tree_remove_at(AT_FDCWD, OBJECTS);
        putchar('\n');
        (void)fflush(stdout);
}

int main(void) {
        char line[64];
        unsigned n;

        (void)umask(0);
        while (fgets(line, sizeof(line), stdin)) {
                if (sscanf(line, "CASE %u", &n) != 1)
                        return EXIT_FAILURE;
                run_case(n);
        }
        return EXIT_SUCCESS;
}
