/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JSON written by strangers: parsed within bounds, read with type checks. */

#include <json-glib/json-glib.h>

JsonNode *json_parse(const char *data, gsize size, const char *what, GError **error);
JsonObject *json_parse_object(GBytes *bytes, const char *what, JsonNode **ret_owner, GError **error);
char *json_text(JsonNode *n);

/* Members; one that is missing or null gives TRUE and NULL or 0. @what names the document in messages. */
gboolean json_string(JsonObject *o, const char *member, const char *what, const char **ret, GError **error);
gboolean json_size(JsonObject *o, const char *member, const char *what, guint64 *ret, GError **error);
gboolean json_object(JsonObject *o, const char *member, const char *what, JsonObject **ret, GError **error);
gboolean json_array(JsonObject *o, const char *member, const char *what, JsonArray **ret, GError **error);
JsonObject *json_element(JsonArray *a, guint i, const char *what, GError **error);
const char *json_element_string(JsonArray *a, guint i, const char *what, GError **error);
