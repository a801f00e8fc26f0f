/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A caller's options applied to a specification, and the "process" of an exec.
 *
 * Options are Class 1 input: executed faithfully or refused by name. Order: image first
 * (spec-image.c), then these, then a merge patch by the caller if there is one. It works on trees
 * alone and never looks at the host.
 */

#include <string.h>

#include "plan/fields.h"
#include "plan/spec-env.h"

#define CPU_PERIOD_USEC 100000U

static void drop_namespace(JsonObject *linux_, const char *type) {
        JsonArray *namespaces = field_ensure_array(linux_, "namespaces");

        for (guint i = json_array_get_length(namespaces); i-- > 0;) {
                JsonNode *node = json_array_get_element(namespaces, i);
                JsonObject *ns = JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;

                if (ns && g_strcmp0(json_object_get_string_member_with_default(ns, "type", ""), type) == 0)
                        json_array_remove_element(namespaces, i);
        }
}

static void add_mount(JsonObject *root, const SpecMount *mount) {
        g_auto(GStrv) options = mount->options && *mount->options ? g_strsplit(mount->options, ",", -1) : NULL;
        JsonObject *object = json_object_new();

        json_object_set_string_member(object, "destination", mount->target);
        json_object_set_string_member(object, "type", mount->type);
        if (mount->source)
                json_object_set_string_member(object, "source", mount->source);
        field_set_strings(object, "options", (const char *const *)options, options ? g_strv_length(options) : 0);
        json_array_add_object_element(field_ensure_array(root, "mounts"), object);
}

/* sysfs stays an instance of its own: in the host's network namespace it shows the host's devices, without what is
 * mounted below. */
static gboolean apply_network(JsonObject *root, const SpecOptions *options, GError **error) {
        static const SpecMount files[] = {
                { .type = "bind",
                  .source = "/etc/resolv.conf",
                  .target = "/etc/resolv.conf",
                  .options = "rbind,ro,nofail" },
                { .type = "bind", .source = "/etc/hosts", .target = "/etc/hosts", .options = "rbind,ro,nofail" },
        };

        if (!options->network || strcmp(options->network, "none") == 0)
                return TRUE;
        if (strcmp(options->network, "host") != 0)
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "Network: \"%s\" is neither \"none\" nor \"host\"",
                                 options->network);
        drop_namespace(field_ensure_object(root, "linux"), "network");
        for (gsize i = 0; i < G_N_ELEMENTS(files); i++)
                add_mount(root, &files[i]);
        return TRUE;
}

static gboolean apply_mounts(JsonObject *root, const SpecOptions *options, GError **error) {
        for (gsize i = 0; i < options->n_mounts; i++) {
                const SpecMount *mount = &options->mounts[i];

                if (!mount->type || !mount->target)
                        return plan_fail(error, PLAN_ERROR_INVALID, "mounts[%zu]: type and target are needed", i);
                if (*mount->target != '/')
                        return plan_fail(error, PLAN_ERROR_INVALID, "mounts[%zu]: target \"%s\" is not absolute", i,
                                         mount->target);
                add_mount(root, mount);
        }
        return TRUE;
}

/* OCI's member for swap counts the memory with it and so needs a limit of that; the file of version 2 is swap alone. */
static void apply_swap(JsonObject *linux_, guint64 value) {
        g_autofree char *text = value == G_MAXUINT64 ? g_strdup("max") : g_strdup_printf("%" G_GUINT64_FORMAT, value);

        json_object_set_string_member(field_ensure_object(field_ensure_object(linux_, "resources"), "unified"),
                                      "memory.swap.max", text);
}

/* The largest of all is no limit, a configuration's -1. */
static gint64 oci_limit(guint64 limit) {
        return limit == G_MAXUINT64 ? -1 : (gint64)MIN(limit, (guint64)G_MAXINT64);
}

