/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Pieces that image, options and exec share when they change a configuration. */

#include "plan/spec.h"

void env_set(JsonObject *process, const char *assignment);         /* "KEY=value" */
void env_set_default(JsonObject *process, const char *assignment); /* unless KEY is there */
void env_unset(JsonObject *process, const char *key);
gboolean spec_apply_process_options(JsonObject *process, const SpecOptions *options, GError **error);
gsize spec_strv_length(const char *const *strv);
