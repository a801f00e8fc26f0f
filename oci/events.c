/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davit-oci events: what a container uses, as lines of JSON.
 *
 * One line now with --stats; else one every interval until the container ends, and one whenever the kernel has killed
 * something in it for want of memory. Numbers come from the files of whichever version has the controller.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "oci/container.h"
#include "oci/group.h"
#include "plan/fields.h"
#include "plan/spec.h"
#include "shared/fd.h"
#include "shared/macros.h"

static gboolean arg_stats;
static char *arg_interval;

static const GOptionEntry entries[] = {
        { "stats", 0, 0, G_OPTION_ARG_NONE, &arg_stats, "One line, and the end", NULL },
        { "interval", 0, 0, G_OPTION_ARG_FILENAME, &arg_interval, "Time between lines (default: 5s)", "TIME" },
        {},
};

static char *read_group(State *state, const char *controller, const char *name) {
        g_autofree char *directory = group_directory(state, controller), *path = NULL;
        char *text = NULL;

        if (!directory)
                return NULL;
        path = g_build_filename(directory, name, NULL);
        return file_read_at(AT_FDCWD, path, 65536, &text, NULL) < 0 ? NULL : text;
}

/* A file of one number, or with @key a line of one with many; FALSE where there is none. */
static gboolean number_of(State *state, const char *controller, const char *name, const char *key, gint64 *ret) {
        _cleanup_free_ char *text = read_group(state, controller, name);
        char *at = text;

        while (at && key && !(g_str_has_prefix(at, key) && at[strlen(key)] == ' ')) {
                at = strchr(at, '\n');
                at = at ? at + 1 : NULL;
        }
        if (!at)
                return FALSE;
        at += key ? strlen(key) : 0;
        at += strspn(at, " ");
        if (g_str_has_prefix(at, "max")) {
                *ret = -1;
                return TRUE;
        }
        if (!g_ascii_isdigit(*at))
                return FALSE;
        *ret = (gint64)MIN(g_ascii_strtoull(at, NULL, 10), (guint64)G_MAXINT64);
        return TRUE;
}

typedef struct Number {
        const char *section, *part, *name;         /* of the line */
        const char *controller, *v1_file, *v1_key; /* version 1 */
        const char *v2_file, *v2_key;              /* version 2 */
        gint64 v2_factor;                          /* microseconds to nanoseconds */
} Number;

static const Number table[] = {
        { "cpu", "usage", "total", "cpuacct", "cpuacct.usage", NULL, "cpu.stat", "usage_usec", 1000 },
        { "cpu", "usage", "kernel", NULL, NULL, NULL, "cpu.stat", "system_usec", 1000 },
        { "cpu", "usage", "user", NULL, NULL, NULL, "cpu.stat", "user_usec", 1000 },
        { "cpu", "throttling", "periods", "cpu", "cpu.stat", "nr_periods", "cpu.stat", "nr_periods", 1 },
        { "cpu", "throttling", "throttledPeriods", "cpu", "cpu.stat", "nr_throttled", "cpu.stat", "nr_throttled", 1 },
        { "cpu", "throttling", "throttledTime", "cpu", "cpu.stat", "throttled_time", "cpu.stat", "throttled_usec",
          1000 },
        { "memory", "usage", "usage", "memory", "memory.usage_in_bytes", NULL, "memory.current", NULL, 1 },
        { "memory", "usage", "limit", "memory", "memory.limit_in_bytes", NULL, "memory.max", NULL, 1 },
        { "memory", "usage", "max", "memory", "memory.max_usage_in_bytes", NULL, "memory.peak", NULL, 1 },
        { "memory", "usage", "failcnt", "memory", "memory.failcnt", NULL, "memory.events", "max", 1 },
        { "memory", "swap", "usage", "memory", "memory.memsw.usage_in_bytes", NULL, "memory.swap.current", NULL, 1 },
        { "memory", "swap", "limit", "memory", "memory.memsw.limit_in_bytes", NULL, "memory.swap.max", NULL, 1 },
        { "memory", NULL, "cache", "memory", "memory.stat", "cache", "memory.stat", "file", 1 },
        { "pids", NULL, "current", "pids", "pids.current", NULL, "pids.current", NULL, 1 },
        { "pids", NULL, "limit", "pids", "pids.max", NULL, "pids.max", NULL, 1 },
};

