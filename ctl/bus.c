/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The connection to the manager. A call is put on the wire at once, while the connection is still being set up, and
 * its answer awaited later: a start needs no round trip but those of the bus itself. Calls have no time limit, because
 * the manager decides how long a stop or an import takes. Nothing here prints; bus-error.c does.
 */

#include "ctl/bus.h"

#include <stdarg.h>

/** bus_connect() - connects to the system bus where that has not been done; prints what is wrong. 0 or an exit status.
 */
int bus_connect(Ctl *ctl) {
        int r;

        if (ctl->bus)
                return 0;
        r = sd_bus_open_system(&ctl->bus);
        if (r < 0)
                return ctl_error(ctl, _("cannot connect to the system bus: %s; is dbus running?"), strerror(-r));
        return 0;
}

/** call_new() - a call of a method of the manager. 0 or an exit status. */
int call_new(Ctl *ctl, const char *path, const char *interface, const char *member, sd_bus_message **ret) {
        int r = bus_connect(ctl);

        if (r != 0)
                return r;
        r = sd_bus_message_new_method_call(ctl->bus, ret, BUS_NAME, path, interface, member);
        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

static int on_reply(sd_bus_message *reply, void *userdata, _unused_ sd_bus_error *error) {
        Call *call = userdata;

        call->reply = sd_bus_message_ref(reply);
        call->done = true;
        return 0;
}

/** call_send() - puts a call on the wire. 0 or an exit status. */
int call_send(Ctl *ctl, Call *call, sd_bus_message *message) {
        int r = sd_bus_call_async(ctl->bus, &call->slot, message, on_reply, call, UINT64_MAX);

        return r < 0 ? bus_protocol_error(ctl, r) : 0;
}

/** call_simple() - makes and sends a call whose arguments sd_bus_message_append() understands. 0 or an exit status. */
int call_simple(Ctl *ctl, Call *call, const char *path, const char *interface, const char *member, const char *types,
                ...) {
        _cleanup_message_ sd_bus_message *m = NULL;
        va_list ap;
        int r;

        r = call_new(ctl, path, interface, member, &m);
        if (r != 0)
                return r;
        if (types) {
                va_start(ap, types);
                r = sd_bus_message_appendv(m, types, ap);
                va_end(ap);
                if (r < 0)
                        return bus_protocol_error(ctl, r);
        }
        return call_send(ctl, call, m);
}

/** bus_step() - handles what has arrived. 1: something was, ask again; 0: nothing; negative errno. */
int bus_step(Ctl *ctl) {
        return sd_bus_process(ctl->bus, NULL);
}

/** call_wait() - waits for the answer. 0, also where it is an error; an exit status where the bus is gone. */
int call_wait(Ctl *ctl, Call *call) {
        while (!call->done) {
                int r = bus_step(ctl);

                if (r == 0)
                        r = sd_bus_wait(ctl->bus, UINT64_MAX);
                if (r < 0 && r != -EINTR && !call->done)
                        return bus_protocol_error(ctl, r);
        }
        return 0;
}

/** call_error() - the error an answered call ended with, or NULL. */
const sd_bus_error *call_error(const Call *call) {
        return call->reply ? sd_bus_message_get_error(call->reply) : NULL;
}

/** call_failed() - whether an answered call ended with this error of Davit's. */
bool call_failed(const Call *call, const char *error) {
        return error_is(call_error(call), error);
}

/** call_clear() - frees a call; an answer still to come is dropped. */
void call_clear(Call *call) {
        sd_bus_slot_unref(call->slot);
        sd_bus_message_unref(call->reply);
        *call = (Call){};
}

/** path_of() - the object path of a container, task or image; to free, NULL where memory ran out. */
char *path_of(const char *ns, const char *kind, const char *id) {
        _cleanup_free_ char *ns_path = NULL, *prefix = NULL;
        char *path = NULL;

        if (sd_bus_path_encode(BUS_PATH "/ns", ns, &ns_path) < 0)
                return NULL;
        prefix = text_printf("%s/%s", ns_path, kind);
        if (!prefix || sd_bus_path_encode(prefix, id, &path) < 0)
                return NULL;
        return path;
}
