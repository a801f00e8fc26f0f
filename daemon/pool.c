/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pool of parked shims.
 *
 * A parked shim already sits in a scope that systemd has finished, with an id made here; a start in the default
 * namespace that leaves the id to the manager takes it and saves the whole wait for systemd. The pool is filled again
 * after a short pause, so that the start it served comes first. What is parked is ours alone: it has no container, no
 * record, and is discarded by the next manager when this one goes without doing so.
 */

#include <errno.h>
#include <string.h>

#include "daemon/keep-warm.h"
#include "daemon/launcher.h"
#include "daemon/pool.h"
#include "daemon/task-files.h"
#include "daemon/task.h"
#include "daemon/units.h"
#include "plan/build.h"
#include "plan/spec.h"
#include "shared/fd.h"
#include "shared/log.h"
#include "shared/process.h"

#define REFILL_PAUSE_USEC 3000
/* A scope that is made on a cold path (keep-warm.c) holds up all others' changes of cgroups: not during the start's
 * container, which may be a short one. */
#define REFILL_COLD_PAUSE_USEC 30000
#define RETRY_PAUSE_USEC (5 * USEC_PER_SEC)

typedef struct Entry {
        Pool *pool;
        char *id, *scope;
        Link *link;
        LauncherRequest *request;
        UnitCall *unit;
        bool ready, reserved, broken;
} Entry;

struct Pool {
        Manager *manager;
        GPtrArray *entries; /* Entry, owned */
        GPtrArray *properties;
        sd_event_source *timer;
        bool closing;
};

static void entry_free(void *p) {
        Entry *e = p;

        launcher_request_cancel(e->request);
        unit_call_cancel(e->unit);
        (void)link_free(e->link);
        g_free(e->id);
        g_free(e->scope);
        g_free(e);
}

/* What has been begun for an entry that will serve nobody: its shim exits when its socket closes, systemd stops what is
 * left. */
static void entry_drop(Entry *e) {
        Pool *p = e->pool;

        if (e->link)
                (void)link_request(e->link, SHIM_DISCARD, NULL, NULL, NULL, 0, NULL, NULL);
        if (e->scope)
                units_stop(p->manager->units, e->scope);
        if (e->id)
                (void)task_dir_remove(p->manager, DAVIT_DEFAULT_NAMESPACE, e->id);
        (void)g_ptr_array_remove_fast(p->entries, e);
}

