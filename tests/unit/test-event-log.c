/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The record of events: what was kept comes back in order, a torn end goes, the files take turns, and numbers go on
 * over the end of a manager and of a boot.
 */

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/event-log.h"
#include "daemon/event.h"
#include "shared/fd.h"
#include "shared/macros.h"

static int runtime_fd, state_fd;

static void on_event(const char *text, size_t size, void *userdata) {
        GArray *seen = userdata;
        uint64_t n = event_number(text, size, "DAVIT_SEQUENCE");

        g_array_append_val(seen, n);
}

static GArray *reopen(EventLog *log) {
        GArray *seen = g_array_new(FALSE, FALSE, sizeof(uint64_t));

        event_log_close(log);
        *log = (EventLog)EVENT_LOG_NULL;
        g_assert_cmpint(event_log_open(log, runtime_fd, state_fd, on_event, seen), ==, 0);
        return seen;
}

static bool put(EventLog *log) {
        g_autofree char *text = g_strdup_printf("DAVIT_SEQUENCE=%" G_GUINT64_FORMAT "\nDAVIT_TIME=%" G_GUINT64_FORMAT
                                                "\nMESSAGE=nothing\n\n",
                                                log->next, 1000 + log->next);
        bool rotated;

        g_assert_cmpint(event_log_reserve(log), ==, 0);
        g_assert_cmpint(event_log_append(log, text, strlen(text), &rotated), ==, 0);
        return rotated;
}

static void assert_seen(GArray *seen, uint64_t first, uint64_t last) {
        g_assert_cmpuint(seen->len, ==, last + 1 - first);
        for (guint i = 0; i < seen->len; i++)
                g_assert_cmpuint(g_array_index(seen, uint64_t, i), ==, first + i);
        g_array_unref(seen);
}

static void test_goes_on(void) {
        EventLog log = EVENT_LOG_NULL;

        assert_seen(reopen(&log), 1, 0);
        g_assert_cmpuint(log.next, ==, 1);
        for (int i = 0; i < 3; i++)
                g_assert_false(put(&log));
        assert_seen(reopen(&log), 1, 3);
        g_assert_cmpuint(log.next, ==, 4);
        g_assert_cmpuint(log.first, ==, 1);
        g_assert_cmpuint(log.first_time, ==, 1001);
        event_log_close(&log);
}

static void test_torn_end_goes(void) {
        static const char torn[] = "DAVIT_SEQUENCE=4\nDAVIT_TIME=5\nMESS";
        EventLog log = EVENT_LOG_NULL;
        int fd;

        fd = openat(runtime_fd, EVENT_LOG_DIR "/" EVENT_LOG_NAME, O_WRONLY | O_APPEND | O_CLOEXEC);
        g_assert_cmpint(write(fd, torn, strlen(torn)), ==, strlen(torn));
        (void)close(fd);
        assert_seen(reopen(&log), 1, 3);
        (void)put(&log);
        assert_seen(reopen(&log), 1, 4);
        event_log_close(&log);
}

static void test_files_take_turns(void) {
        EventLog log = EVENT_LOG_NULL;
        uint64_t first;
        struct stat st;
        int fds[2];

        g_array_unref(reopen(&log));
        while (!put(&log))
                ;
        first = log.first;
        g_assert_cmpuint(log.old_first, ==, 1);
        g_assert_cmpuint(first, ==, log.next - 1);
        g_assert_cmpint(event_log_files(&log, fds), ==, 2);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++) {
                g_assert_cmpint(fcntl(fds[i], F_GETFL) & O_ACCMODE, ==, O_RDONLY);
                g_assert_cmpint(fstat(fds[i], &st), ==, 0);
                g_assert_cmpint(st.st_size, <=, EVENT_LOG_SIZE_MAX);
                (void)close(fds[i]);
        }
        assert_seen(reopen(&log), 1, first);
        while (!put(&log))
                ;
        g_assert_cmpuint(log.old_first, ==, first);
        event_log_close(&log);
}

static void test_other_boot(void) {
        EventLog log = EVENT_LOG_NULL;
        uint64_t before;

        g_array_unref(reopen(&log));
        before = log.next;
        event_log_close(&log);
        g_assert_cmpint(tree_remove_at(runtime_fd, EVENT_LOG_DIR), ==, 0);
        assert_seen(reopen(&log), 1, 0);
        g_assert_cmpuint(log.next, >, before);
        g_assert_cmpuint(log.reserved, >, log.next);
        event_log_close(&log);
}

static void test_fields(void) {
        static const char text[] = "A=1\nAB=two words\nC=\n";
        const char *value;
        size_t n;

        g_assert_true(event_field(text, strlen(text), "AB", &value, &n));
        g_assert_cmpmem(value, n, "two words", 9);
        g_assert_true(event_field(text, strlen(text), "C", &value, &n));
        g_assert_cmpuint(n, ==, 0);
        g_assert_false(event_field(text, strlen(text), "B", &value, &n));
        g_assert_cmpuint(event_number(text, strlen(text), "A"), ==, 1);
        g_assert_cmpuint(event_number(text, strlen(text), "D"), ==, 0);
}

static void test_types(void) {
        for (EventType i = 0; i < _EVENT_TYPE_MAX; i++) {
                g_assert_cmpint(event_type_from_name(event_info(i)->name), ==, i);
                g_assert_cmpuint(strlen(event_info(i)->message_id), ==, 32);
                for (EventType j = 0; j < i; j++)
                        g_assert_cmpstr(event_info(i)->message_id, !=, event_info(j)->message_id);
        }
        g_assert_cmpint(event_type_from_name("task"), ==, _EVENT_TYPE_MAX);
}

int main(int argc, char *argv[]) {
        g_autofree char *run = g_dir_make_tmp("davit-run-XXXXXX", NULL);
        g_autofree char *state = g_dir_make_tmp("davit-state-XXXXXX", NULL);
        int r;

        g_test_init(&argc, &argv, NULL);
        runtime_fd = open(run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        state_fd = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        g_test_add_func("/event-log/goes-on", test_goes_on);
        g_test_add_func("/event-log/torn-end-goes", test_torn_end_goes);
        g_test_add_func("/event-log/files-take-turns", test_files_take_turns);
        g_test_add_func("/event-log/other-boot", test_other_boot);
        g_test_add_func("/event-log/fields", test_fields);
        g_test_add_func("/event-log/types", test_types);
        r = g_test_run();
        (void)tree_remove_at(AT_FDCWD, run);
        (void)tree_remove_at(AT_FDCWD, state);
        (void)close(runtime_fd);
        (void)close(state_fd);
        return r;
}
