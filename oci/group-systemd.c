/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Cgroups made by systemd: a transient scope a container.
 *
 * linux.cgroupsPath is "slice:prefix:name"; limits are properties of the unit, written by systemd alone. The
 * container's first process exists and waits when the scope is asked for, and goes on when the job has ended.
 * libsystemd is loaded only for this, since most calls of davit-oci have no use for it.
 */

#include "oci/group-systemd.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "shared/macros.h"
#include "shared/process.h"

#define SYSTEMD "org.freedesktop.systemd1"
#define SYSTEMD_PATH "/org/freedesktop/systemd1"
#define MANAGER SYSTEMD ".Manager"
#define JOB_TIMEOUT_USEC (60 * USEC_PER_SEC)

static struct {
        void *library;
        __typeof__(sd_bus_open_system) *open_system;
        __typeof__(sd_bus_open_user) *open_user;
        __typeof__(sd_bus_flush_close_unref) *unref;
        __typeof__(sd_bus_call) *call;
        __typeof__(sd_bus_call_method) *call_method;
        __typeof__(sd_bus_match_signal) *match_signal;
        __typeof__(sd_bus_process) *process;
        __typeof__(sd_bus_wait) *wait;
        __typeof__(sd_bus_error_free) *error_free;
        __typeof__(sd_bus_message_new_method_call) *new_call;
        __typeof__(sd_bus_message_append) *append;
        __typeof__(sd_bus_message_append_basic) *append_basic;
        __typeof__(sd_bus_message_open_container) *open_container;
        __typeof__(sd_bus_message_close_container) *close_container;
        __typeof__(sd_bus_message_read) *read;
        __typeof__(sd_bus_message_unref) *message_unref;
} bus;

static gboolean load(GError **error) {
        const struct {
                const char *name;
                void *place;
        } symbols[] = {
                { "sd_bus_open_system", &bus.open_system },
                { "sd_bus_open_user", &bus.open_user },
                { "sd_bus_flush_close_unref", &bus.unref },
                { "sd_bus_call", &bus.call },
                { "sd_bus_call_method", &bus.call_method },
                { "sd_bus_match_signal", &bus.match_signal },
                { "sd_bus_process", &bus.process },
                { "sd_bus_wait", &bus.wait },
                { "sd_bus_error_free", &bus.error_free },
                { "sd_bus_message_new_method_call", &bus.new_call },
                { "sd_bus_message_append", &bus.append },
                { "sd_bus_message_append_basic", &bus.append_basic },
                { "sd_bus_message_open_container", &bus.open_container },
                { "sd_bus_message_close_container", &bus.close_container },
                { "sd_bus_message_read", &bus.read },
                { "sd_bus_message_unref", &bus.message_unref },
        };

        if (bus.library)
                return TRUE;
        bus.library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
        for (gsize i = 0; bus.library && i < G_N_ELEMENTS(symbols); i++) {
                void *symbol = dlsym(bus.library, symbols[i].name);

                if (!symbol)
                        bus.library = NULL;
                memcpy(symbols[i].place, &symbol, sizeof(symbol));
        }
        return bus.library ? TRUE : oci_fail(error, OCI_ERROR_FAILED, "--systemd-cgroup: libsystemd cannot be loaded");
}

static sd_bus *connect_bus(GError **error) {
        sd_bus *b = NULL;
        int r;

        if (!load(error))
                return NULL;
        r = geteuid() == 0 ? bus.open_system(&b) : bus.open_user(&b);
        if (r < 0)
                (void)oci_fail_errno(error, r, "--systemd-cgroup: connect to the bus");
        return r < 0 ? NULL : b;
}

static int append_value(sd_bus_message *m, GVariant *value);

static int append_children(sd_bus_message *m, GVariant *value, char kind, const char *content) {
        int r = bus.open_container(m, kind, content);

        for (gsize i = 0; r >= 0 && i < g_variant_n_children(value); i++) {
                g_autoptr(GVariant) child = g_variant_get_child_value(value, i);

                r = append_value(m, child);
        }
        return r < 0 ? r : bus.close_container(m);
}

