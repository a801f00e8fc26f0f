/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Instructions that change an image's configuration, as "docker commit --change" takes them. */

#include <glib.h>
#include <json-glib/json-glib.h>

/* @config is the "config" of an image configuration; its members may be replaced. */
gboolean changes_apply(JsonObject *config, JsonArray *changes, GError **error);
char **changes_words(const char *text, JsonObject *config, GError **error);
