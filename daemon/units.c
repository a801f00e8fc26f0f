/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Client of systemd's manager on the system bus.
 *
 * The matches stand before the first call. A scope counts as started when its job has been removed with result "done";
 * JobRemoved is believed only from the unique name that owns org.freedesktop.systemd1 (anybody on the bus can send a
 * signal that looks the same). A scope name that is still being torn down is retried as soon as systemd says it
 * has gone. Owners keep a UnitCall and cancel it when they go; nothing here blocks after units_new().
 */

#include <errno.h>
#include <string.h>

#include "daemon/bus-variant.h"
#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/limits.h"
#include "daemon/units.h"
#include "plan/build.h"
#include "shared/log.h"
#include "shared/process.h"

#define SYSTEMD_NAME "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER "org.freedesktop.systemd1.Manager"
#define SYSTEMD_UNIT_EXISTS "org.freedesktop.systemd1.UnitExists"
#define SYSTEMD_NO_SUCH_UNIT "org.freedesktop.systemd1.NoSuchUnit"
#define SYSTEMD_ALREADY_SUBSCRIBED "org.freedesktop.systemd1.AlreadySubscribed"
#define VERSION_SCOPE_OOM_POLICY 253U
#define VERSION_SCOPE_PIDFDS 255U
#define OWNER_WAIT_USEC (30 * USEC_PER_SEC)
#define STOP_MARGIN_USEC (2 * USEC_PER_SEC)
#define REMOVED_TIMEOUT_USEC (5 * USEC_PER_SEC)

struct Units {
        Manager *manager;
        char *owner;         /* unique name of systemd */
        GHashTable *jobs;    /* job path -> UnitCall */
        GHashTable *removal; /* unit name -> UnitCall that waits for it to go */
        sd_bus_slot *slot_owner, *slot_job, *slot_removed;
        bool subscribed;  /* to the first systemd that was there */
        unsigned version; /* systemd's; 0: not known */
        uint64_t default_tasks_max;
};

struct UnitCall {
        Units *units;
        char *unit;
        char *job;
        sd_bus_message *request; /* kept for a retry */
        sd_bus_slot *slot;
        sd_event_source *timer;
        GPtrArray *values; /* PlanUnitProperty, that is read */
        unit_handler_t handler;
        void *userdata;
        bool retried;
        bool settle; /* answered when systemd has written what was set */
};

static void call_free(UnitCall *c) {
        if (c->job)
                g_hash_table_remove(c->units->jobs, c->job);
        if (g_hash_table_lookup(c->units->removal, c->unit) == c)
                g_hash_table_remove(c->units->removal, c->unit);
        sd_bus_slot_unref(c->slot);
        sd_bus_message_unref(c->request);
        sd_event_source_disable_unref(c->timer);
        g_clear_pointer(&c->values, g_ptr_array_unref);
        g_free(c->job);
        g_free(c->unit);
        g_free(c);
}

/** unit_call_cancel() - forgets a call; what it asked for may still happen */
void unit_call_cancel(UnitCall *c) {
        if (c)
                call_free(c);
}

static void finish(UnitCall *c, int r, const sd_bus_error *error) {
        unit_handler_t handler = c->handler;
        void *userdata = c->userdata;

        call_free(c);
        if (handler)
                handler(r, error, userdata);
}

static bool from_systemd(Units *u, sd_bus_message *m) {
        const char *sender = sd_bus_message_get_sender(m);

        return u->owner && sender && streq(u->owner, sender);
}

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *reterr _unused_) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *path, *unit, *result;
        Units *u = userdata;
        UnitCall *c;
        uint32_t id;

        if (!from_systemd(u, m) || sd_bus_message_read(m, "uoss", &id, &path, &unit, &result) < 0)
                return 0;
        c = g_hash_table_lookup(u->jobs, path);
        if (!c)
                return 0;
        if (streq(result, "done"))
                finish(c, 0, NULL);
        else {
                int r = error_internal(&error, "systemd could not start %s: its job ended as \"%s\".", c->unit, result);
                finish(c, r, &error);
        }
        return 0;
}

static int send_start(UnitCall *c);

