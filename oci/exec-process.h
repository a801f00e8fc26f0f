/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The process that davit-oci exec is asked for, as in config.json. */

#include <json-glib/json-glib.h>

#include "oci/oci.h"

extern const GOptionEntry exec_process_entries[];

JsonNode *exec_process(JsonNode *spec, const char *file, int argc, char *argv[], GError **error);