static void apply_resources(JsonObject *root, const SpecOptions *options) {
        JsonObject *linux_ = field_ensure_object(root, "linux");

        if (options->memory_max)
                json_object_set_int_member(field_ensure_object(field_ensure_object(linux_, "resources"), "memory"),
                                           "limit", oci_limit(options->memory_max));
        if (options->has_memory_swap_max)
                apply_swap(linux_, options->memory_swap_max);
        if (options->tasks_max)
                json_object_set_int_member(field_ensure_object(field_ensure_object(linux_, "resources"), "pids"),
                                           "limit", oci_limit(options->tasks_max));
        if (options->cpu_quota_per_sec_usec) {
                JsonObject *cpu = field_ensure_object(field_ensure_object(linux_, "resources"), "cpu");
                guint64 quota = options->cpu_quota_per_sec_usec / (G_USEC_PER_SEC / CPU_PERIOD_USEC);

                json_object_set_int_member(cpu, "quota", (gint64)CLAMP(quota, 1000, (guint64)G_MAXINT64));
                json_object_set_int_member(cpu, "period", CPU_PERIOD_USEC);
        }
}

static void set_args(JsonObject *process, const SpecOptions *options) {
        g_autoptr(GPtrArray) args = g_ptr_array_new();

        for (const char *const *s = options->entrypoint; s && *s; s++)
                g_ptr_array_add(args, (gpointer)*s);
        for (const char *const *s = options->command; s && *s; s++)
                g_ptr_array_add(args, (gpointer)*s);
        if (args->len > 0)
                field_set_strings(process, "args", (const char *const *)args->pdata, args->len);
}

/**
 * spec_apply_options() - Applies a caller's options to a specification, in place.
 *
 * Entrypoint and command become process.args, so they are not given again where spec_apply_image(), which
 * comes before this, has taken them.
 */
gboolean spec_apply_options(JsonNode *spec, const SpecOptions *options, GError **error) {
        JsonObject *root = json_node_get_object(spec), *process = field_ensure_object(root, "process");

        set_args(process, options);
        if (options->hostname && *options->hostname) {
                g_autofree char *assignment = g_strconcat("HOSTNAME=", options->hostname, NULL);

                json_object_set_string_member(root, "hostname", options->hostname);
                env_set_default(process, assignment);
        }
        if (options->read_only)
                json_object_set_boolean_member(field_ensure_object(root, "root"), "readonly", TRUE);
        if (options->seccomp_report)
                json_object_set_string_member(field_ensure_object(root, "annotations"), SPEC_ANNOTATION_SECCOMP_REPORT,
                                              options->seccomp_report);
        apply_resources(root, options);
        return spec_apply_process_options(process, options, error) && apply_network(root, options, error) &&
               apply_mounts(root, options, error);
}

/**
 * spec_exec_process() - A "process" object for a further process of a container.
 * @spec: the container's, borrowed and not changed
 * @options: command (needed), env, working_dir, user, terminal, console size, capabilities
 *
 * Everything that is not asked for is the container's own; a terminal is not inherited. Returns a
 * new tree for plan_build_exec().
 */
JsonNode *spec_exec_process(JsonNode *spec, const SpecOptions *options, GError **error) {
        g_autoptr(JsonNode) process = NULL;
        JsonObject *own = NULL;

        if (!field_object(json_node_get_object(spec), "", "process", &own, error))
                return NULL;
        if (spec_strv_length(options->command) == 0) {
                plan_fail(error, PLAN_ERROR_INVALID, "process.args: an exec needs a command");
                return NULL;
        }
        process = own ? spec_copy(json_object_get_member(json_node_get_object(spec), "process"))
                      : json_node_init_object(json_node_alloc(), json_object_new());
        own = json_node_get_object(process);
        json_object_remove_member(own, "consoleSize");
        json_object_set_boolean_member(own, "terminal", FALSE);
        field_set_strings(own, "args", options->command, spec_strv_length(options->command));
        if (!field_given(own, "cwd"))
                json_object_set_string_member(own, "cwd", "/");
        if (!spec_apply_process_options(own, options, error))
                return NULL;
        return g_steal_pointer(&process);
}
