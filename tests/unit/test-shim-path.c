/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tests shim/path.c: resolution and creation inside a root that is full of links leading out of it. */

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shim/path.h"
#include "tests/unit/test.h"

static char base[] = "/tmp/davit-test-path-XXXXXX";
static int base_fd = -1, root_fd = -1;

static void test_prepare(void) {
        ASSERT_TRUE(mkdtemp(base) != NULL);
        base_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_OK(base_fd);
        ASSERT_OK(mkdirat(base_fd, "root", 0755));
        ASSERT_OK(mkdirat(base_fd, "outside", 0755));
        root_fd = openat(base_fd, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_OK(root_fd);
        ASSERT_OK(mkdirat(root_fd, "dir", 0755));
        ASSERT_OK(symlinkat("../outside", root_fd, "up"));
        ASSERT_OK(symlinkat("/dir", root_fd, "absolute"));
        ASSERT_OK(symlinkat("/proc/self/fd", root_fd, "magic"));
        ASSERT_OK(symlinkat("nowhere", root_fd, "dangling"));
}

static int same(int fd, const char *path) {
        struct stat a, b;

        return fstat(fd, &a) == 0 && fstatat(base_fd, path, &b, AT_SYMLINK_NOFOLLOW) == 0 && a.st_ino == b.st_ino &&
               a.st_dev == b.st_dev;
}

static void test_open(void) {
        int fd;

        fd = path_open(root_fd, "/absolute", O_PATH, 0);
        ASSERT_OK(fd);
        ASSERT_TRUE(same(fd, "root/dir"));
        (void)close(fd);
        ASSERT_EQ(path_open(root_fd, "/up", O_PATH, 0), -ENOENT); /* "..", at the root, stays there */
        ASSERT_EQ(path_open(root_fd, "/../outside", O_PATH, 0), -ENOENT);
        ASSERT_EQ(path_open(root_fd, "/absolute", O_PATH, RESOLVE_NO_SYMLINKS), -ELOOP);
        ASSERT_EQ(path_open(root_fd, "/magic/0", O_PATH, 0), -ENOENT);
}

static void test_make(void) {
        struct stat st;
        int fd;

        fd = path_make(root_fd, "/absolute/a/b//c/", PATH_DIRECTORY, 0);
        ASSERT_OK(fd);
        ASSERT_TRUE(same(fd, "root/dir/a/b/c"));
        (void)close(fd);
        fd = path_make(root_fd, "/up/x/file", PATH_FILE, 0);
        ASSERT_TRUE(fd < 0);
        ASSERT_EQ(fstatat(base_fd, "outside/x", &st, AT_SYMLINK_NOFOLLOW), -1);
        fd = path_make(root_fd, "/dir/new/file", PATH_FILE, 0);
        ASSERT_OK(fd);
        (void)close(fd);
        ASSERT_EQ(path_make(root_fd, "/dir/new/file", PATH_DIRECTORY, 0), -ENOTDIR);
        ASSERT_EQ(path_make(root_fd, "/dir/new", PATH_FILE, 0), -EISDIR);
        ASSERT_EQ(path_make(root_fd, "/dir/gone/../x", PATH_DIRECTORY, 0), -EINVAL);
        ASSERT_EQ(path_make(root_fd, "/absolute/z", PATH_DIRECTORY, RESOLVE_NO_SYMLINKS), -ELOOP);
        ASSERT_TRUE(path_make(root_fd, "/dangling", PATH_DIRECTORY, 0) < 0);
        ASSERT_EQ(fstatat(root_fd, "nowhere", &st, AT_SYMLINK_NOFOLLOW), -1);
}

static void test_parent(void) {
        const char *name;
        int fd;

        fd = path_open_parent(root_fd, "/dev/null", RESOLVE_NO_SYMLINKS, &name);
        ASSERT_OK(fd);
        ASSERT_STREQ(name, "null");
        ASSERT_TRUE(same(fd, "root/dev"));
        (void)close(fd);
        ASSERT_EQ(path_open_parent(root_fd, "/dev/", 0, &name), -EINVAL);
        ASSERT_EQ(path_open_parent(root_fd, "/dev/..", 0, &name), -EINVAL);
        ASSERT_TRUE(path_open_parent(root_fd, "/up/../../x/y", 0, &name) < 0);
}

static void test_covers(void) {
        ASSERT_TRUE(path_covers("/dev", "/dev"));
        ASSERT_TRUE(path_covers("/dev/", "/dev/pts"));
        ASSERT_FALSE(path_covers("/dev", "/device"));
        ASSERT_FALSE(path_covers("/dev/pts", "/dev"));
        ASSERT_TRUE(path_covers("/", "/dev"));
}

static void test_remove(void) {
        ASSERT_OK(tree_remove_at(AT_FDCWD, base));
}

TEST_MAIN({ "prepare", test_prepare }, { "open", test_open }, { "make", test_make }, { "parent", test_parent },
          { "covers", test_covers }, { "remove", test_remove })