static int on_unit_removed(sd_bus_message *m, void *userdata, sd_bus_error *reterr _unused_) {
        const char *unit, *path;
        Units *u = userdata;
        UnitCall *c;
        int r;

        if (!from_systemd(u, m) || sd_bus_message_read(m, "so", &unit, &path) < 0)
                return 0;
        c = g_hash_table_lookup(u->removal, unit);
        if (!c)
                return 0;
        g_hash_table_remove(u->removal, unit);
        c->timer = sd_event_source_disable_unref(c->timer);
        r = send_start(c);
        if (r < 0)
                finish(c, r, NULL);
        return 0;
}

static int on_removal_timeout(sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        UnitCall *c = userdata;
        int r;

        r = error_exists(&error, "Unit %s exists and does not end; stop it with systemctl first.", c->unit);
        finish(c, r, &error);
        return 0;
}

/* The name is taken by a scope on its way out: try again when it has gone. */
static int wait_for_removal(UnitCall *c) {
        Units *u = c->units;
        int r;

        if (g_hash_table_contains(u->removal, c->unit))
                return -EEXIST;
        r = sd_event_add_time_relative(u->manager->event, &c->timer, CLOCK_MONOTONIC, REMOVED_TIMEOUT_USEC, 0,
                                       on_removal_timeout, c);
        if (r < 0)
                return r;
        g_hash_table_insert(u->removal, c->unit, c);
        /* A cgroup whose last process has gone is noticed late where the kernel's notification is slow. */
        units_stop(u, c->unit);
        return 0;
}

static int fail_from_reply(UnitCall *c, sd_bus_message *m) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        const sd_bus_error *e = sd_bus_message_get_error(m);
        int r;

        if (sd_bus_error_has_name(e, SYSTEMD_UNIT_EXISTS) && !c->retried) {
                c->retried = true;
                if (wait_for_removal(c) >= 0)
                        return 0;
        }
        r = error_set(&error,
                      sd_bus_error_has_name(e, SYSTEMD_UNIT_EXISTS)         ? ERROR_ALREADY_EXISTS
                      : sd_bus_error_has_name(e, SYSTEMD_NO_SUCH_UNIT)      ? ERROR_UNAVAILABLE /* ended meanwhile */
                      : sd_bus_error_has_name(e, SD_BUS_ERROR_INVALID_ARGS) ? ERROR_INVALID_ARGUMENT
                                                                            : ERROR_INTERNAL,
                      "systemd refused unit %s: %s", c->unit, e->message ?: e->name);
        finish(c, r, &error);
        return 0;
}

static int on_start_reply(sd_bus_message *m, void *userdata, sd_bus_error *reterr _unused_) {
        UnitCall *c = userdata;
        const char *job;
        int r;

        c->slot = sd_bus_slot_unref(c->slot);
        if (sd_bus_message_is_method_error(m, NULL))
                return fail_from_reply(c, m);
        r = sd_bus_message_read(m, "o", &job);
        if (r < 0) {
                finish(c, r, NULL);
                return 0;
        }
        c->job = g_strdup(job);
        g_hash_table_insert(c->units->jobs, c->job, c);
        return 0;
}

static int send_start(UnitCall *c) {
        _cleanup_bus_message_ sd_bus_message *copy = NULL;
        Manager *m = c->units->manager;
        int r;

        if (!c->retried)
                return sd_bus_call_async(m->bus, &c->slot, c->request, on_start_reply, c, 0);
        r = sd_bus_message_new_method_call(m->bus, &copy, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER,
                                           "StartTransientUnit");
        if (r < 0)
                return r;
        r = sd_bus_message_rewind(c->request, true);
        if (r >= 0)
                r = sd_bus_message_copy(copy, c->request, true);
        if (r < 0)
                return r;
        return sd_bus_call_async(m->bus, &c->slot, copy, on_start_reply, c, 0);
}

