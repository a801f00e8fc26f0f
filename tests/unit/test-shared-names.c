/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Names and words: ids, unit names, signals, name tables, exit records, processes.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shared/exit-record.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/message.h"
#include "shared/name.h"
#include "shared/oom-record.h"
#include "shared/process.h"
#include "shared/violation.h"
#include "tests/unit/test.h"

static void test_ids(void) {
        static const char *const good[] = { "a", "web", "web-1", "A.b_c-9", "0", "0123456789abcdef" };
        static const char *const bad[] = { "",   "-a",  "a-",   ".a",  "a.",       "a--b", "a/b",
                                           "..", "a b", "a\nb", "a%b", "\xc3\xa4", "a\x7f" };
        char longest[NAME_ID_MAX + 2];

        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                ASSERT_TRUE(name_id_valid(good[i]));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                ASSERT_FALSE(name_id_valid(bad[i]));

        memset(longest, 'x', sizeof(longest));
        longest[NAME_ID_MAX] = '\0';
        ASSERT_TRUE(name_id_valid(longest));
        longest[NAME_ID_MAX] = 'x';
        longest[NAME_ID_MAX + 1] = '\0';
        ASSERT_FALSE(name_id_valid(longest));
}

static void test_oom_record(void) {
        static const char *const damaged[] = { "", "version=1\n1 2 3\n", "version=1\n1 2 3 nobody\n", "vers" };
        struct shim_oom in[2] = { { .number = 7, .kills = 9, .at = UINT64_MAX, .culprit = OOM_CULPRIT_EXEC },
                                  { .number = 8, .kills = 12, .at = 1, .culprit = OOM_CULPRIT_CHILD } },
                        out[OOM_RECORD_MAX];
        char dir[] = "/tmp/test-oom-XXXXXX";
        size_t n = 0;
        int fd;

        ASSERT_TRUE(mkdtemp(dir));
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_EQ(oom_record_read(fd, out, &n), -ENOENT);
        memset(in[0].exec_id, 'x', SHIM_EXEC_ID_MAX - 1);
        ASSERT_OK(oom_record_write(fd, in, 2));
        ASSERT_OK(oom_record_read(fd, out, &n));
        ASSERT_EQ(n, 2U);
        ASSERT_EQ(memcmp(in, out, sizeof(in)), 0);
        for (size_t i = 0; i < ELEMENTSOF(damaged); i++) {
                ASSERT_OK(file_replace_at(fd, OOM_RECORD_NAME, damaged[i], strlen(damaged[i]), 0600, false));
                ASSERT_EQ(oom_record_read(fd, out, &n), -EBADMSG);
        }
        ASSERT_OK(file_replace_at(fd, OOM_RECORD_NAME, "version=2\n", 10, 0600, false));
        ASSERT_EQ(oom_record_read(fd, out, &n), -EPROTONOSUPPORT);
        (void)close(fd);
        ASSERT_OK(tree_remove_at(AT_FDCWD, dir));
}

static void test_violation_record(void) {
        static const char *const damaged[] = { "", "version=1\n1 2 3 4 5 6 7 8\n", "version=1\n1 2 3 4 5 6 7 8 -\n",
                                               "vers", "version=1\n1 2 3 4 5 6 7 8 - longer than names are\n" };
        struct shim_violation in[2] = { { .number = 7,
                                          .calls = 9,
                                          .dropped = 3,
                                          .at = UINT64_MAX,
                                          .arch = UINT32_MAX,
                                          .call = INT32_MIN,
                                          .pid = INT32_MAX,
                                          .action = UINT32_MAX },
                                        { .number = 8, .call = -1, .command = "tmux: server" } },
                              out[VIOLATION_RECORD_MAX];
        char dir[] = "/tmp/test-violation-XXXXXX";
        size_t n = 0;
        int fd;

        ASSERT_TRUE(mkdtemp(dir));
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_EQ(violation_record_read(fd, out, &n), -ENOENT);
        memset(in[0].exec_id, 'x', SHIM_EXEC_ID_MAX - 1);
        memset(in[0].command, 'y', VIOLATION_COMMAND_MAX - 1);
        ASSERT_OK(violation_record_write(fd, in, 2));
        ASSERT_OK(violation_record_read(fd, out, &n));
        ASSERT_EQ(n, 2U);
        ASSERT_EQ(memcmp(in, out, sizeof(in)), 0);
        for (size_t i = 0; i < ELEMENTSOF(damaged); i++) {
                ASSERT_OK(file_replace_at(fd, VIOLATION_RECORD_NAME, damaged[i], strlen(damaged[i]), 0600, false));
                ASSERT_EQ(violation_record_read(fd, out, &n), -EBADMSG);
        }
        ASSERT_OK(file_replace_at(fd, VIOLATION_RECORD_NAME, "version=2\n", 10, 0600, false));
        ASSERT_EQ(violation_record_read(fd, out, &n), -EPROTONOSUPPORT);
        (void)close(fd);
        ASSERT_OK(tree_remove_at(AT_FDCWD, dir));
}