static void schedule(Pool *p, uint64_t usec) {
        if (p->closing)
                return;
        (void)sd_event_source_set_time_relative(p->timer, usec);
        (void)sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

static void fail(Entry *e, int r) {
        Pool *p = e->pool;

        if (r < 0)
                (void)log_warning_errno(r, "Cannot park a shim");
        entry_drop(e);
        schedule(p, RETRY_PAUSE_USEC);
}

static void on_event(const LinkAnswer *event _unused_, void *userdata _unused_) {
}

static void on_gone(void *userdata) {
        Entry *e = userdata;

        e->link = link_free(e->link);
        e->ready = false;
        /* While systemd's job runs the scope cannot be judged; on_scope() ends it. */
        if (!e->unit)
                fail(e, 0);
}

static const LinkHandlers handlers = { on_event, on_gone };

static void on_parked(const LinkAnswer *a, void *userdata) {
        Entry *e = userdata;

        if (a->head && a->error >= 0)
                e->ready = true;
        else if (a->head)
                fail(e, a->error);
}

static void on_scope(int r, const sd_bus_error *error _unused_, void *userdata) {
        Entry *e = userdata;

        e->unit = NULL;
        if (r >= 0)
                keep_warm_attached(e->pool->manager->keep_warm);
        if (r >= 0)
                r = e->link && link_alive(e->link)
                            ? link_request(e->link, SHIM_SCOPE, NULL, e->scope, NULL, 0, on_parked, e)
                            : -ECONNRESET;
        if (r < 0)
                fail(e, r);
}

static int start_scope(Entry *e, uint32_t pid) {
        /* It stays when a container takes the scope: to change it is work for systemd in every start. */
        g_autofree char *description =
                g_strdup_printf("Davit spare shim or container %s/%s", DAVIT_DEFAULT_NAMESPACE, e->id);
        Manager *m = e->pool->manager;
        char slice[NAME_UNIT_MAX];
        ScopeRequest q = {
                .name = e->scope,
                .slice = slice,
                .description = description,
                .pid = pid,
                .pidfd = link_pidfd(e->link),
                .timeout_stop_usec = m->config.stop_timeout_usec,
                .properties = e->pool->properties,
        };
        int r;

        r = name_slice(DAVIT_DEFAULT_NAMESPACE, slice);
        if (r < 0)
                return r;
        return units_start_scope(m->units, &q, on_scope, e, &e->unit);
}

static int park(Entry *e, WarmShim *s) {
        char id[13], scope[NAME_UNIT_MAX];
        Manager *m = e->pool->manager;
        _cleanup_close_ int dir = -1;
        uint32_t pid = (uint32_t)s->pid;
        int r;

        r = link_new(m, &s->socket, &s->pidfd, &handlers, e, &e->link);
        if (r >= 0)
                r = name_random_id(id);
        if (r >= 0)
                r = name_scope(DAVIT_DEFAULT_NAMESPACE, id, scope);
        if (r < 0)
                return r;
        e->id = g_strdup(id);
        e->scope = g_strdup(scope);
        dir = task_dir_open(m, DAVIT_DEFAULT_NAMESPACE, id, true);
        if (dir < 0)
                return dir;
        r = link_request(e->link, SHIM_PARK, NULL, NULL, &dir, 1, NULL, NULL);
        if (r >= 0)
                r = start_scope(e, pid);
        return r;
}

static void on_shim(WarmShim *s, int error, void *userdata) {
        Entry *e = userdata;
        int r = error;

        e->request = NULL;
        if (s)
                r = park(e, s);
        if (r < 0)
                fail(e, r);
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        WarmShim shim = WARM_SHIM_NULL;
        Pool *p = userdata;
        int r;

        while (p->entries->len < p->manager->config.parked_scopes) {
                Entry *e = g_new0(Entry, 1);

                e->pool = p;
                g_ptr_array_add(p->entries, e);
                r = launcher_take(p->manager->launcher, &shim, on_shim, e, &e->request);
                if (r > 0)
                        r = park(e, &shim);
                if (r < 0) {
                        fail(e, r);
                        break;
                }
        }
        launcher_refill(p->manager->launcher);
        return 0;
}

/* The limits every default container has, so that a parked scope need not be changed for one. */
static GPtrArray *default_properties(void) {
        PlanRootfs rootfs = { .directory = "/" };
        PlanContext context = {
                .namespace_ = DAVIT_DEFAULT_NAMESPACE, .id = "parked", .log_identifier = "parked", .rootfs = &rootfs
        };
        static const char *const command[] = { "true", NULL };
        SpecOptions options = { .command = command };
        g_auto(PlanResult) result = PLAN_RESULT_NULL;
        g_autoptr(JsonNode) spec = spec_default_new();
        g_autoptr(GError) error = NULL;

        if (!spec_apply_options(spec, &options, &error) || !plan_build(spec, &context, &result, &error)) {
                log_warning("Cannot tell a default container's limits: %s", error->message);
                return NULL;
        }
        return g_steal_pointer(&result.unit_properties);
}

/** pool_new() - empty; the first shim is parked once the loop runs */
int pool_new(Manager *m, Pool **ret) {
        Pool *p = g_new0(Pool, 1);
        int r;

        p->manager = m;
        p->entries = g_ptr_array_new_with_free_func(entry_free);
        p->properties = default_properties();
        r = sd_event_add_time_relative(m->event, &p->timer, CLOCK_MONOTONIC, 0, 1, on_timer, p);
        if (r >= 0)
                r = sd_event_source_set_enabled(p->timer, SD_EVENT_OFF);
        if (r < 0) {
                (void)pool_free(p);
                return r;
        }
        *ret = p;
        return 0;
}

/** pool_free() - discards what is parked */
Pool *pool_free(Pool *p) {
        if (!p)
                return NULL;
        p->closing = true;
        while (p->entries->len > 0)
                entry_drop(g_ptr_array_index(p->entries, 0));
        g_ptr_array_unref(p->entries);
        if (p->properties)
                g_ptr_array_unref(p->properties);
        sd_event_source_disable_unref(p->timer);
        g_free(p);
        return NULL;
}

/** pool_reserve() - an id whose scope is ready, for a container about to be defined; pool_take() or pool_release()
 * follows */
bool pool_reserve(Pool *p, const char *ns, char **ret_id) {
        if (!streq(ns, DAVIT_DEFAULT_NAMESPACE))
                return false;
        for (guint i = 0; i < p->entries->len; i++) {
                Entry *e = g_ptr_array_index(p->entries, i);
                if (e->ready && !e->reserved && link_alive(e->link)) {
                        e->reserved = true;
                        *ret_id = g_strdup(e->id);
                        return true;
                }
        }
        return false;
}

static Entry *find(Pool *p, const char *id) {
        for (guint i = 0; i < p->entries->len; i++) {
                Entry *e = g_ptr_array_index(p->entries, i);
                if (e->id && streq(e->id, id))
                        return e;
        }
        return NULL;
}

/** pool_release() - gives a reserved id back; any other id is fine */
void pool_release(Pool *p, const char *id) {
        Entry *e = find(p, id);

        if (e)
                e->reserved = false;
}

/** pool_take() - hands a parked shim over; NULL where this id is not parked */
Parked *pool_take(Pool *p, const char *ns, const char *id) {
        Entry *e = streq(ns, DAVIT_DEFAULT_NAMESPACE) ? find(p, id) : NULL;
        Parked *k;

        if (!e || !e->ready)
                return NULL;
        k = g_new0(Parked, 1);
        k->id = g_steal_pointer(&e->id);
        k->scope = g_steal_pointer(&e->scope);
        k->link = g_steal_pointer(&e->link);
        k->properties = p->properties ? g_ptr_array_ref(p->properties) : NULL;
        (void)g_ptr_array_remove_fast(p->entries, e);
        return k;
}

/** pool_discard() - lets a parked shim go whose id is spent: its start has failed before it was taken */
void pool_discard(Pool *p, const char *ns, const char *id) {
        Entry *e = p && streq(ns, DAVIT_DEFAULT_NAMESPACE) ? find(p, id) : NULL;

        if (!e)
                return;
        entry_drop(e);
        pool_refill(p);
}

/** parked_free() - frees a handed over one; the link only where nobody has taken it */
void parked_free(Parked *k) {
        (void)link_free(k->link);
        if (k->properties)
                g_ptr_array_unref(k->properties);
        g_free(k->id);
        g_free(k->scope);
        g_free(k);
}

/** pool_refill_later() - where a refill has just failed */
void pool_refill_later(Pool *p) {
        schedule(p, RETRY_PAUSE_USEC);
}

/* What is due already is not put off for ever by one start after the other. */
static void schedule_refill(Pool *p) {
        uint64_t due = 0;
        int on = 0;

        if (!keep_warm_is_cold(p->manager->keep_warm)) {
                schedule(p, REFILL_PAUSE_USEC);
                return;
        }
        (void)sd_event_source_get_enabled(p->timer, &on);
        (void)sd_event_source_get_time(p->timer, &due);
        if (on == SD_EVENT_OFF || due > now_usec(CLOCK_MONOTONIC) + REFILL_COLD_PAUSE_USEC)
                schedule(p, REFILL_COLD_PAUSE_USEC);
}

/** pool_refill() - after a short pause; warm shims that were used are asked for then, too. p is NULL once the manager
 * goes */
void pool_refill(Pool *p) {
        if (p)
                schedule_refill(p);
}