static int append_properties(sd_bus_message *m, GPtrArray *properties) {
        int r = 0;

        for (guint i = 0; properties && i < properties->len && r >= 0; i++) {
                PlanUnitProperty *p = g_ptr_array_index(properties, i);

                r = sd_bus_message_open_container(m, 'r', "sv");
                if (r >= 0)
                        r = sd_bus_message_append(m, "s", p->name);
                if (r >= 0)
                        r = sd_bus_message_open_container(m, 'v', g_variant_get_type_string(p->value));
                if (r >= 0)
                        r = bus_append_variant(m, p->value);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
                if (r >= 0)
                        r = sd_bus_message_close_container(m);
        }
        return r;
}

/* By its descriptor, where systemd takes it, nobody else who has got the number meanwhile can be meant. */
static int append_process(sd_bus_message *m, const ScopeRequest *q, unsigned version) {
        if (q->pidfd >= 0 && version >= VERSION_SCOPE_PIDFDS)
                return sd_bus_message_append(m, "(sv)", "PIDFDs", "ah", 1, q->pidfd);
        return sd_bus_message_append(m, "(sv)", "PIDs", "au", 1, q->pid);
}

/* KillSignal is SIGURG, which no payload dies of: the shim alone acts on it and sends the container's own stop signal.
 */
static int append_scope(sd_bus_message *m, const ScopeRequest *q, bool hybrid, unsigned version) {
        int r;

        r = sd_bus_message_append(m, "ss", q->name, "fail");
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "(sv)");
        if (r < 0)
                return r;
        r = append_process(m, q, version);
        if (r >= 0)
                r = sd_bus_message_append(m, "(sv)(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s", q->description,
                                          "Slice", "s", q->slice, "CollectMode", "s", "inactive-or-failed", "KillMode",
                                          "s", "control-group", "KillSignal", "i", (int32_t)SIGURG, "SendSIGKILL", "b",
                                          true, "TimeoutStopUSec", "t", q->timeout_stop_usec + STOP_MARGIN_USEC);
        if (r < 0)
                return r;
        /* With version 1 hierarchies every delegated controller is one more tree to attach in; sub-groups need the
         * unified one only. */
        if (hybrid)
                r = sd_bus_message_append(m, "(sv)", "DelegateControllers", "as", 0);
        else
                r = sd_bus_message_append(m, "(sv)", "Delegate", "b", true);
        if (r < 0)
                return r;
        /* Where scopes have it, a container would otherwise be stopped because one of its processes was killed. */
        if (r >= 0 && version >= VERSION_SCOPE_OOM_POLICY)
                r = sd_bus_message_append(m, "(sv)", "OOMPolicy", "s", "continue");
        if (r >= 0)
                r = append_properties(m, q->properties);
        if (r < 0)
                return r;
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;
        return sd_bus_message_append(m, "a(sa(sv))", 0);
}

static UnitCall *call_new(Units *u, const char *unit, unit_handler_t handler, void *userdata) {
        UnitCall *c = g_new0(UnitCall, 1);

        c->units = u;
        c->unit = g_strdup(unit);
        c->handler = handler;
        c->userdata = userdata;
        return c;
}

/** units_start_scope() - asks for a transient scope around q->pid; the handler hears when its job is done */
int units_start_scope(Units *u, const ScopeRequest *q, unit_handler_t handler, void *userdata, UnitCall **ret) {
        UnitCall *c = call_new(u, q->name, handler, userdata);
        int r;

        r = sd_bus_message_new_method_call(u->manager->bus, &c->request, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER,
                                           "StartTransientUnit");
        if (r >= 0)
                r = append_scope(c->request, q, limits_hybrid(u->manager->limits), u->version);
        if (r >= 0)
                r = send_start(c);
        if (r < 0) {
                call_free(c);
                return r;
        }
        *ret = c;
        return 0;
}

static int on_plain_reply(sd_bus_message *m, void *userdata, sd_bus_error *reterr _unused_) {
        UnitCall *c = userdata;
        int r = 0;

        c->slot = sd_bus_slot_unref(c->slot);
        c->retried = true;
        if (sd_bus_message_is_method_error(m, NULL))
                return fail_from_reply(c, m);
        /* systemd answers first and writes the cgroup before it takes the next call. */
        if (c->settle) {
                c->settle = false;
                r = sd_bus_call_method_async(c->units->manager->bus, &c->slot, SYSTEMD_NAME, SYSTEMD_PATH,
                                             "org.freedesktop.DBus.Peer", "Ping", on_plain_reply, c, NULL);
                if (r >= 0)
                        return 0;
        }
        finish(c, r, NULL);
        return 0;
}

