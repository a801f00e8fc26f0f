/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Removals beside the event loop: whoever waits hears of what it has asked for, and of nothing else.
 */

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <sys/stat.h>

#include "daemon/sync.h"
#include "shared/fd.h"
#include "shared/macros.h"

typedef struct Fixture {
        sd_event *event;
        Sync *sync;
        int dir_fd;
        char *path;
} Fixture;

static void fixture_setup(Fixture *f, const void *data _unused_) {
        f->path = g_dir_make_tmp("davit-sync-XXXXXX", NULL);
        f->dir_fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_assert_cmpint(f->dir_fd, >=, 0);
        g_assert_cmpint(mkdirat(f->dir_fd, "tree", 0700), ==, 0); /* which unlink() does not remove */
        g_assert_cmpint(sd_event_new(&f->event), ==, 0);
        g_assert_cmpint(sync_new(f->event, &f->sync), ==, 0);
}

static void fixture_teardown(Fixture *f, const void *data _unused_) {
        (void)sync_free(f->sync);
        sd_event_unref(f->event);
        (void)unlinkat(f->dir_fd, "tree", AT_REMOVEDIR);
        (void)safe_close(f->dir_fd);
        (void)g_rmdir(f->path);
        g_free(f->path);
}

static void drop(Fixture *f, const char *name) {
        int fd = fcntl(f->dir_fd, F_DUPFD_CLOEXEC, 3);

        g_assert_cmpint(fd, >=, 0);
        sync_unlink(f->sync, fd, name);
}

static void on_done(int r, void *userdata) {
        int *result = userdata;

        *result = r;
}

static void run_until(Fixture *f, const int *result) {
        while (*result > 0)
                g_assert_cmpint(sd_event_run(f->event, 5 * G_USEC_PER_SEC), >, 0);
}

static void test_own_error(Fixture *f, const void *data _unused_) {
        int before = 1, mine = 1, after = 1;
        uint64_t mark;

        for (unsigned i = 0; i < 2; i++) { /* the second time there is a thread already */
                mark = sync_mark(f->sync);
                drop(f, "nothing");
                sync_wait(f->sync, mark, on_done, &before);
                mark = sync_mark(f->sync);
                drop(f, "tree");
                drop(f, "nothing");
                sync_wait(f->sync, mark, on_done, &mine);
                mark = sync_mark(f->sync);
                drop(f, "nothing");
                sync_wait(f->sync, mark, on_done, &after);
                run_until(f, &after);
                g_assert_cmpint(before, ==, 0);
                g_assert_cmpint(mine, ==, -EISDIR);
                g_assert_cmpint(after, ==, 0);
                before = mine = after = 1;
        }
        sync_wait(f->sync, sync_mark(f->sync), on_done, &after); /* what has failed before is nobody's any more */
        g_assert_cmpint(after, ==, 0);
}

static int fail(void *userdata) {
        unsigned *calls = userdata;

        (*calls)++;
        return -EDOM;
}

static void on_failed(int r, void *userdata) {
        unsigned *calls = userdata;

        g_assert_cmpint(r, ==, -EDOM);
        (*calls)++;
}

static void test_work(Fixture *f, const void *data _unused_) {
        unsigned calls = 0;
        int result = 1;

        sync_run(f->sync, -1, "work", fail, on_failed, &calls);
        sync_wait(f->sync, 0, on_done, &result);
        run_until(f, &result);
        g_assert_cmpint(result, ==, -EDOM);
        g_assert_cmpuint(calls, ==, 2);
}

/* A removal is not known to last where its directory cannot be synced. */
static void test_fsync(Fixture *f, const void *data _unused_) {
        int fd = openat(f->dir_fd, "tree", O_PATH | O_DIRECTORY | O_CLOEXEC), result = 1;

        g_assert_cmpint(fd, >=, 0);
        sync_unlink(f->sync, fd, "nothing");
        sync_wait(f->sync, 0, on_done, &result);
        run_until(f, &result);
        g_assert_cmpint(result, ==, -EBADF);
}

static int read_byte(void *userdata) {
        char c;

        return read(*(int *)userdata, &c, 1) == 1 ? 0 : -EIO;
}

/* A disk that hangs holds up whoever needs the name, and not for ever; nobody else. */
static void test_settle(Fixture *f, const void *data _unused_) {
        int pipes[2], result = 1;

        g_assert_cmpint(pipe2(pipes, O_CLOEXEC), ==, 0);
        sync_run(f->sync, -1, "hangs", read_byte, NULL, &pipes[0]);
        g_assert_cmpint(sync_settle(f->sync, "other"), ==, 0);
        g_assert_cmpint(sync_settle(f->sync, "hangs"), ==, -EAGAIN);
        g_assert_cmpint(sync_settle(f->sync, NULL), ==, -EAGAIN);
        g_assert_cmpint(write(pipes[1], "x", 1), ==, 1);
        g_assert_cmpint(sync_settle(f->sync, "hangs"), ==, 0);
        sync_wait(f->sync, 0, on_done, &result);
        run_until(f, &result);
        g_assert_cmpint(result, ==, 0);
        (void)close(pipes[0]);
        (void)close(pipes[1]);
}

int main(int argc, char *argv[]) {
        g_test_init(&argc, &argv, NULL);
        g_test_add("/sync/own-error", Fixture, NULL, fixture_setup, test_own_error, fixture_teardown);
        g_test_add("/sync/work", Fixture, NULL, fixture_setup, test_work, fixture_teardown);
        g_test_add("/sync/fsync", Fixture, NULL, fixture_setup, test_fsync, fixture_teardown);
        g_test_add("/sync/settle", Fixture, NULL, fixture_setup, test_settle, fixture_teardown);
        return g_test_run();
}
