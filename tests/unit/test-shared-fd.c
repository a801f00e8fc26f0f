/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Files and trees: bounded reads, atomic replacement, removal of hostile trees, sealed memory.
 * Runs in a temporary directory of its own; a canary beside it shows that nothing outside is touched.
 */

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "tests/unit/test.h"

static int make_dir(void) {
        char path[] = "/tmp/davit-test-XXXXXX";
        int fd;

        ASSERT_TRUE(mkdtemp(path));
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_OK(fd);
        return fd;
}

static void drop_dir(int fd) {
        char link[64], path[256];
        ssize_t n;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        ASSERT_GE(n, 1);
        path[n] = '\0';
        close(fd);
        ASSERT_OK(tree_remove_at(AT_FDCWD, path));
        ASSERT_EQ(access(path, F_OK), -1);
}

static void test_replace(void) {
        _cleanup_free_ char *text = NULL;
        int dir = make_dir();
        size_t size;

        ASSERT_OK(file_replace_at(dir, "a", "one", 3, 0600, true));
        ASSERT_OK(file_replace_at(dir, "a", "two!", 4, 0600, false));
        ASSERT_OK(file_read_at(dir, "a", 4, &text, &size));
        ASSERT_EQ(size, 4);
        ASSERT_STREQ(text, "two!");
        free(TAKE_PTR(text));
        ASSERT_EQ(file_read_at(dir, "a", 3, &text, &size), -EFBIG);
        ASSERT_EQ(file_read_at(dir, "b", 3, &text, &size), -ENOENT);

        /* A name that is a directory cannot be replaced, and no temporary file stays. */
        ASSERT_OK(mkdirat(dir, "d", 0700));
        ASSERT_EQ(file_replace_at(dir, "d", "x", 1, 0600, false), -EISDIR);
        drop_dir(dir);
}

static void test_read_refuses(void) {
        _cleanup_free_ char *text = NULL;
        int dir = make_dir();

        ASSERT_OK(symlinkat("/etc/hostname", dir, "link"));
        ASSERT_EQ(file_read_at(dir, "link", 100, &text, NULL), -ELOOP);
        ASSERT_OK(mkfifoat(dir, "fifo", 0600));
        ASSERT_EQ(file_read_at(dir, "fifo", 100, &text, NULL), -EINVAL);
        ASSERT_OK(mkdirat(dir, "d", 0700));
        ASSERT_EQ(file_read_at(dir, "d", 100, &text, NULL), -EISDIR);
        drop_dir(dir);
}

static void test_dir_open(void) {
        int dir = make_dir(), fd;

        fd = dir_open_at(dir, "a/b//c", 0700);
        ASSERT_OK(fd);
        close(fd);
        ASSERT_EQ(faccessat(dir, "a/b/c", F_OK, 0), 0);
        ASSERT_EQ(dir_open_at(dir, "a/../x", 0700), -EINVAL);
        ASSERT_OK(symlinkat("/tmp", dir, "s"));
        fd = dir_open_at(dir, "s/x", 0700);
        ASSERT_TRUE(fd == -ELOOP || fd == -ENOTDIR);
        drop_dir(dir);
}