static int set_properties(Units *u, const char *unit, GPtrArray *properties, bool settle, unit_handler_t handler,
                          void *userdata, UnitCall **ret) {
        _cleanup_bus_message_ sd_bus_message *m = NULL;
        UnitCall *c = call_new(u, unit, handler, userdata);
        int r;

        c->settle = settle;
        r = sd_bus_message_new_method_call(u->manager->bus, &m, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER,
                                           "SetUnitProperties");
        if (r >= 0)
                r = sd_bus_message_append(m, "sb", unit, true);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "(sv)");
        if (r >= 0)
                r = append_properties(m, properties);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        if (r >= 0)
                r = sd_bus_call_async(u->manager->bus, &c->slot, m, on_plain_reply, c, 0);
        if (r < 0) {
                call_free(c);
                return r;
        }
        *ret = c;
        return 0;
}

/** units_set_properties() - changes resource limits of a running unit, until it ends */
int units_set_properties(Units *u, const char *unit, GPtrArray *properties, unit_handler_t handler, void *userdata,
                         UnitCall **ret) {
        return set_properties(u, unit, properties, false, handler, userdata, ret);
}

/** units_change_properties() - the same, told when they hold */
int units_change_properties(Units *u, const char *unit, GPtrArray *properties, unit_handler_t handler, void *userdata,
                            UnitCall **ret) {
        return set_properties(u, unit, properties, true, handler, userdata, ret);
}

static PlanUnitProperty *find_property(GPtrArray *properties, const char *name) {
        for (guint i = 0; i < properties->len; i++) {
                PlanUnitProperty *p = g_ptr_array_index(properties, i);

                if (streq(p->name, name))
                        return p;
        }
        return NULL;
}

static int read_property(sd_bus_message *m, GPtrArray *values, GHashTable *known) {
        PlanUnitProperty *p;
        const char *name;
        GVariant *value;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        p = r < 0 ? NULL : find_property(values, name);
        if (r < 0 || !p)
                return r < 0 ? r : sd_bus_message_skip(m, "v");
        r = sd_bus_message_enter_container(m, 'v', g_variant_get_type_string(p->value));
        if (r >= 0)
                r = bus_read_variant(m, &value);
        if (r < 0)
                return r;
        g_variant_unref(p->value);
        p->value = g_variant_ref_sink(value);
        (void)g_hash_table_add(known, p);
        return sd_bus_message_exit_container(m);
}

static int on_values(sd_bus_message *m, void *userdata, sd_bus_error *reterr _unused_) {
        g_autoptr(GHashTable) known = g_hash_table_new(NULL, NULL);
        UnitCall *c = userdata;
        int r;

        c->slot = sd_bus_slot_unref(c->slot);
        c->retried = true;
        if (sd_bus_message_is_method_error(m, NULL))
                return fail_from_reply(c, m);
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_property(m, c->values, known);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        for (guint i = c->values->len; i-- > 0;)
                if (!g_hash_table_contains(known, g_ptr_array_index(c->values, i)))
                        g_ptr_array_remove_index(c->values, i);
        finish(c, MIN(r, 0), NULL);
        return 0;
}

/** units_read_properties() - see units.h; for scopes */
int units_read_properties(Units *u, const char *unit, GPtrArray *properties, unit_handler_t handler, void *userdata,
                          UnitCall **ret) {
        UnitCall *c = call_new(u, unit, handler, userdata);
        _cleanup_free_ char *path = NULL;
        int r;

        c->values = g_ptr_array_ref(properties);
        r = sd_bus_path_encode(SYSTEMD_PATH "/unit", unit, &path);
        if (r >= 0)
                r = sd_bus_call_method_async(u->manager->bus, &c->slot, SYSTEMD_NAME, path,
                                             "org.freedesktop.DBus.Properties", "GetAll", on_values, c, "s",
                                             "org.freedesktop.systemd1.Scope");
        if (r < 0) {
                call_free(c);
                return r;
        }
        *ret = c;
        return 0;
}

