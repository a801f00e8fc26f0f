/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keep-warm window.
 *
 * Attaching a process to a cgroup waits for an RCU grace period (5-20 ms) unless another attach happened within
 * about the last one. While requests are recent, davitd therefore writes "0" into its own cgroup.procs every few
 * milliseconds: a move to where it already is, 25-40 us each, which makes the next scope start 4 to 5 times faster. It
 * touches no other cgroup, stops by itself after KeepWarmUSec, and is off where the file cannot be written.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "daemon/keep-warm.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/process.h"

struct KeepWarm {
        Manager *manager;
        sd_event_source *timer;
        int fd;         /* own cgroup.procs */
        uint64_t until; /* CLOCK_MONOTONIC */
        bool running;
};

static char *own_cgroup(void) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        char *p, *end;

        if (file_read_at(AT_FDCWD, "/proc/self/cgroup", 64 * 1024, &text, &size) < 0)
                return NULL;
        p = strstr(text, "0::/");
        if (!p || (p > text && p[-1] != '\n'))
                return NULL;
        p += strlen("0::");
        end = strchrnul(p, '\n');
        return g_strndup(p, (size_t)(end - p));
}

static int open_procs(void) {
        static const char *const roots[] = { "/sys/fs/cgroup/unified", "/sys/fs/cgroup" };
        g_autofree char *cgroup = own_cgroup();

        for (size_t i = 0; cgroup && i < ELEMENTSOF(roots); i++) {
                g_autofree char *path = g_strconcat(roots[i], cgroup, "/cgroup.procs", NULL);
                int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
                if (fd >= 0)
                        return fd;
        }
        return -ENOENT;
}

static int pulse(KeepWarm *k) {
        return pwrite(k->fd, "0", 1, 0) == 1 ? 0 : -errno;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        KeepWarm *k = userdata;
        uint64_t now = now_usec(CLOCK_MONOTONIC);

        /* A wake-up that comes late finds the path cold, and would wait for a grace period itself. */
        if (now >= k->until || now > usec + k->manager->config.keep_warm_interval_usec) {
                k->running = false;
                return 0;
        }
        /* While a start is under way the attach is its own, and this thread is needed for it. */
        if (k->manager->n_launches == 0 && pulse(k) < 0) {
                log_info("The keep-warm window ends: own cgroup.procs cannot be written");
                k->fd = safe_close(k->fd);
                k->running = false;
                return 0;
        }
        (void)sd_event_source_set_time(s, now + k->manager->config.keep_warm_interval_usec);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/** keep_warm_new() - prepares the window; it is closed until the first touch */
int keep_warm_new(Manager *m, KeepWarm **ret) {
        KeepWarm *k = g_new0(KeepWarm, 1);
        int r;

        k->manager = m;
        k->fd = m->config.keep_warm_usec > 0 ? open_procs() : -1;
        r = sd_event_add_time(m->event, &k->timer, CLOCK_MONOTONIC, 0, 1, on_timer, k);
        if (r >= 0)
                r = sd_event_source_set_enabled(k->timer, SD_EVENT_OFF);
        if (r < 0) {
                (void)keep_warm_free(k);
                return log_error_errno(r, "Cannot make a timer");
        }
        *ret = k;
        return 0;
}

/** keep_warm_free() - closes the window */
KeepWarm *keep_warm_free(KeepWarm *k) {
        if (!k)
                return NULL;
        sd_event_source_disable_unref(k->timer);
        k->fd = safe_close(k->fd);
        g_free(k);
        return NULL;
}

/**
 * keep_warm_touch() - opens the window, or keeps it open
 *
 * The first write of a cold window would itself wait for a grace period, so it is left to the timer: what the request
 * needs goes out first.
 */
void keep_warm_touch(KeepWarm *k) {
        uint64_t now;

        if (!k || k->fd < 0)
                return;
        now = now_usec(CLOCK_MONOTONIC);
        k->until = now + k->manager->config.keep_warm_usec;
        if (k->running)
                return;
        k->running = true;
        (void)sd_event_source_set_time(k->timer, now + k->manager->config.keep_warm_interval_usec);
        (void)sd_event_source_set_enabled(k->timer, SD_EVENT_ONESHOT);
}
