/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Limits of running tasks as others change them.
 *
 * systemd sends no signal when a limit of a unit changes, but it writes the unit's cgroup, and inotify tells of that:
 * one watch on the scope's directory, or one in each version 1 hierarchy. What is told is compared with what was known,
 * so a daemon-reload, which writes everything again, is no change. Watches are set when the loop has nothing else to
 * do, because a start does not need them.
 */

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "daemon/scope-watch.h"
#include "shared/fd.h"
#include "shared/log.h"

struct ScopeWatch {
        Manager *manager;
        int fd;
        GHashTable *tasks;  /* watch -> Task */
        GHashTable *to_add; /* Task: to be watched */
        GHashTable *dirty;  /* Task: to be read again */
        sd_event_source *io, *adder, *reader;
};

/* Files whose change is a change of limits. */
static const char *const names[] = {
        "cpu.cfs_period_us",
        "cpu.cfs_quota_us",
        "cpu.max",
        "cpu.shares",
        "cpu.weight",
        "cpuset.cpus",
        "io.weight",
        "memory.high",
        "memory.limit_in_bytes",
        "memory.low",
        "memory.max",
        "memory.swap.max",
        "pids.max",
        NULL,
};

static void mark(ScopeWatch *w, Task *t) {
        g_hash_table_add(w->dirty, t);
        (void)sd_event_source_set_enabled(w->reader, SD_EVENT_ONESHOT);
}

static void mark_all(ScopeWatch *w) {
        GHashTableIter iter;
        Task *t;

        g_hash_table_iter_init(&iter, w->tasks);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&t))
                mark(w, t);
}

static void on_inotify_event(ScopeWatch *w, const struct inotify_event *e) {
        Task *t = g_hash_table_lookup(w->tasks, GINT_TO_POINTER(e->wd));

        if (e->mask & IN_Q_OVERFLOW)
                mark_all(w);
        else if (e->mask & IN_IGNORED) { /* the scope has gone */
                g_hash_table_remove(w->tasks, GINT_TO_POINTER(e->wd));
                for (size_t i = 0; t && i < _SCOPE_PLACE_MAX; i++)
                        if (t->watched.watches[i] == e->wd)
                                t->watched.watches[i] = 0;
        } else if (t && e->len > 0 && g_strv_contains(names, e->name))
                mark(w, t);
}

static int on_io(sd_event_source *s _unused_, int fd, uint32_t revents _unused_, void *userdata) {
        union {
                struct inotify_event event;
                char bytes[16384];
        } buffer;
        ScopeWatch *w = userdata;
        ssize_t n;

        n = read(fd, &buffer, sizeof(buffer));
        for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
                const struct inotify_event *e = (const void *)(buffer.bytes + at);

                on_inotify_event(w, e);
                at += (ssize_t)(sizeof(*e) + e->len);
        }
        return 0;
}

/** scope_watch_refresh() - takes over what the kernel has and announces what is other than before */
void scope_watch_refresh(Task *t) {
        const ScopeLimits before = t->limits;
        const ScopeLimits *now = &t->limits;
        const char *changed[10];
        size_t n = 0;

        scope_limits_read(t, &t->limits);
        t->watched.known = true;
        const struct {
                const char *name;
                bool other;
        } all[] = {
                { "MemoryMax", before.memory_max != now->memory_max },
                { "MemoryHigh", before.memory_high != now->memory_high },
                { "MemoryLow", before.memory_low != now->memory_low },
                { "MemorySwapMax", before.memory_swap_max != now->memory_swap_max },
                { "CPUQuotaPerSecUSec", before.cpu_quota_per_sec_usec != now->cpu_quota_per_sec_usec },
                { "CPUWeight", before.cpu_weight != now->cpu_weight },
                { "IOWeight", before.io_weight != now->io_weight },
                { "TasksMax", before.tasks_max != now->tasks_max },
                { "AllowedCPUs", !streq(before.allowed_cpus, now->allowed_cpus) },
        };
        for (size_t i = 0; i < ELEMENTSOF(all); i++)
                if (all[i].other)
                        changed[n++] = all[i].name;
        changed[n] = NULL;
        if (n > 0)
                task_bus_changed(t, changed);
}

/** scope_watch_ensure() - for a task that was there before this manager: its limits, when somebody asks */
void scope_watch_ensure(Task *t) {
        if (t->watched.known || t->deferred || process_ended(&t->process))
                return;
        scope_limits_read(t, &t->limits);
        t->watched.known = true;
}

static int on_reader(sd_event_source *s _unused_, void *userdata) {
        g_autoptr(GHashTable) dirty = NULL;
        ScopeWatch *w = userdata;
        GHashTableIter iter;
        Task *t;

        dirty = g_steal_pointer(&w->dirty);
        w->dirty = g_hash_table_new(NULL, NULL);
        g_hash_table_iter_init(&iter, dirty);
        while (g_hash_table_iter_next(&iter, (void **)&t, NULL))
                scope_watch_refresh(t);
        return 0;
}