/* The same types on both sides; what has no fixed size goes by its parts. */
static int append_value(sd_bus_message *m, GVariant *value) {
        const char *type = g_variant_get_type_string(value);
        int truth;

        if (*type == 'a')
                return append_children(m, value, 'a', type + 1);
        if (*type == '(') {
                g_autofree char *content = g_strndup(type + 1, strlen(type) - 2);

                return append_children(m, value, 'r', content);
        }
        if (*type == 's' || *type == 'o' || *type == 'g')
                return bus.append_basic(m, *type, g_variant_get_string(value, NULL));
        if (*type == 'b') {
                truth = g_variant_get_boolean(value);
                return bus.append_basic(m, 'b', &truth);
        }
        return strchr("ynqiuxtd", *type) ? bus.append_basic(m, *type, g_variant_get_data(value)) : -EINVAL;
}

static int append_property(sd_bus_message *m, const char *name, GVariant *value) {
        int r;

        r = bus.open_container(m, 'r', "sv");
        if (r >= 0)
                r = bus.append_basic(m, 's', name);
        if (r >= 0)
                r = bus.open_container(m, 'v', g_variant_get_type_string(value));
        if (r >= 0)
                r = append_value(m, value);
        if (r >= 0)
                r = bus.close_container(m);
        return r < 0 ? r : bus.close_container(m);
}

