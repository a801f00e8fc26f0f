/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Capability names and numbers (capabilities(7)). */

#include <glib.h>

#define CAPABILITY_LAST 40
#define CAPABILITY_ALL ((G_GUINT64_CONSTANT(1) << (CAPABILITY_LAST + 1)) - 1)

int capability_from_name(const char *name);     /* with or without "CAP_", any case; -1 when unknown */
const char *capability_to_name(int capability); /* "CAP_CHOWN" */