static void watch_place(ScopeWatch *w, Task *t, ScopePlace place) {
        g_autofree char *path = scope_path(t, place);
        int wd;

        if (!path || t->watched.watches[place] > 0)
                return;
        wd = inotify_add_watch(w->fd, path, IN_MODIFY | IN_ONLYDIR | IN_DONT_FOLLOW);
        if (wd < 0)
                return;
        t->watched.watches[place] = wd;
        g_hash_table_insert(w->tasks, GINT_TO_POINTER(wd), t);
}

/* Watched first, read then: a change in between is seen by one or the other. */
static void watch(ScopeWatch *w, Task *t) {
        ScopePlace first = SCOPE_UNIFIED, last = SCOPE_UNIFIED;

        if (process_ended(&t->process))
                return;
        if (scope_version1(t, SCOPE_MEMORY)) {
                first = SCOPE_MEMORY;
                last = SCOPE_PIDS;
        }
        for (ScopePlace p = first; p <= last; p++)
                watch_place(w, t, p);
        scope_watch_refresh(t);
}

/* One task a turn. */
static int on_adder(sd_event_source *s, void *userdata) {
        ScopeWatch *w = userdata;
        GHashTableIter iter;
        Task *t;

        g_hash_table_iter_init(&iter, w->to_add);
        if (!g_hash_table_iter_next(&iter, (void **)&t, NULL))
                return 0;
        g_hash_table_iter_remove(&iter);
        watch(w, t);
        return g_hash_table_size(w->to_add) > 0 ? sd_event_source_set_enabled(s, SD_EVENT_ONESHOT) : 0;
}

/** scope_watch_add() - a task that runs */
void scope_watch_add(Task *t) {
        ScopeWatch *w = t->ns->manager->scope_watch;

        if (!w || w->fd < 0)
                return;
        g_hash_table_add(w->to_add, t);
        (void)sd_event_source_set_enabled(w->adder, SD_EVENT_ONESHOT);
}

/** scope_watch_remove() - a task that goes; one that was never added is fine */
void scope_watch_remove(Task *t) {
        ScopeWatch *w = t->ns->manager->scope_watch;

        if (!w)
                return;
        (void)g_hash_table_remove(w->to_add, t);
        (void)g_hash_table_remove(w->dirty, t);
        for (size_t i = 0; i < _SCOPE_PLACE_MAX; i++) {
                if (t->watched.watches[i] <= 0)
                        continue;
                (void)g_hash_table_remove(w->tasks, GINT_TO_POINTER(t->watched.watches[i]));
                (void)inotify_rm_watch(w->fd, t->watched.watches[i]);
                t->watched.watches[i] = 0;
        }
}

/** scope_watch_new() - where there is no inotify, properties tell what was set at the start and by Update */
int scope_watch_new(Manager *m, ScopeWatch **ret) {
        ScopeWatch *w = g_new0(ScopeWatch, 1);
        int r;

        w->manager = m;
        w->tasks = g_hash_table_new(NULL, NULL);
        w->to_add = g_hash_table_new(NULL, NULL);
        w->dirty = g_hash_table_new(NULL, NULL);
        w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (w->fd < 0)
                (void)log_warning_errno(errno, "Limits that others change will not be noticed");
        r = w->fd < 0 ? 0 : sd_event_add_io(m->event, &w->io, w->fd, EPOLLIN, on_io, w);
        if (r >= 0)
                r = sd_event_add_defer(m->event, &w->adder, on_adder, w);
        if (r >= 0)
                r = sd_event_source_set_priority(w->adder, SD_EVENT_PRIORITY_IDLE);
        if (r >= 0)
                r = sd_event_source_set_enabled(w->adder, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_defer(m->event, &w->reader, on_reader, w);
        if (r >= 0)
                r = sd_event_source_set_enabled(w->reader, SD_EVENT_OFF);
        if (r < 0) {
                (void)scope_watch_free(w);
                return r;
        }
        *ret = w;
        return 0;
}

/** scope_watch_free() - after all tasks */
ScopeWatch *scope_watch_free(ScopeWatch *w) {
        if (!w)
                return NULL;
        sd_event_source_disable_unref(w->io);
        sd_event_source_disable_unref(w->adder);
        sd_event_source_disable_unref(w->reader);
        g_hash_table_unref(w->tasks);
        g_hash_table_unref(w->to_add);
        g_hash_table_unref(w->dirty);
        w->fd = safe_close(w->fd);
        g_free(w);
        return NULL;
}
