/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The OOM record: what the shim has told, or would have told, of kills for want of memory, beside the exit record.
 * Text: "version=1", then the newest OOM_RECORD_MAX events, oldest first, as "NUMBER KILLS AT CULPRIT [EXEC-ID]".
 */

#include <stddef.h>

#include "shared/shim-limits.h"

#define OOM_RECORD_NAME "oom"
#define OOM_RECORD_MAX 16U

int oom_record_write(int dir_fd, const struct shim_oom *events, size_t n);
int oom_record_read(int dir_fd, struct shim_oom events[OOM_RECORD_MAX], size_t *ret);
