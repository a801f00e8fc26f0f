/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What another OCI runtime is given in the plan's place: a configuration of its own.
 *
 * It is the container's, with what Davit sees to taken out or put right: limits are the unit's, the cgroup and the root
 * are where the shim makes them, the built-in seccomp profile is spelled out, and a user that only the image knows is
 * left open for the shim, which looks it up. Numbers that are unsigned are written so; json-glib would not. A caller's
 * text that is not an OCI configuration at all is passed on as it is.
 */

#include <string.h>

#include "plan/build-internal.h"
#include "plan/seccomp.h"
#include "plan/spec.h"
#include "shared/runtime-protocol.h"

/* The newest version that the runtimes in use accept; fields of later ones are read whatever stands here. */
#define OCI_VERSION "1.0.2"

typedef struct Text {
        GString *string;
        const JsonNode *user; /* left out */
        gsize user_at;        /* where it belongs; 0: nowhere */
} Text;

static void write_node(Text *t, const char *key, JsonNode *node);

static void write_string(Text *t, const char *s) {
        g_string_append_c(t->string, '"');
        for (; *s; s++)
                if (*s == '"' || *s == '\\')
                        g_string_append_printf(t->string, "\\%c", *s);
                else if ((guchar)*s < 0x20)
                        g_string_append_printf(t->string, "\\u%04x", (guint)(guchar)*s);
                else
                        g_string_append_c(t->string, *s);
        g_string_append_c(t->string, '"');
}

static void write_members(Text *t, JsonObject *object) {
        JsonObjectIter iter;
        const char *key;
        JsonNode *value;
        gboolean first = TRUE;

        g_string_append_c(t->string, '{');
        json_object_iter_init_ordered(&iter, object);
        while (json_object_iter_next_ordered(&iter, &key, &value)) {
                if (!first)
                        g_string_append_c(t->string, ',');
                first = FALSE;
                write_string(t, key);
                g_string_append_c(t->string, ':');
                write_node(t, key, value);
        }
        g_string_append_c(t->string, '}');
}

static gboolean is_unsigned(const char *key) {
        static const char *const names[] = { "soft", "hard", "value", "valueTwo" };

        for (gsize i = 0; i < G_N_ELEMENTS(names); i++)
                if (g_str_equal(names[i], key))
                        return TRUE;
        return FALSE;
}

static void write_value(Text *t, const char *key, JsonNode *node) {
        char number[G_ASCII_DTOSTR_BUF_SIZE];

        switch (json_node_get_value_type(node)) {
        case G_TYPE_STRING:
                write_string(t, json_node_get_string(node));
                break;
        case G_TYPE_BOOLEAN:
                g_string_append(t->string, json_node_get_boolean(node) ? "true" : "false");
                break;
        case G_TYPE_DOUBLE:
                g_string_append(t->string, g_ascii_dtostr(number, sizeof(number), json_node_get_double(node)));
                break;
        default:
                if (is_unsigned(key))
                        g_string_append_printf(t->string, "%" G_GUINT64_FORMAT, (guint64)json_node_get_int(node));
                else
                        g_string_append_printf(t->string, "%" G_GINT64_FORMAT, json_node_get_int(node));
        }
}

static void write_node(Text *t, const char *key, JsonNode *node) {
        if (node == t->user)
                t->user_at = t->string->len;
        else if (JSON_NODE_HOLDS_OBJECT(node))
                write_members(t, json_node_get_object(node));
        else if (JSON_NODE_HOLDS_ARRAY(node)) {
                JsonArray *array = json_node_get_array(node);

                g_string_append_c(t->string, '[');
                for (guint i = 0; i < json_array_get_length(array); i++) {
                        if (i > 0)
                                g_string_append_c(t->string, ',');
                        write_node(t, "", json_array_get_element(array, i));
                }
                g_string_append_c(t->string, ']');
        } else if (JSON_NODE_HOLDS_NULL(node))
                g_string_append(t->string, "null");
        else
                write_value(t, key, node);
}

/* In one piece, or in two around the user. */
static void set_text(Build *b, JsonNode *node, JsonObject *process) {
        Text t = { .string = g_string_new(NULL) };
        g_autofree char *head = NULL;
        const char *pieces[2];

        if (b->plan.process.user != 0)
                t.user = json_object_get_member(process, "user");
        write_node(&t, "", node);
        head = g_strndup(t.string->str, t.user_at > 0 ? t.user_at : t.string->len);
        pieces[0] = head;
        pieces[1] = t.string->str + t.user_at;
        b->plan.runtime.config = writer_strings(&b->writer, pieces, t.user_at > 0 ? 2 : 1);
        g_string_free(t.string, TRUE);
}

static gboolean allows(JsonArray *devices) {
        for (guint i = 0; i < json_array_get_length(devices); i++) {
                JsonNode *node = json_array_get_element(devices, i);
                JsonNode *allow = JSON_NODE_HOLDS_OBJECT(node)
                                          ? json_object_get_member(json_node_get_object(node), "allow")
                                          : NULL;

                if (allow && JSON_NODE_HOLDS_VALUE(allow) && json_node_get_boolean(allow))
                        return TRUE;
        }
        return FALSE;
}

/* Limits are the unit's. Of the devices those stay that are allowed beside the usual ones; a runtime that is told of
 * none allows these. */
