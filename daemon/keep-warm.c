/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keep-warm window.
 *
 * Attaching a process to a cgroup waits for an RCU grace period (5-20 ms) unless another attach happened within
 * about the last one. While requests are recent, davitd therefore writes "0" into its own cgroup.procs every few
 * milliseconds: a move to where it already is, 25-40 us each, which makes the next scope start 4 to 5 times faster. It
 * touches no other cgroup, stops by itself after KeepWarmUSec, and is off where the file cannot be written.
 *
 * The first write, and one that comes late, waits for a grace period itself, and all who change cgroups wait with it.
 * So a thread writes, not the loop, and begins when the request that has opened the window is likely to be served. The
 * thread comes with the first request and sees nothing of davitd's but whether starts are under way. Owned by the
 * manager.
 */

#include "daemon/keep-warm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "shared/fd.h"
#include "shared/log.h"
#include "shared/process.h"

/* How long after an attach the next one does not wait: somewhat less than a grace period ever takes. */
#define COLD_AFTER_USEC 8000
/* A short container's whole life. */
#define FIRST_PAUSE_USEC 25000
/* Where wake-ups come so late that each finds the path cold the window would do more harm than good. */
#define COLD_MAX 3

struct KeepWarm {
        Manager *manager; /* borrowed; of the thread's is n_launches alone */
        uint64_t usec, interval_usec;
        GThread *thread; /* NULL: not yet, or not here */
        int fd;          /* own cgroup.procs */

        GMutex lock; /* of what follows; times are of CLOCK_MONOTONIC */
        GCond changed;
        bool stop, running, refused;
        uint64_t until, last; /* when the window closes; when the last attach was done that we know of */
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

/* ---- the thread ---- */

static bool cold(const KeepWarm *k, uint64_t now) {
        return now > k->last + COLD_AFTER_USEC;
}

/* Writes until the window closes; the lock is held but for the writes. */
static void keep_open(KeepWarm *k) {
        uint64_t now = now_usec(CLOCK_MONOTONIC), next = now + FIRST_PAUSE_USEC;
        unsigned int n_cold = 0;
        ssize_t n;

        while (!k->stop && now < k->until && n_cold <= COLD_MAX) {
                if (g_cond_wait_until(&k->changed, &k->lock, (gint64)next))
                        continue;
                now = now_usec(CLOCK_MONOTONIC);
                next = now + k->interval_usec;
                /* A start that is under way attaches by itself, and would wait longer for two. */
                if (cold(k, now) && g_atomic_int_get(&k->manager->n_launches) > 0)
                        continue;
                n_cold = cold(k, now) ? n_cold + 1 : 0;
                g_mutex_unlock(&k->lock);
                n = pwrite(k->fd, "0", 1, 0);
                g_mutex_lock(&k->lock);
                k->refused = n != 1;
                if (k->refused)
                        return;
                now = now_usec(CLOCK_MONOTONIC);
                k->last = now;
                next = now + k->interval_usec;
        }
}

static void *run(void *userdata) {
        KeepWarm *k = userdata;

        g_mutex_lock(&k->lock);
        while (!k->stop && !k->refused) {
                if (k->running)
                        keep_open(k);
                k->running = false;
                if (!k->stop && !k->refused)
                        g_cond_wait(&k->changed, &k->lock);
        }
        g_mutex_unlock(&k->lock);
        return NULL;
}

/* ---- the event loop's side ---- */

/** keep_warm_new() - prepares the window; it is closed until the first touch */
KeepWarm *keep_warm_new(Manager *m) {
        KeepWarm *k = g_new0(KeepWarm, 1);

        k->manager = m;
        k->usec = m->config.keep_warm_usec;
        k->interval_usec = m->config.keep_warm_interval_usec;
        k->fd = k->usec > 0 ? open_procs() : -1;
        g_mutex_init(&k->lock);
        g_cond_init(&k->changed);
        return k;
}

/** keep_warm_free() - closes the window; waits for a write that is under way */
KeepWarm *keep_warm_free(KeepWarm *k) {
        if (!k)
                return NULL;
        g_mutex_lock(&k->lock);
        k->stop = true;
        g_cond_signal(&k->changed);
        g_mutex_unlock(&k->lock);
        if (k->thread)
                (void)g_thread_join(k->thread);
        g_mutex_clear(&k->lock);
        g_cond_clear(&k->changed);
        k->fd = safe_close(k->fd);
        g_free(k);
        return NULL;
}

/** keep_warm_touch() - a request has come: opens the window, or keeps it open */
void keep_warm_touch(KeepWarm *k) {
        bool refused;

        if (!k || k->fd < 0)
                return;
        g_mutex_lock(&k->lock);
        k->until = now_usec(CLOCK_MONOTONIC) + k->usec;
        if (!k->running) {
                k->running = true;
                g_cond_signal(&k->changed);
        }
        refused = k->refused;
        g_mutex_unlock(&k->lock);
        if (refused) {
                log_info("The keep-warm window ends: own cgroup.procs cannot be written");
                k->fd = safe_close(k->fd);
        }
        if (k->thread)
                return;
        k->thread = g_thread_try_new("keep-warm", run, k, NULL);
        if (!k->thread) {
                log_warning("Cannot make the thread that keeps the cgroup attach path warm");
                k->fd = safe_close(k->fd);
        }
}

/** keep_warm_attached() - systemd has just attached a process for us */
void keep_warm_attached(KeepWarm *k) {
        if (!k)
                return;
        g_mutex_lock(&k->lock);
        k->last = now_usec(CLOCK_MONOTONIC);
        g_mutex_unlock(&k->lock);
}

/** keep_warm_is_cold() - whether the next attach is likely to wait for a grace period, and others with it */
bool keep_warm_is_cold(KeepWarm *k) {
        bool r;

        if (!k)
                return true;
        g_mutex_lock(&k->lock);
        r = cold(k, now_usec(CLOCK_MONOTONIC));
        g_mutex_unlock(&k->lock);
        return r;
}
