/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bus face of events: Manager.OpenEvents and the signal Namespace.Event.
 *
 * Signals are sent only while somebody listens, so a start nobody watches costs the bus nothing. A listener is whoever
 * has called OpenEvents and is still connected; what it wants to hear of all of it the bus decides by its match rules.
 */

#include <errno.h>
#include <unistd.h>

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/event-internal.h"

#define INTERFACE "org.davit.Davit1.Namespace"

static int listen_to(Events *e, sd_bus_message *m) {
        int r;

        if (!e->listeners) {
                r = sd_bus_track_new(e->manager->bus, &e->listeners, NULL, NULL);
                if (r < 0)
                        return r;
        }
        return sd_bus_track_add_sender(e->listeners, m);
}

static int append_files(sd_bus_message *reply, EventLog *log) {
        int fds[2], n, r;

        n = event_log_files(log, fds);
        if (n < 0)
                return n;
        r = sd_bus_message_open_container(reply, 'a', "h");
        for (int i = 0; i < n; i++) {
                if (r >= 0)
                        r = sd_bus_message_append(reply, "h", fds[i]);
                (void)safe_close(fds[i]);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/** method_open_events() - of the manager's interface */
int method_open_events(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        Events *e = ((Manager *)userdata)->events;
        int r;

        if (!e)
                return error_unavailable(error, "No events are kept.");
        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "tt", e->log.old_first ?: (e->log.first ?: e->log.next), e->log.next);
        if (r >= 0)
                r = append_files(reply, &e->log);
        if (r >= 0)
                r = listen_to(e, m);
        if (r < 0)
                return error_set_errno(error, r, "The events cannot be opened");
        return sd_bus_send(NULL, reply, NULL);
}

static int append_details(sd_bus_message *m, const GPtrArray *details) {
        int r = sd_bus_message_open_container(m, 'a', "{ss}");

        for (guint i = 0; i + 1 < details->len && r >= 0; i += 2)
                r = sd_bus_message_append(m, "{ss}", (const char *)g_ptr_array_index(details, i),
                                          (const char *)g_ptr_array_index(details, i + 1));
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/** event_bus_emit() - one event to those who listen */
void event_bus_emit(Events *e, EventType type, const char *ns, const char *id, const char *object, uint64_t sequence,
                    uint64_t time, const GPtrArray *details) {
        _cleanup_bus_message_ sd_bus_message *m = NULL;
        g_autofree char *path = NULL;
        int r;

        if (!e->listeners || sd_bus_track_count(e->listeners) == 0)
                return;
        path = bus_object_path(ns, NULL, NULL);
        r = sd_bus_message_new_signal(e->manager->bus, &m, path, INTERFACE, "Event");
        if (r >= 0)
                r = sd_bus_message_append(m, "ssostt", event_info(type)->name, id, object, ns, sequence, time);
        if (r >= 0)
                r = append_details(m, details);
        if (r >= 0)
                (void)sd_bus_send(NULL, m, NULL);
}