static void reduce_resources(JsonObject *linux_) {
        JsonNode *node = json_object_get_member(linux_, "resources"), *devices;
        JsonObject *kept;

        if (!node || !JSON_NODE_HOLDS_OBJECT(node))
                return;
        devices = json_object_get_member(json_node_get_object(node), "devices");
        if (!devices || !JSON_NODE_HOLDS_ARRAY(devices) || !allows(json_node_get_array(devices))) {
                json_object_remove_member(linux_, "resources");
                return;
        }
        kept = json_object_new();
        json_object_set_member(kept, "devices", json_node_copy(devices));
        json_object_set_object_member(linux_, "resources", kept);
}

static gboolean has(GPtrArray *options, const char *name) {
        for (guint i = 0; options && i < options->len; i++)
                if (g_str_equal(options->pdata[i], name))
                        return TRUE;
        return FALSE;
}

/* A bind mount says so twice. "nofail" is a word of Davit's own, which decides here: only of what the host has in /etc,
 * as a look anywhere else may never come back. */
static gboolean put_mount(JsonObject *mount, gboolean *ret_keep, GError **error) {
        g_autoptr(GPtrArray) options = NULL, put = g_ptr_array_new();
        const char *type = NULL, *source = NULL;
        gboolean bind;

        *ret_keep = TRUE;
        if (!field_strings(mount, "mounts.", "options", &options, error) ||
            !field_string(mount, "mounts.", "type", &type, error) ||
            !field_string(mount, "mounts.", "source", &source, error))
                return FALSE;
        for (guint i = 0; options && i < options->len; i++)
                if (!g_str_equal(options->pdata[i], "nofail"))
                        g_ptr_array_add(put, options->pdata[i]);
        if (has(options, "nofail") && !g_str_has_prefix(source, "/etc/"))
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED,
                                 "mounts: \"nofail\" of %s is not supported with another runtime", source);
        if (has(options, "nofail"))
                *ret_keep = g_file_test(source, G_FILE_TEST_EXISTS);
        bind = g_strcmp0(type, "bind") == 0 || g_strcmp0(type, "rbind") == 0;
        if (bind && !has(put, "bind") && !has(put, "rbind"))
                g_ptr_array_add(put, (gpointer)type);
        if (options || put->len > 0)
                field_set_strings(mount, "options", (const char *const *)put->pdata, put->len);
        if (bind)
                json_object_set_string_member(mount, "type", "bind");
        return TRUE;
}

static gboolean put_mounts(JsonObject *root, GError **error) {
        g_autoptr(JsonArray) kept = json_array_new();
        JsonArray *array = NULL;
        gboolean keep;

        if (!field_array(root, "", "mounts", &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                JsonNode *node = json_array_get_element(array, i);

                if (!put_mount(json_node_get_object(node), &keep, error))
                        return FALSE;
                if (keep)
                        json_array_add_element(kept, json_node_copy(node));
        }
        if (array)
                json_object_set_array_member(root, "mounts", g_steal_pointer(&kept));
        return TRUE;
}

static gboolean spell_seccomp(Build *b, JsonObject *linux_, GError **error) {
        g_auto(SeccompProfile) profile = {};
        JsonObject *annotations = NULL;
        const char *name = NULL;
        guint64 bounding;

        if (field_given(linux_, "seccomp"))
                return TRUE;
        if (!field_object(b->root, "", "annotations", &annotations, error) ||
            !field_string(annotations, "annotations.", SPEC_ANNOTATION_SECCOMP, &name, error))
                return FALSE;
        if (!name || !g_str_equal(name, "default"))
                return TRUE;
        if (!build_bounding(b, &bounding, error))
                return FALSE;
        seccomp_profile_default(&profile, bounding);
        json_object_set_object_member(linux_, "seccomp", seccomp_profile_to_json(&profile));
        return TRUE;
}

static gboolean set_config(Build *b, JsonNode *spec, GError **error) {
        g_autoptr(JsonNode) copy = spec_copy(spec);
        JsonObject *root = json_node_get_object(copy), *linux_ = field_ensure_object(root, "linux");

        json_object_set_string_member(root, "ociVersion", OCI_VERSION);
        json_object_set_string_member(field_ensure_object(root, "root"), "path", RUNTIME_ROOTFS);
        json_object_set_string_member(linux_, "cgroupsPath", RUNTIME_CGROUP);
        reduce_resources(linux_);
        if (!put_mounts(root, error) || !spell_seccomp(b, linux_, error))
                return FALSE;
        set_text(b, copy, field_ensure_object(root, "process"));
        return TRUE;
}

/**
 * build_runtime() - Who makes the container, and from what.
 * @spec: the container's configuration
 * @process: of an exec, else NULL
 */
gboolean build_runtime(Build *b, JsonNode *spec, JsonNode *process, GError **error) {
        const PlanRuntime *r = b->context->runtime;

        if (!r)
                return TRUE;
        b->plan.runtime.program = writer_string(&b->writer, r->program);
        b->plan.runtime.root = writer_string(&b->writer, r->root);
        if (r->arguments)
                b->plan.runtime.arguments =
                        writer_strings(&b->writer, r->arguments, g_strv_length((char **)r->arguments));
        if (process && b->context->n_listen_fds > 0)
                return plan_fail(error, PLAN_ERROR_NOT_SUPPORTED,
                                 "listen fds: runtime \"%s\" is not known to pass them on to an exec", r->program);
        if (process)
                set_text(b, process, json_node_get_object(process));
        else if (r->config)
                b->plan.runtime.config = writer_strings(&b->writer, &r->config, 1);
        else
                return set_config(b, spec, error);
        return TRUE;
}
