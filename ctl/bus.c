/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The connection to the manager. A call is put on the wire at once, while the connection is still being set up, and
 * its answer awaited later: a start needs no round trip but those of the bus itself. Calls have no time limit, because
 * the manager decides how long a stop or an import takes. A call that changes nothing is asked again where the manager
 * went away before it answered: the bus has the next one started. Nothing here prints; bus-error.c does.
 */

#include "ctl/bus.h"

#include <stdarg.h>

/** bus_connect() - connects to the system bus where that has not been done; prints what is wrong. 0 or an exit status.
 */
int bus_connect(Ctl *ctl) {
        int r;

        if (ctl->bus)
                return 0;
        ctl->bus = connection_open(&r);
        if (!ctl->bus)
                return ctl_error(ctl, _("cannot connect to the system bus: %s; is dbus running?"), strerror(-r));
        return 0;
}

/** call_new() - a call of a method of the manager, which borrows the strings. 0 or an exit status. */
int call_new(Ctl *ctl, const char *path, const char *interface, const char *member, Message **ret) {
        int r = bus_connect(ctl);

        if (r != 0)
                return r;
        *ret = message_new(path, interface, member);
        if (!*ret)
                return ctl_oom(ctl);
        (*ret)->destination = BUS_NAME;
        return 0;
}

/** call_changes_nothing() - by its name: nobody notices when one of these is asked twice. */
bool call_changes_nothing(const Message *m) {
        static const char *const names[] = { "Diff", "DiskUsage", "Mounts", "OpenEvents", "Read", "Stats", "WhyKept" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(m->member, names[i]))
                        return true;
        if (streq(m->member, "Wait"))
                return streq(m->interface, BUS_PROCESS); /* a job ends with its manager */
        return strncmp(m->member, "Get", 3) == 0 || strncmp(m->member, "List", 4) == 0;
}

/* The call again, of which interface and member are literals. */
static int keep(Call *call, const Message *m) {
        _cleanup_message_ Message *copy = NULL;
        _cleanup_free_ char *path = NULL;

        if (call->again || m->n_fds > 0 || !call_changes_nothing(m))
                return 0;
        path = strdup(m->path);
        copy = path ? message_copy(m, path) : NULL;
        if (!copy)
                return -ENOMEM;
        call->path = TAKE_PTR(path);
        call->again = TAKE_PTR(copy);
        return 0;
}

/** call_send() - puts a call on the wire. 0 or an exit status. */
int call_send(Ctl *ctl, Call *call, Message *message) {
        int r = keep(call, message);

        if (r >= 0)
                r = connection_send(ctl->bus, message, &call->serial);
        if (r < 0)
                return bus_protocol_error(ctl, r);
        call->ctl = ctl;
        call->next = ctl->calls;
        ctl->calls = call;
        return 0;
}

/** call_post() - puts a call on the wire that nobody answers; negative errno. */
int call_post(Ctl *ctl, Message *message) {
        uint32_t serial;

        message->flags |= DBUS_NO_REPLY_EXPECTED;
        return connection_send(ctl->bus, message, &serial);
}

/** bus_match() - asks for signals; one handler at a time. Negative errno. */
int bus_match(Ctl *ctl, const char *rule, dbus_handler_t handler, void *userdata) {
        _cleanup_message_ Message *m = message_new("/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch");

        if (!m)
                return -ENOMEM;
        m->destination = "org.freedesktop.DBus";
        ctl->on_signal = handler;
        ctl->signal_userdata = userdata;
        (void)message_append(m, "s", rule);
        return call_post(ctl, m);
}

/** call_simple() - makes and sends a call whose arguments message_append() understands. 0 or an exit status. */
int call_simple(Ctl *ctl, Call *call, const char *path, const char *interface, const char *member, const char *types,
                ...) {
        _cleanup_message_ Message *m = NULL;
        va_list ap;
        int r;

        r = call_new(ctl, path, interface, member, &m);
        if (r != 0)
                return r;
        if (types) {
                va_start(ap, types);
                r = message_appendv(m, types, ap);
                va_end(ap);
                if (r < 0)
                        return bus_protocol_error(ctl, r);
        }
        return call_send(ctl, call, m);
}

