/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Statistics on the bus: Task.Stats for one task, Manager.ListStats for many in one call.
 *
 * Many are read in turns of about a millisecond, between which the event loop serves everybody else, so a list of a
 * thousand tasks holds nobody up; who ends meanwhile is left out. A call that waits for its turns belongs to the event
 * loop and goes with it.
 */

#include <errno.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/manager-bus.h"
#include "daemon/stats.h"
#include "daemon/task.h"

#define TURN_USEC 1000U
#define TURN_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 1) /* whoever asks for less goes first */
#define ROW "(ssoa{sv})"

typedef struct Wanted {
        ListFilters filters;
        char **parts;
} Wanted;

#define AT(x) offsetof(Wanted, x)

enum { ONE = 1 << 0, MANY = 1 << 1 };

static const BusOption table[] = {
        { "Parts", "as", AT(parts), ONE | MANY, NULL },
        { "Id", "as", AT(filters.ids), MANY, bus_read_named },
        { "Label", "as", AT(filters.labels), MANY, bus_read_named },
        { "Image", "s", AT(filters.image), MANY, bus_read_named },
        { "Status", "as", AT(filters.statuses), MANY, bus_read_named },
};

static int read_parts(char **names, unsigned *ret, sd_bus_error *error) {
        unsigned wanted = 0;

        for (char **n = names; n && *n; n++) {
                unsigned part = stats_part_from_name(*n);

                if (part == 0)
                        return error_invalid(error,
                                             "Parts holds \"%s\"; it takes \"cpu\", \"memory\", \"io\", \"tasks\" and "
                                             "\"pressure\".",
                                             *n);
                wanted |= part;
        }
        *ret = wanted ? wanted : STATS_ALL;
        return 0;
}

static bool has_stats(const Task *t) {
        return !t->launch && !t->deferred && !process_ended(&t->process);
}

/** method_task_stats() - Task.Stats */
int method_task_stats(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        const Task *t = userdata;
        unsigned wanted = 0;
        Wanted w = {};
        int r;

        r = bus_options_read(m, table, ELEMENTSOF(table), ONE, &w, error);
        if (r >= 0)
                r = read_parts(w.parts, &wanted, error);
        bus_options_free(table, ELEMENTSOF(table), &w);
        if (r < 0)
                return r;
        if (!has_stats(t))
                return error_precondition(error, "Task \"%s\" does not run; start its container.", t->id);
        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = stats_append(reply, t, wanted);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

typedef struct Listing {
        Manager *manager;
        sd_bus_message *call, *reply;
        GPtrArray *ids; /* namespace, id, namespace, id, ... */
        guint next;
        unsigned wanted;
} Listing;

static void listing_free(void *p) {
        Listing *l = p;

        sd_bus_message_unref(l->call);
        sd_bus_message_unref(l->reply);
        g_ptr_array_unref(l->ids);
        g_free(l);
}

static Task *find(Manager *m, const char *ns_name, const char *id) {
        Namespace *ns = g_hash_table_lookup(m->namespaces, ns_name);

        return ns ? g_hash_table_lookup(ns->tasks, id) : NULL;
}

static int append_row(Listing *l, Task *t) {
        int r;

        r = sd_bus_message_open_container(l->reply, 'r', "ssoa{sv}");
        if (r >= 0)
                r = sd_bus_message_append(l->reply, "sso", t->ns->name, t->id, t->process.path);
        if (r >= 0)
                r = stats_append(l->reply, t, l->wanted);
        return r < 0 ? r : sd_bus_message_close_container(l->reply);
}

static int send_listing(Listing *l) {
        int r;

        r = sd_bus_message_close_container(l->reply);
        return r < 0 ? r : sd_bus_send(NULL, l->reply, NULL);
}

/* One turn: at least one task, then as many as fit. */
static int on_turn(sd_event_source *s, void *userdata) {
        uint64_t until = now_usec(CLOCK_MONOTONIC) + TURN_USEC;
        Listing *l = userdata;
        int r = 0;

        while (r >= 0 && l->next < l->ids->len && (l->next == 0 || now_usec(CLOCK_MONOTONIC) < until)) {
                Task *t = find(l->manager, l->ids->pdata[l->next], l->ids->pdata[l->next + 1]);

                l->next += 2;
                if (t && t->process.visible && has_stats(t))
                        r = append_row(l, t);
        }
        if (r >= 0 && l->next < l->ids->len)
                return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
        if (r >= 0)
                r = send_listing(l);
        if (r < 0)
                (void)sd_bus_reply_method_errno(l->call, r, NULL);
        (void)sd_event_source_set_floating(s, false); /* the last reference */
        return 0;
}

static void collect(Listing *l, Namespace *ns, const ListFilters *filters) {
        GHashTableIter iter;
        Task *t;

        g_hash_table_iter_init(&iter, ns->tasks);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&t))
                if (t->process.visible && has_stats(t) && list_task_wanted(t, filters)) {
                        g_ptr_array_add(l->ids, g_strdup(ns->name));
                        g_ptr_array_add(l->ids, g_strdup(t->id));
                }
}

static int begin(Listing *l) {
        sd_event_source *s = NULL;
        int r;

        r = sd_event_add_defer(l->manager->event, &s, on_turn, l);
        if (r < 0)
                return r;
        (void)sd_event_source_set_destroy_callback(s, listing_free);
        (void)sd_event_source_set_priority(s, TURN_PRIORITY);
        r = sd_event_source_set_floating(s, true);
        sd_event_source_unref(s);
        return r < 0 ? r : 1;
}

static int listing_new(sd_bus_message *m, Manager *manager, unsigned wanted, Listing **ret) {
        Listing *l = g_new0(Listing, 1);
        int r;

        l->manager = manager;
        l->call = sd_bus_message_ref(m);
        l->ids = g_ptr_array_new_with_free_func(g_free);
        l->wanted = wanted;
        r = sd_bus_message_new_method_return(m, &l->reply);
        if (r >= 0)
                r = sd_bus_message_open_container(l->reply, 'a', ROW);
        if (r < 0) {
                listing_free(l);
                return r;
        }
        *ret = l;
        return 0;
}

static int list(sd_bus_message *m, Manager *manager, Wanted *w, sd_bus_error *error) {
        GHashTableIter iter;
        unsigned wanted = 0;
        const char *name;
        Namespace *ns;
        Listing *l;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = bus_options_read(m, table, ELEMENTSOF(table), MANY, w, error);
        if (r >= 0)
                r = read_parts(w->parts, &wanted, error);
        if (r >= 0)
                r = manager_check_namespaces(&name, error);
        if (r < 0)
                return r;
        r = listing_new(m, manager, wanted, &l);
        if (r < 0)
                return r;
        g_hash_table_iter_init(&iter, manager->namespaces);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&ns))
                if (streq(name, "*") || streq(name, ns->name))
                        collect(l, ns, &w->filters);
        r = begin(l);
        if (r < 0)
                listing_free(l);
        return r;
}

/** method_list_stats() - Manager.ListStats */
int method_list_stats(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Wanted w = {};
        int r;

        r = list(m, userdata, &w, error);
        bus_options_free(table, ELEMENTSOF(table), &w);
        return r;
}