static void test_units(void) {
        char ns[NAME_NAMESPACE_MAX + 1], id[NAME_ID_MAX + 1], unit[NAME_UNIT_MAX];

        ASSERT_OK(name_scope("default", "web", unit));
        ASSERT_STREQ(unit, "davit-default-web.scope");
        ASSERT_OK(name_scope("a-b", "c.d-e_f", unit));
        ASSERT_STREQ(unit, "davit-a\\x2db-c.d\\x2de_f.scope");
        ASSERT_OK(name_slice("a-b", unit));
        ASSERT_STREQ(unit, "davit-a\\x2db.slice");

        /* The worst valid names still fit. */
        for (size_t i = 0; i < NAME_NAMESPACE_MAX; i++)
                ns[i] = i % 2 ? '-' : 'n';
        ns[NAME_NAMESPACE_MAX - 1] = 'n';
        ns[NAME_NAMESPACE_MAX] = '\0';
        for (size_t i = 0; i < NAME_ID_MAX; i++)
                id[i] = i % 2 ? '-' : 'i';
        id[NAME_ID_MAX - 1] = 'i';
        id[NAME_ID_MAX] = '\0';
        ASSERT_TRUE(name_namespace_valid(ns));
        ASSERT_TRUE(name_id_valid(id));
        ASSERT_OK(name_scope(ns, id, unit));
        ASSERT_GE(250, strlen(unit));
}

static void test_random_id(void) {
        char a[13], b[13];

        ASSERT_OK(name_random_id(a));
        ASSERT_OK(name_random_id(b));
        ASSERT_TRUE(name_is_random_id(a));
        ASSERT_TRUE(!name_is_random_id("web") && !name_is_random_id("0123456789ab-") &&
                    !name_is_random_id("0123456789aB"));
        ASSERT_EQ(strlen(a), 12);
        ASSERT_TRUE(name_id_valid(a));
        ASSERT_NE(strcmp(a, b), 0);
}