/** units_default_tasks_max() - what a scope gets that nobody says it of */
uint64_t units_default_tasks_max(const Units *u) {
        return u ? u->default_tasks_max : UINT64_MAX;
}

static int on_stopped(sd_bus_message *m, void *userdata _unused_, sd_bus_error *reterr _unused_) {
        const sd_bus_error *e = sd_bus_message_get_error(m);

        if (e && !sd_bus_error_has_name(e, SYSTEMD_NO_SUCH_UNIT))
                log_warning("Cannot stop a unit: %s", e->message ?: e->name);
        return 0;
}

/** units_kill() - SIGKILL to everything in a unit that nobody keeps any more, and its end */
void units_kill(Units *u, const char *unit) {
        int r;

        r = sd_bus_call_method_async(u->manager->bus, NULL, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "KillUnit",
                                     on_stopped, NULL, "ssi", unit, "all", (int32_t)SIGKILL);
        if (r < 0)
                (void)log_warning_errno(r, "Cannot ask systemd to kill %s", unit);
        units_stop(u, unit);
}

/** units_stop() - asks systemd to stop a unit and to kill what is left in it */
void units_stop(Units *u, const char *unit) {
        int r;

        r = sd_bus_call_method_async(u->manager->bus, NULL, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "StopUnit",
                                     on_stopped, NULL, "ss", unit, "replace");
        if (r < 0)
                (void)log_warning_errno(r, "Cannot ask systemd to stop %s", unit);
}

typedef struct List {
        units_list_handler_t handler;
        void *userdata;
} List;