static void make_chain(int dir, const char *name, int depth) {
        int current = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        for (; depth > 0; depth--) {
                int next;

                ASSERT_OK(mkdirat(current, name, 0700));
                next = openat(current, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                ASSERT_OK(next);
                close(current);
                current = next;
        }
        close(current);
}

/* The names that deep directories are moved to are taken, by directories that are not empty and by files. */
static void test_remove_names_taken(void) {
        int dir = make_dir(), tree;

        ASSERT_OK(mkdirat(dir, "t", 0700));
        tree = openat(dir, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_OK(tree);
        for (int i = 0; i < 64; i++) {
                char name[32];

                snprintf(name, sizeof(name), ".deep-%d", i);
                if (i % 2)
                        ASSERT_OK(file_replace_at(tree, name, "x", 1, 0600, false));
                else
                        make_chain(tree, name, 2);
                snprintf(name, sizeof(name), "chain-%d", i);
                make_chain(tree, name, 70);
        }
        close(tree);
        ASSERT_OK(tree_remove_at(dir, "t"));
        ASSERT_EQ(faccessat(dir, "t", F_OK, 0), -1);
        drop_dir(dir);
}

static void test_remove(void) {
        int dir = make_dir(), outside = make_dir(), current;

        ASSERT_OK(file_replace_at(outside, "canary", "x", 1, 0600, false));
        ASSERT_OK(mkdirat(dir, "t", 0700));
        current = openat(dir, "t", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (int i = 0; i < 3000; i++) {
                int next;

                ASSERT_OK(file_replace_at(current, "f", "x", 1, 0400, false));
                ASSERT_OK(mkdirat(current, "deep", 0700));
                next = openat(current, "deep", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                ASSERT_OK(next);
                close(current);
                current = next;
        }
        close(current);

        char target[64];
        snprintf(target, sizeof(target), "/proc/self/fd/%d", outside);
        ASSERT_OK(symlinkat(target, dir, "t/link"));
        ASSERT_OK(tree_remove_at(dir, "t"));
        ASSERT_EQ(faccessat(dir, "t", F_OK, 0), -1);
        ASSERT_EQ(faccessat(outside, "canary", F_OK, 0), 0);
        ASSERT_OK(tree_remove_at(dir, "absent"));
        drop_dir(dir);
        drop_dir(outside);
}

/* @n_dirs directories of 20 files each, in "t". */
static void fill(int dir, unsigned n_dirs) {
        char name[32];

        ASSERT_OK(mkdirat(dir, "t", 0700));
        for (unsigned i = 0; i < n_dirs; i++) {
                snprintf(name, sizeof(name), "t/%u", i);
                ASSERT_OK(mkdirat(dir, name, 0700));
                for (unsigned j = 0; j < 20; j++) {
                        snprintf(name, sizeof(name), "t/%u/%u", i, j);
                        ASSERT_OK(mknodat(dir, name, S_IFREG | 0600, 0));
                }
        }
}

/* Two that remove the same tree do not hinder each other. */
static void test_remove_together(void) {
        int dir = make_dir(), status;
        int ready[2];
        char c;

        for (unsigned round = 0; round < 30; round++) {
                pid_t pid;

                fill(dir, 20);
                ASSERT_OK(pipe2(ready, O_CLOEXEC));
                pid = fork();
                ASSERT_OK(pid);
                if (pid == 0) {
                        (void)close(ready[1]);
                        _exit(read(ready[0], &c, 1) == 0 && tree_remove_at(dir, "t") == 0 ? 0 : 1);
                }
                close(ready[0]);
                close(ready[1]);
                ASSERT_OK(tree_remove_at(dir, "t"));
                ASSERT_EQ(waitpid(pid, &status, 0), pid);
                ASSERT_EQ(status, 0);
                ASSERT_EQ(faccessat(dir, "t", F_OK, 0), -1);
        }
        drop_dir(dir);
}

/* S-H04: what is sealed is whole, and no other is taken. */
static void test_memfd(void) {
        const void *p;
        size_t size;
        int fd, open_fd;

        fd = memfd_sealed("test", "hello", 5);
        ASSERT_OK(fd);
        ASSERT_EQ(write(fd, "x", 1), -1);
        ASSERT_EQ(errno, EPERM);
        ASSERT_OK(memfd_map_sealed(fd, 100, &p, &size));
        ASSERT_EQ(size, 5);
        ASSERT_EQ(memcmp(p, "hello", 5), 0);
        munmap((void *)p, size);
        ASSERT_EQ(memfd_map_sealed(fd, 4, &p, &size), -EFBIG);

        open_fd = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        ASSERT_OK(open_fd);
        ASSERT_EQ(write(open_fd, "x", 1), 1);
        ASSERT_EQ(memfd_map_sealed(open_fd, 100, &p, &size), -EPERM);
        close(open_fd);
        close(fd);

        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        ASSERT_EQ(memfd_map_sealed(fd, 100, &p, &size), -EPERM);
        close(fd);
}

TEST_MAIN({ "replace", test_replace }, { "read refuses", test_read_refuses }, { "dir open", test_dir_open },
          { "remove", test_remove }, { "remove, names taken", test_remove_names_taken },
          { "remove, together", test_remove_together }, { "memfd", test_memfd })