static void test_signals(void) {
        static const struct {
                const char *name;
                int number;
        } table[] = {
                { "TERM", SIGTERM },         { "SIGTERM", SIGTERM }, { "sigkill", SIGKILL }, { "9", 9 },
                { "SIGUSR1", SIGUSR1 },      { "0", -EINVAL },       { "65", -EINVAL },      { "-1", -EINVAL },
                { "9x", -EINVAL },           { "", -EINVAL },        { "SIG", -EINVAL },     { "SIG9", -EINVAL },
                { "999999999999", -EINVAL }, { " 9", -EINVAL },      { "NOPE", -EINVAL },    { "RTMIN+99", -EINVAL },
                { "RTMIN-1", -EINVAL },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                ASSERT_EQ(signal_from_name(table[i].name), table[i].number);
        ASSERT_EQ(signal_from_name("SIGRTMIN+3"), SIGRTMIN + 3);
        ASSERT_EQ(signal_from_name("RTMAX-2"), SIGRTMAX - 2);
}

static void test_tables(void) {
        for (uint32_t i = 1; i < _EXIT_KIND_MAX; i++)
                ASSERT_EQ(exit_kind_from_name(exit_kind_name(i)), i);
        for (uint32_t i = 0; i < _TASK_STATUS_MAX; i++)
                ASSERT_EQ(task_status_from_name(task_status_name(i)), i);
        for (uint32_t i = 1; i < _SHIM_STEP_MAX; i++)
                ASSERT_NE(strcmp(shim_step_name(i), "unknown step"), 0);
        ASSERT_STREQ(shim_step_name(_SHIM_STEP_MAX), "unknown step");
        ASSERT_STREQ(exit_kind_name(_EXIT_KIND_MAX), "");
        ASSERT_EQ(exit_kind_from_name("nonsense"), 0);
        ASSERT_EQ(task_status_from_name("nonsense"), TASK_UNKNOWN);
}

static void test_exit_record(void) {
        static const char *const bad[] = {
                "",
                "status=1\n",
                "version=2\nstatus=0\nkind=exited\n",
                "version=1\nstatus=x\nkind=exited\n",
                "version=1\nstatus=1 \nkind=exited\n",
                "version=1\nstatus=0\nkind=nonsense\n",
                "version=1\nstatus=0\n",
                "version=1\nnoequals\n",
                "version=1\nstatus=0\nkind=exited\ndropped_bytes=x\n",
        };
        struct exit_record in = { .status = 137,
                                  .kind = EXIT_KIND_SIGNALLED,
                                  .exited_at = 1234567890123456,
                                  .exited_at_boottime = 42,
                                  .oom_kills = UINT64_MAX,
                                  .dropped_bytes = UINT64_MAX - 1,
                                  .started_at = UINT64_MAX - 2,
                                  .pid = UINT32_MAX },
                           out;
        char path[] = "/tmp/davit-test-XXXXXX";
        int dir;

        ASSERT_TRUE(mkdtemp(path));
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ASSERT_OK(boot_id_read(in.boot_id));
        ASSERT_OK(exit_record_write(dir, "exit", &in));
        ASSERT_OK(exit_record_read(dir, "exit", &out));
        ASSERT_EQ(out.status, 137);
        ASSERT_EQ(out.kind, EXIT_KIND_SIGNALLED);
        ASSERT_EQ(out.exited_at, in.exited_at);
        ASSERT_EQ(out.exited_at_boottime, 42);
        ASSERT_EQ(out.oom_kills, UINT64_MAX);
        ASSERT_EQ(out.dropped_bytes, UINT64_MAX - 1);
        ASSERT_EQ(out.started_at, UINT64_MAX - 2);
        ASSERT_EQ(out.pid, UINT32_MAX);
        ASSERT_STREQ(out.boot_id, in.boot_id);

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                ASSERT_OK(file_replace_at(dir, "bad", bad[i], strlen(bad[i]), 0600, false));
                int r = exit_record_read(dir, "bad", &out);
                ASSERT_TRUE(r == -EBADMSG || r == -EPROTONOSUPPORT);
        }
        ASSERT_EQ(exit_record_read(dir, "absent", &out), -ENOENT);
        in.kind = 0;
        ASSERT_EQ(exit_record_write(dir, "exit", &in), -EINVAL);
        close(dir);
        ASSERT_OK(tree_remove_at(AT_FDCWD, path));
}

static void test_processes(void) {
        uint64_t start;
        int fd;

        ASSERT_OK(process_start_time(getpid(), &start));
        fd = process_open(getpid(), start);
        ASSERT_OK(fd);
        close(fd);
        ASSERT_EQ(process_open(getpid(), start + 1), -ESRCH);
}

/* A name is the process's own to choose, so it may look like what follows it. */
static void test_process_stat(void) {
        static char name[] = "a) Z 1 (b)";
        struct process_stat stat;
        uint64_t start;
        sigset_t usr1, before;
        siginfo_t info;
        int number;
        pid_t pid;

        ASSERT_OK(prctl(PR_SET_NAME, name));
        sigemptyset(&usr1);
        sigaddset(&usr1, SIGUSR1);
        ASSERT_OK(sigprocmask(SIG_BLOCK, &usr1, &before));
        ASSERT_OK(raise(SIGUSR1));
        ASSERT_OK(process_stat(getpid(), &stat));
        ASSERT_EQ(stat.state, 'R');
        ASSERT_FALSE(stat.exiting);
        ASSERT_EQ(stat.signals, 1 << (SIGUSR1 - 1));
        ASSERT_OK(process_start_time(getpid(), &start));
        ASSERT_EQ(stat.start_time, start);
        ASSERT_EQ(sigwait(&usr1, &number), 0);
        ASSERT_OK(sigprocmask(SIG_SETMASK, &before, NULL));

        pid = fork();
        ASSERT_OK(pid);
        if (pid == 0)
                _exit(0);
        ASSERT_OK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT));
        ASSERT_OK(process_stat(pid, &stat));
        ASSERT_EQ(stat.state, 'Z');
        ASSERT_TRUE(stat.exiting);
        ASSERT_GE(stat.start_time, start);
        ASSERT_EQ(stat.signals, 0);
        ASSERT_EQ(waitpid(pid, NULL, 0), pid);
        ASSERT_EQ(process_stat(pid, &stat), -ESRCH);
}

TEST_MAIN({ "ids", test_ids }, { "oom record", test_oom_record }, { "violation record", test_violation_record },
          { "units", test_units }, { "random id", test_random_id }, { "signals", test_signals },
          { "tables", test_tables }, { "exit record", test_exit_record }, { "processes", test_processes },
          { "process stat", test_process_stat })