static int append_properties(sd_bus_message *m, GPtrArray *properties) {
        int r = 0;

        for (guint i = 0; properties && r >= 0 && i < properties->len; i++) {
                const PlanUnitProperty *p = properties->pdata[i];

                r = append_property(m, p->name, p->value);
        }
        return r;
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
static int append_annotations(sd_bus_message *m, JsonObject *annotations) {
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

typedef struct Wait {
        const char *job;
        char *result;     /* "done", or what else became of the job */
        GPtrArray *ended; /* jobs and results that came before we knew ours */
} Wait;

static int on_job_removed(sd_bus_message *m, void *userdata, sd_bus_error *ret_error _unused_) {
        const char *path = NULL, *unit = NULL, *result = NULL;
        Wait *w = userdata;
        guint32 id;

        if (bus.read(m, "uoss", &id, &path, &unit, &result) < 0)
                return 0;
        g_ptr_array_add(w->ended, g_strdup(path));
        g_ptr_array_add(w->ended, g_strdup(result));
        return 0;
}

static const char *find_result(const Wait *w) {
        for (guint i = 0; i + 1 < w->ended->len; i += 2)
                if (streq((const char *)w->ended->pdata[i], w->job))
                        return w->ended->pdata[i + 1];
        return NULL;
}

static gboolean wait_job(sd_bus *b, Wait *w, const char *unit, GError **error) {
        guint64 end = now_usec(CLOCK_MONOTONIC) + JOB_TIMEOUT_USEC;

        for (;;) {
                const char *result = find_result(w);
                guint64 now = now_usec(CLOCK_MONOTONIC);
                int r;

                if (result)
                        return streq(result, "done") ||
                               oci_fail(error, OCI_ERROR_FAILED, "unit %s could not be started: %s", unit, result);
                r = bus.process(b, NULL);
                if (r == 0 && now >= end)
                        r = -ETIMEDOUT;
                if (r == 0)
                        r = bus.wait(b, end - now);
                if (r < 0)
                        return oci_fail_errno(error, r, "wait for unit %s", unit);
        }
}

static gboolean fail_bus(GError **error, sd_bus_error *e, int r, const char *unit) {
        (void)oci_fail(error, OCI_ERROR_FAILED, "unit %s: %s", unit, e->message ? e->message : g_strerror(-r));
        bus.error_free(e);
        return FALSE;
}

static int fill_start(sd_bus_message *m, State *state, const char *slice, pid_t pid, GPtrArray *properties) {
        g_autofree char *description = g_strconcat("container ", state->id, NULL);
        int r;

        r = bus.append(m, "ss", state->unit, "fail");
        if (r >= 0)
                r = bus.open_container(m, 'a', "(sv)");
        if (r >= 0)
                r = bus.append(m, "(sv)(sv)(sv)(sv)(sv)(sv)", "Description", "s", description, "Slice", "s", slice,
                               "PIDs", "au", 1, (guint32)pid, "Delegate", "b", 1, "DefaultDependencies", "b", 0,
                               "CollectMode", "s", "inactive-or-failed");
        if (r >= 0)
                r = append_properties(m, properties);
        if (r >= 0)
                r = append_annotations(m, state->annotations);
        if (r >= 0)
                r = bus.close_container(m);
        return r < 0 ? r : bus.append(m, "a(sa(sv))", 0);
}

/** scope_start() - Starts the container's scope around @pid, and waits until it is in it; without one, no unit. */
gboolean scope_start(State *state, const char *slice, pid_t pid, GPtrArray *properties, GError **error) {
        g_autoptr(GPtrArray) ended = g_ptr_array_new_with_free_func(g_free);
        sd_bus_message *m = NULL, *reply = NULL;
        sd_bus_error e = SD_BUS_ERROR_NULL;
        Wait w = { .ended = ended };
        sd_bus *b = check_annotations(state->annotations, error) ? connect_bus(error) : NULL;
        gboolean ok = FALSE;
        int r;

        if (!b)
                return FALSE;
        r = bus.match_signal(b, NULL, SYSTEMD, SYSTEMD_PATH, MANAGER, "JobRemoved", on_job_removed, &w);
        if (r >= 0)
                r = bus.call_method(b, SYSTEMD, SYSTEMD_PATH, MANAGER, "Subscribe", &e, NULL, NULL);
        if (r >= 0)
                r = bus.new_call(b, &m, SYSTEMD, SYSTEMD_PATH, MANAGER, "StartTransientUnit");
        if (r >= 0)
                r = fill_start(m, state, slice, pid, properties);
        if (r >= 0)
                r = bus.call(b, m, 0, &e, &reply);
        if (r >= 0)
                r = bus.read(reply, "o", &w.job);
        ok = r < 0 ? fail_bus(error, &e, r, state->unit) : wait_job(b, &w, state->unit, error);
        if (!ok && r >= 0) /* what there is of it is ours */
                scope_stop(state);
        if (!ok)
                g_clear_pointer(&state->unit, g_free);
        bus.message_unref(reply);
        bus.message_unref(m);
        bus.unref(b);
        return ok;
}

/** scope_stop() - Ends a scope that has nobody in it any more, as when its process died before systemd saw it. */
void scope_stop(State *state) {
        sd_bus *b = connect_bus(NULL);

        if (!b)
                return;
        (void)bus.call_method(b, SYSTEMD, SYSTEMD_PATH, MANAGER, "StopUnit", NULL, NULL, "ss", state->unit, "fail");
        bus.unref(b);
}

/** scope_set() - Changes properties of the container's scope until it ends. */
gboolean scope_set(State *state, GPtrArray *properties, GError **error) {
        sd_bus_error e = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        sd_bus *b = connect_bus(error);
        int r;

        if (!b)
                return FALSE;
        r = bus.new_call(b, &m, SYSTEMD, SYSTEMD_PATH, MANAGER, "SetUnitProperties");
        if (r >= 0)
                r = bus.append(m, "sb", state->unit, 1);
        if (r >= 0)
                r = bus.open_container(m, 'a', "(sv)");
        if (r >= 0)
                r = append_properties(m, properties);
        if (r >= 0)
                r = bus.close_container(m);
        if (r >= 0)
                r = bus.call(b, m, 0, &e, NULL);
        if (r < 0)
                (void)fail_bus(error, &e, r, state->unit);
        bus.message_unref(m);
        bus.unref(b);
        return r >= 0;
}