static int on_list(sd_bus_message *m, void *userdata, sd_bus_error *reterr _unused_) {
        List *l = userdata;
        g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
        const char *name;
        int r;

        r = sd_bus_message_is_method_error(m, NULL) ? -sd_bus_message_get_errno(m)
                                                    : sd_bus_message_enter_container(m, 'a', "(ssssssouso)");
        while (r >= 0) {
                r = sd_bus_message_read(m, "(ssssssouso)", &name, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
                if (r <= 0)
                        break;
                g_ptr_array_add(names, g_strdup(name));
        }
        g_ptr_array_add(names, NULL);
        l->handler(r < 0 ? r : 0, (char **)names->pdata, l->userdata);
        return 0;
}

/** units_list() - names of loaded units that match a pattern */
int units_list(Units *u, const char *pattern, units_list_handler_t handler, void *userdata) {
        _cleanup_bus_message_ sd_bus_message *m = NULL;
        sd_bus_slot *slot = NULL;
        List *l = NULL;
        int r;

        r = sd_bus_message_new_method_call(u->manager->bus, &m, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER,
                                           "ListUnitsByPatterns");
        if (r >= 0)
                r = sd_bus_message_append(m, "asas", 0, 1, pattern);
        if (r < 0)
                return r;
        l = g_new0(List, 1);
        *l = (List){ handler, userdata };
        r = sd_bus_call_async(u->manager->bus, &slot, m, on_list, l, 0);
        if (r < 0) {
                g_free(l);
                return r;
        }
        (void)sd_bus_slot_set_destroy_callback(slot, g_free);
        (void)sd_bus_slot_set_floating(slot, true);
        sd_bus_slot_unref(slot);
        return 0;
}

/* That it has become owner may reach us after we have found it by its name. */
static int on_subscribed(sd_bus_message *m, void *userdata _unused_, sd_bus_error *reterr _unused_) {
        const sd_bus_error *e = sd_bus_message_get_error(m);

        if (e && !sd_bus_error_has_name(e, SYSTEMD_ALREADY_SUBSCRIBED))
                log_warning("Cannot subscribe to systemd: %s", e->message ?: e->name);
        return 0;
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *reterr _unused_) {
        const char *name, *before, *after;
        Units *u = userdata;

        if (sd_bus_message_read(m, "sss", &name, &before, &after) < 0 || !streq(name, SYSTEMD_NAME))
                return 0;
        g_free(u->owner);
        u->owner = *after ? g_strdup(after) : NULL;
        if (u->owner && u->subscribed)
                (void)sd_bus_call_method_async(u->manager->bus, NULL, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER,
                                               "Subscribe", on_subscribed, NULL, NULL);
        return 0;
}

/* We may be what started the bus: systemd then joins it a moment later than we do. */
static int owner_wait(Units *u) {
        uint64_t deadline = now_usec(CLOCK_MONOTONIC) + OWNER_WAIT_USEC;
        sd_bus *bus = u->manager->bus;

        while (!u->owner) {
                uint64_t now = now_usec(CLOCK_MONOTONIC);
                int r = sd_bus_process(bus, NULL);

                if (r == 0)
                        r = now < deadline ? sd_bus_wait(bus, deadline - now) : -ETIMEDOUT;
                if (r < 0 && r != -EINTR)
                        return r;
        }
        return 0;
}

/* "257.3-1", "v255"; without an answer systemd counts as an old one. */
static void read_manager(Units *u) {
        _cleanup_free_ char *version = NULL;
        sd_bus *bus = u->manager->bus;

        if (sd_bus_get_property_string(bus, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "Version", NULL, &version) >=
            0)
                u->version = (unsigned)strtoul(version + strcspn(version, "0123456789"), NULL, 10);
        if (sd_bus_get_property_trivial(bus, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "DefaultTasksMax", NULL, 't',
                                        &u->default_tasks_max) < 0)
                u->default_tasks_max = UINT64_MAX;
}

static int subscribe(Units *u) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        sd_bus *bus = u->manager->bus;
        const char *owner;
        int r;

        r = sd_bus_add_match(bus, &u->slot_owner,
                             "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                             "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" SYSTEMD_NAME "'",
                             on_owner_changed, u);
        if (r >= 0)
                r = sd_bus_match_signal(bus, &u->slot_job, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "JobRemoved",
                                        on_job_removed, u);
        if (r >= 0)
                r = sd_bus_match_signal(bus, &u->slot_removed, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER,
                                        "UnitRemoved", on_unit_removed, u);
        if (r >= 0)
                r = sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                       "GetNameOwner", &error, &reply, "s", SYSTEMD_NAME);
        if (r >= 0)
                r = sd_bus_message_read(reply, "s", &owner);
        if (r >= 0) {
                g_free(u->owner);
                u->owner = g_strdup(owner);
        } else if (sd_bus_error_has_name(&error, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                r = owner_wait(u);
        if (r < 0)
                return log_error_errno(r, "Cannot find systemd on the bus");
        sd_bus_error_free(&error);
        r = sd_bus_call_method(bus, SYSTEMD_NAME, SYSTEMD_PATH, SYSTEMD_MANAGER, "Subscribe", &error, NULL, NULL);
        if (r < 0 && !sd_bus_error_has_name(&error, SYSTEMD_ALREADY_SUBSCRIBED))
                return log_error_errno(r, "Cannot subscribe to systemd");
        u->subscribed = true;
        read_manager(u);
        return 0;
}

/** units_new() - matches and subscription, before any scope is asked for; the one place that waits for answers,
 * and for systemd to join a bus that has only just been started */
int units_new(Manager *m, Units **ret) {
        Units *u = g_new0(Units, 1);
        int r = 0;

        u->manager = m;
        u->default_tasks_max = UINT64_MAX;
        u->jobs = g_hash_table_new(g_str_hash, g_str_equal);
        u->removal = g_hash_table_new(g_str_hash, g_str_equal);
        if (sd_bus_is_bus_client(m->bus) > 0)
                r = subscribe(u);
        if (r < 0) {
                (void)units_free(u);
                return r;
        }
        *ret = u;
        return 0;
}

/** units_free() - every UnitCall must have been cancelled before */
Units *units_free(Units *u) {
        if (!u)
                return NULL;
        sd_bus_slot_unref(u->slot_owner);
        sd_bus_slot_unref(u->slot_job);
        sd_bus_slot_unref(u->slot_removed);
        g_hash_table_unref(u->jobs);
        g_hash_table_unref(u->removal);
        g_free(u->owner);
        g_free(u);
        return NULL;
}