static void add_number(State *state, JsonObject *data, const Number *n) {
        JsonObject *place = field_ensure_object(data, n->section);
        gint64 value = 0;

        if (!(n->controller && number_of(state, n->controller, n->v1_file, n->v1_key, &value))) {
                if (!number_of(state, "", n->v2_file, n->v2_key, &value))
                        return;
                value = value < 0 ? value : value * n->v2_factor;
        }
        if (n->part)
                place = field_ensure_object(place, n->part);
        json_object_set_int_member(place, n->name, value);
}

static gboolean print_line(State *state, const char *type) {
        g_autoptr(JsonNode) node = json_node_new(JSON_NODE_OBJECT);
        JsonObject *object = json_object_new();
        g_autofree char *text = NULL;

        json_node_take_object(node, object);
        json_object_set_string_member(object, "type", type);
        json_object_set_string_member(object, "id", state->id);
        if (g_str_equal(type, "stats"))
                for (gsize i = 0; i < G_N_ELEMENTS(table); i++)
                        add_number(state, field_ensure_object(object, "data"), &table[i]);
        text = spec_to_string(node);
        return printf("%s\n", text) >= 0 && fflush(stdout) == 0;
}

static gint64 oom_kills(State *state) {
        gint64 n = 0;

        if (!number_of(state, "memory", "memory.oom_control", "oom_kill", &n))
                (void)number_of(state, "", "memory.events", "oom_kill", &n);
        return n;
}

static gboolean parse_interval(guint64 *ret_usec, GError **error) {
        double value = 5;
        char *end = NULL;

        if (arg_interval) {
                value = g_ascii_strtod(arg_interval, &end);
                if (g_str_equal(end, "ms"))
                        value /= 1000;
                else if (g_str_equal(end, "m"))
                        value *= 60;
                else if (*end && !g_str_equal(end, "s"))
                        value = 0;
        }
        if (!(value >= 0.001 && value <= 86400))
                return oci_fail(error, OCI_ERROR_USAGE, "--interval: \"%s\" is no time like 5s", arg_interval);
        *ret_usec = (guint64)(value * (double)USEC_PER_SEC);
        return TRUE;
}

/* 1: the interval is over, 0: the container is. */
static int wait_interval(int timer, int pidfd) {
        struct pollfd p[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = timer, .events = POLLIN } };
        guint64 n;

        while (poll(p, ELEMENTSOF(p), -1) < 0)
                if (errno != EINTR)
                        return -errno;
        if (p[0].revents)
                return 0;
        return read(timer, &n, sizeof(n)) < 0 ? -errno : 1;
}

static int follow(State *state, guint64 usec, GError **error) {
        const struct timespec time = { .tv_sec = (time_t)(usec / USEC_PER_SEC),
                                       .tv_nsec = (long)(usec % USEC_PER_SEC * NSEC_PER_USEC) };
        const struct itimerspec spec = { .it_value = time, .it_interval = time };
        _cleanup_close_ int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), pidfd = state_pidfd(state);
        gint64 kills = oom_kills(state);
        int r;

        if (timer < 0 || timerfd_settime(timer, 0, &spec, NULL) < 0) {
                (void)oci_fail_errno(error, errno, "timer");
                return -1;
        }
        while ((r = wait_interval(timer, pidfd)) > 0) {
                gint64 now = oom_kills(state);

                if ((now > kills && !print_line(state, "oom")) || !print_line(state, "stats"))
                        return 1;
                kills = now;
        }
        if (r < 0)
                (void)oci_fail_errno(error, r, "wait");
        return r < 0 ? -1 : 0;
}

/** verb_events() - davit-oci events */
int verb_events(Oci *oci, int argc, char *argv[], GError **error) {
        g_auto(State) state = STATE_NULL;
        guint64 usec = 0;

        if (!oci_parse(entries, "ID", "Shows what a container uses.", &argc, &argv, error) ||
            !take_id(argc, argv, error) || !parse_interval(&usec, error) || !state_load(oci, argv[1], &state, error))
                return -1;
        if (state_status(&state) == STATUS_STOPPED) {
                (void)oci_fail(error, OCI_ERROR_FAILED, "container not running");
                return -1;
        }
        if (!state.group) {
                (void)oci_fail(error, OCI_ERROR_FAILED, "a container without a cgroup has no statistics");
                return -1;
        }
        return arg_stats ? !print_line(&state, "stats") : follow(&state, usec, error);
}
