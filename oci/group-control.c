/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is in a container's cgroup: counting, freezing, killing.
 *
 * The unified hierarchy does all of it where there is one, whoever limits resources; else the freezer of version 1.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "oci/group.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/process.h"
#include "shared/syscalls.h"

#define EMPTY_TIMEOUT_USEC (10 * USEC_PER_SEC)
#define FREEZE_TIMEOUT_USEC (10 * USEC_PER_SEC)

static char *read_file(const char *directory, const char *name) {
        g_autofree char *path = g_build_filename(directory, name, NULL);
        char *text = NULL;

        return file_read_at(AT_FDCWD, path, 65536, &text, NULL) < 0 ? NULL : text;
}

static int write_file(const char *directory, const char *name, const char *text) {
        g_autofree char *path = g_build_filename(directory, name, NULL);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

        return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

/** group_is_frozen() - Whether the container has been paused. */
gboolean group_is_frozen(State *state) {
        g_autofree char *directory = group_directory(state, "");
        _cleanup_free_ char *text = NULL;

        if (directory) {
                text = read_file(directory, "cgroup.freeze");
                return text && *text == '1';
        }
        directory = group_directory(state, "freezer");
        if (!directory)
                return FALSE;
        text = read_file(directory, "freezer.state");
        return text && g_str_has_prefix(text, "FR"); /* FROZEN, FREEZING */
}

/* Waits until a line of cgroup.events says what is wanted; the kernel tells of every change by POLLPRI. */
static int wait_event(const char *directory, const char *wanted, guint64 timeout_usec) {
        guint64 end = now_usec(CLOCK_MONOTONIC) + timeout_usec;
        g_autofree char *path = g_build_filename(directory, "cgroup.events", NULL);
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        for (;;) {
                struct pollfd p = { .fd = fd, .events = POLLPRI };
                guint64 now = now_usec(CLOCK_MONOTONIC);
                char text[256];
                ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

                if (n < 0)
                        return errno == ENODEV ? 0 : -errno; /* it has been removed */
                text[n] = '\0';
                if (strstr(text, wanted))
                        return 0;
                if (now >= end)
                        return -ETIMEDOUT;
                if (poll(&p, 1, (int)((end - now) / 1000 + 1)) < 0 && errno != EINTR)
                        return -errno;
        }
}

/** group_freeze() - Stops every process of the container, or lets them go on; returns once that is so. */
gboolean group_freeze(State *state, gboolean on, GError **error) {
        g_autofree char *directory = group_directory(state, "");
        int r;

        if (directory) {
                r = write_file(directory, "cgroup.freeze", on ? "1" : "0");
                if (r >= 0)
                        r = wait_event(directory, on ? "frozen 1" : "frozen 0", FREEZE_TIMEOUT_USEC);
                if (r < 0 && on)
                        (void)write_file(directory, "cgroup.freeze", "0");
        } else {
                directory = group_directory(state, "freezer");
                r = directory ? write_file(directory, "freezer.state", on ? "FROZEN" : "THAWED") : -EOPNOTSUPP;
        }
        return r < 0 ? oci_fail_errno(error, r, "%s container \"%s\"", on ? "pause" : "resume", state->id) : TRUE;
}

static void collect(int dir, GArray *pids) {
        _cleanup_free_ char *text = NULL;
        struct dirent *e;
        DIR *d;

        if (file_read_at(dir, "cgroup.procs", 1U << 20, &text, NULL) >= 0)
                for (char *p = text, *end; *p; p = *end ? end + 1 : end) {
                        pid_t pid = (pid_t)strtol(p, &end, 10);

                        if (end == p)
                                break;
                        if (pid > 0)
                                g_array_append_val(pids, pid);
                }
        if (dir_stream(dir, &d) < 0)
                return;
        while ((e = readdir(d))) {
                _cleanup_close_ int child = -1;

                if (e->d_type != DT_DIR || *e->d_name == '.')
                        continue;
                child = openat(dir, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (child >= 0)
                        collect(child, pids);
        }
        (void)closedir(d);
}

/** group_pids() - Every process of the container, as the host numbers them. */
gboolean group_pids(State *state, GArray *pids, GError **error) {
        g_autofree char *directory = group_directory(state, "");
        _cleanup_close_ int fd = -1;

        if (!directory)
                directory = group_directory(state, "pids");
        if (!directory)
                return oci_fail(error, OCI_ERROR_FAILED, "container \"%s\" has no cgroup: its processes cannot be told",
                                state->id);
        fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0)
                collect(fd, pids);
        return TRUE;
}

/** group_is_empty() - Whether no process is in the group, in whichever hierarchy. */
gboolean group_is_empty(State *state) {
        g_autoptr(GArray) pids = g_array_new(FALSE, FALSE, sizeof(pid_t));
        g_auto(GStrv) directories = group_directories(state);

        for (char **directory = directories; *directory; directory++) {
                _cleanup_close_ int fd = open(*directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                if (fd >= 0)
                        collect(fd, pids);
        }
        return pids->len == 0;
}

/** group_kill() - Sends a signal to every process of the container; 0 or a negative errno. */
int group_kill(State *state, int signal) {
        g_autoptr(GArray) pids = g_array_new(FALSE, FALSE, sizeof(pid_t));
        g_autofree char *directory = group_directory(state, "");

        if (signal == SIGKILL && directory) {
                int r = write_file(directory, "cgroup.kill", "1");

                if (r >= 0 || r == -ENODEV)
                        return 0;
        }
        if (!group_pids(state, pids, NULL))
                return -EOPNOTSUPP;
        for (guint i = 0; i < pids->len; i++) {
                pid_t pid = g_array_index(pids, pid_t, i);
                _cleanup_close_ int fd = sys_pidfd_open(pid, 0);

                /* The number may be somebody else's by now: pinned first, it has to be in the group still. */
                if (fd >= 0 && group_has_process(state, pid))
                        (void)sys_pidfd_send_signal(fd, signal, NULL, 0);
        }
        return 0;
}

/** group_kill_wait() - Kills everything in the group and waits until nothing is left; 0 or a negative errno. */
int group_kill_wait(State *state) {
        g_autofree char *directory = group_directory(state, "");

        if (!state->group)
                return 0;
        (void)group_kill(state, SIGKILL);
        return directory ? wait_event(directory, "populated 0", EMPTY_TIMEOUT_USEC) : 0;
}
