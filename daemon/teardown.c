/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Teardown: the asynchronous end of a task.
 *
 * A caller hears of a payload's end at once; its shim still unmounts, removes what was ephemeral and exits. Until that
 * has happened the link, the scope's name and the task's directory belong here, and a new task of the same name waits.
 * A shim that does not go in time is stopped with its scope by systemd, and what is in the scope when it has gone, of a
 * shim that was killed or of somebody who has put it there, is killed. Owned by the manager.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "daemon/runtime.h"
#include "daemon/scope.h"
#include "daemon/task-files.h"
#include "daemon/teardown.h"
#include "daemon/units.h"
#include "shared/fd.h"
#include "shared/log.h"

#define GONE_TIMEOUT_USEC (10 * USEC_PER_SEC)

typedef struct Waiter {
        teardown_done_t done;
        void *userdata;
} Waiter;

struct Teardown {
        Manager *manager;
        char *ns, *id, *scope, *runtime;
        char *group; /* the scope's directory */
        Link *link;
        sd_event_source *timer;
        sd_event_source *exit; /* of the shim's process, once it has hung up */
        bool removed;          /* the directory */
        GArray *waiters;
};

static void teardown_free(void *p) {
        Teardown *d = p;

        sd_event_source_disable_unref(d->exit);
        (void)link_free(d->link);
        sd_event_source_disable_unref(d->timer);
        g_free(d->group);
        g_array_unref(d->waiters);
        g_free(d->ns);
        g_free(d->id);
        g_free(d->scope);
        g_free(d->runtime);
        g_free(d);
}

static void remove_directory(Teardown *d) {
        int r;

        if (d->removed)
                return;
        d->removed = true;
        r = task_dir_remove(d->manager, d->ns, d->id);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot remove the directory of task %s/%s", d->ns, d->id);
}

static void finish(Teardown *d) {
        GArray *waiters = g_steal_pointer(&d->waiters);

        if (d->group && scope_populated(d->group))
                units_kill(d->manager->units, d->scope);
        remove_directory(d);
        if (!runtime_is_own(d->runtime))
                runtime_records_remove(d->manager->runtime_fd, d->runtime, d->ns, d->id);
        d->waiters = g_array_new(FALSE, FALSE, sizeof(Waiter));
        g_ptr_array_remove_fast(d->manager->teardowns, d); /* frees */
        for (guint i = 0; i < waiters->len; i++) {
                Waiter *w = &g_array_index(waiters, Waiter, i);
                w->done(w->userdata);
        }
        g_array_unref(waiters);
}

static void on_event(const LinkAnswer *event _unused_, void *userdata _unused_) {
}

static int on_ended(sd_event_source *s _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        finish(userdata);
        return 0;
}

/* It hangs up a moment before it is out of its scope. */
static void on_gone(void *userdata) {
        Teardown *d = userdata;
        int fd = link_pidfd(d->link);

        if (fd < 0 || link_ended(d->link) || sd_event_add_io(d->manager->event, &d->exit, fd, EPOLLIN, on_ended, d) < 0)
                finish(d);
}

static const LinkHandlers handlers = { on_event, on_gone };

static int on_timeout(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata) {
        Teardown *d = userdata;

        log_warning("The shim of %s/%s does not go; stopping %s", d->ns, d->id, d->scope);
        units_stop(d->manager->units, d->scope);
        return 0;
}

static void add_waiter(Teardown *d, teardown_done_t done, void *userdata) {
        Waiter w = { done, userdata };

        if (done)
                g_array_append_val(d->waiters, w);
}

/**
 * teardown_start() - takes over what is left of a task
 *
 * discard: the shim is told to kill what is left. done may be called before this returns, where there is no shim any
 * more.
 */
void teardown_start(Task *t, bool discard, teardown_done_t done, void *userdata) {
        Teardown *d = g_new0(Teardown, 1);

        d->manager = t->ns->manager;
        d->ns = g_strdup(t->ns->name);
        d->id = g_strdup(t->id);
        d->scope = g_strdup(t->scope);
        d->runtime = g_strdup(t->runtime);
        d->group = scope_path(t, SCOPE_UNIFIED);
        d->link = g_steal_pointer(&t->link);
        d->waiters = g_array_new(FALSE, FALSE, sizeof(Waiter));
        add_waiter(d, done, userdata);
        g_ptr_array_add(d->manager->teardowns, d);
        if (!d->link) {
                finish(d);
                return;
        }
        link_abandon(d->link);
        link_set_handlers(d->link, &handlers, d);
        if (!discard && runtime_is_own(d->runtime))
                remove_directory(d); /* all is written, and who is told next that it is gone may look */
        if (discard)
                (void)link_request(d->link, SHIM_DISCARD, NULL, NULL, NULL, 0, NULL, NULL);
        (void)sd_event_add_time_relative(d->manager->event, &d->timer, CLOCK_MONOTONIC, GONE_TIMEOUT_USEC, 0,
                                         on_timeout, d);
}

/** teardown_wait() - calls done when the earlier task of this name has gone; false, without a call, where there is none
 */
bool teardown_wait(Manager *m, const char *ns, const char *id, teardown_done_t done, void *userdata) {
        for (guint i = 0; i < m->teardowns->len; i++) {
                Teardown *d = g_ptr_array_index(m->teardowns, i);
                if (streq(d->ns, ns) && streq(d->id, id)) {
                        add_waiter(d, done, userdata);
                        return true;
                }
        }
        return false;
}

/** teardown_forget() - drops the waiters of userdata */
void teardown_forget(Manager *m, void *userdata) {
        for (guint i = 0; i < m->teardowns->len; i++) {
                Teardown *d = g_ptr_array_index(m->teardowns, i);
                for (guint k = d->waiters->len; k-- > 0;)
                        if (g_array_index(d->waiters, Waiter, k).userdata == userdata)
                                g_array_remove_index(d->waiters, k);
        }
}

/** teardown_array_new() - the manager's table of them, which owns them */
GPtrArray *teardown_array_new(void) {
        return g_ptr_array_new_with_free_func(teardown_free);
}
