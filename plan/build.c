/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From an OCI runtime configuration to a plan: the frame around the sections.
 *
 * Each section (build-*.c) reads its part of config.json and writes its part of struct plan; this
 * file orders them, seals the result in a memfd and checks it with the reader's own checker, so
 * that a mistake here is an error now and not a refusal in the shim. Trees and context are
 * borrowed. Nothing of a container is touched: the host is only asked what joined namespaces are.
 */

#include <string.h>

#include "plan/build-internal.h"
#include "plan/spec.h"
#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/name.h"
#include "shared/plan-check.h"

static void property_free(gpointer data) {
        PlanUnitProperty *p = data;

        g_free(p->name);
        g_clear_pointer(&p->value, g_variant_unref);
        g_free(p->controller);
        g_free(p->field);
        g_free(p);
}

static void unified_free(gpointer data) {
        PlanUnified *u = data;

        g_free(u->name);
        g_free(u->value);
        g_free(u->controller);
        g_free(u);
}

/** build_properties_new() - An empty list of PlanUnitProperty. */
GPtrArray *build_properties_new(void) {
        return g_ptr_array_new_with_free_func(property_free);
}

/** build_unified_new() - An empty list of PlanUnified. */
GPtrArray *build_unified_new(void) {
        return g_ptr_array_new_with_free_func(unified_free);
}

static void set_property(GPtrArray *properties, const char *name, GVariant *value, const char *controller,
                         const char *field) {
        PlanUnitProperty *p = g_new0(PlanUnitProperty, 1);

        p->name = g_strdup(name);
        p->value = g_variant_ref_sink(value);
        p->controller = g_strdup(controller);
        p->field = g_strdup(field);
        for (guint i = 0; i < properties->len; i++)
                if (g_str_equal(((PlanUnitProperty *)properties->pdata[i])->name, name)) {
                        property_free(properties->pdata[i]);
                        properties->pdata[i] = p;
                        return;
                }
        g_ptr_array_add(properties, p);
}

/** build_property() - Sets a unit property, in the place of an earlier value of the same name; takes a floating @value.
 */
void build_property(Build *b, const char *name, GVariant *value, const char *controller, const char *field) {
        set_property(b->properties, name, value, controller, field);
}

/** plan_update_set() - Adds a unit property that a caller names itself; it outweighs what the resources said. */
void plan_update_set(PlanUpdate *update, const char *name, GVariant *value, const char *controller, const char *field) {
        set_property(update->unit_properties, name, value, controller, field);
}

/** plan_update_clear() - Frees what plan_build_update() has made; safe on zeroes and twice. */
void plan_update_clear(PlanUpdate *update) {
        g_clear_pointer(&update->unit_properties, g_ptr_array_unref);
        g_clear_pointer(&update->unified, g_ptr_array_unref);
}

/** build_path() - Refuses a path that is not absolute, or carries control characters. */
gboolean build_path(const char *field, const char *path, GError **error) {
        if (*path != '/')
                return plan_fail(error, PLAN_ERROR_INVALID, "%s: \"%s\" is not an absolute path", field, path);
        for (const char *p = path; *p; p++)
                if (g_ascii_iscntrl(*p))
                        return plan_fail(error, PLAN_ERROR_INVALID, "%s: control character in a path", field);
        return TRUE;
}

/** plan_result_clear() - Closes the memfd and frees the rest; safe on PLAN_RESULT_NULL and twice. */
void plan_result_clear(PlanResult *result) {
        result->memfd = safe_close(result->memfd);
        g_clear_pointer(&result->unit_properties, g_ptr_array_unref);
        g_clear_pointer(&result->unified, g_ptr_array_unref);
        g_clear_pointer(&result->args, g_strfreev);
        result->terminal = FALSE;
}

static gboolean build_init(Build *b, JsonNode *spec, const PlanContext *context, GError **error) {
        if (!spec || !JSON_NODE_HOLDS_OBJECT(spec))
                return plan_fail(error, PLAN_ERROR_INVALID, "the configuration is not an object");
        b->root = json_node_get_object(spec);
        b->context = context;
        b->properties = build_properties_new();
        b->unified = build_unified_new();
        writer_init(&b->writer);
        if (!field_object(b->root, "", "process", &b->process, error) ||
            !field_object(b->root, "", "linux", &b->linux_, error))
                return FALSE;
        b->plan.magic = PLAN_MAGIC;
        b->plan.version = PLAN_VERSION;
        b->plan.namespace = writer_string(&b->writer, context->namespace_);
        b->plan.id = writer_string(&b->writer, context->id);
        b->plan.log_identifier = writer_string(&b->writer, context->log_identifier);
        return TRUE;
}

static void build_clear(Build *b) {
        writer_clear(&b->writer);
        g_clear_pointer(&b->properties, g_ptr_array_unref);
        g_clear_pointer(&b->unified, g_ptr_array_unref);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Build, build_clear)

