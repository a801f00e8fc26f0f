/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Platforms of images, "os/architecture[/variant]", and which of several fits a machine. */

#include <glib.h>
#include <json-glib/json-glib.h>

typedef struct Platform Platform;

struct Platform {
        char *os;
        char *architecture;
        char *variant; /* "": none */
};

void platform_clear(Platform *p);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Platform, platform_clear)
gboolean platform_parse(const char *text, Platform *ret, GError **error);
gboolean platform_read(JsonObject *descriptor, Platform *ret, gboolean *ret_given, GError **error);
void platform_list_add(GString *list, const Platform *p); /* each once */
gboolean platform_is_unknown(const Platform *p);
gboolean platform_read_config(JsonObject *config, Platform *ret, GError **error);
gboolean platform_fits(const Platform *wanted, const Platform *has);
guint platform_score(const Platform *wanted, const Platform *offered);
