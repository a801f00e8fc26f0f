/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What /etc/davit/davit.conf and its drop-ins say; see davit.conf(5). */

#include <stdbool.h>
#include <stdint.h>

/* What an archive may ask of the store; each has a default, a key in [Limits] and a name in requests. */
typedef enum ConfigLimit {
        LIMIT_BYTES,
        LIMIT_RATIO,
        LIMIT_RATIO_FLOOR,
        LIMIT_ENTRIES,
        LIMIT_PATH,
        LIMIT_DEPTH,
        LIMIT_XATTRS,
        LIMIT_LAYERS,
        LIMIT_IMAGES,
        _LIMIT_MAX,
} ConfigLimit;

typedef struct Config {
        uint32_t warm_shims;              /* [Manager] WarmShims= */
        uint32_t parked_scopes;           /* [Manager] ParkedScopes= */
        uint64_t keep_warm_usec;          /* [Manager] KeepWarmUSec=, 0: off */
        uint64_t keep_warm_interval_usec; /* [Manager] KeepWarmIntervalUSec= */
        uint64_t stop_timeout_usec;       /* [Manager] StopTimeoutUSec= */
        uint64_t start_timeout_usec;      /* [Manager] StartTimeoutUSec= */
        uint64_t checkpoint_timeout_usec; /* [Manager] CheckpointTimeoutUSec= */
        uint64_t exit_idle_usec;          /* reserved for bus activation; 0: never */
        char **short_name_registries;     /* [Images] ShortNameRegistries= */
        const char *seccomp_report;       /* [Manager] SeccompReport=, "yes" or "no" */
        char *runtime;                    /* [Container] Runtime= */
        const char *root_filesystem;      /* [Store] RootFilesystem=, one of its words */
        char *registry;                   /* [Registry] Default=, "" for none */
        char **insecure_registries;       /* [Registry] Insecure=, HOST[:PORT] */
        char **token_hosts;               /* [Registry] TokenHosts= */
        uint64_t connect_timeout_usec;    /* [Registry] ConnectTimeoutUSec= */
        uint64_t stall_timeout_usec;      /* [Registry] StallTimeoutUSec= */
        uint32_t registry_retries;        /* [Registry] Retries= */
        uint64_t limits[_LIMIT_MAX];      /* [Limits] */
} Config;

void config_set_defaults(Config *c);
void config_done(Config *c);
int config_load(Config *c, const char *const *files); /* later files win; unknown keys are warned about */
const char *config_limit_name(ConfigLimit limit);
uint64_t config_limit_max(ConfigLimit limit);
char **config_files(void); /* the usual files and drop-ins, in order */
