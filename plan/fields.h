/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Typed access to members of a JSON object, with errors that name the field; absent and null members leave *ret alone.
 */

#include <glib.h>
#include <json-glib/json-glib.h>

#include "plan/build.h"

gboolean plan_fail(GError **error, PlanError code, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* "path" is the dotted path of the object with a dot at its end, "" for the document itself */
gboolean field_given(JsonObject *object, const char *name);
gboolean field_object(JsonObject *object, const char *path, const char *name, JsonObject **ret, GError **error);
gboolean field_array(JsonObject *object, const char *path, const char *name, JsonArray **ret, GError **error);
/* A word of a configuration and the kernel's number for it; tables end with {}. */
typedef struct NamedValue {
        const char *name;
        guint64 value;
} NamedValue;

gboolean field_named_value(const NamedValue *names, const char *field, const char *name, guint64 *ret, GError **error);
gboolean field_string(JsonObject *object, const char *path, const char *name, const char **ret, GError **error);
gboolean field_bool(JsonObject *object, const char *path, const char *name, gboolean *ret, GError **error);
gboolean field_int(JsonObject *object, const char *path, const char *name, gint64 min, gint64 max, gint64 *ret,
                   GError **error);
gboolean field_uint32(JsonObject *object, const char *path, const char *name, guint32 *ret, GError **error);
gboolean field_uint64(JsonObject *object, const char *path, const char *name, guint64 *ret, GError **error);
gboolean field_strings(JsonObject *object, const char *path, const char *name, GPtrArray **ret, GError **error);
gboolean field_map(JsonObject *object, const char *path, const char *name, GPtrArray **ret, GError **error);

/* elements of an array */
gboolean element_object(JsonArray *array, const char *path, guint i, JsonObject **ret, GError **error);
gboolean node_int(JsonNode *node, gint64 *ret);

/* trees being changed */
JsonObject *field_ensure_object(JsonObject *object, const char *name);
JsonArray *field_ensure_array(JsonObject *object, const char *name);
void field_set_strings(JsonObject *object, const char *name, const char *const *values, gsize n);
