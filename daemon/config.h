/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What /etc/davit/davit.conf and its drop-ins say; see davit.conf(5). */

#include <stdbool.h>
#include <stdint.h>

typedef struct Config {
        uint32_t warm_shims;              /* [Manager] WarmShims= */
        uint32_t parked_scopes;           /* [Manager] ParkedScopes= */
        uint64_t keep_warm_usec;          /* [Manager] KeepWarmUSec=, 0: off */
        uint64_t keep_warm_interval_usec; /* [Manager] KeepWarmIntervalUSec= */
        uint64_t stop_timeout_usec;       /* [Manager] StopTimeoutUSec= */
        uint64_t start_timeout_usec;      /* [Manager] StartTimeoutUSec= */
        uint64_t exit_idle_usec;          /* reserved for bus activation; 0: never */
} Config;

void config_set_defaults(Config *c);
int config_load(Config *c, const char *const *files); /* later files win; unknown keys are warned about */
char **config_files(void);                            /* the usual files and drop-ins, in order */
