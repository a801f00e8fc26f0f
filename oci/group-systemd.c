/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Cgroups made by systemd: a transient scope a container.
 *
 * linux.cgroupsPath is "slice:prefix:name"; limits are properties of the unit, written by systemd alone. The
 * container's first process exists and waits when the scope is asked for, and goes on when the job has ended. A
 * connection lasts for one call.
 */

#include "oci/group-systemd.h"

#include <errno.h>
#include <string.h>

#include "shared/dbus.h"
#include "shared/macros.h"
#include "shared/process.h"

#define SYSTEMD "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define MANAGER SYSTEMD ".Manager"
#define JOB_TIMEOUT_USEC (60 * USEC_PER_SEC)

typedef struct Bus {
        Connection *connection;
        GPtrArray *ended; /* jobs and their results, as systemd has told */
} Bus;

static void bus_clear(Bus *bus) {
        g_clear_pointer(&bus->connection, connection_close);
        g_clear_pointer(&bus->ended, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Bus, bus_clear)

static gboolean bus_connect(Bus *ret, GError **error) {
        int r;

        ret->connection = connection_open(&r);
        if (!ret->connection)
                return oci_fail_errno(error, r, "--systemd-cgroup: connect to the bus");
        ret->ended = g_ptr_array_new_with_free_func(g_free);
        return TRUE;
}

static Message *new_call(const char *member) {
        Message *m = message_new(SYSTEMD_PATH, MANAGER, member);

        if (m)
                m->destination = SYSTEMD;
        return m;
}

static void take_signal(Bus *bus, Message *m) {
        const char *path = NULL, *result = NULL;

        if (g_strcmp0(m->member, "JobRemoved") != 0 || g_strcmp0(m->interface, MANAGER) != 0 ||
            message_read(m, "uoss", NULL, &path, NULL, &result) <= 0)
                return;
        g_ptr_array_add(bus->ended, g_strdup(path));
        g_ptr_array_add(bus->ended, g_strdup(result));
}

/* The next message, or 0 where none has come yet, after having waited for it. */
static int bus_next(Bus *bus, guint64 end, Message **ret) {
        guint64 now = now_usec(CLOCK_MONOTONIC);
        int r;

        r = connection_receive(bus->connection, ret);
        if (r != 0)
                return r;
        if (now >= end)
                return -ETIMEDOUT;
        r = connection_wait(bus->connection, (int)((end - now) / 1000) + 1);
        return r < 0 && r != -EINTR ? r : 0;
}

/* Handles messages until the answer to a call or, with 0, a signal has come. */
static int bus_await(Bus *bus, guint32 serial, guint64 end, Message **ret) {
        for (;;) {
                _cleanup_message_ Message *m = NULL;
                int r = bus_next(bus, end, &m);

                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                if (m->type == DBUS_SIGNAL) {
                        take_signal(bus, m);
                        if (serial == 0)
                                return 0;
                } else if (serial != 0 && m->reply_serial == serial) {
                        *ret = TAKE_PTR(m);
                        return 0;
                }
        }
}

/* Makes a call about the unit; the answer, or NULL with the error set. */
static Message *bus_call(Bus *bus, Message *m, const char *unit, GError **error) {
        guint64 end = now_usec(CLOCK_MONOTONIC) + JOB_TIMEOUT_USEC;
        _cleanup_message_ Message *reply = NULL;
        guint32 serial = 0;
        int r;

        r = m ? connection_send(bus->connection, m, &serial) : -ENOMEM;
        if (r >= 0)
                r = bus_await(bus, serial, end, &reply);
        if (r < 0 || !reply)
                (void)oci_fail_errno(error, r < 0 ? r : -EPROTO, "unit %s", unit);
        else if (reply->type == DBUS_ERROR_REPLY)
                (void)oci_fail(error, OCI_ERROR_FAILED, "unit %s: %s", unit,
                               reply->error.message ? reply->error.message : reply->error.name);
        else
                return TAKE_PTR(reply);
        return NULL;
}

/* Sends a call whose answer tells nothing: what comes after it would fail, too. */
static int bus_post(Bus *bus, Message *m) {
        guint32 serial;

        if (!m)
                return -ENOMEM;
        m->flags |= DBUS_NO_REPLY_EXPECTED;
        return connection_send(bus->connection, m, &serial);
}

static int append_value(Message *m, GVariant *value);

static int append_children(Message *m, GVariant *value, char kind, const char *content) {
        (void)message_open(m, kind, content);
        for (gsize i = 0; i < g_variant_n_children(value); i++) {
                g_autoptr(GVariant) child = g_variant_get_child_value(value, i);

                (void)append_value(m, child);
        }
        return message_close(m);
}

/* The same types on both sides; what has no fixed size goes by its parts. */
static int append_value(Message *m, GVariant *value) {
        const char *type = g_variant_get_type_string(value);
        g_autofree char *content = NULL;
        g_autoptr(GVariant) inner = NULL;

        switch (*type) {
        case 'a':
                return append_children(m, value, 'a', type + 1);
        case '(':
        case '{':
                content = g_strndup(type + 1, strlen(type) - 2);
                return append_children(m, value, *type == '(' ? 'r' : 'e', content);
        case 'v':
                inner = g_variant_get_variant(value);
                return append_children(m, value, 'v', g_variant_get_type_string(inner));
        case 's':
        case 'o':
                return message_append(m, type, g_variant_get_string(value, NULL));
        case 'b':
                return message_append(m, type, (guint32)g_variant_get_boolean(value));
        case 'y':
                return message_append(m, type, g_variant_get_byte(value));
        case 'n':
                return message_append(m, type, g_variant_get_int16(value));
        case 'q':
                return message_append(m, type, g_variant_get_uint16(value));
        case 'i':
                return message_append(m, type, g_variant_get_int32(value));
        case 'u':
                return message_append(m, type, g_variant_get_uint32(value));
        case 'x':
                return message_append(m, type, g_variant_get_int64(value));
        case 't':
                return message_append(m, type, g_variant_get_uint64(value));
        case 'd':
                return message_append(m, type, g_variant_get_double(value));
        default:
                m->failed = -EINVAL;
                return -EINVAL;
        }
}

static int append_property(Message *m, const char *name, GVariant *value) {
        (void)message_open(m, 'r', "sv");
        (void)message_append(m, "s", name);
        (void)message_open(m, 'v', g_variant_get_type_string(value));
        (void)append_value(m, value);
        (void)message_close(m);
        return message_close(m);
}

static int append_properties(Message *m, GPtrArray *properties) {
        for (guint i = 0; properties && i < properties->len; i++) {
                const PlanUnitProperty *p = properties->pdata[i];

                (void)append_property(m, p->name, p->value);
        }
        return m->failed;
}

#define ANNOTATION "org.systemd.property."

/* What is known to do no more than what it is for: others start and stop units, take limits away or end the host. */
static gboolean is_allowed(const char *name) {
        static const char *const allowed[] = { "After",           "Before",
                                               "CollectMode",     "DefaultDependencies",
                                               "Description",     "KillSignal",
                                               "FinalKillSignal", "SendSIGHUP",
                                               "SendSIGKILL",     "TimeoutStopUSec",
                                               "TimeoutStopSec",  "RuntimeMaxUSec",
                                               "RuntimeMaxSec",   NULL };

        return g_strv_contains(allowed, name);
}

/* Annotations come from further away than the rest of a configuration: from whoever asks an engine for a container. */
static gboolean check_annotations(JsonObject *annotations, GError **error) {
        JsonObjectIter iter;
        const char *key;
        JsonNode *node;

        if (!annotations)
                return TRUE;
        json_object_iter_init(&iter, annotations);
        while (json_object_iter_next(&iter, &key, &node)) {
                const char *text = JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
                g_autoptr(GVariant) value = NULL;

                if (!g_str_has_prefix(key, ANNOTATION))
                        continue;
                if (!is_allowed(key + strlen(ANNOTATION)))
                        return oci_fail(error, OCI_ERROR_FAILED,
                                        "annotations.%s: is no property of a unit that an annotation may set", key);
                value = text ? g_variant_parse(NULL, text, NULL, NULL, NULL) : NULL;
                if (!value)
                        return oci_fail(error, OCI_ERROR_FAILED, "annotations.%s: is no value in GVariant's text form",
                                        key);
        }
        return TRUE;
}

/* org.systemd.property.NAME with a value in GVariant's text form; "Sec" in seconds is "USec" on the bus. */
static int append_annotations(Message *m, JsonObject *annotations) {
        JsonObjectIter iter;
        const char *key;
        JsonNode *node;
        int r = 0;

        if (!annotations)
                return 0;
        json_object_iter_init(&iter, annotations);
        while (r >= 0 && json_object_iter_next(&iter, &key, &node)) {
                const char *text = JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
                g_autofree char *name = NULL;
                GVariant *value;

                if (!text || !g_str_has_prefix(key, ANNOTATION))
                        continue;
                name = g_strdup(key + strlen(ANNOTATION));
                value = g_variant_parse(NULL, text, NULL, NULL, NULL);
                if (!value)
                        return -EINVAL;
                g_variant_ref_sink(value);
                if (g_str_has_suffix(name, "Sec") && !g_str_has_suffix(name, "USec") &&
                    g_variant_is_of_type(value, G_VARIANT_TYPE_INT32) && g_variant_get_int32(value) >= 0) {
                        guint64 usec = (guint64)g_variant_get_int32(value) * USEC_PER_SEC;
                        char *longer = g_strdup_printf("%.*sUSec", (int)strlen(name) - 3, name);

                        g_free(name);
                        name = longer;
                        g_variant_unref(value);
                        value = g_variant_ref_sink(g_variant_new_uint64(usec));
                }
                r = append_property(m, name, value);
                g_variant_unref(value);
        }
        return r;
}

static const char *find_result(const Bus *bus, const char *job) {
        for (guint i = 0; i + 1 < bus->ended->len; i += 2)
                if (streq((const char *)bus->ended->pdata[i], job))
                        return bus->ended->pdata[i + 1];
        return NULL;
}

static gboolean wait_job(Bus *bus, const char *job, const char *unit, GError **error) {
        guint64 end = now_usec(CLOCK_MONOTONIC) + JOB_TIMEOUT_USEC;
        const char *result;

        while (!(result = find_result(bus, job))) {
                int r = bus_await(bus, 0, end, NULL);

                if (r < 0)
                        return oci_fail_errno(error, r, "wait for unit %s", unit);
        }
        return streq(result, "done") ||
               oci_fail(error, OCI_ERROR_FAILED, "unit %s could not be started: %s", unit, result);
}

static Message *start_call(State *state, const char *slice, pid_t pid, GPtrArray *properties) {
        g_autofree char *description = g_strconcat("container ", state->id, NULL);
        Message *m = new_call("StartTransientUnit");

        if (!m)
                return NULL;
        (void)message_append(m, "ss", state->unit, "fail");
        (void)message_open(m, 'a', "(sv)");
        (void)message_append(m, "(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s", description, "Slice", "s", slice,
                             "PIDs", "au", 1U, (guint32)pid, "Delegate", "b", 1U, "DefaultDependencies", "b", 0U,
                             "CollectMode", "s", "inactive-or-failed");
        (void)append_properties(m, properties);
        if (append_annotations(m, state->annotations) < 0 && m->failed >= 0)
                m->failed = -EINVAL;
        (void)message_close(m);
        (void)message_append(m, "a(sa(sv))", 0U);
        return m;
}

/* To be told of jobs: before the first one of ours. */
static int subscribe(Bus *bus) {
        _cleanup_message_ Message *match = message_new("/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch"),
                                  *m = new_call("Subscribe");
        int r;

        if (!match)
                return -ENOMEM;
        match->destination = "org.freedesktop.DBus";
        (void)message_append(match, "s",
                             "type='signal',sender='" SYSTEMD "',path='" SYSTEMD_PATH "',interface='" MANAGER
                             "',member='JobRemoved'");
        r = bus_post(bus, match);
        return r < 0 ? r : bus_post(bus, m);
}

/* Has the unit begun; the answer names the job, NULL with the error set. */
static Message *begin(Bus *bus, State *state, const char *slice, pid_t pid, GPtrArray *properties, GError **error) {
        _cleanup_message_ Message *m = NULL;
        int r;

        if (!check_annotations(state->annotations, error) || !bus_connect(bus, error))
                return NULL;
        r = subscribe(bus);
        if (r < 0) {
                (void)oci_fail_errno(error, r, "unit %s", state->unit);
                return NULL;
        }
        m = start_call(state, slice, pid, properties);
        return bus_call(bus, m, state->unit, error);
}

/** scope_start() - Starts the container's scope around @pid, and waits until it is in it; without one, no unit. */
gboolean scope_start(State *state, const char *slice, pid_t pid, GPtrArray *properties, GError **error) {
        g_auto(Bus) bus = {};
        _cleanup_message_ Message *reply = begin(&bus, state, slice, pid, properties, error);
        const char *job = NULL;

        if (reply && message_read(reply, "o", &job) <= 0)
                (void)oci_fail(error, OCI_ERROR_FAILED, "unit %s: systemd names no job", state->unit);
        if (job && wait_job(&bus, job, state->unit, error))
                return TRUE;
        if (reply) /* what there is of it is ours */
                scope_stop(state);
        g_clear_pointer(&state->unit, g_free);
        return FALSE;
}

/** scope_stop() - Ends a scope that has nobody in it any more, as when its process died before systemd saw it. */
void scope_stop(State *state) {
        _cleanup_message_ Message *m = NULL, *reply = NULL;
        g_auto(Bus) bus = {};

        if (!bus_connect(&bus, NULL))
                return;
        m = new_call("StopUnit");
        if (m)
                (void)message_append(m, "ss", state->unit, "fail");
        reply = bus_call(&bus, m, state->unit, NULL);
}

/** scope_set() - Changes properties of the container's scope until it ends. */
gboolean scope_set(State *state, GPtrArray *properties, GError **error) {
        _cleanup_message_ Message *m = NULL, *reply = NULL;
        g_auto(Bus) bus = {};

        if (!bus_connect(&bus, error))
                return FALSE;
        m = new_call("SetUnitProperties");
        if (!m)
                return oci_fail_errno(error, -ENOMEM, "unit %s", state->unit);
        (void)message_append(m, "sb", state->unit, 1U);
        (void)message_open(m, 'a', "(sv)");
        (void)append_properties(m, properties);
        (void)message_close(m);
        reply = bus_call(&bus, m, state->unit, error);
        return reply != NULL;
}
