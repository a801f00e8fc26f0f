/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The "config" of an image: which members are taken, and what they may hold. */

#include <json-glib/json-glib.h>

int image_config_check(JsonObject *config, JsonObject **ret, char **ret_why);
