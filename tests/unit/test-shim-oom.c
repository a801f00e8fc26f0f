/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tests shim/oom.c against files that are written here in the kernel's place: when a kill that was counted is told, and
 * as whose. That there is no memory while the victim is going cannot be brought about at will with a real one.
 */

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shim/oom.h"
#include "shim/shim.h"
#include "tests/unit/test.h"

#define LIMIT 25165824U

static char directory[] = "/tmp/davit-shim-oom-XXXXXX";
static int dir_fd = -1;

static void put(const char *name, const char *text) {
        _cleanup_close_ int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        ASSERT_OK(fd);
        ASSERT_OK(fd_write_all(fd, text, strlen(text)));
}

static void put_number(const char *name, unsigned n) {
        char text[32];

        (void)snprintf(text, sizeof(text), "%u\n", n);
        put(name, text);
}

static void kills(unsigned n) {
        char text[96];

        (void)snprintf(text, sizeof(text), "low 0\nhigh 0\nmax 7\noom 1\noom_kill %u\noom_group_kill 0\n", n);
        put("memory.events", text);
}

static void usage(unsigned n) {
        put_number("memory.current", n);
}

/* The first process is this one, which lives. */
static struct shim begin(unsigned limit) {
        struct shim s = SHIM_NULL;

        kills(0);
        usage(4096);
        if (limit)
                put_number("memory.max", limit);
        else
                put("memory.max", "max\n");
        s.cgroup.scope_fd = s.task_dir = dir_fd;
        s.init.pid = getpid();
        s.init.state = PROCESS_RUNNING;
        oom_watch(&s);
        ASSERT_OK(s.oom.fd);
        return s;
}

static void end(struct shim *s) {
        oom_done(&s->oom);
        ASSERT_EQ(s->oom.usage_fd, -1);
}

/* One is killed, and has been counted. */
static struct shim begin_killed(unsigned limit, unsigned used) {
        struct shim s = begin(limit);

        usage(used);
        kills(1);
        oom_noticed(&s);
        oom_noticed(&s);
        ASSERT_EQ(s.oom.pending, 1);
        ASSERT_TRUE(s.oom.look_again > 0);
        ASSERT_EQ(s.oom.n_events, 0);
        return s;
}

static void test_short(void) {
        struct shim s = begin_killed(LIMIT, LIMIT);

        for (unsigned i = 0; i < 20; i++) {
                oom_noticed(&s);
                ASSERT_TRUE(s.oom.look_again > 0);
                ASSERT_EQ(s.oom.n_events, 0);
        }
        usage(LIMIT - 4096);
        oom_noticed(&s);
        ASSERT_EQ(s.oom.n_events, 0);
        usage(LIMIT / 8);
        oom_noticed(&s);
        ASSERT_EQ(s.oom.n_events, 1);
        ASSERT_EQ(s.oom.events[0].culprit, OOM_CULPRIT_CHILD);
        ASSERT_EQ(s.oom.look_again, 0);
        end(&s);
}

/* Full of something else it is told of in the end. */
static void test_full(void) {
        struct shim s = begin_killed(LIMIT, LIMIT);
        unsigned n = 0;

        for (; s.oom.n_events == 0; n++) {
                ASSERT_TRUE(s.oom.look_again > 0);
                ASSERT_TRUE(n < 1000);
                oom_noticed(&s);
        }
        ASSERT_TRUE(n > 20);
        ASSERT_EQ(s.oom.look_again, 0);
        end(&s);
}

/* Its limit is not what there was too little of. */
static void test_elsewhere(void) {
        static const unsigned limits[] = { 0, LIMIT };

        for (size_t i = 0; i < ELEMENTSOF(limits); i++) {
                struct shim s = begin_killed(limits[i], LIMIT / 2);

                oom_noticed(&s);
                ASSERT_EQ(s.oom.n_events, 1);
                ASSERT_EQ(s.oom.events[0].culprit, OOM_CULPRIT_CHILD);
                end(&s);
        }
}

/* The end of the first process decides at once, and ends the waiting. */
static void test_first(void) {
        struct shim s = begin_killed(LIMIT, LIMIT);

        s.init.state = PROCESS_ENDED;
        ASSERT_TRUE(oom_ended(&s, &s.init, true));
        ASSERT_EQ(s.oom.n_events, 1);
        ASSERT_EQ(s.oom.events[0].culprit, OOM_CULPRIT_INIT);
        oom_settle(&s);
        oom_noticed(&s);
        ASSERT_EQ(s.oom.look_again, 0);
        ASSERT_EQ(s.oom.n_events, 1);
        end(&s);
}

/* At the limit without a kill there is one look, and nothing to tell. */
static void test_nobody(void) {
        struct shim s = begin(LIMIT);

        usage(LIMIT);
        oom_noticed(&s);
        ASSERT_TRUE(s.oom.look_again > 0);
        oom_noticed(&s);
        ASSERT_EQ(s.oom.look_again, 0);
        ASSERT_EQ(s.oom.n_events, 0);
        end(&s);
}

int main(void) {
        static const struct test tests[] = { { "no memory while the victim goes", test_short },
                                             { "no memory for good", test_full },
                                             { "memory enough", test_elsewhere },
                                             { "the first process", test_first },
                                             { "nobody killed", test_nobody } };
        int r;

        ASSERT_TRUE(mkdtemp(directory));
        dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_OK(dir_fd);
        r = test_main(tests, ELEMENTSOF(tests));
        ASSERT_OK(tree_remove_at(AT_FDCWD, directory));
        return r;
}