static gboolean check_version(Build *b, GError **error) {
        const char *version = NULL;

        if (!field_string(b->root, "", "ociVersion", &version, error))
                return FALSE;
        if (!version)
                return plan_fail(error, PLAN_ERROR_INVALID, "ociVersion: is missing");
        if (!g_str_has_prefix(version, "1.") && !g_str_has_prefix(version, "0."))
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED, "ociVersion: \"%s\" is not version 1", version);
        return TRUE;
}

/* The caller's, else the image's as its annotation tells it, else SIGTERM. */
static gboolean build_stop(Build *b, GError **error) {
        const char *name = b->context->stop_signal;
        JsonObject *annotations = NULL;
        int number = 15;

        if (!field_object(b->root, "", "annotations", &annotations, error))
                return FALSE;
        if (!name && !field_string(annotations, "annotations.", SPEC_ANNOTATION_STOP_SIGNAL, &name, error))
                return FALSE;
        if (name && *name)
                number = signal_from_name(name);
        if (number <= 0 || number > 64)
                return plan_fail(error, PLAN_ERROR_INVALID, "stop signal: \"%s\" is no signal", name);
        b->plan.stop_signal = (guint32)number;
        b->plan.stop_timeout_usec = b->context->stop_timeout_usec;
        return TRUE;
}

static gboolean build_finish(Build *b, PlanResult *ret, GError **error) {
        g_autoptr(GPtrArray) args = NULL;
        int fd, r;

        b->plan.size = b->writer.bytes->len;
        memcpy(b->writer.bytes->data, &b->plan, sizeof(b->plan));
        if (b->plan.size > PLAN_SIZE_MAX)
                return plan_fail(error, PLAN_ERROR_INVALID, "the configuration is too large: a plan of %u bytes",
                                 b->plan.size);
        r = plan_check(b->writer.bytes->data, b->writer.bytes->len);
        if (r < 0)
                return plan_fail(error, PLAN_ERROR_FAILED, "the plan does not pass its own check: %s", g_strerror(-r));
        if (!field_strings(b->process, "process.", "args", &args, error))
                return FALSE;
        fd = memfd_sealed("davit-plan", b->writer.bytes->data, b->writer.bytes->len);
        if (fd < 0)
                return plan_fail(error, PLAN_ERROR_FAILED, "memory for the plan: %s", g_strerror(-fd));
        *ret = (PlanResult){
                .memfd = fd,
                .unit_properties = g_steal_pointer(&b->properties),
                .unified = g_steal_pointer(&b->unified),
                .terminal = (b->plan.flags & PLAN_TERMINAL) != 0,
                .args = g_new0(char *, args->len + 1),
        };
        for (guint i = 0; i < args->len; i++)
                ret->args[i] = g_strdup(args->pdata[i]);
        return TRUE;
}

/**
 * plan_build() - Compiles a configuration for a container's first process.
 * @spec: config.json, borrowed
 * @ret: filled on success; clear with plan_result_clear()
 *
 * What the specification asks and Davit does not do is PLAN_ERROR_NOT_SUPPORTED and names the field.
 */
gboolean plan_build(JsonNode *spec, const PlanContext *context, PlanResult *ret, GError **error) {
        g_auto(Build) b = {};

        if (!build_init(&b, spec, context, error) || !check_version(&b, error))
                return FALSE;
        b.plan.kind = PLAN_CONTAINER;
        b.plan.flags |= context->flags;
        return build_refuse(&b, error) && build_namespaces(&b, error) && build_rootfs(&b, error) &&
               build_mounts(&b, error) && build_devices(&b, error) && build_paths(&b, error) &&
               build_sysctls(&b, error) && build_process(&b, error) && build_personality(&b, error) &&
               build_memory_policy(&b, error) &&
               build_resources(&b, error) && build_seccomp(&b, error) && build_hooks(&b, error) &&
               build_time_offsets(&b, error) && build_stop(&b, error) && build_runtime(&b, spec, NULL, error) &&
               build_finish(&b, ret, error);
}

/**
 * plan_build_exec() - Compiles a further process of a container.
 * @spec: the container's configuration; its seccomp profile holds for the exec too
 * @process: a "process" object, of spec_exec_process() or a caller's own
 */
gboolean plan_build_exec(JsonNode *spec, JsonNode *process, const char *exec_id, const PlanContext *context,
                         PlanResult *ret, GError **error) {
        g_auto(Build) b = {};

        if (!build_init(&b, spec, context, error))
                return FALSE;
        if (!process || !JSON_NODE_HOLDS_OBJECT(process))
                return plan_fail(error, PLAN_ERROR_INVALID, "process: is not an object");
        b.plan.kind = PLAN_EXEC;
        b.plan.flags |= context->flags;
        b.plan.exec_id = writer_string(&b.writer, exec_id);
        if (!build_seccomp(&b, error)) /* before the process changes: capabilities decide the default profile */
                return FALSE;
        b.process = json_node_get_object(process);
        return build_refuse(&b, error) && build_process(&b, error) && build_personality(&b, error) &&
               build_memory_policy(&b, error) && build_stop(&b, error) && build_runtime(&b, spec, process, error) &&
               build_finish(&b, ret, error);
}
