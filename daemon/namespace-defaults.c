/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Defaults of a namespace: what a container that is defined in it gets where nothing was said.
 *
 * They are options of CreateContainer, kept as the caller gave them and filled in before the call's own are looked at;
 * what is defined already does not change. A caller who gives a whole configuration of his own gets none of those that
 * would change it. One table says which there are.
 */

#include "daemon/bus.h"
#include "daemon/error.h"
#include "daemon/namespace.h"
#include "daemon/options.h"
#include "daemon/record.h"
#include "plan/spec.h"

static const struct {
        const char *key; /* on the bus and in the record */
        size_t offset;   /* in Options */
        uint64_t none;   /* of a 't': not given */
        char type;       /* 's' or 't' */
        bool spec;       /* changes the configuration */
} fields[] = {
        { "Network", offsetof(Options, network), 0, 's', true },
        { "MemoryMax", offsetof(Options, memory_max), 0, 't', true },
        { "CPUQuotaPerSecUSec", offsetof(Options, cpu_quota_per_sec_usec), 0, 't', true },
        { "TasksMax", offsetof(Options, tasks_max), 0, 't', true },
        { "SeccompReport", offsetof(Options, seccomp_report), 0, 's', true },
        { "StopSignal", offsetof(Options, stop_signal), 0, 's', false },
        { "StopTimeoutUSec", offsetof(Options, stop_timeout_usec), UINT64_MAX, 't', false },
        { "LogRateLimitIntervalUSec", offsetof(Options, log_rate_interval_usec), UINT64_MAX, 't', false },
        { "LogRateLimitBurst", offsetof(Options, log_rate_burst), UINT64_MAX, 't', false },
        { "Runtime", offsetof(Options, runtime), 0, 's', false },
};

static char **text_at(Options *o, size_t i) {
        return (char **)((char *)o + fields[i].offset);
}

static uint64_t *number_at(Options *o, size_t i) {
        return (uint64_t *)((char *)o + fields[i].offset);
}

/** namespace_defaults_free() - NULL, for assignment */
Options *namespace_defaults_free(Options *o) {
        if (o)
                options_done(o);
        g_free(o);
        return NULL;
}

static Options *defaults_new(void) {
        Options *o = g_new(Options, 1);

        *o = (Options)OPTIONS_NULL;
        return o;
}

/* What no container could be made with is refused here, and not to every caller who comes after. */
static int check(const Options *o, sd_bus_error *error) {
        g_autoptr(JsonNode) spec = spec_default_new();
        g_autoptr(GError) g = NULL;
        SpecOptions so;

        options_get_spec(o, &so);
        return spec_apply_options(spec, &so, &g) ? 0 : error_set_gerror(error, g);
}

/** namespace_defaults_read() - from a dictionary of options; the caller's to free */
int namespace_defaults_read(sd_bus_message *m, Options **ret, sd_bus_error *error) {
        Options *o = defaults_new();
        int r;

        r = options_read(m, OPTION_DEFAULTS, o, error);
        if (r >= 0)
                r = check(o, error);
        if (r < 0) {
                (void)namespace_defaults_free(o);
                return r;
        }
        *ret = o;
        return 0;
}

/** namespace_set_defaults() - replaces them, durably; takes @defaults in any case */
int namespace_set_defaults(Namespace *ns, Options *defaults, sd_bus_error *error) {
        Options *before = ns->defaults;
        int r;

        ns->defaults = defaults;
        r = namespace_save(ns);
        if (r < 0) {
                ns->defaults = before;
                (void)namespace_defaults_free(defaults);
                return error_set_errno(error, r, "The defaults of namespace \"%s\" cannot be stored", ns->name);
        }
        (void)namespace_defaults_free(before);
        namespace_bus_changed(ns, "Defaults");
        return 0;
}

/** namespace_defaults_append() - as a dictionary; o may be NULL */
int namespace_defaults_append(sd_bus_message *m, Options *o) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        for (size_t i = 0; o && i < ELEMENTSOF(fields) && r >= 0; i++)
                if (fields[i].type == 's' && *text_at(o, i))
                        r = sd_bus_message_append(m, "{sv}", fields[i].key, "s", *text_at(o, i));
                else if (fields[i].type == 't' && *number_at(o, i) != fields[i].none)
                        r = sd_bus_message_append(m, "{sv}", fields[i].key, "t", *number_at(o, i));
        return r < 0 ? r : sd_bus_message_close_container(m);
}

/** namespace_defaults_save() - into the record of the namespace; o may be NULL */
void namespace_defaults_save(Options *o, JsonObject *record) {
        JsonObject *d;

        if (!o)
                return;
        d = json_object_new();
        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                if (fields[i].type == 's' && *text_at(o, i))
                        json_object_set_string_member(d, fields[i].key, *text_at(o, i));
                else if (fields[i].type == 't' && *number_at(o, i) != fields[i].none)
                        json_object_set_int_member(d, fields[i].key, (int64_t)MIN(*number_at(o, i), INT64_MAX));
        json_object_set_object_member(record, "defaults", d);
}

/** namespace_defaults_load() - of a record; NULL where it has none */
Options *namespace_defaults_load(JsonObject *record) {
        JsonNode *node = json_object_get_member(record, "defaults");
        JsonObject *d;
        Options *o;

        if (!node || !JSON_NODE_HOLDS_OBJECT(node))
                return NULL;
        d = json_node_get_object(node);
        o = defaults_new();
        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                const char *text;

                if (fields[i].type == 't')
                        (void)record_get_u64(d, fields[i].key, number_at(o, i));
                else if (record_get_string(d, fields[i].key, &text) >= 0)
                        *text_at(o, i) = g_strdup(text);
        }
        return o;
}

/** namespace_apply_defaults() - fills in what was not given */
void namespace_apply_defaults(const Namespace *ns, Options *o) {
        Options *d = ns->defaults;

        for (size_t i = 0; d && i < ELEMENTSOF(fields); i++) {
                if (fields[i].spec && o->spec)
                        continue;
                if (fields[i].type == 's' && !*text_at(o, i))
                        *text_at(o, i) = g_strdup(*text_at(d, i));
                else if (fields[i].type == 't' && *number_at(o, i) == fields[i].none)
                        *number_at(o, i) = *number_at(d, i);
        }
}
