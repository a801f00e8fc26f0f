/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Outputs that are dropped where nobody reads them.
 *
 * SHIM_STDIO_DROP, manager to shim: as SHIM_STDIO_PIPE, and the next of the message's text, ended by a NUL as paths
 * are, is a number from 1: so many microseconds the pipe may be full without anybody reading before its oldest part
 * goes.
 * SHIM_DROPPED, shim to manager: how much has gone. Told at the first drop, then at most once a second, before the
 * end of the process, and in answer to SHIM_QUERY behind its state. What is told last is in the exit record too.
 */

#include "shared/shim-protocol.h"

/* Less is no time to read in, and we would look all the time. */
#define SHIM_DROP_AFTER_USEC_MIN UINT64_C(10000)
#define SHIM_DROP_AFTER_USEC_MAX ((uint64_t)INT64_MAX)

struct shim_dropped {
        uint64_t bytes; /* of all outputs of the process, so far */
        char exec_id[SHIM_EXEC_ID_MAX];
};
