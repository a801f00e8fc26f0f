/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * An image's configuration (image-spec config.md, conversion.md) applied to a specification.
 *
 * The image is untrusted input even when a trusted caller names it: only Entrypoint, Cmd, Env,
 * WorkingDir, User and StopSignal are read, each checked; labels, volumes, ports and everything
 * unknown never become anything. Names of users are left to the shim, which resolves them in-root.
 */

#include <string.h>

#include "plan/fields.h"
#include "plan/spec-env.h"
#include "shared/name.h"

static gboolean apply_env(JsonObject *process, JsonObject *config, GError **error) {
        g_autoptr(GPtrArray) env = NULL;

        if (!field_strings(config, "image config.", "Env", &env, error))
                return FALSE;
        for (guint i = 0; env && i < env->len; i++) {
                const char *e = env->pdata[i];

                if (*e == '=' || !strchr(e, '='))
                        return plan_fail(error, PLAN_ERROR_INVALID, "image config.Env[%u]: \"%s\" is not KEY=value", i,
                                         e);
                env_set(process, e);
        }
        return TRUE;
}

/* An entrypoint of the caller's own makes the image's Cmd meaningless, as it was written for the image's Entrypoint. */
static gboolean apply_args(JsonObject *process, JsonObject *config, const SpecOptions *options, GError **error) {
        g_autoptr(GPtrArray) entrypoint = NULL, cmd = NULL, args = g_ptr_array_new();

        if (!field_strings(config, "image config.", "Entrypoint", &entrypoint, error) ||
            !field_strings(config, "image config.", "Cmd", &cmd, error))
                return FALSE;
        if (options && options->entrypoint)
                for (const char *const *s = options->entrypoint; *s; s++)
                        g_ptr_array_add(args, (gpointer)*s);
        else if (entrypoint)
                g_ptr_array_extend(args, entrypoint, NULL, NULL);
        if (options && spec_strv_length(options->command) > 0)
                for (const char *const *s = options->command; *s; s++)
                        g_ptr_array_add(args, (gpointer)*s);
        else if (cmd && !(options && options->entrypoint))
                g_ptr_array_extend(args, cmd, NULL, NULL);
        if (args->len == 0)
                return plan_fail(error, PLAN_ERROR_INVALID,
                                 "process.args: the image names no command and none was given");
        field_set_strings(process, "args", (const char *const *)args->pdata, args->len);
        return TRUE;
}

static gboolean apply_scalars(JsonObject *root, JsonObject *process, JsonObject *config, GError **error) {
        const char *dir = NULL, *user = NULL, *stop_signal = NULL;

        if (!field_string(config, "image config.", "WorkingDir", &dir, error) ||
            !field_string(config, "image config.", "User", &user, error) ||
            !field_string(config, "image config.", "StopSignal", &stop_signal, error))
                return FALSE;
        if (dir && *dir) {
                g_autofree char *absolute = *dir == '/' ? g_strdup(dir) : g_strconcat("/", dir, NULL);

                json_object_set_string_member(process, "cwd", absolute);
        }
        if (user && *user)
                json_object_set_string_member(field_ensure_object(process, "user"), "username", user);
        if (stop_signal && *stop_signal) {
                if (signal_from_name(stop_signal) <= 0)
                        return plan_fail(error, PLAN_ERROR_INVALID, "image config.StopSignal: \"%s\" is no signal",
                                         stop_signal);
                json_object_set_string_member(field_ensure_object(root, "annotations"), SPEC_ANNOTATION_STOP_SIGNAL,
                                              stop_signal);
        }
        return TRUE;
}

/**
 * spec_apply_image() - Applies an image's configuration to a specification, in place.
 * @image_config: the image's configuration document, or only its "config" object
 * @options: the caller's Entrypoint and Cmd take the place of the image's; the rest of it, without
 *           those two, is spec_apply_options()'s, to be called afterwards. May be NULL.
 *
 * PLAN_ERROR_INVALID names the field, also when no command is left.
 */
gboolean spec_apply_image(JsonNode *spec, JsonObject *image_config, const SpecOptions *options, GError **error) {
        JsonObject *root = json_node_get_object(spec), *process = field_ensure_object(root, "process");
        JsonObject *config = image_config;

        if (!field_object(image_config, "image ", "config", &config, error))
                return FALSE;
        return apply_env(process, config, error) && apply_scalars(root, process, config, error) &&
               apply_args(process, config, options, error);
}
