/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The set of marked objects, and what sweeping makes of files that are in it and not: without a repository, by names
 * alone.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "store/job.h"
#include "store/mark.h"
#include "store/objects.h"
#include "store/sweep.h"

#define MANY 20000U

static void checksum_of(guint i, guint8 ret[DIGEST_SIZE]) {
        digest_bytes(&i, sizeof(i), ret);
}

static void count(void *userdata, ObjectKind kind, const guint8 checksum[DIGEST_SIZE] G_GNUC_UNUSED) {
        ((guint *)userdata)[kind]++;
}

static void test_set(void) {
        g_autoptr(Mark) m = mark_new(-1);
        guint each[_OBJECT_MAX] = { 0 };
        guint8 c[DIGEST_SIZE];

        for (guint i = 0; i < MANY; i++) {
                checksum_of(i, c);
                g_assert_true(mark_add(m, OBJECT_FILE, c));
                g_assert_false(mark_add(m, OBJECT_FILE, c));
                if (i % 3 == 0)
                        g_assert_true(mark_add(m, OBJECT_DIRTREE, c));
        }
        for (guint i = 0; i < 2 * MANY; i++) {
                checksum_of(i, c);
                g_assert_cmpint(mark_has(m, OBJECT_FILE, c), ==, i < MANY);
                g_assert_cmpint(mark_has(m, OBJECT_DIRTREE, c), ==, i < MANY && i % 3 == 0);
                g_assert_false(mark_has(m, OBJECT_COMMIT, c));
        }
        mark_foreach(m, count, each);
        g_assert_cmpuint(each[OBJECT_FILE], ==, MANY);
        g_assert_cmpuint(each[OBJECT_FILE] + each[OBJECT_DIRTREE], ==, mark_size(m));
}

static void test_names(void) {
        static const char *const bad[] = { "", "x", "notes", "zz.file", ".file" };
        char name[OBJECT_NAME], directory[3];
        guint8 c[DIGEST_SIZE], got[DIGEST_SIZE];
        ObjectKind kind;

        checksum_of(1, c);
        for (ObjectKind k = 0; k < _OBJECT_MAX; k++) {
                object_name(c, object_suffix(k), name);
                g_strlcpy(directory, name, sizeof(directory));
                g_assert_true(object_parse(directory, name + 3, &kind, got));
                g_assert_cmpint(kind, ==, k);
                g_assert_cmpmem(got, DIGEST_SIZE, c, DIGEST_SIZE);
                g_assert_false(object_parse("x", name + 3, &kind, got));
                g_assert_false(object_parse(directory, name + 4, &kind, got));
        }
        object_name(c, ".filez", name);
        g_assert_false(object_parse("aa", name + 3, &kind, got));
        for (gsize i = 0; i < G_N_ELEMENTS(bad); i++)
                g_assert_false(object_parse("aa", bad[i], &kind, got));
}

static void make(int dir_fd, const char *name, gsize size) {
        g_autofree char *directory = g_path_get_dirname(name), *data = g_strnfill(size, 'x');
        _cleanup_close_ int sub = dir_open_at(dir_fd, directory, 0755);

        g_assert_cmpint(file_replace_at(sub, strrchr(name, '/') + 1, data, size, 0644, false), ==, 0);
}

static gboolean there(int dir_fd, const char *name) {
        return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Of each pair of objects the even one is marked; a link keeps the odd ones' space. */
static void fill(int dir_fd, Mark *m) {
        char name[OBJECT_NAME];
        guint8 c[DIGEST_SIZE];

        for (guint i = 0; i < 200; i++) {
                g_autofree char *link = g_strdup_printf("tree/d%u/l", i % 7);

                checksum_of(i, c);
                object_name(c, ".file", name);
                make(dir_fd, name, 5000);
                if (i % 2 == 0)
                        (void)mark_add(m, OBJECT_FILE, c);
                else if (i < 8) {
                        make(dir_fd, link, 1);
                        g_assert_cmpint(unlinkat(dir_fd, link, 0), ==, 0);
                        g_assert_cmpint(linkat(dir_fd, name, dir_fd, link, 0), ==, 0);
                }
        }
        make(dir_fd, "00/notes", 10);
}

static guint64 sweep(int dir_fd, const Mark *m, gboolean dry_run, guint64 *ret_objects) {
        g_auto(Sweep) s = { .freed = 0 };
        StoreJob job;

        g_assert_true(store_job_init(&job, NULL));
        sweep_init(&s, &job, dry_run);
        sweep_add_objects(&s, dir_fd, m);
        sweep_add_tree(&s, dir_fd, "tree");
        sweep_add_tree(&s, dir_fd, "missing");
        g_assert_true(sweep_run(&s, NULL));
        store_job_done(&job);
        *ret_objects = s.objects;
        return s.freed;
}

static void test_sweep(void) {
        g_autofree char *top = g_dir_make_tmp("davit-sweep-XXXXXX", NULL);
        _cleanup_close_ int fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_autoptr(Mark) m = mark_new(-1);
        guint64 planned, objects = 0;
        char name[OBJECT_NAME];
        guint8 c[DIGEST_SIZE];

        fill(fd, m);
        planned = sweep(fd, m, TRUE, &objects);
        g_assert_cmpuint(objects, ==, 100);
        g_assert_cmpuint(planned, >=, 100 * 5000);
        g_assert_true(there(fd, "tree"));
        g_assert_cmpuint(sweep(fd, m, FALSE, &objects), ==, planned);
        g_assert_cmpuint(objects, ==, 100);
        g_assert_false(there(fd, "tree"));
        g_assert_true(there(fd, "00/notes"));
        for (guint i = 0; i < 200; i++) {
                checksum_of(i, c);
                object_name(c, ".file", name);
                g_assert_cmpint(there(fd, name), ==, i % 2 == 0);
        }
        g_assert_cmpuint(sweep(fd, m, FALSE, &objects), ==, 0);
        g_assert_cmpint(tree_remove_at(AT_FDCWD, top), ==, 0);
}

/* A cancelled sweep ends, with an error, and frees its stack. */
static void test_cancelled(void) {
        g_autofree char *top = g_dir_make_tmp("davit-sweep-XXXXXX", NULL);
        _cleanup_close_ int fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_autoptr(GError) error = NULL;
        g_autoptr(Mark) m = mark_new(-1);
        g_auto(Sweep) s = { .freed = 0 };
        StoreJob job;

        fill(fd, m);
        g_assert_true(store_job_init(&job, NULL));
        store_job_cancel(&job);
        sweep_init(&s, &job, FALSE);
        sweep_add_objects(&s, fd, m);
        sweep_add_tree(&s, fd, "tree");
        g_assert_false(sweep_run(&s, &error));
        g_assert_nonnull(error);
        g_assert_true(there(fd, "tree"));
        store_job_done(&job);
        g_assert_cmpint(tree_remove_at(AT_FDCWD, top), ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/store/mark/set", test_set);
        g_test_add_func("/store/mark/names", test_names);
        g_test_add_func("/store/sweep/all", test_sweep);
        g_test_add_func("/store/sweep/cancelled", test_cancelled);
        return g_test_run();
}