static void call_unlink(Call *call) {
        for (Call **p = call->ctl ? &call->ctl->calls : NULL; p && *p; p = &(*p)->next)
                if (*p == call) {
                        *p = call->next;
                        break;
                }
        call->ctl = NULL;
}

static void dispatch(Ctl *ctl, Message *m) {
        if (m->type == DBUS_SIGNAL && ctl->on_signal)
                ctl->on_signal(m, ctl->signal_userdata);
        for (Call *call = ctl->calls; call && (m->type == DBUS_RETURN || m->type == DBUS_ERROR_REPLY);
             call = call->next)
                if (call->serial == m->reply_serial) {
                        call_unlink(call);
                        call->reply = m;
                        call->done = true;
                        return;
                }
        message_free(m);
}

/** bus_step() - handles what has arrived. 1: something was, ask again; 0: nothing; negative errno. */
int bus_step(Ctl *ctl) {
        Message *m = NULL;
        int r = connection_receive(ctl->bus, &m);

        if (r > 0)
                dispatch(ctl, m);
        return r;
}

/** bus_wait() - waits until something arrives; 0 when the time is up, -1: no limit. */
int bus_wait(Ctl *ctl, int timeout_ms) {
        return connection_wait(ctl->bus, timeout_ms);
}

/** bus_fd() - readable when something has arrived. */
int bus_fd(const Ctl *ctl) {
        return connection_fd(ctl->bus);
}

static int wait_for_answer(Ctl *ctl, Call *call) {
        while (!call->done) {
                int r = bus_step(ctl);

                if (r == 0)
                        r = bus_wait(ctl, -1);
                if (r < 0 && r != -EINTR && !call->done)
                        return bus_protocol_error(ctl, r);
        }
        return 0;
}

/** call_wait() - waits for the answer. 0, also where it is an error; an exit status where the bus is gone. */
int call_wait(Ctl *ctl, Call *call) {
        int r = wait_for_answer(ctl, call);

        for (int i = 0; i < ASK_AGAIN_MAX && r == 0 && call->again; i++) {
                if (!error_is_bus(call_error(call), "NoReply"))
                        break;
                message_free(call->reply);
                call->reply = NULL;
                call->done = false;
                r = call_send(ctl, call, call->again);
                if (r == 0)
                        r = wait_for_answer(ctl, call);
        }
        return r;
}

/** call_finish() - waits for the answer and prints the error where it is one. 0 or an exit status. */
int call_finish(Ctl *ctl, Call *call, const char *subject) {
        int r = call_wait(ctl, call);

        if (r != 0)
                return r;
        return call_error(call) ? call_report(ctl, call, subject) : 0;
}

/** call_error() - the error an answered call ended with, or NULL. */
const BusError *call_error(const Call *call) {
        return call->reply && call->reply->type == DBUS_ERROR_REPLY ? &call->reply->error : NULL;
}

/** call_failed() - whether an answered call ended with this error of Davit's. */
bool call_failed(const Call *call, const char *error) {
        return error_is(call_error(call), error);
}

/** call_clear() - frees a call; an answer still to come is dropped. */
void call_clear(Call *call) {
        call_unlink(call);
        if (call->reply)
                message_free(call->reply);
        if (call->again)
                message_free(call->again);
        free(call->path);
        *call = (Call){};
}

/** path_encode() - prefix and one more segment, in which all but letters and digits is escaped; to free. */
char *path_encode(const char *prefix, const char *segment) {
        char *path = malloc(strlen(prefix) + 3 * strlen(segment) + 3), *p;

        if (!path)
                return NULL;
        p = path + sprintf(path, "%s/%s", prefix, *segment ? "" : "_");
        for (const char *s = segment; *s; s++) {
                bool digit = *s >= '0' && *s <= '9', letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');

                p += letter || (digit && s > segment) ? sprintf(p, "%c", *s) : sprintf(p, "_%02x", (unsigned char)*s);
        }
        return path;
}

/** path_of() - the object path of a container, task or image; to free, NULL where memory ran out. */
char *path_of(const char *ns, const char *kind, const char *id) {
        _cleanup_free_ char *ns_path = path_encode(BUS_PATH "/ns", ns), *prefix = NULL;

        prefix = ns_path ? text_printf("%s/%s", ns_path, kind) : NULL;
        return prefix ? path_encode(prefix, id) : NULL;
}
